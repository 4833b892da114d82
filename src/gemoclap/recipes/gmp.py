"""GMP-TL on one training set: features, clusters, frames, fine-tuning (docs/methods.md).

The steps write to the fold's folder. Each runs once, and can be resumed:

    features/model      the encoder trained on emotion and gender (A)
    clusters/           pseudo-labels of its frames, and their quality (`gmp.codebooks`)
    frames/model        the encoder trained on the labels of hidden frames (B)
    log.jsonl           fine-tuning with the last head (C)

A, B and the clustering use only the training speakers of the fold. If `train.select` is dev, the best epoch is chosen on the
development speakers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from gemoclap.config import (
    ModelSettings,
    Settings,
    TrainSettings,
)
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import InputSource, InputsWithSeries, TrainBatches
from gemoclap.data.folds import Fold
from gemoclap.data.shards import Shards
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.freezing import layer_count
from gemoclap.encoders.provenance import named_speakers, remember
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash, write_json
from gemoclap.gmp.clustering import faiss_package
from gemoclap.gmp.codebooks import codebook_path, is_clustered
from gemoclap.gmp.frame_labels import FrameLabelModel, FramePseudoLabels
from gemoclap.labels import Vocabulary
from gemoclap.models import EmotionModel
from gemoclap.recipes.clusters import cluster
from gemoclap.recipes.early_checks import check_genders
from gemoclap.recipes.gmp_features import ORIGIN, copy_features, feature_settings, features_of, features_origin
from gemoclap.recipes.inputs import InputSources
from gemoclap.recipes.run_folder import (
    drop_checkpoint,
    on_main_process,
    save_folder,
    training_key,
    weights_hash,
)
from gemoclap.recipes.supervised import is_trained, prepare_encoder, train_in_one_stage
from gemoclap.training.distributed import process_state
from gemoclap.training.loop import run_epochs

ENCODERS = ("features", "frames")
"""Folders of a fold that have an encoder each. They are as large as the model itself."""
FRAMES_A_CLUSTER = 10
"""Smallest number of frames per cluster without a warning. With fewer frames, a cluster can be that of a single clip."""
Step = Literal["features", "cluster", "pretrain", "finetune"]
"""The steps: A, the clustering, B and C."""


def train_gmp_tl(
    settings: Settings, method: str, fold: Fold, vocabulary: Vocabulary, sources: InputSources, output: Path
) -> tuple[EmotionModel, InputSource]:
    """Train GMP-TL on a fold's training part; see `recipes.train.train_method`, and `check_folds` for what to look at first."""
    gmp = settings.gmp
    for step in _steps_before(settings, output):
        run_gmp_step(step, settings, fold, vocabulary, sources, output)
    encoder = str(output / "frames" / "model") if gmp.frame_epochs else _start(settings, output)
    model, source = train_in_one_stage(
        _starting_from(settings, encoder),
        gmp.head,
        fold,
        vocabulary,
        sources,
        output,
        asked=settings,
        label=f"gmp_tl {fold.name}",
    )
    model.config.method = method
    return model, source


def _steps_before(settings: Settings, output: Path) -> list[Step]:
    """Return the steps before C, including those that are finished. "pretrain" includes the clustering."""
    if settings.gmp.frame_epochs:
        return ["pretrain"] if is_trained(output / "frames") else ["features", "pretrain"]
    return ["features"] if settings.gmp.start == "features" else []


def run_gmp_step(
    step: Step, settings: Settings, fold: Fold, vocabulary: Vocabulary, sources: InputSources, output: Path
) -> Path:
    """Run a step before C in the folder of a fold, unless it is finished; return its folder. Earlier steps must be finished."""
    features, frames = output / "features", output / "frames"
    if step == "features":
        is_done = is_trained(features)
        # Features can be copied in a moment. So all processes must check first, before one of them copies.
        process_state().wait_for_everyone()
        if not is_done:
            _train_features(settings, fold, vocabulary, sources, features)
        drop_checkpoint(features)
        return features
    if step == "cluster":
        cluster(settings, fold, vocabulary, sources.store, features / "model", output / "clusters")
        return output / "clusters"
    if not is_trained(frames):
        labels = cluster(settings, fold, vocabulary, sources.store, features / "model", output / "clusters")
        _train_on_frames(settings, _start(settings, output), fold, sources, labels, frames)
    drop_checkpoint(frames)
    return frames


def check_step(step: Step, settings: Settings, output: Path) -> None:
    """Raise a GemoclapError if a step cannot run now, because an earlier one is missing or there is no first stage."""
    gmp = settings.gmp
    if step == "pretrain" and not gmp.frame_epochs:
        raise GemoclapError("gmp.frame_epochs is 0, which leaves this step out; continue with 'gemoclap gmp finetune'")
    last = ["pretrain"] if gmp.frame_epochs else ["features"] if gmp.start == "features" else []
    needed = {"features": [], "cluster": ["features"], "pretrain": ["features", "cluster"], "finetune": last}[step]
    finished = {
        "features": is_trained(output / "features"),
        "cluster": is_clustered(output / "clusters"),
        "pretrain": is_trained(output / "frames"),
    }
    for one in needed:
        if not finished[one]:
            raise GemoclapError(f"{output}: run 'gemoclap gmp {one}' with the same options first")


def _start(settings: Settings, output: Path) -> str:
    """Return the encoder that the first stage starts from. Without a first stage, the second one starts from it."""
    return settings.model.audio_encoder if settings.gmp.start == "pretrained" else str(output / "features" / "model")


def check_folds(settings: Settings, folds: Mapping[Path, Fold], store: AudioStore, step: Step | None = None) -> None:
    """Check, before anything is trained, everything that would otherwise fail hours later.

    Parameters
    ----------
    folds : folder -> fold, for the folds that are not trained yet.
    step : the only step to run, if one is given.

    Raises
    ------
    GemoclapError : the encoder is fully frozen, or frozen up to the layer whose frames are clustered; it cannot hide frames;
        it does not have that layer; there are more clusters than frames; no utterance has a gender; `chunk_size` and
        `batch_seconds` are both set; the features of the other run do not exist; faiss is not installed.
    """
    gmp = settings.gmp
    pending = {
        output: fold
        for output, fold in folds.items()
        if (step == "features" or "features" in _steps_before(settings, output)) and not is_trained(output / "features")
    }
    check_genders(settings, "gmp_tl", pending.values())
    for fold in pending.values():
        _check_features(settings, fold)
    if gmp.frame_epochs and pending and settings.train.batch_seconds and settings.train.chunk_size:
        raise GemoclapError(
            "train.chunk_size: the first stage of gmp_tl takes batches by seconds whole; lower train.batch_seconds and "
            "raise train.accumulate in its place"
        )
    # Without a first stage, the clusters are only needed if the user asked for this step.
    clustered = pending if gmp.frame_epochs else folds if step == "cluster" else {}
    if clustered:
        faiss_package()
        _check_clusters(settings, list(clustered.values()), store)


def _check_features(settings: Settings, fold: Fold) -> None:
    gmp = settings.gmp
    if settings.model.freeze == "all":
        raise GemoclapError(
            "model.freeze all: gmp_tl trains the encoder; set it to none, front_end or a number of layers"
        )
    if gmp.features is not None:
        features_of(Path(gmp.features), features_origin(settings, fold))


def _check_clusters(settings: Settings, folds: Sequence[Fold], store: AudioStore) -> None:
    gmp = settings.gmp
    encoder = _encoder_of(settings.model)
    if getattr(encoder.model.config, "padded", False):
        raise GemoclapError(
            "model.audio_options: gmp_tl would cluster the silence that pads a Whisper's clips; leave padded out"
        )
    if gmp.frame_epochs:
        encoder.expect_hidden_frames()
    layers = encoder.model.config.num_hidden_layers
    if not -layers - 1 <= gmp.layer <= layers:
        raise GemoclapError(
            f"gmp.layer: there is no layer {gmp.layer}; give 0 to {layers}, or -1 for the last to {-1 - layers}"
        )
    frozen = layer_count(settings.model.freeze)
    if frozen and frozen >= gmp.layer % (layers + 1):
        raise GemoclapError(
            f"model.freeze {frozen}: the frames of gmp.layer {gmp.layer} would stay as they were in training; freeze "
            "fewer layers, or cluster those of a later one"
        )
    frames = {}
    for fold in folds:
        rows = {store.content_key(row): row for row in fold.train}
        lengths = torch.from_numpy(store.lengths(list(rows.values())))
        frames[fold.name] = int(encoder.frame_counts(lengths).sum())
    fewest, largest = min(frames, key=frames.__getitem__), max(gmp.scales)
    if largest > frames[fewest]:
        raise GemoclapError(
            f"gmp.scales: {fewest} has {frames[fewest]} training frames, fewer than {largest} clusters; give smaller scales"
        )
    if largest * FRAMES_A_CLUSTER > frames[fewest] and process_state().is_main_process:
        print(
            f"beware: {fewest} has only {frames[fewest] / largest:.1f} training frames for each of {largest} clusters, so the "
            "clusters say little; give smaller --gmp.scales, so that there are some tens for each"
        )


def _encoder_of(model: ModelSettings) -> SpeechEncoder:
    """Return the encoder with all layers that `model` builds. Which layer is pooled does not matter here."""
    layers = "last" if model.layers == "weighted" else model.layers
    return load_audio_encoder(model.audio_encoder, layers, model.audio_options, model.keep_layers)


def _starting_from(settings: Settings, encoder: str) -> Settings:
    """Return the settings with another encoder, which is already trained and has no options."""
    if encoder == settings.model.audio_encoder:
        return settings
    return replace(settings, model=replace(settings.model, audio_encoder=encoder, audio_options={}))


def _train_features(
    settings: Settings, fold: Fold, vocabulary: Vocabulary, sources: InputSources, output: Path
) -> None:
    """Step A: train an encoder on emotion and, by default, gender; or copy it from another run."""
    gmp, made_of = settings.gmp, features_origin(settings, fold)
    if gmp.features is not None:
        on_main_process(lambda: copy_features(Path(gmp.features or ""), made_of, output))
        return
    head = "multi_task" if gmp.gender else "ce"
    label = f"gmp_tl features {fold.name}"
    model, _ = train_in_one_stage(feature_settings(settings), head, fold, vocabulary, sources, output, label=label)
    on_main_process(lambda: write_json(output / ORIGIN, made_of))
    _save_encoder(model.audio_encoder, fold, output)


def _train_on_frames(
    settings: Settings, encoder_name: str, fold: Fold, sources: InputSources, labels: Shards, output: Path
) -> None:
    """Step B: train an encoder to predict the pseudo-labels of hidden frames."""
    gmp, state, train = settings.gmp, process_state(), _frame_training(settings)
    torch.manual_seed(train.seed)
    start = _starting_from(settings, encoder_name).model
    encoder = _encoder_of(start)
    encoder.settle(start)
    prepare_encoder(encoder, settings)
    model = FrameLabelModel(encoder, gmp.scales, gmp.span_seconds, gmp.hidden_share).to(state.device)
    # All parts of the fold are prepared, although only the training part is used here. The last stage uses the same cache.
    source = sources.for_encoder(encoder, fold.rows)
    source = InputsWithSeries(source, sources.store, labels, "frame_labels")
    codebooks = [file_hash(codebook_path(output.parent / "clusters", k)) for k in gmp.scales]
    run_epochs(
        model,
        FramePseudoLabels(gmp.scales),
        TrainBatches(fold.train, source, None, train, state.process_index, state.num_processes),
        train,
        output,
        run_key=training_key(settings.to_dict(), fold.hash, weights_hash(encoder_name), codebooks),
        label=f"gmp_tl frames {fold.name}",
    )
    _save_encoder(encoder, fold, output)


def _frame_training(settings: Settings) -> TrainSettings:
    """Return the settings of step B.

    It has no development set. Its loss does not compare utterances with each other, so a chunk can be a batch, if it has two.
    """
    train = settings.train
    chunks = math.ceil(train.batch_size / max(2, train.chunk_size)) if train.chunk_size else 1
    return replace(
        train,
        epochs=settings.gmp.frame_epochs,
        lr=settings.gmp.frame_lr or train.lr,
        encoder_lr=None if settings.gmp.frame_lr else train.encoder_lr,
        batch_size=math.ceil(train.batch_size / chunks),
        accumulate=train.accumulate * chunks,
        chunk_size=None,
        select="last",
        balance=False,
        balance_corpora=False,
        gather=False,
    )


def _save_encoder(encoder: SpeechEncoder, fold: Fold, output: Path) -> None:
    """Save an encoder where `is_trained` finds it.

    Its config gets the speakers of the fold, because the encoder was trained with their labels: in B by way of the clusters.
    """
    remember(encoder.model.config, labelled=named_speakers([*fold.train, *fold.dev]))
    on_main_process(lambda: save_folder(output / "model", encoder.save_pretrained))
