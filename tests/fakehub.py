"""A hub's cache on disk with repositories of our own, and the hub itself out of reach."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, RepoUrl
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


def accepting_uploads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a program uploads be found in the hub's cache on disk, as if it had been downloaded again."""

    def create_repo(self: HfApi, repo_id: str, **options: Any) -> RepoUrl:
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self: HfApi, *, repo_id: str, folder_path: str, **options: Any) -> str:
        shutil.copytree(folder_path, snapshot(cache, repo_id), dirs_exist_ok=True)
        return f"https://huggingface.co/{repo_id}/commit/{COMMIT}"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
