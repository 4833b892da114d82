"""Connections: how many there may be, and how long one may be open without a request or without reading its answer.

uvicorn by itself counts requests, not connections. It waits forever for the header of a request, and for a client that does not
read.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from gemoclap.serving.limits import Refused, busy

HEADER_SECONDS = 10.0
"""For so long a connection may be open without a whole header of a request."""
FLUSH_SECONDS = 60.0
"""For so long a connection may hold what its client does not read."""


class Connection(H11Protocol):
    """uvicorn's HTTP, which has no patience without end.

    Parameters
    ----------
    most : connections that may be open. For a new one beyond these the one that has waited longest for a request is closed; if
        all are at work, the new one gets a 503.
    """

    _timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0
    _had_to_go = False

    def __init__(self, *args: Any, most: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most = most

    @property
    def idle_since(self) -> float | None:
        """When the connection began to wait for a request, a time of the loop; None while one is in work."""
        return self._idle_since if self.cycle is None or self.cycle.response_complete else None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._watch()
        if len(self.connections) > self._most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop_watching()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of all errors."""
        self._answer(
            Refused(400, "no_http", "this is no request of HTTP/1.1, or its header is larger than 64 kB; send another")
        )

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        idle = [one for one in others if one.idle_since is not None and not one._had_to_go]
        if idle:
            longest = min(idle, key=lambda one: one._idle_since)
            longest._had_to_go = True  # it is among the connections until the loop's next turn
            longest.transport.abort()
        else:
            self._answer(busy())

    def _answer(self, error: Refused) -> None:
        """Send an answer without asking the application, and close."""
        body = json.dumps(error.body).encode()
        again = "" if error.retry_after is None else f"Retry-After: {error.retry_after}\r\n"
        head = (
            f"HTTP/1.1 {error.status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"{again}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _watch(self) -> None:
        """Count the time while there is no request, from the first byte of its header on."""
        if self.idle_since is None or self.transport.get_protocol() is not self:
            self._stop_watching()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Flushing:
    """Ends connections whose clients do not read, be they of HTTP or of a WebSocket."""

    def __init__(self) -> None:
        self._waiting: dict[Any, tuple[int, float]] = {}

    def look(self, transports: Iterable[Any], now: float) -> None:
        """Look at all connections, as is done each second.

        Parameters
        ----------
        now : a time in seconds.
        """
        before, self._waiting = self._waiting, {}
        for one in transports:
            held = one.get_write_buffer_size()
            if not held:
                continue
            least, since = before.get(one, (sys.maxsize, now))
            if held < least:  # some of it was read
                least, since = held, now
            self._waiting[one] = least, since
            if now - since >= FLUSH_SECONDS:
                # Without lingering the system, too, throws away what it holds for this client.
                one.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.abort()


def most_connections(wanted: int) -> int:
    """Return how many connections there may be, such that half of the files that a process may open are left for the rest."""
    try:
        import resource  # not on Windows
    except ImportError:
        return wanted
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files // 2))
