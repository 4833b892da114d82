"""What several files share: one made corpus and one trained model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from small import SMALL, run

from gemoclap.corpora.manifest import write_manifest
from gemoclap.corpora.synthetic import generate

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # there is a process for each core already
    os.environ["OMP_NUM_THREADS"] = "1"  # for those that tests start


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another has computed, nor the caches of whoever runs the tests."""
    monkeypatch.setenv("GEMOCLAP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four voices, four emotions, two sentences."""
    folder = tmp_path_factory.mktemp("small")
    write_manifest(generate(folder / "corpus", speakers=4, sentences=2, takes=1), folder / "m.jsonl")
    return folder / "m.jsonl"


@pytest.fixture(scope="session")
def small_model(small_manifest: Path) -> Path:
    """The folder of a model trained for an epoch."""
    assert run("train", "--data.manifest", small_manifest, *SMALL, "-o", small_manifest.parent / "trained") == 0
    return small_manifest.parent / "trained" / "model"


@pytest.fixture(scope="session")
def frozen_model(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with a frozen encoder, whose features are standardised, so that it can be adapted."""
    folder = tmp_path_factory.mktemp("frozen")
    options = ["--model.freeze", "all", "--cache.folder", str(folder / "cache")]
    assert run("train", small_manifest, *SMALL, *options, "-o", folder / "run") == 0
    return folder / "run" / "model"
