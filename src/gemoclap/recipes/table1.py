"""Table 1 of the GEmo-CLAP paper on any corpus: a row per audio encoder, a column per method, a cross-validation in each cell.

Each cell is a run for each seed, in the folder cells/ENCODER/METHOD/seed_N, which `gemoclap report` can read. Processes that
were started with the same command share the cells, also on several machines. Cells can be resumed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from gemoclap.config import ONE_TRAINING, Settings, check_methods
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import Fold, make_folds, rows_of
from gemoclap.data.reading import read_data
from gemoclap.encoders import UNTRAINED, audio_encoder_source
from gemoclap.encoders.pretrained import load_config
from gemoclap.errors import GemoclapError
from gemoclap.files import entry, file_hash
from gemoclap.labels import Vocabulary
from gemoclap.predictions import PREDICTIONS
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.early_checks import check_needs
from gemoclap.recipes.holding import holding
from gemoclap.recipes.inputs import load_audio_store
from gemoclap.recipes.run_files import REMEDY, read_run_config
from gemoclap.recipes.run_folder import (
    CONFIG,
    LONGEST_WHOLE_NAME,
    MANIFEST_HASH,
    refuse_other_run,
    seed_folder,
    short_name,
)
from gemoclap.recipes.sharing import CELLS, claim_together, refuse_torchrun, share


@dataclass(frozen=True)
class Cell:
    """One cross-validation: an audio encoder (by its name in the table), a method and a seed."""

    encoder: str
    method: str
    seed: int
    folder: Path

    @property
    def job(self) -> str:
        return f"{self.encoder} {self.method} seed {self.seed}"


@dataclass(frozen=True)
class Table:
    """The rows, columns and seeds of a table.

    Attributes
    ----------
    output : folder of the table.
    encoders : name in the table -> hub id, folder, or name of an untrained encoder.
    methods, seeds : each encoder is trained with all of them.
    is_iemocap : whether the corpus is IEMOCAP with the paper's four classes, so that the paper's figures can be shown too.
    """

    output: Path
    encoders: dict[str, str]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    is_iemocap: bool = False

    @property
    def cells(self) -> list[Cell]:
        """Every cell, row by row. All cells of the first seed come before those of the next one."""
        return [
            Cell(name, method, seed, seed_folder(self.output / CELLS / name / method, seed))
            for seed in self.seeds
            for name in self.encoders
            for method in self.methods
        ]

    def with_found(self) -> Table:
        """Return the table, followed by the rows and columns that other commands have added to its folder."""
        encoders, methods, seeds = dict(self.encoders), list(self.methods), {*self.seeds}
        for path in sorted(self.output.glob(f"{CELLS}/*/*/seed_*/{CONFIG}")):
            *_, encoder, method, seed, _ = path.parts
            if not seed.removeprefix("seed_").isdecimal():
                continue  # a folder that somebody else has made
            config = read_run_config(path)
            model = entry(config, "model", dict, path, REMEDY)
            encoders.setdefault(encoder, entry(model, "audio_encoder", str, path, REMEDY))
            methods += [method] if method not in methods else []
            seeds.add(int(seed.removeprefix("seed_")))
        return replace(self, encoders=encoders, methods=tuple(methods), seeds=tuple(sorted(seeds)))


class TableRun:
    """A table that is filled: its corpus, its folds, and the remaining folds of each cell.

    Parameters
    ----------
    settings : settings of every cell, except `model.audio_encoder` and `train.seed`, which each cell has of its own.
    encoders : hub ids or folders, or NAME=ID. Without a NAME, the last part of the id is the name.
    methods : some of `config.ONE_TRAINING`.
    seeds : there is one cross-validation per seed.
    output : folder of the table.

    Raises
    ------
    GemoclapError : an encoder is not available; two encoders have the same name; a method is unknown; a fault in manifest,
        settings or folds; the folder has another run; it is one distributed run (torchrun).
    """

    def __init__(
        self,
        settings: Settings,
        encoders: Sequence[str],
        methods: Sequence[str],
        seeds: Sequence[int],
        output: str | os.PathLike,
    ) -> None:
        output = Path(output)
        refuse_torchrun("a table")
        named = named_encoders(encoders)
        check_methods(methods, ONE_TRAINING, "train", "of a table")
        utterances, self.vocabulary, data = read_data(settings.data)
        self.settings = replace(settings, data=data)
        self.folds = make_folds(utterances, data, self.vocabulary)
        self.table = Table(output, named, tuple(methods), tuple(seeds), _is_iemocap(self.vocabulary, utterances))
        with holding(output, brief=True):
            refuse_other_run(output, self._lasting())
        for encoder in named.values():
            if encoder not in UNTRAINED:  # so that a misspelt name is found before the first cell, not days later
                load_config(audio_encoder_source(encoder))

    @cached_property
    def store(self) -> AudioStore:
        """The audio of the corpus, which is read once for all cells."""
        return load_audio_store(self.settings.cache, self.settings.data.audio, rows_of(self.folds))

    def settings_of(self, cell: Cell) -> Settings:
        """Return the settings of a cell. `gemoclap crossval` with these settings would do the same."""
        return replace(
            self.settings,
            model=replace(self.settings.model, audio_encoder=self.table.encoders[cell.encoder]),
            train=replace(self.settings.train, seed=cell.seed),
        )

    def pending(self, cell: Cell) -> list[Fold]:
        """Return the folds of a cell that have no predictions yet."""
        return [fold for fold in self.folds if not (self.fold_folder(cell, fold) / PREDICTIONS).is_file()]

    @staticmethod
    def fold_folder(cell: Cell, fold: Fold) -> Path:
        """Return the folder for the log and the predictions of a fold."""
        return cell.folder / cell.method / fold.name

    def fill(
        self,
        *,
        keep_models: bool = False,
        say: Callable[[str], None] = print,
        show: Callable[[Cell], object] = lambda cell: None,
    ) -> None:
        """Cross-validate every cell. Finished work is not repeated.

        Parameters
        ----------
        say : called with a line at the start of each cell.
        show : called with each finished cell.

        Raises
        ------
        GemoclapError : as `cross_validate`.
        """
        if any(map(self.pending, self.table.cells)):
            _ = self.store  # read all audio first, so that a faulty file leaves no run behind
        for method in self.table.methods:
            cells = [cell for cell in self.table.cells if cell.method == method]
            check_needs(self.settings, method, self.folds if any(map(self.pending, cells)) else (), self.vocabulary)
        claim_together(self.table.output, self._lasting(), self.table.methods)
        jobs = {cell.job: partial(self._fill_cell, cell, keep_models, show) for cell in self.table.cells}
        share(jobs, self.table.output, say)

    def _fill_cell(self, cell: Cell, keep_models: bool, show: Callable[[Cell], object]) -> None:
        store = self.store if self.pending(cell) else None
        cross_validate(self.settings_of(cell), [cell.method], cell.folder, keep_models=keep_models, store=store)
        show(cell)

    def _lasting(self) -> dict[str, Any]:
        """Return the settings that all cells share and that cannot change in a table, as plain data."""
        config = self.settings.to_dict()
        del config["model"]["audio_encoder"], config["train"]["seed"]
        return {**config, MANIFEST_HASH: file_hash(str(self.settings.data.manifest))}


def named_encoders(given: Sequence[str]) -> dict[str, str]:
    """Return name in the table -> hub id or folder. The name is that of ``NAME=ID``, or the last part of the id.

    Raises
    ------
    GemoclapError : no encoder is given; two would have the same name; or a name is not valid for a folder.
    """
    encoders: dict[str, str] = {}
    for one in given:
        called, _, encoder = one.rpartition("=")
        name = called or Path(encoder).name
        is_short = short_name(name, LONGEST_WHOLE_NAME) == name
        if not name or "/" in name or name.startswith(".") or not is_short:
            raise GemoclapError(f"encoders: {one} has no name that a folder can have; give NAME=HUB_ID or NAME=FOLDER")
        if name in encoders:
            raise GemoclapError(
                f"encoders: {one} would be called {name}, as another is; give one of them as NAME={encoder}"
            )
        encoders[name] = encoder
    if not encoders:
        raise GemoclapError("no encoder; name hub ids or folders with --encoders A,B")
    return encoders


def _is_iemocap(vocabulary: Vocabulary, utterances: Sequence[Utterance]) -> bool:
    corpora = {row.corpus.lower() for row in utterances if row.corpus}
    return vocabulary.name == "iemocap4" and corpora <= {"iemocap"}
