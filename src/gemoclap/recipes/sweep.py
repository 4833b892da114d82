"""Tries several values of settings, and chooses among them by development speakers alone.

Every combination of values is a cross-validation in its own folder, cells/COMBINATION/seed_N, which `gemoclap report` can
read. In each fold the combination with the best UAR on the fold's development speakers is chosen, and only its predictions for
the fold's test speakers count. The test speakers of a fold therefore never decide what is tested on them (nested
cross-validation) [C]. Processes that were started with the same command share the combinations, and all can be resumed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gemoclap.config import ONE_TRAINING, Settings, affected, check_methods
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import make_folds, rows_of
from gemoclap.data.reading import read_data
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash
from gemoclap.predictions import PREDICTIONS, PredictionTable, concatenate, read_predictions
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.early_checks import check_needs
from gemoclap.recipes.holding import holding
from gemoclap.recipes.inputs import load_audio_store
from gemoclap.recipes.run_files import read_log
from gemoclap.recipes.run_folder import (
    CONFIG,
    MANIFEST_HASH,
    is_same_run,
    refuse_other_run,
    run_key,
    saved_run,
    seed_folder,
    short_name,
)
from gemoclap.recipes.sharing import CELLS, claim_together, refuse_torchrun, share
from gemoclap.recipes.supervised import build_model
from gemoclap.wording import spelt

LONGEST_CELL_NAME = 100
"""Bytes of the name of a combination's folder; a longer name is replaced by a hash."""
SWEPT = ("model.", "objective.", "train.", "gmp.", "data.perturbed_copies")
"""Settings that can be swept, or how they begin. On others of the data, classes and folds depend."""
DECIDED_ELSEWHERE = ("train.seed", "train.select")
"""Settings of these that other options decide, or that must be equal for a choice."""


class Value(NamedTuple):
    """A value of a setting: as it was typed, and as `Settings` has it."""

    text: str
    value: Any

    @property
    def shown(self) -> str:
        """The value in tables, spelt as in the reports of its runs, however it was typed: ``[2, 3]``."""
        return spelt(self.value)

    @property
    def in_names(self) -> str:
        """The value in the name of a folder. A list has no spaces there, because few people type them in a command."""
        is_plain = not isinstance(self.value, list | dict)
        return self.shown if is_plain else json.dumps(self.value, ensure_ascii=False, separators=(",", ":"))


Axes = Mapping[str, Sequence[Value]]
"""Setting with its section, such as ``objective.alpha`` -> the values to try."""


@dataclass(frozen=True)
class Combination:
    """One value of each setting.

    Attributes
    ----------
    values : setting -> value.
    name : of its folder, which is the same however the values were typed.
    """

    values: dict[str, Value]
    name: str

    @property
    def title(self) -> str:
        """Such as ``objective.alpha 0.7``."""
        return ", ".join(f"{name} {value.shown}" for name, value in self.values.items())


class Sweep:
    """Combinations of settings to try on one corpus.

    Parameters
    ----------
    settings : of every run. Each fold has development speakers, by ``data.dev_speakers`` or its own development part.
    axes : what to try.
    methods : of `config.ONE_TRAINING`.
    seeds : of every run.
    output : its folder.

    Attributes
    ----------
    folds : the folds of every run.
    combinations : in the order of the values, the last setting changing fastest.

    Raises
    ------
    GemoclapError : no such setting or method, a setting that another option decides; no development speakers; a fault in
        manifest, settings or folds; a folder of another run; a distributed run.
    """

    def __init__(
        self, settings: Settings, axes: Axes, methods: Sequence[str], seeds: Sequence[int], output: str | os.PathLike
    ) -> None:
        output = Path(output)
        refuse_torchrun("a sweep")
        _check(settings, axes, methods)
        utterances, self.vocabulary, data = read_data(settings.data)
        self.settings = replace(settings, data=data)
        self.folds = make_folds(utterances, data, self.vocabulary)
        if not all(fold.dev for fold in self.folds):
            raise GemoclapError("a sweep chooses by development speakers; set --data.dev_speakers to 1 or more")
        self.axes, self.methods, self.seeds, self.output = axes, tuple(methods), tuple(seeds), output
        self._over = self._order()
        self.combinations = [
            Combination(values, _name(self._over, [values[name] for name in self._over]))
            for values in (dict(zip(axes, one, strict=True)) for one in product(*axes.values()))
        ]
        with holding(output, brief=True):
            refuse_other_run(output, self._lasting())
        self._folders = self._find_folders()

    @cached_property
    def store(self) -> AudioStore:
        """The corpus's audio, read once for all runs."""
        return load_audio_store(self.settings.cache, self.settings.data.audio, rows_of(self.folds))

    def settings_of(self, combination: Combination, seed: int) -> Settings:
        """Return the settings with which `gemoclap crossval` would do the same."""
        found = replace(self.settings, train=replace(self.settings.train, seed=seed))
        for name, value in combination.values.items():
            section, field = name.split(".", 1)
            found = replace(found, **{section: replace(getattr(found, section), **{field: value.value})})
        return found

    def fill(self, *, say: Callable[[str], None] = print, show: Callable[[], object] = lambda: None) -> None:
        """Train and test every combination that is not finished.

        Parameters
        ----------
        say : called with a line at the start of each combination.
        show : called after each that was trained here.

        Raises
        ------
        GemoclapError : as `crossval.cross_validate`.
        """
        # What cannot be trained is found now, not after hours of other values and methods.
        for one in self.combinations:
            if not all(self.is_finished(one, seed) for seed in self.seeds):
                settings = self.settings_of(one, self.seeds[0])
                for method in self.methods:
                    check_needs(settings, method, self.folds, self.vocabulary)
                if any(name.startswith("model.") for name in self.axes):
                    build_model(settings, self.methods[0], self.vocabulary)
        claim_together(self.output, self._lasting(), self.methods)
        jobs = {
            f"{one.name} seed {seed}": partial(self._run, one, seed, show)
            for seed in self.seeds
            for one in self.combinations
        }
        share(jobs, self.output, say)

    def _run(self, combination: Combination, seed: int, show: Callable[[], object]) -> None:
        store = None if self.is_finished(combination, seed) else self.store
        folder = self.run_folder(combination, seed)
        cross_validate(self.settings_of(combination, seed), self.methods, folder, keep_models=False, store=store)
        if store is not None:  # otherwise nothing has changed
            show()

    def is_finished(self, combination: Combination, seed: int) -> bool:
        folders = [
            self.fold_folder(combination, seed, method, fold.name) for method in self.methods for fold in self.folds
        ]
        return all((folder / PREDICTIONS).is_file() for folder in folders)

    def run_folder(self, combination: Combination, seed: int) -> Path:
        """Return the folder of a combination's run with one seed."""
        return self._folders[combination.name, seed]

    def fold_folder(self, combination: Combination, seed: int, method: str, fold: str) -> Path:
        return self.run_folder(combination, seed) / method / fold

    def _order(self) -> list[str]:
        """Return the settings in the order in which the first command of the folder had them; it decides nothing."""
        first = (saved_run(self.output) or {}).get("over", [])
        is_same = isinstance(first, list) and sorted(map(str, first)) == sorted(self.axes)
        return first if is_same else [*self.axes]

    def _find_folders(self) -> dict[tuple[str, int], Path]:
        """Return (name of a combination, seed) -> the folder of its run.

        Earlier versions named folders after the values as they were typed. So a run with the same settings is looked for under
        any name, before it would be trained again.
        """
        cells = self.output / CELLS
        found = {
            (one.name, seed): seed_folder(cells / one.name, seed) for one in self.combinations for seed in self.seeds
        }
        new = [one for one, folder in found.items() if not (folder / CONFIG).is_file()]
        others = {path.parent for path in cells.glob(f"*/seed_*/{CONFIG}")} - {*found.values()} if new else set()
        earlier = {folder: config for folder in sorted(others) if (config := saved_run(folder)) is not None}
        named = {one.name: one for one in self.combinations}
        manifest = {MANIFEST_HASH: file_hash(str(self.settings.data.manifest))}
        for name, seed in new if earlier else ():
            config = {**self.settings_of(named[name], seed).to_dict(), **manifest}
            same = (folder for folder, saved in earlier.items() if is_same_run(saved, config))
            found[name, seed] = next(same, found[name, seed])
        return found

    def development_uar(self, method: str, seed: int) -> np.ndarray:
        """Return UAR on development speakers, ``(combinations, folds)``; NaN where a training is not finished.

        It is that of the epoch whose weights were kept: the last one, or the best with ``train.select dev``.
        """
        return np.array(
            [
                [_development_uar(self.fold_folder(one, seed, method, fold.name)) for fold in self.folds]
                for one in self.combinations
            ]
        )

    def chosen_predictions(self, method: str, chosen: Mapping[int, Sequence[int]]) -> list[PredictionTable]:
        """Return, for each seed of `chosen`, the predictions for all test speakers, each by the choice of its own fold.

        Parameters
        ----------
        chosen : seed -> number of the combination for each fold (`best_of_each_fold`).
        """
        return [
            concatenate(
                [
                    read_predictions(self.fold_folder(self.combinations[best], seed, method, fold.name) / PREDICTIONS)
                    for best, fold in zip(numbers, self.folds, strict=True)
                ]
            )
            for seed, numbers in chosen.items()
        ]

    def _lasting(self) -> dict[str, Any]:
        """Return what cannot change while the sweep is filled, as plain data: values and seeds may be added."""
        config = self.settings.to_dict()
        del config["train"]["seed"]
        for name in self.axes:
            section, field = name.split(".", 1)
            config[section].pop(field, None)
        return {**config, "over": self._over, MANIFEST_HASH: file_hash(str(self.settings.data.manifest))}


def best_of_each_fold(development: np.ndarray) -> list[int]:
    """Return the number of the best combination in each fold; the first of several that are equal.

    Empty until all are finished, because a choice among some is another choice.

    Parameters
    ----------
    development : UAR on development speakers, ``(combinations, folds)``, NaN where a training is not finished.
    """
    return [] if np.isnan(development).any() else development.argmax(0).tolist()


def _check(settings: Settings, axes: Axes, methods: Sequence[str]) -> None:
    check_methods(methods, ONE_TRAINING, "train", "that can be swept")
    for name, values in axes.items():
        if name in DECIDED_ELSEWHERE or not name.startswith(SWEPT):
            raise GemoclapError(f"--over: {name} cannot be tried out here, because every run must have the same")
        alike = next((pair for pair in combinations(values, 2) if pair[0].value == pair[1].value), None)
        if alike:
            raise GemoclapError(
                f"--over {name}: {alike[0].text} and {alike[1].text} are one value; give each value once"
            )
        having = affected(name, settings.model.project_plain_heads or "model.project_plain_heads" in axes)
        if not {*having} & {*methods}:
            raise GemoclapError(
                f"--over {name}: has no effect on {', '.join(methods)}, only on {', '.join(having)}; give other --methods, or "
                "another setting"
            )
    if not any(len(values) > 1 for values in axes.values()):
        raise GemoclapError("--over: there is nothing to choose from; give a setting two values or more")


def _name(axes: Iterable[str], values: Sequence[Value]) -> str:
    name = ",".join(f"{setting}={value.in_names}" for setting, value in zip(axes, values, strict=True))
    return run_key([name]) if {"/", "\0", "\n"} & {*name} else short_name(name, LONGEST_CELL_NAME)


def _development_uar(folder: Path) -> float:
    if not (folder / PREDICTIONS).is_file():
        return float("nan")
    rows = read_log(folder / "log.jsonl")
    kept = [row for row in rows if row.get("selected")] or rows[-1:]
    return float(kept[-1].get("dev_uar", float("nan"))) if kept else float("nan")
