"""Joins several cross-validations over the same folds into one report, to compare ablations, seeds or encoders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from gemoclap.config import BASELINES, METHODS, TITLES, meaningless_to_heads
from gemoclap.errors import GemoclapError
from gemoclap.files import json_or_empty
from gemoclap.recipes.made import read_made
from gemoclap.recipes.run_folder import (
    ENCODER_WEIGHTS,
    MANIFEST_HASH,
    TEXT_WEIGHTS,
    determining,
)
from gemoclap.reports.records import MethodResults, Results, Row
from gemoclap.reports.results import collect, tested_speakers
from gemoclap.reports.rows import differences, make_row
from gemoclap.wording import spelt
from gemoclap.writing import is_passing, refuse_used_folder

DECIDING = ("model", "objective", "train", "cache")
"""Sections of config.yaml that can affect a result. Of `data`, only the settings of audio can: folds and labels are equal."""


def collect_together(run_dirs: Sequence[str | os.PathLike], output: str | os.PathLike) -> Results:
    """Read the folders of cross-validations, finished or not, for one report in the folder `output`.

    If several runs have the same method, it appears once per run, as ``METHOD_RUN``. Trainings that only differ in their seed
    are averaged in one row. A row is named after the settings in which its run differs from the first run; rows without such a
    difference are named after their run. All rows are compared with the first row.

    Raises
    ------
    GemoclapError : as `collect`; there is no run, or the same one twice, or a probe; the runs differ in classes, folds, labels,
        speakers or reported epoch; `output` contains other files.
    """
    output = Path(output)
    refuse_other_files(output, run_dirs)
    return joined(run_dirs, output)


def joined(run_dirs: Sequence[str | os.PathLike], output: Path) -> Results:
    """Do what `collect_together` does, but accept an `output` with other files: nothing will be written to it."""
    runs = _read(run_dirs)
    first, *others = runs.values()
    for other in others:
        _refuse_unlike(first, other)
    selection = _selection(list(runs.values()))
    methods = _side_by_side(runs)
    _refuse_other_labels(methods)
    speakers = tested_speakers(methods)
    rows = _rows(list(runs.values()), methods)
    return replace(
        first,
        output=output,
        selection=selection,
        runs=tuple(run.runs[0] for run in runs.values()),
        left_out=next((run.left_out for run in runs.values() if run.left_out), {}),
        encoder_warnings=tuple(dict.fromkeys(chain(*(run.encoder_warnings for run in runs.values())))),
        folds=tuple(replace(fold, test_speakers=speakers.get(fold.name, ())) for fold in first.folds),
        methods=methods,
        rows=rows,
        first_settings=_first_settings(list(runs.values())),
        differences=differences(rows),
        made=read_made(method.folder / fold.name for method in methods for fold in first.folds),
    )


def refuse_other_files(output: Path, run_dirs: Sequence[str | os.PathLike]) -> None:
    """Raise a GemoclapError unless a report of several runs may be written to `output`.

    The folder may be new, contain nothing but those runs, or contain an earlier report of several runs.
    """
    if (output / "folds.json").is_file():
        raise GemoclapError(f"{output}: is a run of its own; choose another folder for the report with -o")
    if "runs" in json_or_empty(output / "results.json"):
        return
    runs = {Path(run).resolve() for run in run_dirs}
    if not (output.is_dir() and all(is_passing(path) or path.resolve() in runs for path in output.iterdir())):
        refuse_used_folder(output)


def _read(run_dirs: Sequence[str | os.PathLike]) -> dict[str, Results]:
    """Return the results of each run, by a unique word for the run that can be used in file names."""
    if not run_dirs:
        raise GemoclapError("no run to report; name the folders of cross-validations")
    runs: dict[str, Results] = {}
    for folder in map(Path, run_dirs):
        for other in (run.runs[0] for run in runs.values()):
            if folder.resolve() == other.resolve():
                raise GemoclapError(f"{folder}: is the same run as {other}; name each once")
        results = collect(folder)
        if "encoders" in results.config:
            raise GemoclapError(
                f"{folder}: is a probe, not a cross-validation; 'gemoclap probe' compares encoders itself"
            )
        runs[_word(folder, runs)] = results
    return runs


def _word(folder: Path, taken: Collection[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", os.path.basename(os.path.abspath(folder)))
    word, number = name, 1
    while word in taken:
        number += 1
        word = f"{name}_{number}"
    return word


def _refuse_unlike(first: Results, other: Results) -> None:
    where = f"{other.runs[0]}: cannot be compared with {first.runs[0]}"
    if other.classes != first.classes:
        raise GemoclapError(f"{where}; its classes are {', '.join(other.classes)}, not {', '.join(first.classes)}")
    divided = [[(fold.name, fold.hash, fold.shared_speakers) for fold in one.folds] for one in (first, other)]
    if divided[0] != divided[1]:
        raise GemoclapError(
            f"{where}; their folds differ (folds.json); run both with the same manifest and data settings"
        )


def _selection(runs: Sequence[Results]) -> str:
    """Return which epoch all runs report; baselines have no epochs and do not count."""
    trained = [run for run in runs if any(method.name not in BASELINES for method in run.methods)] or runs[:1]
    for run in trained:
        if run.selection != trained[0].selection:
            raise GemoclapError(
                f"{run.runs[0]}: cannot be compared with {trained[0].runs[0]}; its train.select is {run.selection}, not "
                f"{trained[0].selection}"
            )
    return trained[0].selection


def _refuse_other_labels(methods: Sequence[MethodResults]) -> None:
    """Refuse runs that have different labels, speakers or genders for an utterance: their manifests or merges differ."""
    known: dict[tuple[str | None, str], tuple[str | None, ...]] = {}
    for method in methods:
        table = method.predictions
        if table is None:
            continue
        keys = zip(table.folds, table.ids, strict=True)
        # Earlier versions wrote a speaker's name without the corpus in front.
        speakers = [speaker and speaker.rpartition("/")[2] for speaker in table.speakers]
        here = dict(zip(keys, zip(table.truth, speakers, table.genders, strict=True), strict=True))
        changed = next((key for key in here if known.get(key, here[key]) != here[key]), None)
        if changed:
            one, other = (", ".join(map(str, of)) for of in (here[changed], known[changed]))
            raise GemoclapError(
                f"{method.folder}: cannot be compared with the runs before it; {changed[1]} is {one} here and {other} there; "
                "run both with the same manifest, emotions and merges"
            )
        known |= here


def _side_by_side(runs: Mapping[str, Results]) -> tuple[MethodResults, ...]:
    """Return the methods of all runs, with names and titles that differ."""
    names = [method.name for run in runs.values() for method in run.methods]
    found = []
    for word, run in runs.items():
        for method in run.methods:
            name = f"{method.name}_{word}" if names.count(method.name) > 1 else method.name
            title = ", ".join([method.title, *_changes(run, method.name, list(runs.values()))])
            found.append(replace(method, name=name, title=title))
    titles = _made_unique([(method.title, method) for method in found])
    return tuple(replace(method, title=title) for title, method in zip(titles, found, strict=True))


def _made_unique(titled: Sequence[tuple[str, MethodResults]]) -> list[str]:
    """Return the titles; where a title appears more than once, the folder of the run is added to it."""
    titles = [title for title, _ in titled]
    return [f"{title} ({method.folder.parent})" if titles.count(title) > 1 else title for title, method in titled]


@dataclass
class _Group:
    """Trainings with the same settings and different seeds; `place` is the place of the first one, finished or not."""

    settings: str
    base: str
    place: int
    members: dict[int | None, MethodResults]


def _rows(runs: Sequence[Results], methods: Sequence[MethodResults]) -> tuple[Row, ...]:
    """Return the rows of the tables, in the order of the runs. Unfinished trainings are left out of means over seeds."""
    groups: list[_Group] = []
    described = list(zip((one for one in runs for _ in one.methods), methods, strict=True))
    # Finished trainings are placed first, so that an unfinished one never replaces a finished one with the same seed.
    for place, (run, method) in sorted(enumerate(described), key=lambda one: bool(one[1][1].missing)):
        settings, seed = _identity(run, method)
        same = [one for one in groups if one.settings == settings]
        free = next((one for one in same if seed is not None and seed not in one.members), None)
        if method.missing and same:
            same[0].place = min(same[0].place, place)
        elif free is not None:
            free.members[seed] = method
            free.place = min(free.place, place)
        else:
            kind = method.folder.name
            base = ", ".join([TITLES.get(kind, kind), *_changes(run, kind, runs, but=("train.seed",))])
            groups.append(_Group(settings, base, place, {seed: method}))
    groups.sort(key=lambda one: one.place)
    names, titles = _names(groups), _titles(groups)
    return tuple(
        make_row(
            name, title, group.settings, dict(sorted(group.members.items(), key=lambda one: (one[0] is None, one[0])))
        )
        for group, name, title in zip(groups, names, titles, strict=True)
    )


def _identity(run: Results, method: MethodResults) -> tuple[str, int | None]:
    """Return a key of a training's settings without the seed, and the seed; None for a baseline, or if it is unknown.

    The title is not used as a key, because it omits settings that only one of two versions of this project has.
    """
    kind = method.folder.name
    settings = _settings(run.config, kind)
    seed = settings.pop("train.seed", None)
    if kind in BASELINES:
        return kind, None
    text = [TEXT_WEIGHTS] if kind in METHODS else []
    hashes = [run.config.get(name) for name in (ENCODER_WEIGHTS, MANIFEST_HASH, *text)]
    return json.dumps([kind, settings, hashes], sort_keys=True), seed


def _names(groups: Sequence[_Group]) -> list[str]:
    """Return a name for each row that can be used in file names: the method's, or its first training's."""
    firsts = [next(iter(group.members.values())) for group in groups]
    kinds = [first.folder.name for first in firsts]
    return [kind if kinds.count(kind) == 1 else first.name for kind, first in zip(kinds, firsts, strict=True)]


def _titles(groups: Sequence[_Group]) -> list[str]:
    """Return a title for each row: its differences from the first run, or its run if there are none and titles would clash."""
    firsts = [next(iter(group.members.values())) for group in groups]
    titled = []
    for group, first in zip(groups, firsts, strict=True):
        alone = group.base if len(group.members) > 1 else first.title
        kind = first.folder.name
        has_sibling = sum(one.folder.name == kind for one in firsts) > 1
        is_plain = alone == TITLES.get(kind, kind)
        titled.append((f"{alone} ({first.folder.parent})" if is_plain and has_sibling else alone, first))
    return _made_unique(titled)


def _changes(run: Results, method: str, runs: Sequence[Results], but: Collection[str] = ()) -> list[str]:
    """Return the settings in which a run differs from the first, as words of a title.

    For GMP-TL, the run is compared with the first that has GMP-TL. Settings that only one of two versions of this project has
    are not compared, nor are those in `but`.
    """
    if method in BASELINES:
        return []
    first, own = _settings_of_first(method, runs), _settings(run.config, method)
    changed = {name: value for name, value in own.items() if name in first and value != first[name] and name not in but}
    words = [_setting(name, value) for name, value in changed.items()]
    if _differs(ENCODER_WEIGHTS, run, runs[0]) and "model.audio_encoder" not in changed:
        words.append("other encoder weights")
    if method in METHODS and _differs(TEXT_WEIGHTS, run, runs[0]) and "model.text_encoder" not in changed:
        words.append("other weights of the text encoder")
    if _differs(MANIFEST_HASH, run, runs[0]):
        words.append(f"manifest: {Path(run.manifest).name}")
    return words


def _first_settings(runs: Sequence[Results]) -> tuple[str, ...]:
    """Return the settings of the first run that differ in another run. They are not part of the titles of its rows."""
    found: dict[str, Any] = {}
    for run in runs[1:]:
        for method in (method.name for method in run.methods if method.name not in BASELINES):
            first, own = _settings_of_first(method, runs), _settings(run.config, method)
            found |= {name: value for name, value in first.items() if own.get(name, value) != value}
    return tuple(_setting(name, value) for name, value in found.items())


def _settings_of_first(method: str, runs: Sequence[Results]) -> dict[str, Any]:
    """Return the settings of the first run; for GMP-TL, its own settings come from the first run that has it."""
    first = _settings(runs[0].config, method)
    if method == "gmp_tl":
        having = next(one for one in runs if "gmp_tl" in one.config["methods"])
        first |= _section(having.config, "gmp")
    return first


def _setting(name: str, value: Any) -> str:
    return f"{name}: {spelt(value)}"


def _differs(name: str, one: Results, other: Results) -> bool:
    """Whether both runs have a value of this name, and the values differ."""
    values = [run.config.get(name) for run in (one, other)]
    return None not in values and values[0] != values[1]


def _settings(config: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the settings that can affect a trained method's results, by their dotted names."""
    found = {f"data.audio.{name}": value for name, value in ((config.get("data") or {}).get("audio") or {}).items()}
    for section in (*DECIDING, *(["gmp"] if method == "gmp_tl" else [])):
        found |= _section(config, section)
    if method in METHODS:
        ignored = {"model.project_plain_heads"}
    else:
        ignored = {f"model.{name}" for name in meaningless_to_heads(bool(found.get("model.project_plain_heads")))}
    return {name: value for name, value in found.items() if name not in ignored}


def _section(config: Mapping[str, Any], section: str) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in (determining(config).get(section) or {}).items()}
