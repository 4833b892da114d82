"""A server in this process, for a client that calls it or for the network, and what it says when it refuses."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fastapi.testclient import TestClient

from gemoclap import Predictor
from gemoclap.serving.addresses import Addresses
from gemoclap.serving.app import make_app
from gemoclap.serving.gate import Gate
from gemoclap.serving.limits import Limits
from gemoclap.serving.server import Server
from gemoclap.serving.service import Service

Serve = Callable[..., TestClient]


def started(
    stack: ExitStack, predictor: Predictor, key: str | None = None, batch_size: int = 16, **limits: Any
) -> TestClient:
    """Start a server, which ends with the stack, and return a client of it."""
    bounds = Limits(**limits)
    # The client calls the server by this name when it opens a WebSocket.
    service = Service(predictor, "small", bounds, batch_size)
    gate = Gate(key, bounds, Addresses(["testserver"]))
    client = stack.enter_context(TestClient(make_app(service, gate), "http://127.0.0.1"))
    client.service, client.gate = service, gate  # type: ignore[attr-defined]
    return client


@contextmanager
def listening(predictor: Predictor, key: str | None = None, **limits: Any) -> Iterator[str]:
    """Run a server in a thread, and yield its address; it is stopped afterwards."""
    bounds = Limits(**limits)
    service, gate = Service(predictor, "small", bounds), Gate(key, bounds)
    server = Server(make_app(service, gate), gate, bounds, "small")
    with socket.create_server(("127.0.0.1", 0)) as address:
        thread = threading.Thread(target=asyncio.run, args=[server.serve([address])])
        thread.start()
        try:
            yield f"http://127.0.0.1:{address.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def message_of(answer: Any, status: int) -> str:
    """Return the line for people of an error."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == {"code", "message"}
    message = answer.json()["error"]["message"]
    assert "\n" not in message and "Traceback" not in message
    return message
