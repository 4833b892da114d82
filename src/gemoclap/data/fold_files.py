"""Folds as EmoBox publishes them: ``fold_1/ravdess_train_fold_1.jsonl``, ``fold_1/ravdess_test_fold_1.jsonl``, ...

Each file lists utterances by their keys. It is JSONL with a field ``key``, or one JSON object with these keys. A key is the
name of the data set, followed by the id in the corpus (``ravdess-03-01-01-01-01-01-01``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from gemoclap.errors import GemoclapError
from gemoclap.files import parse_json, read_text

PARTS = ("train", "valid", "test")


def read_fold_files(folder: Path, known: Collection[str]) -> dict[str, dict[str, list[str]]]:
    """Read a folder of EmoBox folds.

    Parameters
    ----------
    folder : the folder with fold_1, fold_2, ...
    known : the ids of the manifest, with or without the name of the data set in front.

    Returns
    -------
    Name of a fold -> part (``train``, ``test`` and, if there is such a file, ``valid``) -> ids of the manifest. Folds are in
    the order of their numbers.

    Raises
    ------
    GemoclapError : there is no such folder, or no fold in it; a part is missing; a line is not JSON; the manifest does not
        have an id; or a fold lists an id twice.
    """
    names = [path.name for path in folder.iterdir() if re.fullmatch(r"fold_\d+", path.name)] if folder.is_dir() else []
    if not names:
        raise GemoclapError(
            f"{folder}: no fold_1, fold_2, ... in it; "
            "set --data.fold_files to a corpus's folder of EmoBox, such as data/ravdess"
        )
    names.sort(key=lambda name: int(name.removeprefix("fold_")))
    return {name: _read_fold(folder / name, known) for name in names}


def _read_fold(folder: Path, known: Collection[str]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    seen: dict[str, Path] = {}
    for part in PARTS:
        path = _part_file(folder, part)
        if path is None:
            continue
        parts[part] = [_known_id(key, dataset, known, path) for key, dataset in _read_keys(path)]
        for name in parts[part]:
            if name in seen:
                raise GemoclapError(f"{path}: id {name!r} is already in {seen[name].name}; an utterance has one place")
            seen[name] = path
    return parts


def _part_file(folder: Path, part: str) -> Path | None:
    """Return the file of a part, JSONL rather than JSON; None if there is none and the part is optional."""
    found = sorted(folder.glob(f"*_{part}_{folder.name}.jsonl")) or sorted(folder.glob(f"*_{part}_{folder.name}.json"))
    if len(found) > 1:
        raise GemoclapError(f"{folder}: both {found[0].name} and {found[1].name} list its {part} part; keep one")
    if not found and part != "valid":
        raise GemoclapError(f"{folder}: no file *_{part}_{folder.name}.jsonl or .json; complete the fold")
    return found[0] if found else None


def _read_keys(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the key of each entry, and the name of its data set."""
    text = read_text(path)
    try:
        if path.suffix == ".json":
            yield from ((key, str(entry["dataset"])) for key, entry in parse_json(text).items())
        else:
            entries = (parse_json(line) for line in text.split("\n") if line.strip())
            yield from ((str(entry["key"]), str(entry["dataset"])) for entry in entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GemoclapError(
            f"{path}: not an EmoBox fold file ({type(error).__name__}: {error}); each entry needs 'key' and 'dataset'"
        ) from error


def _known_id(key: str, dataset: str, known: Collection[str], path: Path) -> str:
    own = key.removeprefix(f"{dataset}-")
    for name in (key, own, own.replace("-", "_")):  # EmoBox writes CREMA-D's 1001_DFA_ANG_XX with hyphens
        if name in known:
            return name
    raise GemoclapError(
        f"{path}: id {own!r} is not in the manifest; prepare the whole corpus {dataset!r}, or correct the fold file"
    )
