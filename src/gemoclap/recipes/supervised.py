"""One method, one training set: read, build, fit, save."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gemoclap.clap.model import GEmoClapModel
from gemoclap.clap.objectives import GENDER_HEAD, OBJECTIVES
from gemoclap.config import DataSettings, Settings
from gemoclap.corpora import CORPORA
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.data.dataset import AudioStore, TrainBatches
from gemoclap.data.folds import Fold, make_folds
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary, get_vocabulary, vocabulary_of
from gemoclap.recipes.model_card import write_model_card
from gemoclap.recipes.run_folder import claim, file_hash, run_key, save_folder
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.training.evaluate import development_scores, predict_table
from gemoclap.training.loop import fit


def train(settings: Settings, method: str, output: Path) -> Path:
    """Train `method` on all speakers of the manifest but the development ones; return the model's folder.

    Raises
    ------
    GemoclapError : what is wrong with the manifest, the settings or the output folder.
    """
    utterances, vocabulary, data = read_data(settings.data)
    settings = replace(settings, data=data)
    everyone = everyone_fold(utterances, settings.data, vocabulary)
    manifest = file_hash(str(settings.data.manifest))
    claim(output, {**settings.to_dict(), "method": method, "manifest_sha256": manifest})
    store = load_audio_store(settings.data, [*everyone.train, *everyone.dev])
    model = train_fold(settings, method, everyone, vocabulary, store, output)
    save_model(model, output / "model", settings, method, everyone)
    shutil.rmtree(output / "checkpoint", ignore_errors=True)
    return output / "model"


def read_data(data: DataSettings) -> tuple[list[Utterance], Vocabulary, DataSettings]:
    """Return the manifest's utterances, the classes, and the settings with the corpus's own choices filled in.

    Raises
    ------
    GemoclapError : no manifest is named, it is faulty, or the vocabulary is unknown.
    """
    if data.manifest is None:
        raise GemoclapError("no manifest; make one with 'gemoclap prepare CORPUS ROOT -o m.jsonl', give it with --data.manifest")
    utterances = read_manifest(data.manifest)
    names = {row.corpus for row in utterances}
    corpus = CORPORA.get(str(names.pop())) if len(names) == 1 else None
    if data.folds == "auto":
        data = replace(data, **(corpus.folds if corpus else {"folds": "kfold"}))
    if data.vocabulary is None and data.emotions is None and corpus is not None:
        data = replace(data, vocabulary=corpus.vocabulary)
    return utterances, _vocabulary(data, utterances), data


def _vocabulary(data: DataSettings, utterances: Sequence[Utterance]) -> Vocabulary:
    if data.vocabulary is not None and data.emotions is not None:
        raise GemoclapError("--data.vocabulary and --data.emotions both name the classes; give one of them")
    if data.vocabulary is not None:
        return get_vocabulary(data.vocabulary)
    if data.emotions is not None:
        return Vocabulary("custom", tuple(data.emotions), data.merges)
    merged = (data.merges.get(row.emotion, row.emotion) if row.emotion else None for row in utterances)
    return replace(vocabulary_of(merged), merges=data.merges)


def everyone_fold(utterances: Sequence[Utterance], data: DataSettings, vocabulary: Vocabulary) -> Fold:
    """Return one fold without a test part: all utterances of the vocabulary, less the development speakers'."""
    rows = tuple(row for row in utterances if vocabulary.resolve(row.emotion) is not None)
    if not data.dev_speakers:
        return Fold("all", rows, (), ())
    # The first of k folds over speakers has its development speakers chosen by the same rule as anywhere else.
    first = make_folds(rows, replace(data, folds="kfold", n_folds=2), vocabulary)[0]
    development = {row.speaker for row in first.dev}
    return Fold("all", tuple(row for row in rows if row.speaker not in development), first.dev, ())


def load_audio_store(data: DataSettings, utterances: Sequence[Utterance]) -> AudioStore:
    """Return a store with the clips of `utterances` decoded, prepared and held in memory."""
    store = AudioStore(data.audio)
    with progress_bar("reading audio") as progress:
        store.preload(utterances, progress=progress)
    return store


def train_fold(
    settings: Settings, method: str, fold: Fold, vocabulary: Vocabulary, store: AudioStore, output: Path
) -> GEmoClapModel:
    """Train `method` on a fold's training part; the log and the checkpoint go to `output`."""
    state = process_state()
    batches = TrainBatches(fold.train, store, vocabulary, settings.train, state.process_index, state.num_processes)
    model = build_model(settings, method, vocabulary)

    def development() -> dict[str, float]:
        return development_scores(predict_table(model, fold.dev, store))

    fit(
        model,
        OBJECTIVES[method](settings.objective),
        batches,
        settings.train,
        output,
        run_key=run_key(settings.to_dict(), method, fold.hash),
        evaluate=development if fold.dev else None,
        label=f"{method} {fold.name}",
    )
    return model


def build_model(settings: Settings, method: str, vocabulary: Vocabulary) -> GEmoClapModel:
    """Return the untrained composite model of a method; its new weights depend on the seed alone."""
    torch.manual_seed(settings.train.seed)
    return GEmoClapModel.from_audio_text_pretrained(
        settings.model.audio_encoder,
        settings.model.text_encoder,
        vocabulary,
        settings.model,
        audio=settings.data.audio,
        method=method,
        gender_head=method in GENDER_HEAD,
    )


def save_model(
    model: GEmoClapModel, target: Path, settings: Settings, method: str, fold: Fold, scores: dict[str, Any] | None = None
) -> None:
    """Save model, tokenizer and card as a folder that appears whole or not at all; the main process alone writes."""
    state = process_state()
    if state.is_main_process:

        def write(folder: Path) -> None:
            model.save_pretrained(folder)
            write_model_card(folder / "README.md", settings, method, fold, scores)

        save_folder(target, write)
    state.wait_for_everyone()
