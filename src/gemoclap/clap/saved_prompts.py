"""The embeddings of a model's own prompts, saved with its weights, so that prediction needs no text encoder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.errors import GemoclapError

CLASS_PROMPTS = "class_prompts.safetensors"
"""Name of the file in a model's folder with the embedding of each emotion's prompt."""


def write_prompts(folder: Path, prompts: tuple[str, ...], embeddings: Tensor, projection: nn.Module) -> None:
    """Write the embeddings ``(K, E)`` of K prompts.

    Parameters
    ----------
    projection : the projection that computed them. Its fingerprint is saved, so that they are not used with other weights.
    """
    about = {"prompts": json.dumps(prompts), "projection": fingerprint(projection)}
    save_file({"embeddings": embeddings.detach().cpu().float().contiguous()}, folder / CLASS_PROMPTS, about)


def has_prompts(folder: Path) -> bool:
    """Whether a folder has such a file."""
    return (folder / CLASS_PROMPTS).is_file()


def read_prompts(folder: Path, projection: nn.Module) -> dict[tuple[str, ...], Tensor]:
    """Return the prompts and their embeddings ``(K, E)``; nothing if they were made with other weights.

    Raises
    ------
    GemoclapError : the file is damaged.
    """
    path = folder / CLASS_PROMPTS
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            embeddings = file.get_tensor("embeddings")
            prompts = tuple(map(str, json.loads(about["prompts"])))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise GemoclapError(
            f"{path}: damaged ({error}); remove the file, the text encoder then takes its place"
        ) from None
    if len(prompts) != len(embeddings) or not torch.isfinite(embeddings).all():
        raise GemoclapError(f"{path}: damaged; remove the file, the text encoder then takes its place")
    return {prompts: embeddings} if about.get("projection") == fingerprint(projection) else {}
