"""The real process: it says where it is, serves over the network, and finishes what it has taken when it is stopped."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Serve, listening
from small import complaint
from websockets.sync.client import connect

from gemoclap import GemoclapError, Predictor
from gemoclap.serving.service import Service

BOUNDARY = "xxxxxxxxxxxx"


class Process:
    """`gemoclap serve` on a free port."""

    def __init__(self, model: Path, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "gemoclap", "serve", "--model", str(model), "--port", "0", *options]
        self.folder = folder
        environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.line)
        assert found, self.line
        self.port = int(found[1])

    def begun(self, length: int) -> http.client.HTTPConnection:
        """Return a connection on which a request has begun, but nothing of its body was sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest("POST", "/v1/predict")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        return connection


@pytest.fixture
def process(small_model: Path, tmp_path: Path) -> Iterator[Process]:
    found = Process(small_model, tmp_path, "--max_megabytes", "2")
    yield found
    found.process.kill()
    found.process.communicate()


def form(sound: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return head.encode() + sound + f"\r\n--{BOUNDARY}--\r\n".encode()


def test_what_was_taken_is_finished(process: Process, clips: list[Path]) -> None:
    body = form(clips[0].read_bytes())
    taken = process.begun(len(body))
    taken.send(body[:999])
    # A body beyond the limit, sent by a client that does not look for an answer before it has sent all of it.
    large = process.begun(8 * 10**6)
    large.send(bytes(8 * 10**6))
    answer = large.getresponse()
    assert answer.status == 413 and "larger than 2 MB" in json.load(answer)["error"]["message"]
    idle = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    idle.request("GET", "/healthz")
    assert json.load(idle.getresponse())["status"] == "ok"
    with connect(f"ws://127.0.0.1:{process.port}/v1/stream?speech=all&window=2") as stream:
        assert json.loads(stream.recv(30))["type"] == "ready"
        stream.send(bytes(2 * 46400))  # 2.9 s
        first = json.loads(stream.recv(30))  # so that it was taken
        process.process.send_signal(signal.SIGTERM)
        window, end = json.loads(stream.recv(30)), json.loads(stream.recv(30))
    assert (first["type"], first["start"], first["end"]) == ("window", 0.0, 2.0)
    assert (window["type"], window["start"], window["end"]) == ("window", 0.9, 2.9)
    assert (end["type"], end["reason"]) == ("end", "stopping")
    taken.send(body[999:])
    answer = taken.getresponse()
    assert answer.status == 200 and json.load(answer)["file"] == "a.wav"
    _, error = process.process.communicate(timeout=60)
    assert process.process.returncode == 0 and error == ""
    assert not list(process.folder.iterdir())  # nothing is left on the disk
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", process.port), 5)


def test_a_start_may_take_longer_than_an_answer(serve: Serve) -> None:
    assert serve(answer_seconds=1e-9).get("/healthz").status_code == 200


def test_a_start_that_fails_leaves_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Service] = []

    def broken(service: Service) -> None:
        begun.append(service)
        raise GemoclapError("no text encoder")

    monkeypatch.setattr(Service, "warm_up", broken)
    with pytest.raises(GemoclapError, match="no text encoder"):
        serve()
    assert begun and not begun[0].folder.exists()


def test_a_header_that_does_not_come_is_not_waited_for(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the beginning of a connection nor behind a request."""
    monkeypatch.setattr("gemoclap.serving.connections.HEADER_SECONDS", 0.2)
    with listening(predictor) as address:
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        for first in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection(place, 30) as connection:
                connection.sendall(first)
                assert not first or b"200 OK" in connection.recv(4096)
                connection.sendall(b"POST /v1/pre")
                while connection.recv(4096):  # until it is closed
                    pass
        with connect(f"ws://{address.removeprefix('http://')}/v1/stream") as stream:  # this one goes on
            assert json.loads(stream.recv(30))["type"] == "ready"
            for _ in range(3):
                stream.send(bytes(3200))
            stream.send('{"type": "end"}')
            assert json.loads(stream.recv(30))["type"] == "end"


def test_what_is_wrong_is_said_in_a_line(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, none = tmp_path / "short", tmp_path / "none"
    short.write_text("secret\n")
    serve = ("serve", "--model", small_model)
    assert f"{short}: a key has 8 characters or more" in complaint(capsys, *serve, "--key_file", short)
    assert f"{none}: cannot be read" in complaint(capsys, *serve, "--key_file", none)
    monkeypatch.setenv("GEMOCLAP_API_KEY", "with a blank")
    assert "GEMOCLAP_API_KEY: a key has" in complaint(capsys, *serve)
    monkeypatch.delenv("GEMOCLAP_API_KEY")
    assert "--port must lie" in complaint(capsys, *serve, "--port", "70000")
    assert "--max_seconds must be above 0" in complaint(capsys, *serve, "--max_seconds", "-1")
    assert "no such folder" in complaint(capsys, "serve", "--model", "./nothing")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "pip install 'gemoclap[serve]'" in complaint(capsys, *serve)


def test_a_port_that_is_taken_is_said(small_model: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port}" in complaint(capsys, "serve", "--model", small_model, "--port", str(port))
