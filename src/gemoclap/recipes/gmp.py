"""GMP-TL on one training set: features, clusters, frames, fine-tuning (docs/methods.md).

Below the fold's folder lie, each done once and resumed where it was stopped:

    features/model      the encoder trained to name emotion and gender (A)
    clusters/           kmeans_K.safetensors a scale, labels/ of every training clip, quality.json; encoder.json: of which A
    frames/model        the encoder trained to name hidden frames by their labels (B)
    log.jsonl           fine-tuning under the last head (C)

Only the fold's training speakers are heard in A, B and the clustering; development speakers choose epochs where
`train.select` says so.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gemoclap.config import GmpSettings, Settings, TrainSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import Clips, TrainBatches
from gemoclap.data.folds import Fold, speaker_name
from gemoclap.data.shards import Shards
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.feature_cache import LayerFrames
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.files import write_json
from gemoclap.gmp.clustering import assign, fit_kmeans, load_kmeans, save_kmeans
from gemoclap.gmp.frame_labels import PADDING, FrameLabelModel, FramePseudoLabels
from gemoclap.gmp.frames import ShardFrames
from gemoclap.gmp.quality import agreement
from gemoclap.labels import Vocabulary
from gemoclap.models import EmotionModel
from gemoclap.recipes.clips import ClipSource
from gemoclap.recipes.run_folder import (
    ENCODER_WEIGHTS,
    determining,
    file_hash,
    on_main_process,
    run_key,
    save_folder,
    weights_hash,
)
from gemoclap.recipes.supervised import fit_fold, is_trained, prepare_encoder
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.training.loop import fit

ENCODERS = ("features", "frames")
"""Folders of a fold that hold an encoder each, as large as the model itself."""


def fit_gmp_fold(
    settings: Settings, method: str, fold: Fold, vocabulary: Vocabulary, source: ClipSource, output: Path
) -> tuple[EmotionModel, Clips]:
    """Train GMP-TL on a fold's training part; see `recipes.train.train_fold`.

    Raises
    ------
    GemoclapError : as `_check_request`, before anything is trained.
    """
    gmp = settings.gmp
    encoder = settings.model.audio_encoder
    needs_labels = bool(gmp.frame_epochs) and not is_trained(output / "frames")
    if needs_labels or gmp.start == "features":
        if not output.exists():
            _check_request(settings, fold, source.store)
        features = train_features(settings, fold, vocabulary, source, output / "features")
        if gmp.start == "features":
            encoder = str(features)
        if needs_labels:
            labels = cluster(settings, fold, vocabulary, source.store, features, output / "clusters")
            train_on_frames(settings, encoder, fold, source.store, labels, output / "frames")
    if gmp.frame_epochs:
        encoder = str(output / "frames" / "model")
    model, clips = fit_fold(
        _starting_from(settings, encoder),
        gmp.head,
        fold,
        vocabulary,
        source,
        output,
        asked=settings,
        label=f"gmp_tl {fold.name}",
    )
    model.config.method = method
    return model, clips


def _check_request(settings: Settings, fold: Fold, store: AudioStore) -> None:
    """Raise for what would come to light hours later, after the features are trained.

    Raises
    ------
    GemoclapError : the encoder is frozen whole, cannot hide frames or has no such layer; more clusters than frames; no
        gender is known.
    """
    gmp = settings.gmp
    if settings.model.freeze == "all":
        raise GemoclapError(
            "model.freeze all: gmp_tl trains the encoder; set it to none, front_end or a number of layers"
        )
    if gmp.gender and not any(row.gender for row in fold.train):
        raise GemoclapError(
            f"gmp.gender: no training utterance of {fold.name} has a gender; fill the manifest's field, or set it to false"
        )
    if not gmp.frame_epochs:
        return
    encoder = load_audio_encoder(settings.model.audio_encoder, "last", settings.model.audio_options)
    encoder.expect_hidden_frames()
    layers = encoder.model.config.num_hidden_layers
    if not -layers - 1 <= gmp.layer <= layers:
        raise GemoclapError(
            f"gmp.layer: there is no layer {gmp.layer}; give 0 to {layers}, or -1 for the last to {-1 - layers}"
        )
    rows = {store.content_key(row): row for row in fold.train}
    frames = int(encoder.frame_counts(torch.from_numpy(store.lengths(list(rows.values())))).sum())
    if max(gmp.scales) > frames:
        raise GemoclapError(
            f"gmp.scales: {fold.name} has {frames} training frames, fewer than {max(gmp.scales)} clusters; give smaller scales"
        )


def _starting_from(settings: Settings, encoder: str) -> Settings:
    """Return the settings with another encoder, which is trained already and has no options."""
    if encoder == settings.model.audio_encoder:
        return settings
    return replace(settings, model=replace(settings.model, audio_encoder=encoder, audio_options={}))


def train_features(settings: Settings, fold: Fold, vocabulary: Vocabulary, source: ClipSource, output: Path) -> Path:
    """A: train an encoder to name emotion and, unless told otherwise, gender; return its folder."""
    if not is_trained(output):
        epochs = settings.gmp.feature_epochs or settings.train.epochs
        longer = replace(settings, train=replace(settings.train, epochs=epochs))
        head = "multi_task" if settings.gmp.gender else "ce"
        label = f"gmp_tl features {fold.name}"
        model, _ = fit_fold(longer, head, fold, vocabulary, source, output, label=label)
        _save_encoder(model.audio_encoder, output)
    _let_go(output)
    return output / "model"


def cluster(
    settings: Settings, fold: Fold, vocabulary: Vocabulary, store: AudioStore, encoder_folder: Path, output: Path
) -> Shards:
    """Cluster the training clips' frames at every scale; return their labels, ``(F, S)`` int32 by content key."""
    origin = {ENCODER_WEIGHTS: weights_hash(str(encoder_folder))}

    def begin() -> None:
        if not _is_of(output / "encoder.json", origin):
            shutil.rmtree(output, ignore_errors=True)
            write_json(output / "encoder.json", origin)

    on_main_process(begin)
    labels = Shards(output / "labels")
    rows = {store.content_key(row): row for row in fold.train}

    def work() -> None:
        if labels.missing(rows):
            _cluster(settings, rows, store, encoder_folder, output, labels)
        if not (output / "quality.json").is_file():
            # In an order of their own: nothing here may depend on how a manifest is sorted.
            kept = [(rows[key], labels[key]) for key in sorted(rows)]
            write_json(output / "quality.json", quality(settings.gmp, vocabulary, *zip(*kept, strict=True)))
        # Gigabytes on a large corpus, and made again from features/model if ever needed.
        shutil.rmtree(output / "frames", ignore_errors=True)

    on_main_process(work)
    labels.refresh()
    return labels


def _is_of(path: Path, origin: dict[str, str | None]) -> bool:
    """Whether clusters are those of this encoder: features that were made anew have others."""
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == origin


def _cluster(
    settings: Settings,
    rows: dict[str, Utterance],
    store: AudioStore,
    encoder_folder: Path,
    output: Path,
    labels: Shards,
) -> None:
    encoder = SpeechEncoder.from_pretrained(str(encoder_folder)).to(process_state().device)
    clips = LayerFrames(encoder, store, settings.gmp.layer, torch.float32, output)
    with progress_bar("frames to cluster") as progress:
        clips.encode(list(rows.values()), progress)
    assert isinstance(clips.kept, Shards)
    frames = ShardFrames(clips.kept, sorted(rows))
    codebooks = []
    for k in settings.gmp.scales:
        path = output / f"kmeans_{k}.safetensors"
        if not path.is_file():
            with progress_bar(f"k-means, {k} clusters") as progress:
                found = fit_kmeans(frames, k, passes=settings.gmp.passes, seed=settings.train.seed, progress=progress)
            save_kmeans(path, found)
        codebooks.append(load_kmeans(path).centroids)
    with labels.writer() as writer:
        for key in labels.missing(sorted(rows)):
            columns = [assign(clips.kept[key].numpy(), codebook)[0] for codebook in codebooks]
            writer[key] = torch.from_numpy(np.stack(columns, axis=1)).int()
    labels.refresh()


def quality(
    gmp: GmpSettings, vocabulary: Vocabulary, rows: Sequence[Utterance], labels: Sequence[Tensor]
) -> dict[str, dict[str, dict | None]]:
    """Return purity and normalised mutual information of the labels with emotion, gender and speaker, by scale."""
    counts = [len(one) for one in labels]
    table = torch.cat(list(labels)).numpy()
    words = {
        "emotion": [vocabulary.resolve(row.emotion) for row in rows],
        "gender": [row.gender for row in rows],
        "speaker": [speaker_name(row) if row.speaker else None for row in rows],
    }
    return {
        str(k): {name: agreement(table[:, place], known, counts) for name, known in words.items()}
        for place, k in enumerate(gmp.scales)
    }


class LabelledFrames:
    """The waveforms of a store with the pseudo-labels of their frames beside them; a source of model inputs (`Clips`)."""

    at_hand, is_exact = False, True

    def __init__(self, store: AudioStore, labels: Shards) -> None:
        self.store, self.labels = store, labels

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the samples of each clip, (N,) int64."""
        return self.store.lengths(utterances)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return ``waveforms`` (B, T), ``lengths`` (B,) and ``frame_labels`` (B, F, S), padded with `PADDING`."""
        found = [self.labels[self.store.content_key(row)] for row in utterances]
        padded = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=PADDING)
        return {**self.store.inputs(utterances), "frame_labels": padded}


def train_on_frames(
    settings: Settings, encoder_name: str, fold: Fold, store: AudioStore, labels: Shards, output: Path
) -> Path:
    """B: train an encoder to name hidden frames by their pseudo-labels; return its folder."""
    if not is_trained(output):
        gmp, state, train = settings.gmp, process_state(), _frame_training(settings)
        torch.manual_seed(train.seed)
        start = _starting_from(settings, encoder_name).model
        encoder = load_audio_encoder(start.audio_encoder, "last", start.audio_options)
        encoder.freeze(start.freeze)
        prepare_encoder(encoder, settings)
        clips = LabelledFrames(store, labels)
        codebooks = [file_hash(output.parent / "clusters" / f"kmeans_{k}.safetensors") for k in gmp.scales]
        fit(
            FrameLabelModel(encoder, gmp.scales, gmp.span, gmp.span_start),
            FramePseudoLabels(gmp.scales),
            TrainBatches(fold.train, clips, None, train, state.process_index, state.num_processes),
            train,
            output,
            run_key=run_key(determining(settings.to_dict()), fold.hash, weights_hash(encoder_name), codebooks),
            label=f"gmp_tl frames {fold.name}",
        )
        _save_encoder(encoder, output)
    _let_go(output)
    return output / "model"


def _frame_training(settings: Settings) -> TrainSettings:
    """Return how B is trained: no development set, and no utterance that needs another's output, so chunks are batches."""
    train = settings.train
    chunks = math.ceil(train.batch_size / train.chunk_size) if train.chunk_size else 1
    return replace(
        train,
        epochs=settings.gmp.frame_epochs,
        lr=settings.gmp.frame_lr or train.lr,
        batch_size=math.ceil(train.batch_size / chunks),
        accumulate=train.accumulate * chunks,
        chunk_size=None,
        select="last",
        balance=False,
        gather=False,
    )


def _save_encoder(encoder: SpeechEncoder, output: Path) -> None:
    """Save an encoder where `is_trained` looks."""
    on_main_process(lambda: save_folder(output / "model", encoder.save_pretrained))


def _let_go(output: Path) -> None:
    """Delete the training state of a finished step."""
    on_main_process(lambda: shutil.rmtree(output / "checkpoint", ignore_errors=True))
