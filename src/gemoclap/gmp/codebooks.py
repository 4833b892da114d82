"""The folder with the clusters of a GMP-TL run, and reading it to label the frames of other clips.

config.json               encoder, layer, scales, classes, and how audio was prepared
kmeans_K.safetensors      the codebook of one scale
labels/                   labels of every training clip, by content key
emotions.safetensors      number of training frames of each emotion in each cluster
quality.json              inertia, agreement with emotion, gender and speaker; written last
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.gmp.clustering import load_kmeans

CONFIG, LABELS, EMOTIONS, QUALITY = "config.json", "labels", "emotions.safetensors", "quality.json"
REMEDY = "delete the folder of the fold, or make a training's again with 'gemoclap gmp cluster'"


def codebook_path(folder: Path, k: int) -> Path:
    """Return the path of a scale's codebook."""
    return folder / f"kmeans_{k}.safetensors"


def is_clustered(folder: Path) -> bool:
    """Whether a folder of clusters is complete: quality.json is written last, after labels and codebooks."""
    return all((folder / name).is_file() for name in (CONFIG, EMOTIONS, QUALITY))


@dataclass(frozen=True)
class Codebooks:
    """Codebooks that label frames, and the emotions of their clusters.

    Attributes
    ----------
    encoder_weights : hash of the weights of the encoder whose frames were clustered.
    layer : of that encoder.
    centroids : of each scale, ``(k, D)`` float32.
    tables : of each scale, ``(k, C)`` int64, number of training frames of each emotion in each cluster.
    emotions : the C classes.
    audio : how the training clips were prepared.
    """

    encoder_weights: str
    layer: int
    centroids: tuple[np.ndarray, ...]
    tables: tuple[np.ndarray, ...]
    emotions: tuple[str, ...]
    audio: AudioSettings

    @property
    def scales(self) -> tuple[int, ...]:
        """Number of clusters of each scale."""
        return tuple(len(one) for one in self.centroids)


def load_codebooks(folder: Path) -> Codebooks:
    """Read a folder of clusters.

    Raises
    ------
    GemoclapError : a file of it is absent or damaged.
    """
    try:
        config = read_json(folder / CONFIG, REMEDY)
        tables = load_file(folder / EMOTIONS)
        return Codebooks(
            config["encoder_weights"],
            config["layer"],
            tuple(load_kmeans(codebook_path(folder, k)).centroids for k in config["scales"]),
            tuple(tables[str(k)] for k in config["scales"]),
            tuple(config["emotions"]),
            AudioSettings(**config["preparation"]),
        )
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise GemoclapError(f"{folder}: not readable clusters ({reason}); {REMEDY}") from error
