"""Finds the folder of a model, and checks that it has a model, without loading it."""

from __future__ import annotations

import os
from pathlib import Path

from gemoclap.errors import GemoclapError, did_you_mean

EMBEDDED_MODELS = ("default", "small", "research")
"""Models that come with this package, by name."""
DEFAULT = "default"
WEIGHTS = Path(__file__).parents[1] / "weights"


def model_source(name: str | os.PathLike) -> str:
    """Return the folder of a model that comes with this package, or else the given folder or hub id.

    To name a folder `default` in the current folder, write ``./default``.
    """
    return str(WEIGHTS / name) if name in EMBEDDED_MODELS else str(name)


def is_model_folder(path: str | os.PathLike) -> bool:
    """Whether a path is a folder with a saved model.

    Raises
    ------
    GemoclapError : it is a folder that this user may not look into.
    """
    try:
        return (Path(path) / "config.json").is_file()
    except PermissionError as error:
        raise GemoclapError(
            f"{path}: cannot be opened ({error.strerror}); change its permissions, or name another folder"
        ) from error


def require_model(name: str | os.PathLike) -> None:
    """Raise a GemoclapError if `name` is no folder of a model and cannot be a repository of the hub.

    Such a repository has the form OWNER/MODEL, so a misspelt ``smal`` is refused here, and the hub is not asked for it.
    """
    folder = Path(name)
    if folder.is_dir() and not is_model_folder(folder):
        raise GemoclapError(f"{folder}: no model in it (no config.json); {_where_to_look(folder)}")
    if not folder.exists() and (str(name).startswith((".", "/", "~")) or str(name).count("/") > 1):
        raise GemoclapError(
            f"{name}: no such folder; give the folder of a model, such as RUN/model of 'gemoclap train'"
        )
    if not folder.exists() and "/" not in str(name):
        raise GemoclapError(
            f"{name}: no model has this name{did_you_mean(str(name), list(EMBEDDED_MODELS))}; the models that come with "
            f"gemoclap are {', '.join(EMBEDDED_MODELS)}; or give the folder of a model, such as RUN/model"
        )
    if folder.is_file() and folder.suffix == ".onnx":
        raise GemoclapError(
            f"{folder}: is a file for gemoclap.OnnxPredictor in Python; here, name the folder of a model"
        )
    if folder.is_file():
        raise GemoclapError(f"{folder}: is a file; name the folder of a model")


def _where_to_look(folder: Path) -> str:
    """Return a hint for the folder of a run, which has one model, or one per method and fold."""
    for pattern in ("model", "*/model", "*/*/model"):
        for inner in sorted(folder.glob(pattern)):
            if is_model_folder(inner):
                return f"did you mean {inner}?"
    return "'gemoclap train' writes one"
