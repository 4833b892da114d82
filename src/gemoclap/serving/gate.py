"""Checks every request before it is answered: address, key, number of requests, size of the body and time to send it."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, WebSocket
from fastapi.responses import JSONResponse

from gemoclap.serving.addresses import Addresses
from gemoclap.serving.limits import Limits, Refused, busy, stopping, too_large, too_many, too_slow_body
from gemoclap.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LINGER_SECONDS = 5.0
"""Longest time that the rest of a refused body is read and discarded. If a connection is closed while bytes still arrive, it is
reset, and many clients then never see the answer."""
GUARDED = ("/v1/", "/metrics")
"""Starts of the paths that need the key, if the server has one."""
SUBPROTOCOL = "gemoclap"
"""WebSocket protocol that a page names, followed by the key as a second one: a page cannot set headers of a WebSocket."""


class Gate:
    """Admits requests, or refuses them with a reason.

    Parameters
    ----------
    key : key that clients must send; None for no key.
    limits, addresses : see these classes.

    Attributes
    ----------
    is_stopping : whether the server is shutting down and refuses every request.
    """

    def __init__(self, key: str | None, limits: Limits, addresses: Addresses | None = None) -> None:
        self.limits = limits
        self._addresses = addresses or Addresses()
        self.is_stopping = False
        self._key = key
        self._requests = _Places(limits.requests, limits.per_client, "requests")
        self._streams = _Places(limits.streams, limits.streams_per_client, "streams")

    def check_addresses(self, scope: Message) -> None:
        """Raise a `Refused` for a request that a page of another site may have sent."""
        self._addresses.check(_headers(scope))

    def check(self, scope: Message) -> None:
        """Raise a `Refused` if the key is wrong or the server is shutting down."""
        if not scope["path"].startswith(GUARDED):
            return
        given = _given_key(_headers(scope))
        if self._key is not None and not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Refused(401, "no_key", "this server needs a key; send it as the header 'Authorization: Bearer KEY'")
        if self.is_stopping:
            raise stopping()

    def enter(self, scope: Message) -> Callable[[], None]:
        """Count a request in, and return a function that counts it out. Raises a `Refused` if there are too many."""
        return self._requests.take(_client(scope))

    def open_stream(self, scope: Message) -> Callable[[], None]:
        """Do the same as `enter` for a WebSocket."""
        return self._streams.take(_client(scope))

    @property
    def streams(self) -> int:
        """Number of WebSockets that are open."""
        return self._streams.taken


class _Places:
    """Counts requests or streams, in total and per client.

    Parameters
    ----------
    most, per_client : largest number in total, and of one client.
    what : what is counted, for messages.
    """

    def __init__(self, most: int, per_client: int, what: str) -> None:
        self._most, self._per_client, self._what = most, per_client, what
        self._by_client: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._by_client.total()

    def take(self, client: str) -> Callable[[], None]:
        if self._by_client[client] >= self._per_client:
            raise too_many(self._per_client, self._what)
        if self.taken >= self._most:
            raise busy()
        self._by_client[client] += 1

        def leave() -> None:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

        return leave


class GateKeeper:
    """ASGI middleware: checks a request before its body is read, limits the body, and counts requests.

    Parameters
    ----------
    app : the application that answers admitted requests.
    gate, metrics : see these classes.
    """

    def __init__(self, app: Any, gate: Gate, metrics: Metrics) -> None:
        self._app, self._gate, self._metrics = app, gate, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse pages of other sites before the WebSocket opens. Other refusals are sent through it: our page reads them."""
        try:
            self._gate.check_addresses(scope)
        except Refused as error:
            await WebSocket(scope, receive, send).send_denial_response(JSONResponse(error.body, error.status))
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        exchange = _Exchange(scope, receive, send, self._gate.limits)
        leave = None
        try:
            self._gate.check_addresses(scope)
            self._gate.check(scope)
            if scope["method"] == "POST":
                exchange.check_length()
                leave = self._gate.enter(scope)
                self._metrics.in_work.inc()
        except Refused as error:
            await exchange.refuse(error)
        else:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            if leave:
                leave()
                self._metrics.in_work.dec()
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, exchange.status).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - began)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Message, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        headers = _headers(scope)
        length = headers.get("content-length", "")
        self._length = int(length) if length.isdecimal() else None
        self._is_complete = not self._length and "transfer-encoding" not in headers
        self._began, self._received = time.monotonic(), 0
        self.status = 0

    def check_length(self) -> None:
        if self._length and self._length > self._limits.body_bytes:
            raise too_large(self._limits)

    async def receive(self) -> Message:
        """Return the next part of the body. Raises an HTTPException if the body is too large or too slow."""
        if self._is_complete:
            return await self._receive()
        allowed = self._limits.idle_seconds + self._received / self._limits.slowest
        left = self._began + allowed - time.monotonic()
        try:
            async with asyncio.timeout(min(self._limits.idle_seconds, left)):
                message = await self._receive()
        except TimeoutError:
            raise _as_http(too_slow_body(self._limits)) from None
        self._received += len(message.get("body", b""))
        self._is_complete = _is_last(message)
        if self._received > self._limits.body_bytes:
            raise _as_http(too_large(self._limits))
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer. Before the last part, an unread body is read and discarded, for a limited time."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._is_complete:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        elif not message.get("more_body") and not self._is_complete:
            await self._send({**message, "more_body": True})
            await self._throw_away()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, error: Refused) -> None:
        body = json.dumps(error.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers_of(error)}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _throw_away(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_complete:
                    self._is_complete = _is_last(await self._receive())


def headers_of(error: Refused) -> dict[str, str]:
    """Return the headers of a refusal."""
    wanted = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return wanted | ({"WWW-Authenticate": "Bearer"} if error.status == 401 else {})


def _as_http(error: Refused) -> HTTPException:
    """Return an exception that FastAPI passes on as it is; it turns others into validation errors."""
    return HTTPException(error.status, error.body["error"], headers_of(error))


def _is_last(message: Message) -> bool:
    return message["type"] == "http.disconnect" or not message.get("more_body")


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _given_key(headers: dict[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    first, _, second = headers.get("sec-websocket-protocol", "").partition(",")
    return second.strip() if first.strip() == SUBPROTOCOL else ""


def _client(scope: Message) -> str:
    return scope["client"][0] if scope.get("client") else ""
