"""Runs the application until it is told to stop, and then finishes what was taken."""

from __future__ import annotations

import asyncio
import signal
import socket
from functools import partial

import uvicorn
from fastapi import FastAPI

from gemoclap.serving.connections import Connection, Flushing, most_connections
from gemoclap.serving.gate import Gate
from gemoclap.serving.limits import Limits

TICKS_A_SECOND = 10
"""How often uvicorn looks whether there is something to do."""
LARGEST_MESSAGE = 2**20
"""Bytes of a WebSocket message: half a minute of 16-bit sound at 16 kHz."""


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
            http=partial(Connection, most=most_connections(limits.connections)),  # type: ignore[arg-type]
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=round(limits.answer_seconds),
            server_header=False,
        )
        super().__init__(config)
        self._gate, self._limits, self._name = gate, limits, name
        self._flushing = Flushing()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"gemoclap serves the model {self._name} at http://{shown}:{port}; Ctrl-C stops it", flush=True)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SECOND == 0:
            transports = [one.transport for one in self.server_state.connections]
            self._flushing.look(transports, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

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
