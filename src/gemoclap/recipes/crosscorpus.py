"""Trains on one corpus and tests on another, for every ordered pair of several corpora; and on all corpora but one.

A pair uses the labels that both corpora have. A model is trained on all speakers of a corpus with one such set of labels. So
pairs with the same training corpus and the same labels share one training. The folder trainings/CORPUS/LABELS/seed_N is that
of a `gemoclap train`. The file cells/TRAINED_to_TESTED/seed_N/predictions.csv has the predictions for the other corpus.
Corpora that are trained on together have one manifest, together/A+B.jsonl. An utterance is not compared with classes that its
own corpus lacks. The folder within/CORPUS/seed_N has the cross-validation of one corpus.
Processes that were started with the same command share the trainings. Trainings can be resumed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gemoclap.config import TRAINED, DataSettings, Settings, check_methods
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import Fold, make_folds
from gemoclap.data.reading import read_data
from gemoclap.encoders.provenance import known_speakers, warnings_of
from gemoclap.errors import GemoclapError
from gemoclap.models import load_emotion_model
from gemoclap.predictions import PREDICTIONS, PredictionTable, read_predictions
from gemoclap.recipes.crossval import cross_validate, encoder_config
from gemoclap.recipes.early_checks import check_genders
from gemoclap.recipes.gmp import ENCODERS
from gemoclap.recipes.holding import holding
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.recipes.made import begun_at, write_made
from gemoclap.recipes.run_folder import (
    ENCODER_WEIGHTS,
    LONGEST_PART,
    refuse_other_run,
    run_key,
    seed_folder,
    short_name,
    weights_hash,
)
from gemoclap.recipes.several_corpora import (
    Corpus,
    Pair,
    left_out_pair,
    pair_of,
    read_corpora,
    same_names,
    same_sound,
    shared_speakers,
    write_together,
)
from gemoclap.recipes.sharing import CELLS, claim_together, refuse_torchrun, share
from gemoclap.recipes.speaker_features import by_speaker
from gemoclap.recipes.supervised import is_trained
from gemoclap.recipes.train import train
from gemoclap.running import running_seconds
from gemoclap.terminal import progress_bar
from gemoclap.training.evaluate import predict_table

__all__ = ["Corpus", "CrossCorpus", "Pair", "Training"]
TOGETHER, WITHIN = "together", "within"


@dataclass(frozen=True)
class Training:
    """A model for all pairs with one training corpus and one set of labels.

    `corpus` is the name of a corpus, or of several that are trained on together, whose names are in `together`.
    """

    corpus: str
    labels: tuple[str, ...]
    seed: int
    pairs: tuple[Pair, ...]
    folder: Path

    @property
    def together(self) -> tuple[str, ...]:
        """The corpora that are trained on together, if there are several."""
        return self.pairs[0].together

    @property
    def job(self) -> str:
        return f"train on {short_name(self.corpus)} with {self.folder.parent.name} seed {self.seed}"


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
    leave_one_out : whether to train on all corpora but one and test on that one, too.
    within : whether to cross-validate each corpus, too, with folds that share no speaker.

    Attributes
    ----------
    corpora : by name, in the order given.
    pairs : all ordered pairs, also those that share fewer than two labels.
    left_out : with `leave_one_out`, one pair per corpus, which is tested on; the other corpora are trained on.
    warnings : what a reader must know first: corpora that share speakers, audio or their name, and encoders that were trained
        on test speakers.

    Raises
    ------
    GemoclapError : a manifest, setting or method is wrong; no pair shares two labels; two corpora share speakers, and
        `data.allow_speaker_overlap` is false; the folder has another run; it is one distributed run (torchrun);
        `leave_one_out` with fewer than three corpora; a corpus cannot be divided into folds.
    """

    def __init__(
        self,
        settings: Settings,
        manifests: Sequence[str],
        method: str,
        seeds: Sequence[int],
        output: str | os.PathLike,
        *,
        leave_one_out: bool = False,
        within: bool = False,
    ) -> None:
        output = Path(output)
        refuse_torchrun("a matrix of corpora")
        self.settings, self.method, self.seeds, self.output = settings, method, tuple(seeds), output
        check_methods([method], TRAINED, "train", "that is trained")
        self.corpora = read_corpora(settings.data, manifests, has_folds=within)
        self.pairs = [pair_of(one, other) for one, other in permutations(self.corpora.values(), 2)]
        if all(pair.is_empty for pair in self.pairs):
            has = "; ".join(f"{one.name} has {', '.join(one.labels) or 'none'}" for one in self.corpora.values())
            raise GemoclapError(f"no two corpora share two labels ({has}); see --data.emotions and --data.merges")
        if leave_one_out and len(self.corpora) < 3:
            raise GemoclapError(
                "--leave_one_out: with two corpora, one is left out in each pair already; name three or more"
            )
        self.left_out = [left_out_pair(self.corpora, name) for name in self.corpora] if leave_one_out else []
        self.within = [name for name in self.corpora if self._is_tested(name)] if within else []
        # Faults of folds are found before anything is trained.
        self._folds = {name: self._folds_within(name) for name in self.within}
        with holding(output, brief=True):
            refuse_other_run(output, self._lasting())
        self.warnings = [*shared_speakers(self.corpora, settings.data), *self._encoder_warnings()]
        if leave_one_out:
            self.warnings += same_names(self.corpora)

    @property
    def trainings(self) -> list[Training]:
        """All trainings, in the order of seeds and corpora."""
        kinds: dict[tuple[str, tuple[str, ...]], list[Pair]] = {}
        for pair in dict.fromkeys([*self.pairs, *self.left_out]):
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
        return seed_folder(self.output / CELLS / pair.name, seed) / PREDICTIONS

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
            self.warnings += same_sound(self.corpora, self.store, self.settings.data)
        self._check_genders()
        claim_together(self.output, self._lasting(), [self.method])
        jobs: dict[str, Callable[[], None]] = {
            one.job: partial(self._train_and_test, one, keep_models, show) for one in self.trainings
        }
        for seed in self.seeds:
            for name in self.within:
                jobs[f"cross-validate {name} seed {seed}"] = partial(self._cross_validate, name, seed, show)
        share(jobs, self.output, say)

    def _check_genders(self) -> None:
        """Raise a GemoclapError if a corpus still to train on lacks genders, before hours are spent on the others."""
        for one in filter(self._pending, self.trainings):
            rows = [row for name in one.together or (one.corpus,) for row in self.corpora[name].of(one.labels)]
            check_genders(self.settings, self.method, [Fold(one.corpus, tuple(rows), (), ())])

    def _pending(self, training: Training) -> list[Pair]:
        return [pair for pair in training.pairs if not self.predictions_path(pair, training.seed).is_file()]

    def _train_and_test(self, training: Training, keep_models: bool, show: Callable[[], object]) -> None:
        pending = self._pending(training)
        if pending:
            # The training counts for the first pair alone.
            parts = (training.folder, *(training.folder / name for name in ENCODERS))
            is_first = pending == list(training.pairs)
            begun = begun_at(training.folder, filter(is_trained, parts)) if is_first else running_seconds()
            settings = self._settings_of(training)
            model = load_emotion_model(train(settings, self.method, training.folder, store=self.store))
            # A saved model does not say which part was frozen. It is set again here, so that the stored output can be used.
            model.audio_encoder.freeze(settings.model.freeze)
            for pair in pending:
                rows = self.corpora[pair.tested].of(pair.labels)
                source = by_speaker(model, [rows], self.sources.for_test(model, rows))
                with progress_bar(f"testing on {pair.tested}") as progress:
                    table = predict_table(model, rows, source, fold=pair.name, progress=progress)
                path = self.predictions_path(pair, training.seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_made(path.parent, begun)
                table.write(path)
                begun = running_seconds()
        if not keep_models:
            for name in ("model", *ENCODERS):
                shutil.rmtree(training.folder / name, ignore_errors=True)
        if pending:
            show()

    def _settings_of(self, training: Training) -> Settings:
        """Return the settings with which `gemoclap train` would do the same."""
        if training.together:
            data = self._data_together(training)
        else:
            data = self.corpora[training.corpus].settings_for(training.labels)
        return replace(self.settings, data=data, train=replace(self.settings.train, seed=training.seed))

    def _data_together(self, training: Training) -> DataSettings:
        """Write the manifest of several corpora, and return the settings for reading it with the labels of a training."""
        target = self.output / TOGETHER / f"{short_name(training.corpus)}.jsonl"
        manifest = write_together([self.corpora[name] for name in training.together], target)
        no_folds: dict[str, Any] = dict.fromkeys(("n_folds", "test_speakers", "fold_files", "test_partitions"))
        classes: dict[str, Any] = {"vocabulary": None, "emotions": list(training.labels), "merges": {}}
        return replace(self.settings.data, manifest=str(manifest), folds="kfold", **no_folds, **classes)

    def within_folder(self, corpus: str, seed: int) -> Path:
        """Return the folder of a corpus's cross-validation with one seed."""
        return seed_folder(self.output / WITHIN / corpus, seed)

    def _cross_validate(self, corpus: str, seed: int, show: Callable[[], object]) -> None:
        seeded = replace(self.settings.train, seed=seed)
        settings = replace(self.settings, data=self._data_within(corpus), train=seeded)
        folder = self.within_folder(corpus, seed)
        paths = [folder / self.method / fold.name / PREDICTIONS for fold in self._folds[corpus]]
        store = None if all(path.is_file() for path in paths) else self.store
        cross_validate(settings, [self.method], folder, keep_models=False, store=store)
        if store is not None:  # otherwise all folds were finished before
            show()

    def _data_within(self, corpus: str) -> DataSettings:
        one = self.corpora[corpus]
        return one.data if set(one.labels) == set(one.vocabulary.emotions) else one.settings_for(one.labels)

    def _read_within(self, corpus: str) -> tuple[Any, DataSettings, Any]:
        utterances, vocabulary, data = read_data(self._data_within(corpus))
        return utterances, data, vocabulary

    def _folds_within(self, corpus: str) -> list[Fold]:
        try:
            return make_folds(*self._read_within(corpus))
        except GemoclapError as error:
            raise GemoclapError(f"{corpus}: {error}") from error

    def _is_tested(self, corpus: str) -> bool:
        return any(pair.tested == corpus and not pair.is_empty for pair in self.pairs)

    def _training_folder(self, corpus: str, labels: Sequence[str], seed: int) -> Path:
        words = quote("-".join(labels), safe="")
        name = words if len(words) <= LONGEST_PART else run_key(list(labels))  # a quoted letter is a byte
        return seed_folder(self.output / "trainings" / short_name(corpus) / name, seed)

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
