"""Limits the number of connections, and the time that one may stay open without a request or without reading its answer.

uvicorn limits requests, not connections. It waits forever for the header of a request, and for a client that does not read.
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
"""Longest time in seconds that a connection may stay open without the whole header of a request."""
FLUSH_SECONDS = 60.0
"""Longest time in seconds that a connection may wait for its client to read what was sent."""


class Connection(H11Protocol):
    """uvicorn's HTTP connection, with a limit on the waiting time and on the number of connections.

    Parameters
    ----------
    most : largest number of open connections. If one more comes, the connection that has been idle longest is closed. If none
        is idle, the new one gets a 503.
    """

    _timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0
    _had_to_go = False

    def __init__(self, *args: Any, most: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most = most

    @property
    def idle_since(self) -> float | None:
        """Time of the event loop at which the connection became idle; None while a request is being answered."""
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
        """Answer a request that is not HTTP, in the same form as every other error."""
        self._answer(
            Refused(
                400, "no_http", "this is not an HTTP/1.1 request, or its header is larger than 64 kB; send a valid one"
            )
        )

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        idle = [one for one in others if one.idle_since is not None and not one._had_to_go]
        if idle:
            longest = min(idle, key=lambda one: one._idle_since)
            longest._had_to_go = True  # it stays in `connections` until the next turn of the event loop
            longest.transport.abort()
        else:
            self._answer(busy())

    def _answer(self, error: Refused) -> None:
        """Send an answer without calling the application, and close the connection."""
        body = json.dumps(error.body).encode()
        again = "" if error.retry_after is None else f"Retry-After: {error.retry_after}\r\n"
        head = (
            f"HTTP/1.1 {error.status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"{again}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _watch(self) -> None:
        """Start the timer while the connection is idle. A header that has begun does not stop it; a whole one does."""
        if self.idle_since is None or self.transport.get_protocol() is not self:
            self._stop_watching()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Flushing:
    """Closes HTTP and WebSocket connections whose clients do not read."""

    def __init__(self) -> None:
        self._waiting: dict[Any, tuple[int, float]] = {}

    def look(self, transports: Iterable[Any], now: float) -> None:
        """Check all connections; called once a second.

        Parameters
        ----------
        now : current time in seconds.
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
                # SO_LINGER with 0 s makes the operating system, too, discard what it holds for this client.
                one.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.abort()


def most_connections(wanted: int) -> int:
    """Return `wanted`, or half of the files that the process may open if that is less. The rest needs the other half."""
    try:
        import resource  # not on Windows
    except ImportError:
        return wanted
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files // 2))
