"""A server in this process, with a small model, and the clips that are sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from servers import Serve, started
from speaking import LoudNet

from gemoclap import Predictor
from gemoclap.corpora.manifest import read_manifest


@pytest.fixture(scope="session")
def predictor(small_model: Path) -> Predictor:
    return Predictor.from_pretrained(small_model, device="cpu")


@pytest.fixture(scope="session")
def clips(small_manifest: Path) -> list[Path]:
    return [Path(row.path) for row in read_manifest(small_manifest)]


@pytest.fixture
def serve(predictor: Predictor) -> Iterator[Serve]:
    """Return what starts a server, with a key and limits of the caller's, and gives a client of it."""
    with ExitStack() as stack:
        yield partial(started, stack, predictor)


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    """One server with the usual limits for a whole file of tests."""
    with ExitStack() as stack:
        yield started(stack, predictor)


@pytest.fixture
def loud_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let streams and timelines take for speech what is loud."""
    monkeypatch.setattr("gemoclap.inference.stream.load_speech_net", LoudNet)
