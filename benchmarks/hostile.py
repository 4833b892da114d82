"""Requests that no server should stumble over, each with the answer that it must get; `benchmarks/serve.py` sends them.

They go to 127.0.0.1 alone. Each is bounded in bytes and in time.
"""

from __future__ import annotations

import http.client
import io
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HOST = "127.0.0.1"
BOUNDARY = "gemoclap-benchmark"
PATIENCE = 60.0
"""Seconds after which an answer counts as lost."""


class Hostile(NamedTuple):
    """What is sent, what is to come back (a status, or how a connection ends), and how to send it to a port."""

    name: str
    expected: str
    send: Callable[[int], str]


def form(data: bytes, name: str = "a.wav", labels: str = "") -> bytes:
    """Return the body of a form with a file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="labels"\r\n\r\n{labels}\r\n'
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(connection: http.client.HTTPConnection, body: bytes, path: str = "/v1/predict") -> tuple[int, bytes]:
    """Send a form over a connection that stays open, and return status and body of the answer."""
    connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def posted(body: bytes) -> Callable[[int], str]:
    """Return what posts a body and gives the status."""

    def send(port: int) -> str:
        connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
        try:
            return str(ask(connection, body)[0])
        finally:
            connection.close()

    return send


def dribbled(head: bytes, part: bytes, pause: float, most: int) -> Callable[[int], str]:
    """Return what sends `head`, then `part` up to `most` times, and gives the status, or "closed" without one."""

    def send(port: int) -> str:
        with socket.create_connection((HOST, port), PATIENCE) as connection:
            connection.sendall(head)
            for _ in range(most):
                if select.select([connection], [], [], pause)[0]:
                    break
                try:
                    connection.sendall(part)
                except OSError:
                    break
            connection.settimeout(PATIENCE)
            try:
                answer = connection.recv(4096).decode("latin-1")
            except OSError:
                return "closed"
            return answer.split()[1] if answer else "closed"

    return send


def streamed(part: bytes) -> Callable[[int], str]:
    """Return what sends `part` over a WebSocket without end, or nothing, and gives the code of the error."""

    def send(port: int) -> str:
        codes = ["closed"]
        with connect(f"ws://{HOST}:{port}/v1/stream", close_timeout=5) as stream:

            def listen() -> None:
                with suppress(ConnectionClosed):
                    for text in stream:
                        codes.append(json.loads(text).get("code", codes[-1]))

            listener = threading.Thread(target=listen)
            listener.start()
            until = time.monotonic() + PATIENCE
            with suppress(ConnectionClosed):
                while part and time.monotonic() < until:
                    stream.send(part)
            listener.join(PATIENCE)
        return codes[-1]

    return send


def request(*headers: str) -> bytes:
    """Return the head of a request for a prediction."""
    lines = ["POST /v1/predict HTTP/1.1", f"Host: {HOST}", f"Content-Type: multipart/form-data; boundary={BOUNDARY}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def all_of_them() -> list[Hostile]:
    """Return the hostile requests."""
    rng = np.random.default_rng(0)
    sound, flac = io.BytesIO(), io.BytesIO()
    soundfile.write(sound, 0.1 * rng.standard_normal(16000), 16000, format="WAV")
    soundfile.write(flac, 0.1 * rng.standard_normal(16000), 16000, format="FLAC")
    hours, endless = bytearray(sound.getvalue()), bytearray(flac.getvalue())
    place = hours.index(b"data") + 4
    hours[place : place + 4] = struct.pack("<I", 10 * 3600 * 32000)
    endless[21] &= 0xF0  # the number of samples in STREAMINFO: 0 is unknown
    endless[22:26] = bytes(4)
    megabyte = bytes(2**20)
    chunk = f"{len(megabyte):x}\r\n".encode() + megabyte + b"\r\n"
    opened = form(b"")[: -len(BOUNDARY) - 8]
    return [
        Hostile("text named .wav", "415", posted(form(b"this is no sound\n" * 999))),
        Hostile("a header that claims ten hours", "422", posted(form(bytes(hours)))),
        Hostile(
            "a gigabyte of zeros, declared", "413", dribbled(request("Content-Length: 1000000000"), megabyte, 0, 1000)
        ),
        Hostile(
            "a gigabyte of zeros, without a length",
            "413",
            dribbled(
                request("Transfer-Encoding: chunked") + f"{len(opened):x}\r\n".encode() + opened + b"\r\n",
                chunk,
                0,
                1000,
            ),
        ),
        Hostile("an empty body", "422", posted(b"")),
        Hostile("an empty file", "422", posted(form(b""))),
        Hostile("a path in the file name", "200", posted(form(sound.getvalue(), "../../etc/passwd"))),
        Hostile("a FLAC without a length", "200", posted(form(bytes(endless)))),
        Hostile("a body of a byte a second", "408", dribbled(request("Content-Length: 9999") + opened, b"0", 1, 60)),
        Hostile("a header of a byte a second", "closed", dribbled(b"POST ", b"/", 1, 60)),
        Hostile("a WebSocket that sends zeros without end", "too_long", streamed(bytes(32000))),
        Hostile("a WebSocket that says nothing", "too_slow", streamed(b"")),
    ]
