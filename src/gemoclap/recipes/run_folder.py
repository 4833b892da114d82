"""The folder of a run: whose it is, what it was run with, and what is finished in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gemoclap.errors import GemoclapError
from gemoclap.files import atomic_write

CONFIG = "config.yaml"


def run_key(*parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts` (plain data)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def file_hash(path: str | os.PathLike) -> str:
    """Return 16 hex digits of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def claim(folder: Path, config: Mapping[str, Any], methods: Sequence[str] = ()) -> None:
    """Make `folder` this run's own, or find that it already is: then the run goes on where it stopped.

    `methods` are saved with the configuration but may grow: a method can be added to a finished comparison.

    Raises
    ------
    GemoclapError : the folder holds a run with other settings, or files of something else. Nothing is touched then.
    """
    path = folder / CONFIG
    wanted = json.loads(json.dumps(config))
    earlier: dict[str, Any] = {}
    if path.is_file():
        earlier = yaml.safe_load(path.read_text(encoding="utf-8"))
        difference = first_difference({**earlier, "methods": None}, {**wanted, "methods": None})
        if difference:
            raise GemoclapError(
                f"{folder}: holds another run (its {difference} differs, see {path.name}); choose another folder with -o, "
                "or delete it"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GemoclapError(f"{folder}: exists and holds no run of gemoclap; choose another folder with -o")
    known = earlier.get("methods", [])
    wanted["methods"] = [*known, *(method for method in methods if method not in known)]
    if wanted != earlier:
        with atomic_write(path) as file:
            yaml.safe_dump(wanted, file, sort_keys=False, allow_unicode=True)


def first_difference(one: Any, other: Any, name: str = "") -> str:
    """Return the dotted name of the first setting in which two configurations differ, or an empty string."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return name
    for key in [*one, *(key for key in other if key not in one)]:
        if key not in one or key not in other or one[key] != other[key]:
            return first_difference(one.get(key), other.get(key), f"{name}.{key}".strip("."))
    return ""


def save_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `target`, then put it in its place."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        write(beside)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
