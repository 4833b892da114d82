"""Cross-validates the regression of valence, arousal and dominance (`--methods dimensions`).

A linear layer on the pooled features has one output for each dimension, and is trained with the concordance loss. It learns
values that are standardised over the training utterances; predictions are on the corpus's own scale again. No models are saved.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gemoclap.config import Settings
from gemoclap.corpora.manifest import DIMENSIONS, Utterance
from gemoclap.corpora.speakers import row_columns
from gemoclap.corpora.tables import read_table
from gemoclap.corpora.values import known, number
from gemoclap.data.dataset import InputSource, TrainBatches, eval_batches
from gemoclap.data.folds import Fold, make_folds, rows_of
from gemoclap.data.perturb import with_copies
from gemoclap.data.reading import read_data
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.errors import GemoclapError
from gemoclap.heads.objectives import Concordance
from gemoclap.labels import Vocabulary
from gemoclap.models import EmotionModel
from gemoclap.predictions import PREDICTIONS
from gemoclap.recipes.crossval import encoder_config, plan_of
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.recipes.run_folder import (
    claim,
    on_main_process,
    refuse_other_run,
    run_config,
    say,
    say_all,
    training_key,
    weights_hash,
)
from gemoclap.recipes.speaker_features import by_speaker
from gemoclap.recipes.supervised import build_model, standardize_features
from gemoclap.training.checkpoint import CHECKPOINT
from gemoclap.training.distributed import process_state
from gemoclap.training.loop import run_epochs
from gemoclap.wording import counted
from gemoclap.writing import atomic_write

METHOD = "dimensions"
EVAL_BATCH = 32
EQUAL = 1e-9
"""Standard deviation below which all values of a dimension are taken for equal."""
_ANY = "any"
"""One class for all rows, so that folds are made of them whatever their emotion is."""


@dataclass(frozen=True)
class DimensionTable:
    """The predictions of a fold; `truth` and `prediction` are dimension -> (N,), and an unknown truth is NaN."""

    folds: tuple[str, ...]
    ids: tuple[str, ...]
    speakers: tuple[str | None, ...]
    genders: tuple[str | None, ...]
    truth: dict[str, np.ndarray]
    prediction: dict[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Write a CSV table: fold, id, speaker, gender, and for each dimension its truth and its prediction."""
        columns = [part for name in self.truth for part in (self.truth[name], self.prediction[name])]
        with atomic_write(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            named = [column for name in self.truth for column in (f"{name}_truth", name)]
            writer.writerow(["fold", "id", "speaker", "gender", *named])
            cells = ([("" if np.isnan(value) else repr(float(value))) for value in column] for column in columns)
            writer.writerows(
                zip(self.folds, self.ids, _words(self.speakers), _words(self.genders), *cells, strict=True)
            )

    @classmethod
    def read(cls, path: Path) -> DimensionTable:
        """Read what `write` wrote.

        Raises
        ------
        GemoclapError : it is not such a table.
        """
        header, rows = read_table(path, ",")
        names = [name for name in DIMENSIONS if {name, f"{name}_truth"} <= set(header)]
        if not names or not {"fold", "id", "speaker", "gender"} <= set(header):
            raise GemoclapError(f"{path}: not the predictions of a run of {METHOD}; run the cross-validation again")
        found = list(rows)

        def column(name: str) -> np.ndarray:
            return np.array([np.nan if (one := number(row[name], name, at)) is None else one for at, row in found])

        return cls(
            folds=tuple(row["fold"] for _, row in found),
            ids=tuple(row["id"] for _, row in found),
            speakers=tuple(known(row["speaker"]) for _, row in found),
            genders=tuple(known(row["gender"]) for _, row in found),
            truth={name: column(f"{name}_truth") for name in names},
            prediction={name: column(name) for name in names},
        )


def _words(values: Sequence[str | None]) -> list[str]:
    return [value or "" for value in values]


@holds_output
def cross_validate_dimensions(settings: Settings, output: Path) -> list[Fold]:
    """Train and test in every fold. Finished folds are not repeated, and an interrupted one is resumed.

    `output` gets config.yaml, folds.json and, in ``dimensions/FOLD/``, predictions.csv and log.jsonl. All rows with a known
    dimension are used, with and without an emotion.

    Raises
    ------
    GemoclapError : a fault in manifest, audio, settings, folds or the output folder; no row has a dimension; several corpora.
    """
    _check_settings(settings)
    utterances, _, data = read_data(settings.data)
    settings = replace(settings, data=replace(data, vocabulary=None))
    rows, names = _rows_with_dimensions(utterances, str(data.manifest))
    folds = make_folds(rows, data, Vocabulary(METHOD, (_ANY,)))
    if lacking := len(utterances) - len(rows):
        say(f"{lacking:,} of {counted(len(utterances), 'utterance')} left out, which have no {' or '.join(DIMENSIONS)}")
    config = run_config(settings, ["ce"])
    encoder = settings.model.audio_encoder
    plan = plan_of(folds, Vocabulary(METHOD, names), str(data.manifest), {encoder: encoder_config(encoder)}, {})
    refuse_other_run(output, config, plan)
    pending = [fold for fold in folds if not (output / METHOD / fold.name / PREDICTIONS).is_file()]
    needed = rows_of(folds) if pending else []
    sources = InputSources(load_audio_store(settings.cache, data.audio, needed), settings)
    say_all(refuse_same_audio(folds if needed else (), sources.store, data))
    claim(output, config, [METHOD], plan)
    say(f"{counted(len(pending), 'training')}: one for each fold" if pending else "")
    for fold in pending:
        table = _train_and_test(settings, fold, names, sources, output / METHOD / fold.name)
        on_main_process(lambda table=table, fold=fold: _finish(table, output / METHOD / fold.name))  # type: ignore[misc]
    return folds


def _check_settings(settings: Settings) -> None:
    is_set = {
        "data.vocabulary null": settings.data.vocabulary is not None,
        "data.emotions null": settings.data.emotions is not None,
        "train.balance false": settings.train.balance,
        "train.select last": settings.train.select != "last",
        "objective.votes false": settings.objective.votes,
    }
    if found := [usual for usual, one in is_set.items() if one]:
        name = found[0].split()[0]
        raise GemoclapError(
            f"{name} is for classes of emotions, and {METHOD} has none; leave it out, or if a settings file has it, give "
            f"--{found[0]}"
        )
    if settings.data.dev_speakers:
        raise GemoclapError(
            f"data.dev_speakers: {METHOD} takes the last epoch, so development speakers would only be missing in training; "
            "leave it out, or if a settings file has it, give --data.dev_speakers 0"
        )


def _rows_with_dimensions(utterances: Sequence[Utterance], manifest: str) -> tuple[list[Utterance], tuple[str, ...]]:
    """Return the rows with a known dimension, all of one class, and the dimensions that some row has."""
    rows = [
        replace(row, emotion=_ANY) for row in utterances if any(getattr(row, name) is not None for name in DIMENSIONS)
    ]
    if not rows:
        raise GemoclapError(
            f"{manifest}: no row has {' or '.join(DIMENSIONS)}; prepare a corpus that has them (iemocap, msppodcast)"
        )
    if len(corpora := {row.corpus or "(no name)" for row in rows}) > 1:
        raise GemoclapError(
            f"{manifest}: rows of several corpora ({', '.join(sorted(corpora))}) have dimensions, and their scales may differ; "
            "name a manifest of one corpus"
        )
    return rows, tuple(name for name in DIMENSIONS if any(getattr(row, name) is not None for row in rows))


def _values(rows: Sequence[Utterance], names: Sequence[str]) -> np.ndarray:
    """Return (N, D), NaN where unknown."""
    return np.array([[np.nan if (one := getattr(row, name)) is None else one for name in names] for row in rows])


def _train_and_test(
    settings: Settings, fold: Fold, names: tuple[str, ...], sources: InputSources, folder: Path
) -> DimensionTable:
    state = process_state()
    model = build_model(settings, "ce", Vocabulary(METHOD, names))  # a linear layer with an output for each name
    learnt_from = with_copies(fold.train, settings.data.perturbed_copies)
    source = sources.for_model(model, [*learnt_from, *fold.test])
    source = by_speaker(model, [learnt_from, fold.test], source, standardize_features(model, learnt_from, source))
    wanted = _values(learnt_from, names)
    unknown = [name for name, column in zip(names, wanted.T, strict=True) if np.isnan(column).all()]
    if unknown:
        raise GemoclapError(f"{fold.name}: no training utterance has {unknown[0]}; choose other folds (--data.folds)")
    mean, deviation = np.nanmean(wanted, axis=0), np.nanstd(wanted, axis=0)
    deviation[deviation < EQUAL] = 1.0
    scaled = (wanted - mean) / deviation
    batches = TrainBatches(
        learnt_from, source, None, settings.train, state.process_index, state.num_processes, dimensions=scaled
    )
    key = training_key(settings.to_dict(), METHOD, fold.hash, weights_hash(settings.model.audio_encoder))
    run_epochs(model, Concordance(), batches, settings.train, folder, run_key=key, label=f"{METHOD} {fold.name}")
    # Half precision is for training only.
    predicted = _predict(model, fold.test, source if source.is_exact else sources.store) * deviation + mean
    true = _values(fold.test, names)
    return DimensionTable(
        folds=(fold.name,) * len(fold.test),
        **row_columns(fold.test),
        truth=dict(zip(names, true.T, strict=True)),
        prediction=dict(zip(names, predicted.T, strict=True)),
    )


def _predict(model: EmotionModel, rows: Sequence[Utterance], source: InputSource) -> np.ndarray:
    """Return the model's outputs (N, D) float64, in the order of `rows`."""
    found: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for batch in eval_batches(rows, source, None, EVAL_BATCH):
            outputs = model(**batch.to(model.device).inputs)["logits"]
            found |= dict(zip(batch.ids, outputs.double().cpu().numpy(), strict=True))
    return np.stack([found[row.id] for row in rows])


def _finish(table: DimensionTable, folder: Path) -> None:
    """Write the predictions, which marks the fold as done, then delete the training state."""
    table.write(folder / PREDICTIONS)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
