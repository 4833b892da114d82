"""Runs the application until it is told to stop, and then finishes what was taken."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from gemoclap.serving.gate import Gate
from gemoclap.serving.limits import Limits

HEADER_SECONDS = 10.0
"""For so long a connection may be open without a whole header of a request."""
FLUSH_SECONDS = 60.0
"""For so long a connection that was closed may hold what its client does not read."""
LARGEST_MESSAGE = 2**20
"""Bytes of a WebSocket message: half a minute of 16-bit sound at 16 kHz."""


class PatientOnlySoLong(H11Protocol):
    """uvicorn's HTTP, which by itself waits forever for the header of a request, and for a client that does not read."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop_watching()
        super().handle_websocket_upgrade(event)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(FLUSH_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Count the time while there is no request, from the first byte of its header on."""
        if self.cycle is not None and not self.cycle.response_complete or self.transport.get_protocol() is not self:
            self._stop_watching()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """Stops in order: nobody new comes in, streams send what they have, requests get their answers.

    Parameters
    ----------
    app : the application.
    gate : is closed first.
    limits : say how long to wait for what was taken.
    name : of the model, for the line that says where the server is.
    """

    def __init__(self, app: FastAPI, gate: Gate, limits: Limits, name: str) -> None:
        config = uvicorn.Config(
            app,
            http=PatientOnlySoLong,
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=round(limits.answer_seconds),
            server_header=False,
        )
        super().__init__(config)
        self._gate, self._limits, self._name = gate, limits, name

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"gemoclap serves the model {self._name} at http://{shown}:{port}; Ctrl-C stops it", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gate.is_stopping = True
        for _ in range(round(self._limits.answer_seconds / 0.1)):
            if not self._gate.streams or self.force_exit:
                break
            await asyncio.sleep(0.1)
        await super().shutdown(sockets)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn sends itself the signal again that it was stopped by. It has done its work then, and the exit code is 0.
        for name in ("SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, name), lambda *_: None)
        super().run(sockets)
