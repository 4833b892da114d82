"""A hub's cache on disk with repositories of our own, and the hub itself out of reach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gemoclap.encoders import weights

COMMIT = "a" * 40


def offline_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let `cache` be the hub's cache for the time of a test, as HF_HUB_CACHE and HF_HUB_OFFLINE would."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    weights._of_hub.cache_clear()
    return cache


def snapshot(cache: Path, name: str, commit: str = COMMIT) -> Path:
    """Return the folder for a repository's files at a commit, which becomes that of its branch main."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    weights._of_hub.cache_clear()
    return folder


def pickle_weights(folder: Path) -> Path:
    """Put pytorch_model.bin in the place of a model's safetensors; return it."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"
