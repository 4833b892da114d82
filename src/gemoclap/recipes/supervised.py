"""Builds, trains and saves one model on one training set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gemoclap.audio import SAMPLE_RATE
from gemoclap.clap import objectives as contrastive
from gemoclap.clap.model import GEmoClapModel
from gemoclap.clap.objectives import GENDER_HEAD
from gemoclap.config import HEADS, METHODS, ObjectiveSettings, Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import InputSource, TrainBatches, check_classes
from gemoclap.data.folds import Fold
from gemoclap.data.perturb import with_copies
from gemoclap.data.targets import Objective
from gemoclap.encoders.pooling import Standardizer
from gemoclap.encoders.provenance import LABELLED
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.wavlm import make_wavlm_attention_fast
from gemoclap.heads import objectives as plain
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.labels import Vocabulary
from gemoclap.models import EmotionModel
from gemoclap.recipes.inputs import InputSources
from gemoclap.recipes.model_card import write_model_card
from gemoclap.recipes.run_folder import (
    on_main_process,
    save_folder,
    training_key,
    weights_hash,
)
from gemoclap.recipes.speaker_features import by_speaker, pooled_features
from gemoclap.training.distributed import process_state
from gemoclap.training.evaluate import headline_scores, predict_table
from gemoclap.training.loop import run_epochs

USUAL_SHARE = 0.99
"""Share of the training clips that are not longer than `LabelledConfig.clip_seconds` [C]."""

OBJECTIVES: dict[str, Callable[[ObjectiveSettings], Objective]] = {**contrastive.OBJECTIVES, **plain.OBJECTIVES}


def is_trained(output: Path) -> bool:
    """Whether the folder of a training has its model. A model is written completely or not at all."""
    return (output / "model" / "config.json").is_file()


def train_in_one_stage(
    settings: Settings,
    method: str,
    fold: Fold,
    vocabulary: Vocabulary,
    sources: InputSources,
    output: Path,
    *,
    asked: Settings | None = None,
    label: str | None = None,
) -> tuple[EmotionModel, InputSource]:
    """Train a model with one head on the training part of a fold. Log and checkpoint go to `output`.

    `asked` are the settings that identify the run, if they differ from those of this training, which is a step of a method.
    `label` is shown in the progress display.

    Returns
    -------
    The model, and the source of its inputs for scoring, prepared for every utterance of the fold.
    """
    state = process_state()
    check_classes(fold.train, vocabulary)
    model = build_model(settings, method, vocabulary)
    learnt_from = with_copies(fold.train, settings.data.perturbed_copies)
    source = sources.for_model(model, [*learnt_from, *fold.dev, *fold.test])
    source = by_speaker(
        model, [learnt_from, fold.dev, fold.test], source, standardize_features(model, learnt_from, source)
    )
    # Half precision is for training only; scores are computed with the saved model.
    for_scoring = source if source.is_exact else sources.store
    batches = TrainBatches(
        learnt_from,
        source,
        vocabulary,
        settings.train,
        state.process_index,
        state.num_processes,
        votes=settings.objective.votes,
    )
    known_by = (asked or settings).to_dict()
    if asked is None:  # this is a model of its own, on which the settings of GMP-TL have no effect
        del known_by["gmp"]

    def development() -> dict[str, float]:
        return headline_scores(predict_table(model, fold.dev, for_scoring))

    run_epochs(
        model,
        OBJECTIVES[method](settings.objective),
        batches,
        # With a plain head, the loss of an utterance does not depend on other utterances.
        replace(settings.train, gather=settings.train.gather and method not in HEADS),
        output,
        run_key=training_key(known_by, method, fold.hash, *_weights(settings, method)),
        evaluate=development if fold.dev else None,
        label=label or f"{method} {fold.name}",
    )
    return model, for_scoring


def standardize_features(
    model: EmotionModel, utterances: Sequence[Utterance], source: InputSource
) -> dict[str, Tensor]:
    """Measure, on `utterances`, mean and deviation of the pooled features, if the model standardises them.

    Every process uses all utterances, so that all processes have the same values.

    Returns
    -------
    Id -> standardised features, for a model that is to standardise them over each speaker too; nothing for others.
    """
    if not isinstance(model.standardizer, Standardizer):
        return {}
    found = pooled_features(model, utterances, source, "features of the training set")
    features = torch.stack([*found.values()])
    model.standardizer.fit(features)
    if model.config.audio_standardize != "speaker":
        return {}
    return dict(zip(found, model.standardizer(features.to(model.device)).cpu(), strict=True))


def _weights(settings: Settings, method: str) -> list[str | None]:
    """Return hashes of the weights that the training of a method starts from."""
    text = [weights_hash(settings.model.text_encoder, is_text=True)] if method in METHODS else []
    return [weights_hash(settings.model.audio_encoder), *text]


def build_model(settings: Settings, method: str, vocabulary: Vocabulary) -> EmotionModel:
    """Return the untrained model of a method. Its random weights depend on the seed only."""
    torch.manual_seed(settings.train.seed)
    model: EmotionModel
    if method in HEADS:
        model = SpeechClassifier.from_audio_pretrained(
            settings.model.audio_encoder,
            vocabulary,
            settings.model,
            audio=settings.data.audio,
            method=method,
            head=plain.HEAD_OF[method],
            scale=settings.objective.scale,
            gender_head=method in plain.GENDER_HEAD,
        )
    else:
        model = GEmoClapModel.from_audio_text_pretrained(
            settings.model.audio_encoder,
            settings.model.text_encoder,
            vocabulary,
            settings.model,
            audio=settings.data.audio,
            method=method,
            gender_head=method in GENDER_HEAD,
        )
    prepare_encoder(model.audio_encoder, settings)
    return model


def prepare_encoder(encoder: SpeechEncoder, settings: Settings) -> None:
    """Set options of an encoder that save time or memory in training. They change no result."""
    make_wavlm_attention_fast(encoder.model, settings.model.attention)
    if settings.train.gradient_checkpointing:
        encoder.checkpoint_gradients()
    if settings.train.compile:
        encoder.compile_layers()


def usual_seconds(utterances: Sequence[Utterance], store: AudioStore) -> float:
    """Return the length that `USUAL_SHARE` of clips do not exceed, silence at head and tail not counted."""
    samples = np.quantile(store.lengths(utterances), USUAL_SHARE, method="higher")
    return math.ceil(100 * samples / SAMPLE_RATE) / 100


def save_model(
    model: EmotionModel,
    target: Path,
    settings: Settings,
    method: str,
    fold: Fold,
    store: AudioStore,
    scores: Mapping[str, float] | None = None,
) -> None:
    """Save model, tokenizer and card in a folder, completely or not at all. Only the main process writes.

    Parameters
    ----------
    store : the store with the clips of the fold.
    """
    model.config.clip_seconds = usual_seconds(fold.train, store)
    before = getattr(model.audio_encoder.model.config, LABELLED, ())
    model.config.trained_speakers = sorted({*before, *(speaker_name(row) for row in (*fold.train, *fold.dev))})

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        write_model_card(folder / "README.md", settings, method, fold, scores, model.config)

    on_main_process(lambda: save_folder(target, write))
