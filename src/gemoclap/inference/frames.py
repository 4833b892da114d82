"""Labels the frames of a clip with the clusters of a GMP-TL run, and estimates their emotions over time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.feature_cache import as_it_predicts
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash
from gemoclap.gmp.clustering import assign
from gemoclap.gmp.codebooks import Codebooks, is_clustered, load_codebooks
from gemoclap.gmp.frame_emotions import emotion_given_cluster, smooth
from gemoclap.inference.clips import Audio, recording_of
from gemoclap.inference.predictor import default_device
from gemoclap.inference.timeline import windows

SMOOTH_SECONDS = 0.5
"""Default length of the moving average over the emotions of frames [C]."""


@dataclass(frozen=True)
class FrameEmotions:
    """The clusters and emotions of a clip's frames.

    Attributes
    ----------
    times : ``(F,)`` float64, the middle of each frame, in seconds from the start of the audio. Silence at its start and end
        has no frames, because it was cut off in training too.
    clusters : ``(F, S)`` int64, the pseudo-label at each scale.
    probabilities : ``(F, C)`` float64, probability of each emotion if all were equally frequent; rows add up to one.
    emotions, scales : names of the columns of `probabilities` and `clusters`.
    """

    times: np.ndarray
    clusters: np.ndarray
    probabilities: np.ndarray
    emotions: tuple[str, ...]
    scales: tuple[int, ...]

    def mean(self) -> dict[str, float]:
        """Return the mean probability of each emotion."""
        return dict(zip(self.emotions, map(float, self.probabilities.mean(0)), strict=True))


class FrameLabeler:
    """Labels the frames of a clip with the clusters of a GMP-TL run.

    A frame belongs to the nearest cluster of each scale. Its emotions are those of the training frames in these clusters
    (`gmp.frame_emotions`), averaged over the scales [C].

    Parameters
    ----------
    encoder : the encoder whose frames were clustered.
    codebooks : the clusters.

    Examples
    --------
    >>> labeler = FrameLabeler.from_pretrained("runs/gmp")  # doctest: +SKIP
    >>> labeler("clip.wav").probabilities.argmax(1)  # doctest: +SKIP
    """

    def __init__(self, encoder: SpeechEncoder, codebooks: Codebooks) -> None:
        self.encoder, self.codebooks = encoder.eval(), codebooks
        self._shares = [emotion_given_cluster(table) for table in codebooks.tables]

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, device: str | torch.device | None = None) -> Self:
        """Load from the folder of a training of gmp_tl, or of one fold of its cross-validation.

        Parameters
        ----------
        device : device of the encoder; None = the accelerator if there is one.

        Raises
        ------
        GemoclapError : there are no clusters, or the encoder that they were made with is missing.
        """
        folder = Path(folder)
        clusters, features = folder / "clusters", folder / "features" / "model"
        if folder.is_file():
            raise GemoclapError(f"{folder}: is a file; give the folder of a run of gmp_tl first, then the recording")
        if not is_clustered(clusters):
            raise GemoclapError(f"{folder}: no clusters in it; {_where_to_look(folder)}")
        if not (features / "config.json").is_file():
            raise GemoclapError(
                f"{features}: the encoder of the clusters is missing (a cross-validation with --keep_models false deletes it); "
                "train again, or copy it back"
            )
        codebooks = load_codebooks(clusters)
        if codebooks.encoder_weights != file_hash(features / "model.safetensors"):
            raise GemoclapError(
                f"{clusters}: made with another encoder than {features}; delete the folder of the fold, or, for a single "
                "training, cluster again with 'gemoclap gmp cluster'"
            )
        return cls(SpeechEncoder.from_pretrained(str(features)).to(device or default_device()), codebooks)

    def __call__(self, audio: Audio, smooth_seconds: float = SMOOTH_SECONDS) -> FrameEmotions:
        """Label the frames of a recording of any length.

        A recording that is longer than the clips of training is encoded in windows of equal length, which are no longer than
        those clips.

        Parameters
        ----------
        audio : a file, a manifest row, or a waveform, as for `inference.predictor.Predictor`.
        smooth_seconds : length of the moving average over the emotions; 0 = no averaging.

        Raises
        ------
        GemoclapError : the audio cannot be read or has no samples; `smooth_seconds` is negative.
        """
        if smooth_seconds < 0:
            raise GemoclapError(f"smooth: must be 0 or more seconds, not {smooth_seconds}")
        found = [self._window(start, clip) for start, clip in windows(recording_of(audio), self.codebooks.audio)]
        times, clusters = (np.concatenate(parts) for parts in zip(*found, strict=True))
        by_scale = [shares[clusters[:, place]] for place, shares in enumerate(self._shares)]
        frames = max(1, round(smooth_seconds / self.encoder.frame_seconds))
        return FrameEmotions(
            times,
            clusters,
            smooth(np.mean(by_scale, axis=0), frames),
            self.codebooks.emotions,
            self.codebooks.scales,
        )

    def _window(self, start: float, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the middles of a window's frames in seconds, and their nearest clusters at every scale."""
        frames = self._frames(clip)
        clusters = [assign(frames, one)[0] for one in self.codebooks.centroids]
        # A clip shorter than a frame is filled up with zeros to one frame; its middle is the middle of the clip.
        span = min(self.encoder.frame_samples, len(clip))
        middles = np.arange(len(frames)) * self.encoder.hop_samples + span / 2
        return start + middles / SAMPLE_RATE, np.stack(clusters, axis=1)

    def _frames(self, window: np.ndarray) -> np.ndarray:
        device = self.encoder.model.device
        waveforms = torch.from_numpy(window).unsqueeze(0).to(device)
        lengths = torch.tensor([len(window)], device=device)
        with as_it_predicts(self.encoder):  # in the same way as the frames that were clustered
            frames, mask = self.encoder.layer_frames(waveforms, lengths, self.codebooks.layer)
        return frames[0, mask[0]].float().cpu().numpy()


def _where_to_look(folder: Path) -> str:
    """Return a hint for the folder of a cross-validation, which has clusters in each fold, or for the folder of a model."""
    for inner in (*sorted(folder.glob("gmp_tl/*/clusters")), folder.parent / "clusters"):
        if is_clustered(inner):
            return f"did you mean {inner.parent}?"
    return "'gemoclap train --method gmp_tl' and 'gemoclap gmp cluster' write them"
