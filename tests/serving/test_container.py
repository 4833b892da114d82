"""Containerfile, which no test can build: what it copies is there, what it starts is understood, and its health check works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import httpx2
import pytest
from servers import listening

from gemoclap import Predictor
from gemoclap.cli.commands import parser_of

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line.strip() and not line.startswith("#")]


def given(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def test_what_it_copies_is_there_and_is_sent_to_the_builder() -> None:
    copied = [word for step in given("COPY") for word in step.split()[:-1]]
    let_in = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert all((ROOT / name).exists() for name in copied) and sorted(copied) == sorted(let_in)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        "pyproject.toml",
        project["project"]["readme"],
        "LICENSE",
        *project["tool"]["setuptools"]["packages"]["find"]["where"],
    }
    assert wanted <= set(copied)


def test_it_installs_what_there_is() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (run,) = given("RUN")
    commands = [shlex.split(command) for command in run.split("&&")]
    assert all(command[:3] == ["pip", "install", "--no-cache-dir"] for command in commands)
    assert all(command[3:5] == ["--constraint", "/src/constraints.txt"] for command in commands)
    (named,) = re.fullmatch(r"/src\[(.*)\]", commands[1][5]).groups()  # type: ignore[union-attr]
    assert set(named.split(",")) <= set(extras)
    (base,) = given("FROM")
    assert not fnmatch(base, "*:latest") and ":" in base


def test_it_starts_as_nobody_in_particular() -> None:
    names = [name for name, _ in STEPS]
    (user,) = given("USER")
    assert user.isdecimal() and int(user) > 0 and names.index("USER") > names.index("RUN")
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_it_starts_a_server_that_others_can_reach() -> None:
    command = [*json.loads(given("ENTRYPOINT")[0]), *json.loads(given("CMD")[0])]
    assert command[:2] == ["gemoclap", "serve"]
    options = parser_of("serve").parse_args(command[2:])
    docs = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    assert options.host == "0.0.0.0" and f"--secret {Path(options.key_file).name}" in docs
    assert given("EXPOSE") == [str(options.port)]
    assert f":{options.port}/healthz" in given("HEALTHCHECK")[0]


def test_its_health_check_tells_a_server_from_none(predictor: Predictor) -> None:
    program, *rest = json.loads(given("HEALTHCHECK")[0].partition("CMD ")[2])
    assert program == "python"
    with listening(predictor, key="correct-horse") as address:
        assert httpx2.get(f"{address}/healthz", timeout=60).status_code == 200  # it has started
        check = [sys.executable, *(one.replace("127.0.0.1:8000", address.removeprefix("http://")) for one in rest)]
        assert check[-1] != rest[-1]
        subprocess.run(check, check=True, timeout=30)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(check, check=True, timeout=30, stderr=subprocess.DEVNULL)
