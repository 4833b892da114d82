"""What docs/serving.md tells people to type works, against a server that runs here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from servers import listening
from sound import write

from gemoclap import Predictor
from gemoclap.audio import load_audio
from gemoclap.cli.commands import parser_of
from gemoclap.cli.typed import spelt_lists
from gemoclap.serving.limits import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip and a call, as the page has them."""
    found = tmp_path_factory.mktemp("docs")
    shutil.copy(clips[0], found / "clip.wav")
    sides = [load_audio(clip)[:16000] for clip in (clips[0], clips[-1])]
    write(found / "call.wav", np.stack(sides, axis=1))
    return found


@pytest.fixture(scope="module")
def address(predictor: Predictor) -> Iterator[str]:
    with listening(predictor) as address:
        yield address


def said(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def at(code: str, address: str) -> str:
    assert "127.0.0.1:8000" in code
    return code.replace("127.0.0.1:8000", address.removeprefix("http://"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(address: str, folder: Path) -> None:
    lines = at(blocks("bash")[0], address).splitlines()
    answers = [json.loads(said(["bash", "-c", f"{line} --fail-with-body --silent"], folder)) for line in lines]
    assert [*answers[1]["probabilities"]] == ["joyful", "furious"] and answers[0]["file"] == "clip.wav"
    assert len(answers[2]["speakers"]) == 2 and answers[2]["settings"]["window"] == 3.0
    assert answers[3]["status"] == "ok"


@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("openssl") is None, reason="curl or openssl is missing"
)
def test_a_key(predictor: Predictor, folder: Path) -> None:
    make, _, ask = blocks("bash")[1].splitlines()
    said(["bash", "-c", make], folder)
    key = (folder / "key").read_text().strip()
    assert len(key) == 64 and (folder / "key").stat().st_mode & 0o77 == 0
    with listening(predictor, key=key) as address:
        answer = said(["bash", "-c", at(f"{ask} --fail-with-body --silent", address)], folder)
    assert json.loads(answer)["file"] == "clip.wav"


def test_python(address: str, folder: Path) -> None:
    ask, stream = blocks("python")
    assert re.match(r"(joyful|furious) {", said([sys.executable, "-c", at(ask, address)], folder))
    lines = said([sys.executable, "-c", at(stream, address)], folder).splitlines()
    assert lines and all(re.fullmatch(r"[\d.]+ [\d.]+ \w+", line) for line in lines)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(address: str, folder: Path) -> None:
    version = int(said(["node", "--version"], folder)[1:].split(".")[0])
    if version < 20:
        pytest.skip("node is older than 20")
    (folder / "ask.mjs").write_text(at(blocks("js")[0], address))
    lines = said(["node", "ask.mjs"], folder).splitlines()
    assert lines and all(re.fullmatch(r"channel \d [\d.]+ [\d.]+ \w+", line) for line in lines)


def test_the_service(tmp_path: Path) -> None:
    unit = blocks("ini")[0]
    options = re.search(r"gemoclap serve (.*)", unit)
    assert options
    parser = parser_of("serve")
    parser.parse_args(spelt_lists(options[1].split(), parser.lists()))
    if verify := shutil.which("systemd-analyze"):
        unit = unit.replace("/opt/gemoclap/bin/gemoclap", sys.executable)
        (tmp_path / "gemoclap.service").write_text(unit)
        done = subprocess.run(
            [verify, "verify", tmp_path / "gemoclap.service"], capture_output=True, text=True, check=False
        )
        assert "gemoclap.service" not in done.stderr, done.stderr


def test_the_limits_are_those_of_the_program() -> None:
    limits, options = Limits(), parser_of("serve").get_defaults()
    assert f"larger than {limits.body_bytes / 1e6:g} MB" in PAGE and options.max_megabytes == limits.body_bytes / 1e6
    assert f"{limits.per_client} requests of this address" in PAGE and options.max_per_client == limits.per_client
    assert f"{limits.requests} requests, or {limits.streams} streams" in PAGE
    assert (options.max_requests, options.max_streams) == (limits.requests, limits.streams)
    assert f"{limits.connections} connections" in PAGE and options.max_connections == limits.connections
    assert (options.max_seconds, options.timeout) == (limits.seconds, limits.answer_seconds) == (1800, 300)
    assert (
        f"more than {limits.decode_seconds:g} s to decode" in PAGE and options.decode_timeout == limits.decode_seconds
    )
    for name in re.findall(r"`--(\w+)`", PAGE):
        assert hasattr(options, name), name
