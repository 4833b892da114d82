"""Connections that ask for nothing, or do not read what they get, take no place from others."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from servers import listening, message_of

from gemoclap import Predictor
from gemoclap.serving.connections import FLUSH_SECONDS, Flushing, most_connections

HEAD = (
    "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    "Content-Length: 999\r\n\r\n"
)


@pytest.fixture(scope="module")
def address(predictor: Predictor) -> Iterator[str]:
    with listening(predictor, connections=8) as address:
        yield address


def place_of(address: str) -> tuple[str, int]:
    return "127.0.0.1", int(address.rpartition(":")[2])


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65536):  # an answer that has come
            pass
        return False
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@contextmanager
def idle(address: str, count: int, begin: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections, and send at most the beginning of a request."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_connection(place_of(address), 30)) for _ in range(count)]
        for one in found:
            if begin:
                one.sendall(begin)
        yield found


@pytest.mark.parametrize("begin", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_others_are_served_beside_many_idle_connections(begin: bytes, address: str, clips: list[Path]) -> None:
    """They have sent nothing, a part of a header, or one request, after which they wait."""
    sound = clips[0].read_bytes()
    with idle(address, 40, begin) as connections:
        for _ in range(3):
            assert httpx2.post(f"{address}/v1/predict", files={"file": sound}, timeout=30).status_code == 200
        assert sum(map(is_open, connections[:30])) == 0  # those that have waited longest made room
        with idle(address, 30, begin):
            assert httpx2.get(f"{address}/healthz", timeout=30).status_code == 200


def test_requests_in_work_are_not_closed_for_new_connections(address: str) -> None:
    with idle(address, 8, HEAD.encode()) as working:
        health = f"{address}/healthz"
        until = time.monotonic() + 30
        while (answer := _asked(health)) is None or answer.status_code != 503:  # until all headers were read
            assert time.monotonic() < until
        assert "no room" in message_of(answer, 503) and answer.headers["Retry-After"]
        assert all(map(is_open, working))
        working[0].close()
        while (answer := _asked(health)) is None or answer.status_code != 200:
            assert time.monotonic() < until


def _asked(url: str) -> Any:
    try:
        return httpx2.get(url, timeout=30)
    except httpx2.TransportError:  # an answer that comes before the request can be lost
        return None


class Transport:
    """What a client has not read yet, in bytes."""

    def __init__(self, held: int) -> None:
        self.held, self.was_ended = held, False

    def get_extra_info(self, name: str) -> Transport:
        assert name == "socket"
        return self

    def setsockopt(self, *_: Any) -> None:
        assert not self.was_ended

    def get_write_buffer_size(self) -> int:
        return self.held

    def abort(self) -> None:
        self.was_ended = True


def test_who_does_not_read_is_left() -> None:
    stuck, slow, quick, late = Transport(9), Transport(9000), Transport(0), Transport(0)
    flushing = Flushing()
    for second in range(200):
        slow.held -= 1 if second % 50 == 0 else 0
        late.held = 5 if second >= 100 else 0
        flushing.look([one for one in (stuck, slow, quick, late) if not one.was_ended], float(second))
        assert stuck.was_ended == (second >= FLUSH_SECONDS)
        assert late.was_ended == (second >= 100 + FLUSH_SECONDS)
    assert not slow.was_ended and not quick.was_ended


def test_an_answer_that_nobody_reads_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemoclap.serving.connections.FLUSH_SECONDS", 0.0)
    with socket.create_connection(place_of(address), 30) as connection:
        connection.sendall(
            b"GET /wavesurfer.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400
        )  # more than the system holds
        watched = select.poll()
        watched.register(connection, 0)  # only that it was closed by the server
        assert watched.poll(30_000)


def test_half_of_the_files_are_left_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits of a process")
    for files, wanted, found in ((1024, 512, 512), (256, 512, 128), (1, 512, 1), (resource.RLIM_INFINITY, 512, 512)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert most_connections(wanted) == found


def test_what_is_no_http_gets_the_form_of_all_errors(address: str) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 65_600):
        with socket.create_connection(place_of(address), 30) as connection:
            connection.sendall(sent)
            answer = connection.makefile("rb").read()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
        assert set(json.loads(body)["error"]) == {"code", "message"}
