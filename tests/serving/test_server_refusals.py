"""What is asked too much, or is no sound, gets its 4xx with a line that says what to do; the others are still served."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from servers import Serve, message_of
from sound import cut_off, noise, write, write_tone

from gemoclap.serving.uploads import kept, shown_name

BOUNDARY = "x" * 16
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(data: bytes, name: str = "a.wav") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(client: TestClient, data: bytes, name: str = "a.wav", path: str = "predict", **fields: object) -> Any:
    return client.post(f"/v1/{path}", files={"file": (name, data)}, data=fields)


def claims_hours(path: Path) -> bytes:
    """Return a WAV of a second whose header says that it has ten hours."""
    data = bytearray(write(path, noise(1.0)).read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 10 * 3600 * 32000)
    return bytes(data)


@pytest.mark.parametrize("path", ["predict", "timeline"])
def test_what_is_no_audio_is_refused(path: str, client: TestClient, tmp_path: Path) -> None:
    for data in (b"this is text\n" * 999, bytes(10**6), b"\x89PNG\r\n\x1a\n" + bytes(999), b"RIFF"):
        assert "send WAV, FLAC" in message_of(send(client, data, path=path), 415)
    assert "empty" in message_of(send(client, b"", path=path), 422)
    assert "cut off" in message_of(send(client, claims_hours(tmp_path / "a.wav"), path=path), 422)
    cut = cut_off(write(tmp_path / "b.flac", noise(3.0))).read_bytes()
    said = message_of(send(client, cut, "b.flac", path), 422)
    assert said.startswith("b.flac: ") and str(tmp_path) not in said


def test_a_flac_without_a_length_is_read_to_its_end(client: TestClient, tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.flac", noise(2.0)).read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO that hold the number of samples
    data[22:26] = bytes(4)
    answer = send(client, bytes(data), "a.flac")
    assert answer.status_code == 200 and answer.json()["duration"] == 2.0


@pytest.mark.parametrize("path", ["predict", "timeline"])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_long_recording_is_refused(path: str, suffix: str, serve: Serve, tmp_path: Path) -> None:
    client = serve(seconds=2.0)
    fitting, longer = (write_tone(tmp_path / f"{one}.{suffix}", seconds=one).read_bytes() for one in (2.0, 2.1))
    assert send(client, fitting, path=path).status_code == 200
    assert "longer than 2 s; cut it" in message_of(send(client, longer, path=path), 413)


def test_a_long_flac_without_a_length_is_refused_while_it_is_decoded(serve: Serve, tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.flac", np.zeros(16000 * 60)).read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    client = serve(seconds=5.0)
    for path in ("predict", "timeline"):
        assert "longer than 5 s" in message_of(send(client, bytes(data), path=path), 413)


def test_a_large_body_is_refused_before_and_while_it_comes(serve: Serve, clips: list[Path]) -> None:
    client = serve(body_bytes=400_000)
    assert send(client, clips[0].read_bytes()).status_code == 200
    assert "larger than 0.4 MB" in message_of(send(client, bytes(400_000)), 413)

    def parts() -> Iterator[bytes]:  # no length is declared
        for _ in range(9):
            yield bytes(100_000)

    head, _, tail = form(b"SOUND").partition(b"SOUND")

    def body() -> Iterator[bytes]:
        yield head
        yield from parts()
        yield tail

    assert "larger than 0.4 MB" in message_of(client.post("/v1/predict", content=body(), headers=FORM), 413)
    assert not list(client.service.folder.iterdir())  # type: ignore[attr-defined]


@pytest.mark.parametrize("dribble", [False, True])
def test_a_slow_body_is_refused(dribble: bool, serve: Serve) -> None:
    """Nothing comes any more, or a byte now and then."""
    client = serve(idle_seconds=0.05, slowest=1e6)
    sent: list[dict[str, Any]] = []
    turn = 0

    async def receive() -> dict[str, Any]:
        nonlocal turn
        turn += 1
        if turn > 1 and not dribble and turn < 3:
            await asyncio.Event().wait()
        if sent:
            return {"type": "http.disconnect"}
        await asyncio.sleep(0)
        return {"type": "http.request", "body": form(bytes(9))[:20] if turn == 1 else b"", "more_body": True}

    async def collect(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        **{"type": "http", "method": "POST", "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b""},
        **{"headers": [(b"content-type", FORM["Content-Type"].encode()), (b"transfer-encoding", b"chunked")]},
        **{"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1"},
        **{"root_path": "", "asgi": {"version": "3.0"}},
    }
    asyncio.run(client.app(scope, receive, collect))
    assert sent[0]["status"] == 408 and (b"connection", b"close") in sent[0]["headers"]
    assert b"too slowly" in sent[1]["body"]


def test_names_of_files_are_only_shown(client: TestClient, clips: list[Path], tmp_path: Path) -> None:
    sound = clips[0].read_bytes()
    names = [
        "../../etc/passwd",
        "/tmp/x.wav",
        "C:\\a\\b.wav",
        "a\x07b.wav",
        "..",
        "x" * 3000 + ".wav",
        str(tmp_path / "n.wav"),
    ]
    for name in names:
        answer = client.post("/v1/predict", content=form(sound, name), headers=FORM)
        assert answer.status_code == 200, answer.text
        assert "/" not in answer.json()["file"] and len(answer.json()["file"]) <= 100
    assert not list(tmp_path.iterdir())
    assert shown_name("../../etc/passwd") == "passwd" and shown_name("C:\\a\\b.wav") == "b.wav"
    assert shown_name(None) == shown_name("..").replace("..", "the file") == "the file"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"labels": "happy"}, "label"),
        ({"labels": ",".join(f"l{number}" for number in range(33))}, "32 or fewer"),
        ({"labels": "a" * 81 + ",b"}, "longer than 80"),
        ({"labels": "a\x00b,c"}, "cannot be printed"),
        ({"labels": "sad,sad"}, "sad"),
        ({"window": "-1"}, "window"),
        ({"window": "nan"}, "window"),
        ({"channel": "0"}, "channel"),
        ({"channel": "left"}, "channel"),
        ({"threshold": "2"}, "threshold"),
    ],
)
@pytest.mark.parametrize("path", ["predict", "timeline"])
def test_options_that_make_no_sense_are_named(
    path: str, fields: dict[str, str], said: str, client: TestClient, clips: list[Path]
) -> None:
    assert said in message_of(send(client, clips[0].read_bytes(), path=path, **fields), 422)


def test_a_list_is_called_by_its_name(client: TestClient, clips: list[Path]) -> None:
    said = message_of(send(client, clips[0].read_bytes(), path="timeline", include="png"), 422)
    assert said.startswith("include: input should be 'envelope'")


def test_an_upload_is_not_on_the_disk_twice(tmp_path: Path) -> None:
    with TemporaryFile() as came:
        came.write(b"sound")
        came.seek(0)
        with kept(came, "a.wav", tmp_path) as upload:
            assert came.closed and upload.path.read_bytes() == b"sound"
    assert not list(tmp_path.iterdir())


def test_what_is_no_form_is_refused(client: TestClient) -> None:
    assert "multipart" in message_of(client.post("/v1/predict", content=b"RIFF"), 415)
    assert "multipart" in message_of(client.post("/v1/predict", json={"file": "a.wav"}), 415)
    assert "field 'file'" in message_of(client.post("/v1/predict"), 415)
    assert "file" in message_of(client.post("/v1/predict", files={"sound": b"RIFF"}), 422)
    assert "file" in message_of(client.post("/v1/predict", files={"x": b""}, data={"file": "a.wav"}), 422)
    assert client.post("/v1/predict", content=b"--", headers=FORM).status_code in (400, 422)
    assert client.post("/v1/predict", content=b"", headers={"Content-Type": "multipart/form-data"}).status_code == 400
    assert client.get("/v1/predict").status_code == 405 and client.get("/nothing").status_code == 404


def test_without_the_key_nothing_is_done(serve: Serve, clips: list[Path]) -> None:
    client = serve(key="correct-horse")
    sound = clips[0].read_bytes()
    wrong = [{}, {"Authorization": "Bearer correct-hors"}, {"Authorization": "Basic correct-horse"}]
    for headers in [*wrong, {"Authorization": "Bearer \xff"}]:
        answer = client.post(
            "/v1/predict", files={"file": sound}, headers={k: v.encode("latin-1") for k, v in headers.items()}
        )
        assert "Authorization: Bearer" in message_of(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == client.get("/v1/model").status_code == 401
    assert client.get("/healthz").status_code == 200
    right = {"Authorization": "Bearer correct-horse"}
    assert client.post("/v1/predict", files={"file": sound}, headers=right).status_code == 200


def test_more_requests_than_there_is_room_for_are_refused(serve: Serve, clips: list[Path]) -> None:
    client = serve(requests=3, per_client=2)
    sound = clips[0].read_bytes()
    gate = client.gate  # type: ignore[attr-defined]
    leave = [gate.enter({"client": ("testclient", port)}) for port in (1, 2)]
    answer = send(client, sound)
    assert "2 requests of this address are in work" in message_of(answer, 429) and answer.headers["Retry-After"] == "1"
    leave.pop()()
    other = gate.enter({"client": ("10.0.0.1", 1)})
    third = gate.enter({"client": ("10.0.0.2", 1)})
    answer = send(client, sound)
    assert "no room" in message_of(answer, 503) and answer.headers["Retry-After"]
    for one in (other, third, *leave):
        one()
    assert send(client, sound).status_code == 200
    gate.is_stopping = True
    assert "stopping" in message_of(send(client, sound), 503)
    assert client.get("/healthz").status_code == 503
