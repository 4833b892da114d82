"""Whether a folder holds a model, found without loading it."""

from __future__ import annotations

import os
from pathlib import Path

from gemoclap.errors import GemoclapError

EMBEDDED_MODELS = ("default", "research")
"""Models that come with this package, by name."""
DEFAULT = "default"
WEIGHTS = Path(__file__).parents[1] / "weights"


def model_source(name: str | os.PathLike) -> str:
    """Return the folder of a model that comes with this package, or the folder or hub id that was given.

    A folder of the same name in the current one is not looked at: ``./default`` names that.
    """
    return str(WEIGHTS / name) if name in EMBEDDED_MODELS else str(name)


def is_model_folder(path: str | os.PathLike) -> bool:
    """Whether a path is a folder with a saved model."""
    return (Path(path) / "config.json").is_file()


def require_model(name: str | os.PathLike) -> None:
    """Raise a GemoclapError if `name` is a folder or a path without a model; a repository of the hub passes."""
    folder = Path(name)
    if folder.is_dir() and not is_model_folder(folder):
        raise GemoclapError(f"{folder}: no model in it (no config.json); {_where_to_look(folder)}")
    if not folder.exists() and (str(name).startswith((".", "/", "~")) or str(name).count("/") > 1):
        raise GemoclapError(f"{name}: no such folder; give that of a model, such as RUN/model of 'gemoclap train'")
    if folder.is_file():
        raise GemoclapError(f"{folder}: is a file; name the folder of a model")


def _where_to_look(folder: Path) -> str:
    """Return a hint for the folder of a run, which holds one model, or one a method and fold."""
    for pattern in ("model", "*/model", "*/*/model"):
        for inner in sorted(folder.glob(pattern)):
            if is_model_folder(inner):
                return f"did you mean {inner}?"
    return "'gemoclap train' writes one"
