"""S3PRL's downstream emotion protocol: how well can a linear head predict emotion from a frozen encoder?

[S] s3prl/downstream/emotion (SUPERB's task ER). With frame t of layer l called h_lt:

    logits = W2 mean_t(W1 sum_l a_l h_lt + b1) + b2,    a = softmax over learned weights that start at 0

There is no nonlinearity between the two linear layers, so the mean over frames can be taken first:

    logits = W2 (W1 sum_l a_l mean_t h_lt + b1) + b2

So the pooled layers that `encoders.feature_cache.LayerFeatures` stores are enough. Each clip is encoded once. Then a head
trains in seconds.

Three points are ours [C]. First, folds and development speakers are made as in any other run. S3PRL's development set is a
random fifth of the training utterances, so both have the same speakers. Second, the last epoch is reported by default. Third,
features are rescaled, so that a head needs fewer steps. For S3PRL's own settings use `head.rescale` false, `train.lr` 1e-4
and `train.steps` 30000.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from gemoclap.config import CacheSettings
from gemoclap.config.probe import LOG_MEL, ProbeSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore, pad_waveforms
from gemoclap.data.folds import Fold, make_folds, rows_of
from gemoclap.data.reading import labels_left_out, left_out, read_data, unused_merges
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.encoders import UNTRAINED, audio_encoder_source, load_audio_encoder
from gemoclap.encoders.feature_cache import LayerFeatures
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.encoders.mel import LogMel
from gemoclap.encoders.pooling import masked_mean
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash
from gemoclap.labels import Vocabulary
from gemoclap.metrics import unweighted_average_recall, weighted_average_recall
from gemoclap.predictions import PREDICTIONS, concatenate, read_predictions
from gemoclap.recipes.crossval import plan_of
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.inputs import cache_folder, load_audio_store
from gemoclap.recipes.made import write_made
from gemoclap.recipes.run_folder import ENCODER_WEIGHTS, MANIFEST_HASH, claim, refuse_other_run, say, say_all
from gemoclap.recipes.seeds import FIGURES, OverSeeds, over_seeds, write_over_seeds
from gemoclap.running import running_seconds
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.training.evaluate import headline_scores, table_of
from gemoclap.writing import atomic_write


@holds_output
def probe(settings: ProbeSettings, output: str | os.PathLike) -> dict[str, dict[str, OverSeeds]]:
    """Train a head for every encoder, fold and seed, and predict the test speakers. Finished work is not repeated.

    `output` becomes a folder that `gemoclap.reports` reads. It has config.yaml, folds.json and, for each encoder and fold,
    predictions.csv and log.jsonl of the first seed. The folder of a fold has a seed_N/ for every seed, with these files,
    head.safetensors and made.json. seeds.json and seeds.csv summarise all seeds.

    Returns
    -------
    Encoder -> ``"war"`` and ``"uar"`` -> the score over seeds.

    Raises
    ------
    GemoclapError : a fault in manifest, audio, settings, folds, an encoder or the output folder.
    """
    output = Path(output)
    utterances, vocabulary, data = read_data(settings.data)
    settings = replace(settings, data=data)
    folds = make_folds(utterances, data, vocabulary)
    say(left_out(utterances, vocabulary))
    say(unused_merges(data, utterances))
    _check_request(settings, folds, vocabulary)
    encoders = load_encoders(settings)
    config = {
        **asdict(settings),
        ENCODER_WEIGHTS: {method: identity(encoder) for method, encoder in encoders.items()},
        MANIFEST_HASH: file_hash(str(data.manifest)),
    }
    configs = {name: one.model.config for name, one in encoders.items() if isinstance(one, SpeechEncoder)}
    plan = plan_of(folds, vocabulary, str(data.manifest), configs, labels_left_out(utterances, vocabulary))
    refuse_other_run(output, config, plan)
    heads = [(fold, seed) for fold in folds for seed in settings.train.seeds]
    pending = {
        method: [one for one in heads if not predictions_path(output / method, *one).is_file()] for method in encoders
    }
    rows = rows_of(folds) if any(pending.values()) else []
    # Read all audio before anything is written, so that a faulty file leaves no run behind.
    store = load_audio_store(settings.cache, data.audio, rows)
    say_all(refuse_same_audio(folds if rows else (), store, data))
    claim(output, config, list(encoders), plan)
    for method, encoder in encoders.items():
        if pending[method]:
            means = layer_means(encoder, rows, store, settings.cache)
            features = {row.id: one for row, one in zip(rows, means, strict=True)}
            with progress_bar(f"heads on {method}") as progress:
                for done, (fold, seed) in enumerate(pending[method], 1):
                    _train_and_test(settings, features, fold, seed, vocabulary, output / method)
                    progress(done, len(pending[method]))
    return _sum_up(output, encoders, folds, settings.train.seeds)


def _check_request(settings: ProbeSettings, folds: Sequence[Fold], vocabulary: Vocabulary) -> None:
    if process_state().num_processes > 1:
        raise GemoclapError("a probe runs in one process; start it without torchrun or 'accelerate launch'")
    if len(vocabulary.emotions) < 2:
        raise GemoclapError(f"{vocabulary.emotions[0]!r} is the only class; name two or more with --data.emotions")
    lacking = [fold.name for fold in folds if not fold.dev]
    if settings.train.select == "dev" and lacking:
        raise GemoclapError(
            f"train.select dev needs a development set, and {lacking[0]} has none; set --data.dev_speakers to 1 or more"
        )


def load_encoders(settings: ProbeSettings) -> dict[str, SpeechEncoder | LogMel]:
    """Return the frozen encoders by name. The names are valid names of folders.

    ``plain=runs/ems/model`` is called ``plain``. ``runs/ems/model``, without a name, is called ``runs_ems_model``.

    Raises
    ------
    GemoclapError : an encoder cannot be loaded, or two encoders would have the same name.
    """
    encoders: dict[str, SpeechEncoder | LogMel] = {}
    for given in settings.encoders:
        called, _, name = given.rpartition("=")
        method = (called or name).strip("./").replace("/", "_") or "encoder"
        if method in encoders:
            raise GemoclapError(f"encoders: {given} would be called {method}, as another is; name each once")
        if name == LOG_MEL:
            encoders[method] = LogMel(n_mels=80)
            continue
        if name not in UNTRAINED:
            audio_encoder_source(name, also=(LOG_MEL,))  # its message names log_mel too
        torch.manual_seed(settings.train.seeds[0])
        encoder = load_audio_encoder(name, settings.head.layers)
        encoder.freeze("all")
        encoders[method] = encoder
    return encoders


def identity(encoder: SpeechEncoder | LogMel) -> str:
    """Return a hash of an encoder's weights and of its input format."""
    if isinstance(encoder, LogMel):
        return fingerprint(encoder)
    return fingerprint(encoder.model, encoder.do_normalize)


def layer_means(
    encoder: SpeechEncoder | LogMel, rows: Sequence[Utterance], store: AudioStore, cache: CacheSettings
) -> Tensor:
    """Return the mean over the frames of each layer, ``(N, L, D)`` on the training device. L is 1 for log-mel frames.

    If `cache` allows it, the means are read from the cache that all runs with this encoder share, and new ones are added.
    """
    device = process_state().device
    if isinstance(encoder, LogMel):
        means = [masked_mean(*encoder(*pad_waveforms([store(row)]))) for row in rows]
        return torch.stack(means).to(device)
    clips = LayerFeatures(encoder.to(device), store, "mean", cache_folder(cache) if cache.layers == "disk" else None)
    with progress_bar("encoding, once for all folds and seeds") as progress:
        clips.encode(rows, progress)
    return clips.inputs(rows)["layer_features"].to(device)


class ProbeHead(nn.Module):
    """The linear head: ``(B, L, D)``, means over the frames of each layer, to logits ``(B, C)``.

    Parameters
    ----------
    scale : the features are divided by it.
    """

    scale: Tensor

    def __init__(self, n_layers: int, dim: int, hidden_dim: int, n_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(n_layers))
        self.projector = nn.Linear(dim, hidden_dim)
        self.classifier = nn.Linear(hidden_dim, n_classes)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        combined = torch.einsum("l,bld->bd", self.layer_weights.softmax(0), features)
        return self.classifier(self.projector(combined / self.scale))


def fit_head(
    features: Tensor,
    classes: Tensor,
    n_classes: int,
    settings: ProbeSettings,
    seed: int,
    dev: tuple[Tensor, Tensor] | None = None,
) -> tuple[ProbeHead, list[dict[str, float]]]:
    """Train a head on ``features (N, L, D)`` and ``classes (N,)`` of the training speakers.

    `training.loop.run_epochs` is not used. It saves checkpoints, and makes batches for little padding and for contrast. Here an
    epoch takes milliseconds, nothing is padded, and an interrupted training is quickly repeated.

    Parameters
    ----------
    dev : features and classes of the development speakers, on which the head is scored after every epoch.

    Returns
    -------
    head : the head of the epoch that `train.select` chooses.
    log : one row per epoch: epoch (from 1), step, loss, and with `dev` also dev_uar and dev_war.

    Raises
    ------
    GemoclapError : the loss is not finite.
    """
    torch.manual_seed(seed)
    train = settings.train
    _, n_layers, dim = features.shape
    scale = float(features.square().mean().sqrt()) if settings.head.rescale else 1.0
    head = ProbeHead(n_layers, dim, settings.head.hidden_dim, n_classes, scale).to(features.device)
    optimizer = torch.optim.Adam(head.parameters(), lr=train.lr, fused=True)
    weights = _balanced_weights(classes, n_classes) if train.class_weights == "balanced" else None
    log: list[dict[str, float]] = []
    best_uar, best = -1.0, dict[str, Tensor]()
    steps_per_epoch = math.ceil(len(features) / train.batch_size)
    for epoch in range(1, math.ceil(train.steps / steps_per_epoch) + 1):
        total = torch.zeros((), device=features.device)
        batches = torch.randperm(len(features)).to(features.device).split(train.batch_size)
        for batch in batches:
            loss = nn.functional.cross_entropy(head(features[batch]), classes[batch], weights)
            optimizer.zero_grad()
            loss.backward()
            if train.clip_norm is not None:
                nn.utils.clip_grad_norm_(head.parameters(), train.clip_norm)
            optimizer.step()
            total += loss.detach()
        row = {"epoch": epoch, "step": epoch * steps_per_epoch, "loss": float(total) / steps_per_epoch}
        if not math.isfinite(row["loss"]):
            raise GemoclapError(f"the loss of the head is {row['loss']} in epoch {epoch}; lower --train.lr")
        if dev is not None:
            row |= _development_scores(head, *dev)
            if train.select == "dev" and row["dev_uar"] > best_uar:
                best_uar, best = row["dev_uar"], {name: one.clone() for name, one in head.state_dict().items()}
        log.append(row)
    if best:
        head.load_state_dict(best)
    return head, log


def _balanced_weights(classes: Tensor, n_classes: int) -> Tensor:
    """Return ``N / (C N_c)`` for each class c, ``(C,)``."""
    return len(classes) / (n_classes * torch.bincount(classes, minlength=n_classes))


@torch.no_grad()
def _development_scores(head: ProbeHead, features: Tensor, classes: Tensor) -> dict[str, float]:
    truth, prediction = classes.cpu().numpy(), head(features).argmax(1).cpu().numpy()
    return {
        "dev_uar": unweighted_average_recall(truth, prediction),
        "dev_war": weighted_average_recall(truth, prediction),
    }


def _train_and_test(
    settings: ProbeSettings,
    features: Mapping[str, Tensor],
    fold: Fold,
    seed: int,
    vocabulary: Vocabulary,
    folder: Path,
) -> None:
    """Train a head and write its predictions for the test speakers. Those of the seed come last, and mark it as done."""

    def part(rows: Sequence[Utterance]) -> tuple[Tensor, Tensor]:
        table = torch.stack([features[row.id] for row in rows])
        return table, torch.tensor([vocabulary.index(row.emotion) for row in rows], device=table.device)

    begun = running_seconds()
    dev = part(fold.dev) if fold.dev else None
    head, log = fit_head(*part(fold.train), len(vocabulary.emotions), settings, seed, dev)
    with torch.no_grad():
        scores = head(part(fold.test)[0]).softmax(1).cpu().numpy()
    predictions = table_of(fold.test, scores, vocabulary.emotions, vocabulary.resolve, fold.name)
    own = predictions_path(folder, fold, seed).parent
    with atomic_write(own / "head.safetensors", "wb") as file:
        file.write(save({name: tensor.cpu() for name, tensor in head.state_dict().items()}))
    write_made(own, begun)
    for place in [own.parent, own] if seed == settings.train.seeds[0] else [own]:
        with atomic_write(place / "log.jsonl") as file:
            file.writelines(json.dumps(row) + "\n" for row in log)
        predictions.write(place / PREDICTIONS)


def predictions_path(folder: Path, fold: Fold, seed: int) -> Path:
    """Return the path of a head's predictions, below the folder of its encoder. If the file exists, the head is finished."""
    return folder / fold.name / f"seed_{seed}" / PREDICTIONS


def _sum_up(
    output: Path, methods: Iterable[str], folds: Sequence[Fold], seeds: Sequence[int]
) -> dict[str, dict[str, OverSeeds]]:
    """Score each seed over all folds together."""
    summary = {}
    for method in methods:
        tables = [
            concatenate([read_predictions(predictions_path(output / method, fold, seed)) for fold in folds])
            for seed in seeds
        ]
        scores = [headline_scores(table) for table in tables]
        summary[method] = {figure: over_seeds([one[figure] for one in scores]) for figure in FIGURES}
    write_over_seeds(output, seeds, summary)
    return summary
