"""The WebSocket: windows of sound that comes in pieces, and what is refused there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from servers import Serve
from speaking import speech_like
from starlette.websockets import WebSocketDisconnect

from gemoclap import Predictor
from gemoclap.inference.stream import EmotionStream, StreamSettings

pytestmark = pytest.mark.usefixtures("loud_net")


def talk(client: TestClient, query: str, pieces: list[bytes | str], **options: Any) -> tuple[list[dict], int]:
    """Send the pieces, and return all messages and the code with which the server closes."""
    found: list[dict] = []
    with client.websocket_connect(f"/v1/stream?{query}", **options) as socket:
        for piece in pieces:
            (socket.send_text if isinstance(piece, str) else socket.send_bytes)(piece)  # type: ignore[arg-type]
        try:
            while True:
                found.append(json.loads(socket.receive_text()))
        except WebSocketDisconnect as closed:
            return found, closed.code


END = json.dumps({"type": "end"})


@pytest.mark.parametrize(("form", "kind"), [("s16le", "<i2"), ("f32le", "<f4")])
def test_windows_are_those_of_the_library(form: str, kind: str, client: TestClient, predictor: Predictor) -> None:
    samples = speech_like(12, 5, 8000)
    sent = (samples * 32767).astype(kind) if kind == "<i2" else samples
    data = sent.astype(kind).tobytes()
    pieces: list[bytes | str] = [data[place : place + 4097] for place in range(0, len(data), 4097)]  # odd sizes
    query = f"sample_rate=8000&format={form}&window=2&hop=0.5&labels=calm,bored"
    found, code = talk(client, query, [*pieces, END])
    stream = EmotionStream(predictor, 8000, StreamSettings(2, 0.5), labels=["calm", "bored"])
    wanted = stream.add(sent) + stream.finish()
    ready = {"type": "ready", "emotions": ["calm", "bored"], "window": 2.0, "hop": 0.5, "remarks": stream.remarks}
    assert code == 1000 and found[0] == ready
    assert stream.remarks[0].startswith("the model was not trained on calm, bored; ")
    assert found[-1] == {"type": "end", "duration": 12.0, "windows": len(wanted), "reason": "done"}
    assert len(found) == len(wanted) + 2 > 10
    for window, other in zip(found[1:-1], wanted, strict=True):
        assert (window["type"], window["start"], window["end"]) == (
            "window",
            round(other.start, 4),
            round(other.end, 4),
        )
        assert window["probabilities"] == pytest.approx(other.probabilities, abs=2e-6)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sample_rate=fast", "sample_rate"),
        ("sample_rate=12.5", "whole number"),
        ("sample_rate=1", "sample_rate"),
        ("format=mp3", "s16le or f32le"),
        ("window=inf", "window"),
        ("window=99", "window"),
        ("hop=0.001", "hop"),
        ("labels=one", "label"),
        ("labels=banana,car", "set any_words to true"),
        ("any_words=1", "any_words"),
        ("adapt=yes", "none or speaker"),
        ("adapt=speaker", "cannot be adapted"),
        ("speech=maybe", "speech"),
    ],
)
def test_options_that_make_no_sense_are_named(query: str, said: str, client: TestClient) -> None:
    found, code = talk(client, query, [])
    assert (found[-1]["type"], found[-1]["status"], code) == ("error", 422, 1008)
    assert said in found[-1]["message"]


@pytest.mark.parametrize("labels", ["one", f"{'страх' * 10},car"])
def test_a_client_that_only_sends_is_told_why_by_the_reason(labels: str, client: TestClient) -> None:
    with client.websocket_connect("/v1/stream", params={"labels": labels}) as socket:
        error = json.loads(socket.receive_text())
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    reason = closed.value.reason or ""
    assert f"{error['code']}: {error['message']}".startswith(reason) and len(reason) > 60
    assert len(reason.encode()) <= 123  # what RFC 6455 allows


def test_messages_that_are_no_sound_are_refused(client: TestClient) -> None:
    for text in ("hello", '{"type": "start"}', "[" * 9999, "{}"):
        found, code = talk(client, "", [text])
        assert found[-1]["status"] == 422 and code == 1008 and '{"type": "end"}' in found[-1]["message"]
    broken = np.full(16000, np.nan, "<f4").tobytes()
    found, code = talk(client, "format=f32le", [broken])
    assert found[-1]["status"] == 422 and "NaN" in found[-1]["message"]


def test_a_stream_that_never_ends_is_ended(serve: Serve) -> None:
    client = serve(seconds=2.0)
    found, code = talk(client, "", [bytes(32000)] * 3)
    assert (found[-1]["code"], code) == ("too_long", 1008)


def test_a_stream_that_says_nothing_is_ended(serve: Serve) -> None:
    found, code = talk(serve(idle_seconds=0.2), "", [bytes(3200)])
    assert (found[-1]["code"], found[-1]["status"], code) == ("too_slow", 408, 1008)


@pytest.mark.parametrize(("limits", "status"), [({"streams": 1}, 503), ({"streams_per_client": 1}, 429)])
def test_there_is_room_for_so_many_streams(limits: dict[str, int], status: int, serve: Serve) -> None:
    client = serve(**limits)
    with client.websocket_connect("/v1/stream") as first:
        assert json.loads(first.receive_text())["type"] == "ready"
        found, code = talk(client, "", [])
        assert (found[-1]["status"], code) == (status, 1013)
        first.send_text(END)
        assert json.loads(first.receive_text())["type"] == "end"
    assert talk(client, "", [END])[1] == 1000


def test_the_key_comes_as_a_header_or_as_a_protocol(serve: Serve) -> None:
    client = serve(key="correct-horse")
    assert talk(client, "", [])[0][-1]["status"] == 401
    assert talk(client, "", [], subprotocols=["gemoclap", "wrong-horse"])[0][-1]["status"] == 401
    assert talk(client, "", [END], subprotocols=["gemoclap", "correct-horse"])[1] == 1000
    assert talk(client, "", [END], headers={"Authorization": "Bearer correct-horse"})[1] == 1000


def test_a_client_that_leaves_is_forgotten(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.receive_text()
        socket.send_bytes(bytes(100))
    assert talk(client, "", [END])[1] == 1000
    assert client.gate.streams == 0  # type: ignore[attr-defined]


def test_a_server_that_stops_sends_what_it_has(serve: Serve, predictor: Predictor, tmp_path: Path) -> None:
    client = serve()
    with client.websocket_connect("/v1/stream?window=2") as socket:
        assert json.loads(socket.receive_text())["type"] == "ready"
        socket.send_bytes((0.5 * 32767 * np.random.default_rng(0).uniform(-1, 1, 24000)).astype("<i2").tobytes())
        client.gate.is_stopping = True  # type: ignore[attr-defined]
        window, end = (json.loads(socket.receive_text()) for _ in range(2))
    assert window["type"] == "window" and (window["start"], window["end"]) == (0.0, 1.5)
    assert end == {"type": "end", "duration": 1.5, "windows": 1, "reason": "stopping"}


def test_a_fault_of_the_model_is_not_taken_for_a_client_that_has_left(
    serve: Serve, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reaches uvicorn, which writes it to the log and closes with 1011."""
    client = serve()

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(EmotionStream, "add", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        talk(client, "", [bytes(3200)])
    assert client.gate.streams == 0  # type: ignore[attr-defined]
