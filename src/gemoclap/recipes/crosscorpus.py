"""Trains on one corpus and tests on another, for every ordered pair of several corpora.

A pair uses the labels that both corpora have. A model is trained on all speakers of a corpus with one such set of labels. So
pairs with the same training corpus and the same labels share one training. The folder trainings/CORPUS/LABELS/seed_N is that
of a `gemoclap train`. The file cells/TRAINED_to_TESTED/seed_N/predictions.csv has the predictions for the other corpus.
Processes that were started with the same command share the trainings. Trainings can be resumed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, permutations
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gemoclap.config import TRAINED, DataSettings, Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import common_speakers
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.reading import read_data
from gemoclap.encoders.provenance import known_speakers, named_speakers, warnings_of
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import Vocabulary
from gemoclap.models import load_emotion_model
from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.recipes.crossval import encoder_config
from gemoclap.recipes.gmp import ENCODERS
from gemoclap.recipes.holding import holding
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.recipes.made import write_made
from gemoclap.recipes.run_folder import (
    ENCODER_WEIGHTS,
    refuse_other_run,
    run_key,
    seed_folder,
    weights_hash,
)
from gemoclap.recipes.sharing import claim_together, refuse_torchrun, share
from gemoclap.recipes.train import train
from gemoclap.terminal import progress_bar
from gemoclap.training.evaluate import predict_table

LONGEST_NAME = 150
"""Largest number of characters in a folder's name; most file systems allow 255 bytes."""


@dataclass(frozen=True)
class Corpus:
    """One of the corpora.

    Attributes
    ----------
    name : name of its manifest, without .jsonl.
    data : the settings that it was read with, with the corpus's defaults filled in.
    vocabulary : its classes.
    rows : utterances with a class; their label is replaced by the class.
    """

    name: str
    data: DataSettings
    vocabulary: Vocabulary
    rows: tuple[Utterance, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that have utterances, in the order of the vocabulary."""
        present = {row.emotion for row in self.rows}
        return tuple(label for label in self.vocabulary.emotions if label in present)

    def of(self, labels: Sequence[str]) -> list[Utterance]:
        """Return the utterances of some classes."""
        return [row for row in self.rows if row.emotion in labels]

    def settings_for(self, labels: Sequence[str]) -> DataSettings:
        """Return the settings for reading this corpus with only some of its classes."""
        merges = {label: into for label, into in self.vocabulary.merges.items() if into in labels}
        return replace(self.data, vocabulary=None, emotions=list(labels), merges=merges)


@dataclass(frozen=True)
class Pair:
    """A training corpus and a test corpus, by name, with the labels that both have, in the order of the first."""

    trained: str
    tested: str
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.trained}_to_{self.tested}"

    @property
    def is_empty(self) -> bool:
        """Whether there are fewer than two labels."""
        return len(self.labels) < 2


@dataclass(frozen=True)
class Training:
    """A model for all pairs with one training corpus and one set of labels."""

    corpus: str
    labels: tuple[str, ...]
    seed: int
    pairs: tuple[Pair, ...]
    folder: Path

    @property
    def job(self) -> str:
        return f"train on {self.corpus} with {self.folder.parent.name} seed {self.seed}"


class CrossCorpus:
    """The matrix: every ordered pair of several corpora.

    Parameters
    ----------
    settings : settings of every training. ``data`` says how each manifest is read; its `manifest` is ignored. There are no
        folds: a model is trained on all speakers of a corpus, except development speakers.
    manifests : two or more manifests with different names.
    method : one of `config.TRAINED`.
    seeds : the trainings are repeated with each seed.
    output : the folder of the matrix.

    Attributes
    ----------
    corpora : by name, in the order given.
    pairs : all ordered pairs, also those that share fewer than two labels.
    warnings : what a reader must know first: corpora that share speakers or audio, and encoders that were trained on test
        speakers.

    Raises
    ------
    GemoclapError : a manifest, setting or method is wrong; no pair shares two labels; two corpora share speakers, and
        `data.allow_speaker_overlap` is false; the folder has another run; it is one distributed run (torchrun).
    """

    def __init__(
        self, settings: Settings, manifests: Sequence[str], method: str, seeds: Sequence[int], output: Path
    ) -> None:
        refuse_torchrun("a matrix of corpora")
        self.settings, self.method, self.seeds, self.output = settings, method, tuple(seeds), output
        _check_method(method)
        self.corpora = _read(settings.data, manifests)
        self.pairs = [_pair(one, other) for one, other in permutations(self.corpora.values(), 2)]
        if all(pair.is_empty for pair in self.pairs):
            has = "; ".join(f"{one.name} has {', '.join(one.labels) or 'none'}" for one in self.corpora.values())
            raise GemoclapError(f"no two corpora share two labels ({has}); see --data.emotions and --data.merges")
        with holding(output, brief=True):
            refuse_other_run(output, self._lasting())
        self.warnings = [*_shared_speakers(self.corpora, settings.data), *self._encoder_warnings()]

    @property
    def trainings(self) -> list[Training]:
        """All trainings, in the order of seeds and corpora."""
        kinds: dict[tuple[str, tuple[str, ...]], list[Pair]] = {}
        for pair in self.pairs:
            if not pair.is_empty:
                kinds.setdefault((pair.trained, pair.labels), []).append(pair)
        return [
            Training(corpus, labels, seed, tuple(pairs), self._training_folder(corpus, labels, seed))
            for seed in self.seeds
            for (corpus, labels), pairs in kinds.items()
        ]

    @cached_property
    def store(self) -> AudioStore:
        """The audio of all corpora, read once."""
        rows = [row for one in self.corpora.values() for row in one.rows]
        return load_audio_store(self.settings.cache, self.settings.data.audio, rows)

    @cached_property
    def sources(self) -> InputSources:
        """Inputs of the tested models, shared among all of them."""
        return InputSources(self.store, self.settings)

    def predictions_path(self, pair: Pair, seed: int) -> Path:
        """Return the path of a pair's predictions; if the file exists, the pair is finished."""
        return seed_folder(self.output / "cells" / pair.name, seed) / "predictions.csv"

    def predictions(self, pair: Pair) -> list[PredictionTable]:
        """Return the predictions for the test corpus, one table per finished seed.

        Raises
        ------
        GemoclapError : the predictions have other utterances or labels than the manifest of the test corpus, which has changed.
        """
        paths = [self.predictions_path(pair, seed) for seed in self.seeds]
        return [self._checked(pair, path) for path in paths if path.is_file()]

    def fill(
        self,
        *,
        keep_models: bool = True,
        say: Callable[[str], None] = print,
        show: Callable[[], object] = lambda: None,
    ) -> None:
        """Train and test everything that is not finished.

        Parameters
        ----------
        keep_models : whether to keep a model after all its pairs have been tested.
        say : called with a line at the start of each training.
        show : called when a training has been tested.

        Raises
        ------
        GemoclapError : as `train`; or two corpora have the same audio, and `data.allow_speaker_overlap` is false.
        """
        # This comes first, so that a faulty file stops the command before it writes anything, and so does audio that two
        # corpora share. If shared audio is allowed, reports mention it.
        if self.settings.data.allow_speaker_overlap or any(map(self._pending, self.trainings)):
            self.warnings += _same_sound(self.corpora, self.store, self.settings.data)
        claim_together(self.output, self._lasting(), [self.method])
        jobs = {one.job: partial(self._train_and_test, one, keep_models, show) for one in self.trainings}
        share(jobs, self.output, say)

    def _pending(self, training: Training) -> list[Pair]:
        return [pair for pair in training.pairs if not self.predictions_path(pair, training.seed).is_file()]

    def _train_and_test(self, training: Training, keep_models: bool, show: Callable[[], object]) -> None:
        pending = self._pending(training)
        if pending:
            begun = time.monotonic()
            settings = self._settings_of(training)
            model = load_emotion_model(train(settings, self.method, training.folder, store=self.store))
            # A saved model does not say which part was frozen. It is set again here, so that the stored output can be used.
            model.audio_encoder.freeze(settings.model.freeze)
            for pair in pending:
                rows = self.corpora[pair.tested].of(pair.labels)
                source = self.sources.for_test(model, rows)
                with progress_bar(f"testing on {pair.tested}") as progress:
                    table = predict_table(model, rows, source, fold=pair.name, progress=progress)
                path = self.predictions_path(pair, training.seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_made(path.parent, begun)
                table.write(path)
                begun = time.monotonic()  # the training counts for the first pair alone
        if not keep_models:
            for name in ("model", *ENCODERS):
                shutil.rmtree(training.folder / name, ignore_errors=True)
        show()

    def _settings_of(self, training: Training) -> Settings:
        """Return the settings with which `gemoclap train` would do the same."""
        return replace(
            self.settings,
            data=self.corpora[training.corpus].settings_for(training.labels),
            train=replace(self.settings.train, seed=training.seed),
        )

    def _training_folder(self, corpus: str, labels: Sequence[str], seed: int) -> Path:
        words = quote("-".join(labels), safe="")
        name = words if len(words) <= LONGEST_NAME else run_key(list(labels))
        return seed_folder(self.output / "trainings" / corpus / name, seed)

    def _checked(self, pair: Pair, path: Path) -> PredictionTable:
        table = read_predictions(path)
        truth = {row.id: row.emotion for row in self.corpora[pair.tested].of(pair.labels)}
        if table.classes != pair.labels or dict(zip(table.ids, table.truth, strict=True)) != truth:
            raise GemoclapError(
                f"{path}: has other utterances or labels than {self.corpora[pair.tested].data.manifest} has now; remove the "
                "file and run the same command again"
            )
        return table

    def _encoder_warnings(self) -> list[str]:
        encoder = self.settings.model.audio_encoder
        tested = [row for one in self.corpora.values() for row in one.rows]
        known = known_speakers(encoder_config(encoder), tested)
        return warnings_of({encoder: known}) if known else []

    def _lasting(self) -> dict[str, Any]:
        """Return the settings that cannot change while the matrix is filled, as plain data. Corpora and seeds can be added."""
        config = self.settings.to_dict()
        del config["data"]["manifest"], config["train"]["seed"]
        return {**config, "method": self.method, ENCODER_WEIGHTS: weights_hash(self.settings.model.audio_encoder)}


def _check_method(method: str) -> None:
    if method not in TRAINED:
        hint = did_you_mean(method, list(TRAINED))
        raise GemoclapError(f"no method that is trained is called {method!r}{hint}; known: {', '.join(TRAINED)}")


def _read(data: DataSettings, manifests: Sequence[str]) -> dict[str, Corpus]:
    corpora: dict[str, Corpus] = {}
    for manifest in manifests:
        name = Path(manifest).stem
        if name in corpora:
            raise GemoclapError(
                f"{manifest}: another manifest is called {name} too, which is its name here; rename one"
            )
        utterances, vocabulary, read = read_data(replace(data, manifest=manifest))
        classes = [(row, vocabulary.resolve(row.emotion)) for row in utterances]
        rows = tuple(replace(row, emotion=label) for row, label in classes if label is not None)
        corpora[name] = Corpus(name, read, vocabulary, rows)
    if len(corpora) < 2:
        raise GemoclapError("one corpus alone has nothing to be tested on; name two or more manifests")
    return corpora


def _pair(one: Corpus, other: Corpus) -> Pair:
    theirs = set(other.labels)
    return Pair(one.name, other.name, tuple(label for label in one.labels if label in theirs))


def _shared_speakers(corpora: dict[str, Corpus], data: DataSettings) -> list[str]:
    """Return a warning for every two corpora that share speakers, or raise a GemoclapError if this is not allowed."""
    return [
        _overlap(f"{len(both)} speaker(s) of {one.name} are in {other.name} too ({min(both)})", data)
        for one, other in combinations(corpora.values(), 2)
        if (both := common_speakers(named_speakers(one.rows), named_speakers(other.rows)))
    ]


def _same_sound(corpora: dict[str, Corpus], store: AudioStore, data: DataSettings) -> list[str]:
    """Return a warning for every two corpora that share audio under any file names, or raise an error as for speakers."""
    keys = {name: {store.content_key(row): row.id for row in one.rows} for name, one in corpora.items()}
    return [
        _overlap(
            f"{len(both)} clip(s) of {one.name} sound the same as clips of {other.name} "
            f"({keys[one.name][min(both)]} is {keys[other.name][min(both)]} there)",
            data,
        )
        for one, other in combinations(corpora.values(), 2)
        if (both := keys[one.name].keys() & keys[other.name].keys())
    ]


def _overlap(what: str, data: DataSettings) -> str:
    if not data.allow_speaker_overlap:
        raise GemoclapError(
            f"{what}: they would be in training and in test; remove them from one manifest, rename a corpus if they are other "
            "people, or accept it with --data.allow_speaker_overlap true"
        )
    return f"{what}: the figures of these two are not speaker-independent"
