"""Reads several cross-validations over the same folds as one: ablations, seeds, encoders side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from gemoclap.config import BASELINES
from gemoclap.errors import GemoclapError
from gemoclap.recipes.run_folder import determining, refuse_used_folder
from gemoclap.reports.results import MethodResults, Results, collect, differences, read_config, test_speakers, truth_of

OF_NO_MEANING = ("methods", "data.manifest", "manifest_sha256", "encoder_weights")
"""Entries of config.yaml that say nothing a title should: the folds are compared, and hashes tell people little."""


def collect_together(run_dirs: Sequence[Path], output: Path) -> Results:
    """Read the folders of cross-validations, finished or not, for one report in the folder `output`.

    A method that several runs have is there several times, as ``METHOD_RUN``; in its title stands what its run was told
    otherwise than the first of them. Differences are from the first method of the first run.

    Raises
    ------
    GemoclapError : as `collect`; the runs have other classes, folds or labels, or report other epochs; `output` holds
        something else.
    """
    refuse_other_files(output)
    read = {run_dir: collect(run_dir) for run_dir in run_dirs}
    first, *others = read.values()
    for other in others:
        _refuse_unlike(first, other)
    methods = _side_by_side(read)
    _refuse_other_labels(methods)
    speakers = test_speakers(methods)
    return replace(
        first,
        output=output,
        runs=tuple(read),
        speaker_overlap=any(one.speaker_overlap for one in read.values()),
        encoder_warnings=tuple(dict.fromkeys(chain(*(one.encoder_warnings for one in read.values())))),
        folds=tuple(replace(fold, test_speakers=speakers.get(fold.name, ())) for fold in first.folds),
        methods=methods,
        differences=differences(methods),
    )


def refuse_other_files(output: Path) -> None:
    """Raise a GemoclapError unless a report of several runs may go to `output`: it is new, or has held one before."""
    if (output / "folds.json").is_file():
        raise GemoclapError(f"{output}: is a run of its own; choose another folder for the report with -o")
    if not (output / "report.md").is_file():
        refuse_used_folder(output)


def _refuse_unlike(first: Results, other: Results) -> None:
    where = f"{other.runs[0]}: cannot stand beside {first.runs[0]}"
    if other.classes != first.classes:
        raise GemoclapError(f"{where}; its classes are {', '.join(other.classes)}, not {', '.join(first.classes)}")
    if [(fold.name, fold.hash) for fold in other.folds] != [(fold.name, fold.hash) for fold in first.folds]:
        raise GemoclapError(
            f"{where}; its folds are others (folds.json); give both the same manifest and data settings"
        )
    if other.selection != first.selection:
        raise GemoclapError(f"{where}; its train.select is {other.selection}, not {first.selection}")


def _refuse_other_labels(methods: Sequence[MethodResults]) -> None:
    known: dict[tuple[str | None, str], str] = {}
    for method in methods:
        if method.predictions is None:
            continue
        truth = truth_of(method.predictions)
        changed = next((key for key in truth if known.get(key, truth[key]) != truth[key]), None)
        if changed:
            raise GemoclapError(
                f"{method.folder}: cannot stand beside the runs before it; {changed[1]} is {truth[changed]} here and "
                f"{known[changed]} there; run both with the same manifest"
            )
        known |= truth


def _side_by_side(read: Mapping[Path, Results]) -> tuple[MethodResults, ...]:
    """Return the methods of all runs, those of the same name told apart."""
    shared = _repeated(method.name for results in read.values() for method in results.methods)
    firsts: dict[str, Mapping[str, Any]] = {}
    found: list[MethodResults] = []
    for run_dir, results in read.items():
        config = read_config(run_dir)
        for method in results.methods:
            told = _told(config, method.name)
            otherwise = _otherwise(told, firsts.setdefault(method.name, told))
            title = ", ".join([method.title, *otherwise])
            name = f"{method.name}_{run_dir.resolve().name}" if method.name in shared else method.name
            found.append(replace(method, name=name, title=title))
    return _told_apart(found)


def _told_apart(methods: Sequence[MethodResults]) -> tuple[MethodResults, ...]:
    """Give runs of one folder name a number, and those told the same their folder's name."""
    names, titles = _repeated(method.name for method in methods), _repeated(method.title for method in methods)
    return tuple(
        replace(
            method,
            name=f"{method.name}_{number}" if method.name in names else method.name,
            title=f"{method.title} ({method.folder.parent})" if method.title in titles else method.title,
        )
        for number, method in enumerate(methods, 1)
    )


def _repeated(words: Iterable[str]) -> set[str]:
    return {word for word, times in Counter(words).items() if times > 1}


def _told(config: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the settings that decide a method's results, by their dotted names."""
    told = determining(config)
    if method in BASELINES:
        told = {"data": told.get("data")}
    elif method != "gmp_tl":
        told.pop("gmp", None)
    return {name: value for name, value in _flat(told) if name not in OF_NO_MEANING}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _otherwise(told: Mapping[str, Any], first: Mapping[str, Any]) -> list[str]:
    """Return the settings that are not those of the first run; what only one of two versions knows is not compared."""
    changed = {name: value for name, value in told.items() if name in first and value != first[name]}
    return [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
