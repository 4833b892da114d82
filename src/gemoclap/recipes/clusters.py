"""Makes GMP-TL's pseudo-labels: clusters the frames of a layer at every scale, and measures the clusters (`gmp.codebooks`)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from gemoclap.config import Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import Fold
from gemoclap.data.shards import Shards
from gemoclap.encoders.feature_cache import LayerFrames
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash, read_json, write_json
from gemoclap.gmp.clustering import assign, fit_kmeans, load_kmeans, save_kmeans
from gemoclap.gmp.codebooks import CONFIG, EMOTIONS, LABELS, QUALITY, codebook_path, is_clustered
from gemoclap.gmp.frame_emotions import count_emotions
from gemoclap.gmp.frames import ShardFrames
from gemoclap.gmp.quality import agreement_with_words
from gemoclap.labels import Vocabulary
from gemoclap.recipes.run_folder import on_main_process
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.wording import counted
from gemoclap.writing import atomic_write

TOGETHER = 64
"""Number of clips whose frames get their labels together. Preparing 4096 centroids takes as long as a second of speech does."""


def cluster(
    settings: Settings, fold: Fold, vocabulary: Vocabulary, store: AudioStore, encoder_folder: Path, output: Path
) -> Shards:
    """Cluster the frames of the training clips at every scale, and return the labels: content key -> ``(F, S)`` int32.

    Finished clusters in `output` are used again. They are replaced if they belong to another encoder, layer or other scales,
    or if a codebook is missing.
    """
    config = _config(settings, vocabulary, encoder_folder)

    def begin() -> None:
        # Labels are written after all codebooks. If a codebook is missing, a new one may not fit the labels.
        lost = [k for k in settings.gmp.scales if not codebook_path(output, k).is_file()]
        if not _is_of(output / CONFIG, config) or (lost and (output / LABELS).exists()):
            shutil.rmtree(output, ignore_errors=True)
            write_json(output / CONFIG, config)

    on_main_process(begin)
    labels = Shards(output / LABELS)
    rows = {store.content_key(row): row for row in fold.train}

    def work() -> None:
        if labels.missing(rows):
            _cluster(settings, fold.name, rows, store, encoder_folder, output, labels)
        if not is_clustered(output):
            # Sorted, so that the result does not depend on the order of the manifest.
            known = [rows[key] for key in sorted(rows)]
            _describe(settings.gmp.scales, vocabulary, known, [labels[key] for key in sorted(rows)], output)
        # These files take gigabytes for a large corpus, and can be computed again from features/model.
        shutil.rmtree(output / "frames", ignore_errors=True)

    on_main_process(work)
    labels.refresh()
    return labels


def _config(settings: Settings, vocabulary: Vocabulary, encoder_folder: Path) -> dict[str, Any]:
    return {
        "encoder_weights": file_hash(encoder_folder / "model.safetensors"),
        "layer": settings.gmp.layer,
        "scales": settings.gmp.scales,
        "passes": settings.gmp.passes,
        "seed": settings.train.seed,
        "emotions": list(vocabulary.emotions),
        "preparation": asdict(settings.data.audio),
    }


def _is_of(path: Path, config: dict[str, Any]) -> bool:
    """Whether the stored clusters were made from these features. After a new training of the features they were not."""
    try:
        return read_json(path, "") == config
    except GemoclapError:
        return False


def _cluster(
    settings: Settings,
    name: str,
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
    frames = ShardFrames(clips.kept, sorted(rows), names={key: row.id for key, row in rows.items()})
    codebooks = []
    for k in settings.gmp.scales:
        path = codebook_path(output, k)
        if not path.is_file():
            with progress_bar(f"k-means, {k} clusters") as progress:
                found = fit_kmeans(frames, k, passes=settings.gmp.passes, seed=settings.train.seed, progress=progress)
            save_kmeans(path, found)
            passes = counted(len(found.history), "pass", "passes")
            what = f"{counted(k, 'cluster')} of {counted(len(frames), 'frame')}  inertia {found.inertia:.6g}  {passes}"
            print(f"gmp_tl clusters {name}: {what}", file=sys.stderr, flush=True)
        codebooks.append(load_kmeans(path).centroids)
    missing = labels.missing(sorted(rows))
    with labels.writer() as writer, progress_bar("naming frames") as progress:
        for start in range(0, len(missing), TOGETHER):
            keys = missing[start : start + TOGETHER]
            parts = [clips.kept[key] for key in keys]
            block = torch.cat(parts).numpy()
            columns = np.stack([assign(block, centroids)[0] for centroids in codebooks], axis=1)
            for key, found in zip(
                keys, torch.from_numpy(columns).int().split([len(part) for part in parts]), strict=True
            ):
                writer[key] = found
            progress(start + len(keys), len(missing))
    labels.refresh()


def _describe(
    scales: Sequence[int], vocabulary: Vocabulary, rows: Sequence[Utterance], labels: Sequence[Tensor], output: Path
) -> None:
    """Write, for each scale, how well the clusters fit and how well they agree with emotion, gender and speaker."""
    counts = [len(one) for one in labels]
    table = torch.cat(list(labels)).numpy()
    emotions = [vocabulary.index(row.emotion) for row in rows]
    words = {
        "emotion": [vocabulary.resolve(row.emotion) for row in rows],
        "gender": [row.gender for row in rows],
        "speaker": [speaker_name(row) if row.speaker else None for row in rows],
    }
    tables, quality = {}, {}
    for place, k in enumerate(scales):
        fitted = load_kmeans(codebook_path(output, k))
        tables[str(k)] = count_emotions(table[:, place], emotions, counts, k, len(vocabulary.emotions))
        quality[str(k)] = {
            "inertia": fitted.inertia,
            "passes": len(fitted.history),
            **{name: agreement_with_words(table[:, place], known, counts) for name, known in words.items()},
        }
    with atomic_write(output / EMOTIONS, "wb") as file:
        file.write(save(tables))
    write_json(output / QUALITY, quality)
