"""The WebSocket: sound comes in, windows go out.

The client sends binary messages of mono PCM, of any size, and at the end the text ``{"type": "end"}``. The server sends
text messages of JSON: ``ready`` once, a ``window`` for each, then ``end``; or an ``error``, after which it closes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

import numpy as np
from anyio.to_thread import run_sync
from fastapi import WebSocket, WebSocketDisconnect

from gemoclap.errors import GemoclapError
from gemoclap.inference.stream import EmotionStream
from gemoclap.serving.fields import check_names
from gemoclap.serving.gate import SUBPROTOCOL, Gate
from gemoclap.serving.limits import Refused, checked_labels, too_long, unusable
from gemoclap.serving.service import Adapt, Service, Speech, WindowOptions, window_data

PATH = "/v1/stream"
FORMATS = {"s16le": "<i2", "f32le": "<f4"}
NORMAL, REFUSED, TRY_LATER = 1000, 1008, 1013
"""Codes with which a WebSocket is closed (RFC 6455)."""
REASON_BYTES = 123
"""Length of the text that can go with such a code at most (RFC 6455)."""
LONGEST = 2.0
"""A stream may stay open for so many times the seconds of sound that it may have."""
TICK_SECONDS = 0.25
"""How often a stream looks whether the server is stopping, and how long it then takes what was sent before."""


async def answer_stream(
    websocket: WebSocket, service: Service, gate: Gate, asked: Mapping[str, str], labels: list[str] | None
) -> None:
    """Talk with a client until it has ended, has met a limit, or the server stops.

    Parameters
    ----------
    asked : sample_rate, format, window, hop, speech, any_words and adapt as text.
    labels : as for `limits.checked_labels`.
    """
    offered = websocket.scope.get("subprotocols") or []
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    talk = _Talk(websocket, service, gate)
    leave = None
    with suppress(WebSocketDisconnect, TimeoutError, asyncio.CancelledError):  # the client has left
        try:
            gate.check(cast(Any, websocket.scope))
            leave = gate.open_stream(cast(Any, websocket.scope))
            await talk.go(asked, labels)
        except Refused as error:
            await talk.refuse(error)
        except GemoclapError as error:
            await talk.refuse(unusable(error.for_clients))
        finally:
            if leave:
                leave()


class _Talk:
    """One client."""

    def __init__(self, websocket: WebSocket, service: Service, gate: Gate) -> None:
        self._websocket, self._service, self._gate = websocket, service, gate
        self._limits = service.limits
        self._windows = self._samples = 0
        self._last_turn = 0.0

    async def go(self, asked: Mapping[str, str], labels: list[str] | None) -> None:
        check_names((name for name, _ in self._websocket.query_params.multi_items()), [*asked, "labels"])
        options, rate, kind = _options(asked, checked_labels(labels, self._limits))
        stream = await run_sync(self._service.stream, rate, options)  # it may wait for the model
        settings = stream.settings
        emotions = [*(options.labels or stream.predictor.labels)]
        ready = {"emotions": emotions, "window": settings.window, "hop": settings.hop, "remarks": stream.remarks}
        await self._send({"type": "ready", **ready})
        until = time.monotonic() + LONGEST * self._limits.seconds
        rest = b""
        with self._service.metrics.in_work.track_inprogress():
            while (chunk := await self._next()) is not None:
                data = rest + chunk
                whole = len(data) // kind.itemsize * kind.itemsize
                rest = data[whole:]
                self._samples += whole // kind.itemsize
                if self._samples > self._limits.seconds * rate or time.monotonic() > until:
                    raise too_long(self._limits)
                await self._send_windows(stream, np.frombuffer(data[:whole], kind))
            await self._send_windows(stream, None)
        duration = self._samples / rate
        self._service.metrics.audio.labels(PATH).inc(duration)
        reason = "stopping" if self._gate.is_stopping else "done"
        await self._send({"type": "end", "duration": duration, "windows": self._windows, "reason": reason})
        await self._close(NORMAL)

    async def refuse(self, error: Refused) -> None:
        await self._send({"type": "error", "status": error.status, **error.body["error"]})
        await self._close(TRY_LATER if error.status in (429, 503) else REFUSED, _reason(error))

    async def _next(self) -> bytes | None:
        """Return the next sound, or None at the end or when the server stops and nothing has come yet."""
        until = time.monotonic() + self._limits.idle_seconds
        coming = asyncio.ensure_future(self._websocket.receive())
        try:
            while not coming.done():
                if self._gate.is_stopping:
                    self._last_turn = self._last_turn or time.monotonic() + TICK_SECONDS
                    await asyncio.wait([coming], timeout=max(0.0, self._last_turn - time.monotonic()))
                    if not coming.done():
                        return None
                    break
                if time.monotonic() >= until:
                    raise Refused(
                        408,
                        "too_slow",
                        f'nothing came for {self._limits.idle_seconds:g} s; send sound without pauses, or {{"type": "end"}}',
                    )
                await asyncio.wait([coming], timeout=min(TICK_SECONDS, max(0.0, until - time.monotonic())))
        finally:
            if not coming.done():
                coming.cancel()
        with _leaving():
            message = coming.result()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        if (data := message.get("bytes")) is not None:
            return data
        _check_end(message.get("text") or "")
        return None

    async def _send_windows(self, stream: EmotionStream, samples: np.ndarray | None) -> None:
        found = await run_sync(stream.finish) if samples is None else await run_sync(stream.add, samples)
        for window in found:
            self._windows += 1
            await self._send(window_data(window))

    async def _send(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._limits.idle_seconds):  # a client that does not read is left
            with _leaving():
                await self._websocket.send_text(json.dumps(message))

    async def _close(self, code: int, reason: str | None = None) -> None:
        with _leaving():
            await self._websocket.close(code, reason)


def _reason(error: Refused) -> str:
    """Return the error as the text with which a WebSocket is closed, cut off where it is too long.

    A client that is still sending finds this in its own library's error, and often nothing else: it has not read the message.
    """
    text = f"{error.code}: {error.message}"
    return text.encode()[:REASON_BYTES].decode(errors="ignore")


@contextmanager
def _leaving() -> Iterator[None]:
    """Turn the RuntimeError of a WebSocket that is closed already into the WebSocketDisconnect that it stands for.

    Only here: a RuntimeError of the model must not be taken for a client that has left.
    """
    try:
        yield
    except RuntimeError as error:
        raise WebSocketDisconnect from error


def _check_end(text: str) -> None:
    """Raise a Refused if a text message is not the one that ends a stream."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or message.get("type") != "end":
        raise unusable('a text message must be {"type": "end"}; send sound as binary messages')


def _options(asked: Mapping[str, str], labels: tuple[str, ...] | None) -> tuple[WindowOptions, int, np.dtype]:
    """Return what a client wants, its sample rate, and the type of its samples; raises a Refused for nonsense."""
    if asked["format"] not in FORMATS:
        raise unusable(f"format: must be {' or '.join(FORMATS)}, not {asked['format'][:20]!r}")
    if asked["speech"] not in ("detect", "all"):
        raise unusable(f"speech: must be detect or all, not {asked['speech'][:20]!r}")
    if asked["adapt"] not in ("none", "speaker"):
        raise unusable(f"adapt: must be none or speaker, not {asked['adapt'][:20]!r}")
    if asked["any_words"] not in ("true", "false"):
        raise unusable(f"any_words: must be true or false, not {asked['any_words'][:20]!r}")
    rate = _number("sample_rate", asked["sample_rate"])
    if rate != int(rate):
        raise unusable("sample_rate: must be a whole number; give it in Hz, such as 16000")
    window = _number("window", asked["window"]) if asked["window"] else None
    hop = _number("hop", asked["hop"])
    if hop < 0.1:
        raise unusable(f"hop: must be 0.1 seconds or more, not {hop:g}")
    options = WindowOptions(
        labels, asked["any_words"] == "true", window, hop, cast(Speech, asked["speech"]), cast(Adapt, asked["adapt"])
    )
    return options, int(rate), np.dtype(FORMATS[asked["format"]])


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise unusable(f"{name}: must be a number, not {text[:20]!r}")
    return number
