"""Several methods over the same speaker-disjoint folds: train, classify the unseen speakers, keep every prediction."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gemoclap.config import BASELINES, METHODS, Settings
from gemoclap.data.dataset import AudioStore
from gemoclap.data.folds import Fold, make_folds
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import write_json
from gemoclap.labels import Vocabulary
from gemoclap.predictions import PredictionTable
from gemoclap.recipes.baseline import EgemapsFeatures, run_fold
from gemoclap.recipes.run_folder import claim, file_hash
from gemoclap.recipes.supervised import load_audio_store, read_data, save_model, train_fold
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.training.evaluate import development_scores, predict_table, table_of


def cross_validate(settings: Settings, methods: Sequence[str], output: Path, *, keep_models: bool = True) -> list[Fold]:
    """Train and test every method in every fold; finished folds are not done again, a stopped one goes on.

    `output` gets config.yaml, folds.json and, a method and fold, predictions.csv, log.jsonl and model/.

    Raises
    ------
    GemoclapError : an unknown method; what is wrong with manifest, settings, folds or the output folder.
    """
    _check_methods(methods)
    utterances, vocabulary, data = read_data(settings.data)
    settings = replace(settings, data=data)
    folds = make_folds(utterances, settings.data, vocabulary)
    manifest = str(settings.data.manifest)
    claim(output, {**settings.to_dict(), "manifest_sha256": file_hash(manifest)}, methods)
    _write_folds(output / "folds.json", folds, vocabulary, manifest)
    for method in methods:
        pending = [fold for fold in folds if not _predictions(output, method, fold).is_file()]
        if not pending:
            continue
        if method in BASELINES:
            _baseline(pending, vocabulary, output, method)
            continue
        store = load_audio_store(settings.data, [row for fold in folds for row in (*fold.train, *fold.dev, *fold.test)])
        for fold in pending:
            _train_and_test(settings, method, fold, vocabulary, store, output, keep_models)
    return folds


def _check_methods(methods: Sequence[str]) -> None:
    known = [*METHODS, *BASELINES]
    for method in methods:
        if method not in known:
            raise GemoclapError(f"no method is called {method!r}{did_you_mean(method, known)}; known: {', '.join(known)}")
    if not methods:
        raise GemoclapError(f"no method to cross-validate; give some of {', '.join(known)} with --methods")


def _predictions(output: Path, method: str, fold: Fold) -> Path:
    return output / method / fold.name / "predictions.csv"


def _write_folds(path: Path, folds: Sequence[Fold], vocabulary: Vocabulary, manifest: str) -> None:
    """Write who is trained on, developed on and tested in each fold, by id."""
    if not process_state().is_main_process:
        return
    rows = [
        {
            "name": fold.name,
            "hash": fold.hash,
            "shared_speakers": list(fold.shared_speakers),
            "train": [row.id for row in fold.train],
            "dev": [row.id for row in fold.dev],
            "test": [row.id for row in fold.test],
        }
        for fold in folds
    ]
    overlap = any(fold.shared_speakers for fold in folds)
    write_json(
        path, {"vocabulary": vocabulary.to_dict(), "manifest": manifest, "speaker_overlap": overlap, "folds": rows}
    )


def _train_and_test(
    settings: Settings,
    method: str,
    fold: Fold,
    vocabulary: Vocabulary,
    store: AudioStore,
    output: Path,
    keep_models: bool,
) -> None:
    folder = output / method / fold.name
    model = train_fold(settings, method, fold, vocabulary, store, folder)
    table = predict_table(model, fold.test, store, fold=fold.name)
    if keep_models:
        save_model(model, folder / "model", settings, method, fold, development_scores(table))
    _finish(table, folder)


def _baseline(folds: Sequence[Fold], vocabulary: Vocabulary, output: Path, method: str) -> None:
    features = EgemapsFeatures(output / method)
    with progress_bar("eGeMAPS functionals") as progress:
        features.preload([row for fold in folds for row in (*fold.train, *fold.test)], progress)
    for fold in folds:
        said = run_fold(fold, features, vocabulary)
        table = table_of(fold.test, said.scores, vocabulary.emotions, vocabulary.resolve, fold.name)
        _finish(table, output / method / fold.name)


def _finish(table: PredictionTable, folder: Path) -> None:
    """Write the predictions, which marks the fold as done, then let the training state go."""
    state = process_state()
    if state.is_main_process:
        table.write(folder / "predictions.csv")
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    state.wait_for_everyone()
