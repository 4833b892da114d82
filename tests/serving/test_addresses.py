"""A page of another site cannot ask the server, whatever its own name points to; the server's own page and programs can."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from servers import listening, message_of
from small import complaint
from starlette.testclient import WebSocketDenialResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gemoclap import GemoclapError, Predictor
from gemoclap.serving.addresses import Addresses
from gemoclap.serving.limits import Refused

PATHS = ("/", "/page.js", "/healthz", "/metrics", "/v1/model", "/openapi.json", "/nothing")


def status_of(addresses: Addresses, **headers: str) -> int:
    try:
        addresses.check(headers)
    except Refused as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LocalHost:8000", "localhost.", "localhost.:8000", "me.localhost:8000"),
        *(
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.1.2.3",
            "192.168.0.7:80",
            "[::1]",
            "[::1]:8000",
            "[fe80::1]:8000",
            "[FE80::1]",
        ),
        *(
            "emotions.example.org",
            "Emotions.Example.ORG:443",
            "emotions.example.org.",
            "a.below.example",
            "a.b.below.example:81",
        ),
    ],
)
def test_names_of_its_own(host: str) -> None:
    assert status_of(Addresses(["0.0.0.0", "emotions.example.org", "*.below.example"]), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", ":8000", ".", "evil.example", "evil.example:8000", "localhost.evil.example", "evil.example.", "xlocalhost"),
        *("127.0.0.1.evil.example", "127.0.0.1@evil.example", "evil.example/127.0.0.1", "evil.example#localhost"),
        *("evil.example\\@localhost", "localhost:99999999", "localhost:x", "[::1", "::1]", "[evil.example]", "below.example"),
        *("xbelow.example", "x.emotions.example.org", "*.below.example", "a b", "localhost, evil.example"),
    ],
)  # fmt: skip
def test_names_of_others(host: str) -> None:
    assert status_of(Addresses(["0.0.0.0", "emotions.example.org", "*.below.example"]), host=host) == 421


def test_who_sends_no_host_is_no_browser_and_any_name_can_be_allowed() -> None:
    assert status_of(Addresses()) == 200
    assert status_of(Addresses(["*"]), host="evil.example") == 200
    assert status_of(Addresses(), host=f"{socket.gethostname()}:8000".upper()) == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:8000", "http://localhost:8000", 200),
        ("LOCALHOST:8000", "http://localhost:8000", 200),
        ("localhost.:8000", "http://localhost:8000", 200),
        ("[::1]:8000", "http://[::1]:8000", 200),
        ("emotions.example.org", "https://emotions.example.org", 200),
        ("localhost:8000", "http://localhost:8001", 403),
        ("localhost", "http://127.0.0.1", 403),
        ("localhost:8000", "http://evil.example", 403),
        ("localhost:8000", "null", 403),
        ("localhost:8000", "chrome-extension://abcdef", 403),
        ("localhost:8000", "http://[", 403),
        ("localhost:8000", "http://localhost:8000/page", 403),
        ("evil.example:8000", "http://evil.example:8000", 421),  # this is what DNS rebinding looks like
        (None, "http://evil.example", 403),
        (None, "null", 403),
    ],
)
def test_pages_of_its_own(host: str | None, origin: str, status: int) -> None:
    headers = {"origin": origin} | ({} if host is None else {"host": host})
    assert status_of(Addresses(["emotions.example.org"]), **headers) == status


@pytest.mark.parametrize("name", ["http://a.example", "a.example:80", "a b", "", "*a.example", "a/b", "*.*.example"])
def test_what_is_no_name_is_refused_at_the_start(name: str, small_model: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(GemoclapError, match="is not a host name; give names without"):
        Addresses([name])
    if name:
        said = complaint(capsys, "serve", "--model", small_model, "--allowed_hosts", name)
        assert said.startswith("gemoclap: --allowed_hosts: ") and repr(name) in said


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_guarded(path: str, client: TestClient) -> None:
    said = message_of(client.get(path, headers={"Host": "evil.example:8000"}), 421)
    assert said.startswith("this server is not called 'evil.example:8000'; use its numeric address or localhost")
    assert message_of(client.get(path, headers={"Host": ""}), 421)
    assert "another address" in message_of(client.get(path, headers={"Origin": "http://evil.example"}), 403)


def test_a_recording_is_not_taken_from_a_page_of_another_site(client: TestClient, clips: list[Path]) -> None:
    files: Any = {"file": clips[0].read_bytes()}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:81"):
        assert "another address" in message_of(client.post("/v1/predict", files=files, headers={"Origin": origin}), 403)
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert client.post("/v1/predict", files=files, headers=rebound).status_code == 421
    assert client.post("/v1/predict", files=files, headers={"Origin": "http://127.0.0.1"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_a_stream_is_not_opened_by_a_page_of_another_site(
    headers: dict[str, str], status: int, client: TestClient
) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/v1/stream", headers=headers):
        pass
    assert refused.value.status_code == status and set(refused.value.json()["error"]) == {"code", "message"}
    assert client.gate.streams == 0  # type: ignore[attr-defined]


def test_over_the_network(predictor: Predictor) -> None:
    """In the words of HTTP itself, and with the server that people run."""
    with listening(predictor) as address:
        place = address.removeprefix("http://")
        port = int(place.rpartition(":")[2])
        for head, status in (
            (f"GET /healthz HTTP/1.1\r\nHost: {place}\r\n", 200),
            (f"GET /healthz HTTP/1.1\r\nhOST: LOCALHOST.:{port}\r\n", 200),
            ("GET /healthz HTTP/1.0\r\n", 200),
            ("GET /healthz HTTP/1.1\r\nHost:\r\n", 421),
            ("GET /healthz HTTP/1.1\r\n", 400),
            ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
            (f"GET http://localhost:{port}/healthz HTTP/1.1\r\nHost: evil.example\r\n", 421),
        ):
            with socket.create_connection(("127.0.0.1", port), 30) as connection:
                connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
                answer = connection.makefile("rb").read()
            assert int(answer.split()[1]) == status, (head, answer)
            body = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert status == 200 or set(body["error"]) == {"code", "message"}
        with connect(f"ws://{place}/v1/stream") as stream:  # a program names no origin
            assert json.loads(stream.recv(30))["type"] == "ready"
        with connect(f"ws://{place}/v1/stream", origin=f"http://{place}") as stream:  # type: ignore[arg-type]
            assert json.loads(stream.recv(30))["type"] == "ready"
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{place}/v1/stream", origin="http://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403 and b"another address" in refused.value.response.body
