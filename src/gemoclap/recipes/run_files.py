"""Reads the files of a run. They may have been cut off, edited, or made by a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from gemoclap.errors import GemoclapError
from gemoclap.files import entry, parse_json, read_json, read_text, read_yaml
from gemoclap.recipes.run_folder import check_sections

SELECTIONS = {
    "last": "the last epoch",
    "dev": "the epoch with the best UAR on the development speakers, who are neither trained nor tested on",
}
"""Values of `TrainSettings.select`: the epoch that is reported."""
REMEDY = "restore it from the run"


def read_run_config(path: Path) -> dict[str, Any]:
    """Read the config.yaml of a cross-validation.

    Raises
    ------
    GemoclapError : there is none; it is damaged; it is not of a cross-validation; or a method's folder is not in the run's.
    """
    _must_exist(path)
    config = read_yaml(path, REMEDY)
    if not config.get("methods"):
        raise GemoclapError(f"{path}: names no methods; is it the config.yaml that 'gemoclap crossval' saved?")
    for method in entry(config, "methods", list, path, REMEDY):
        _check_name("methods", method, path)
    check_sections(config, path, REMEDY)
    audio = (config.get("data") or {}).get("audio")
    if audio is not None:
        entry(config["data"], "audio", dict, path, REMEDY)
    train = config.get("train") or {}
    for name, kind in (("epochs", int), ("seed", int), ("lr", float)):
        if train.get(name) is not None and type(train[name]) not in (int, kind):
            raise GemoclapError(f"{path}: train.{name} is not a number; {REMEDY}")
    if train.get("select", "last") not in tuple(SELECTIONS):
        raise GemoclapError(f"{path}: train.select is not one of {', '.join(SELECTIONS)}; {REMEDY}")
    return config


def read_plan(path: Path) -> dict[str, Any]:
    """Read folds.json; raises as `read_run_config`."""
    _must_exist(path)
    plan = read_json(path, REMEDY)
    missing = [key for key in ("vocabulary", "manifest", "speaker_overlap", "folds") if key not in plan]
    if missing:
        raise GemoclapError(f"{path}: has no {missing[0]!r}; is it the folds.json that 'gemoclap crossval' saved?")
    vocabulary = entry(plan, "vocabulary", dict, path, REMEDY)
    entry(vocabulary, "name", str, path, REMEDY)
    _check_words(vocabulary, "emotions", path)
    for fold in entry(plan, "folds", list, path, REMEDY):
        entry({"a fold": fold}, "a fold", dict, path, REMEDY)
        _check_name("a fold's name", entry(fold, "name", str, path, REMEDY), path)
        entry(fold, "hash", str, path, REMEDY)
        for listed in ("test", "shared_speakers"):
            _check_words(fold, listed, path)
    known = entry({"encoder_speakers": {}, **plan}, "encoder_speakers", dict, path, REMEDY)
    for name in known:
        for what in entry(known, name, dict, path, REMEDY):
            _check_words(known[name], what, path)
    lacking = entry({"left_out": {}, **plan}, "left_out", dict, path, REMEDY)
    for label in lacking:
        entry(lacking, label, int, path, REMEDY)
    return plan


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read log.jsonl. It has a row per epoch, with values by name.

    Raises
    ------
    GemoclapError : a line is damaged; the message says which.
    """
    remedy = "remove the line, or the log for no curves"
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f"{path}:{number}"
        try:
            row = parse_json(line)
        except ValueError:
            raise GemoclapError(f"{where}: not a line of JSON; {remedy}") from None
        if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
            raise GemoclapError(f"{where}: not a row of figures with its epoch; {remedy}")
        for name, value in row.items():
            if not (value is None or isinstance(value, int | float)):
                raise GemoclapError(f"{where}: {name} is not a number; {remedy}")
        rows.append(row)
    return rows


def last_row(path: Path) -> dict[str, Any]:
    """Return the row of the last epoch; raises as `read_log`, and if there is none."""
    rows = read_log(path)
    if not rows:
        raise GemoclapError(f"{path}: is empty; {REMEDY}")
    return rows[-1]


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise GemoclapError(f"{path}: no such file; name the output folder of a 'gemoclap crossval' run")


def _check_name(what: str, name: object, path: Path) -> None:
    """Raise a GemoclapError unless `name` is a folder inside the run's folder."""
    sound = isinstance(name, str) and name.isprintable()
    for kind in (PurePath, PureWindowsPath) if sound else ():
        place = kind(str(name))
        sound = sound and bool(place.parts) and not place.anchor and ".." not in place.parts
    if not sound:
        raise GemoclapError(f"{path}: {what}: {name!r} is not the name of a folder below the run's; {REMEDY}")


def _check_words(data: Mapping[str, Any], name: str, path: Path) -> None:
    for word in entry(data, name, list, path, REMEDY):
        entry({f"an entry of {name}": word}, f"an entry of {name}", str, path, REMEDY)
