"""Prepares clips for an emotion model in transformers, as its preprocessor_config.json describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor

from gemoclap.audio import LONGEST_SECONDS, SAMPLE_RATE, Recording, as_float, from_int16, part_edges, to_int16
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError


class ClipExtractor(SequenceFeatureExtractor):
    """Prepares clips as `Predictor` does: trims silence and rounds to 16 bits. The level does not change.

    A clip longer than `max_seconds` is not cut here. `ForAudioClassification` cuts it.

    Parameters
    ----------
    max_seconds, trim_silence_db : as in `SpeechModelConfig.clip_settings`.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = SAMPLE_RATE,
        padding_value: float = 0.0,
        max_seconds: float | None = None,
        trim_silence_db: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.max_seconds, self.trim_silence_db = max_seconds, trim_silence_db
        self.return_attention_mask = True

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare a clip, or several.

        Parameters
        ----------
        raw_speech : a waveform ``(T,)`` or several. It is mono, 16 kHz, float with full scale at 1 or signed PCM.
        sampling_rate : sampling rate of `raw_speech` in Hz.
        return_tensors, kwargs : as in `SequenceFeatureExtractor.pad`.

        Returns
        -------
        ``input_values (B, T')``, zero-padded, and ``attention_mask (B, T')``, 1 at the samples of each clip.

        Raises
        ------
        GemoclapError : the sampling rate differs; there are no samples; or the samples cannot be sound.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise GemoclapError(f"this model takes {self.sampling_rate} Hz, not {sampling_rate}; resample the clip")
        is_one = not len(raw_speech) or np.ndim(raw_speech[0]) == 0
        clips = [self._prepared(np.asarray(clip)) for clip in ([raw_speech] if is_one else raw_speech)]
        options = {"padding": True, "return_attention_mask": True, **kwargs}
        return self.pad(BatchFeature({"input_values": clips}), return_tensors=return_tensors, **options)  # type: ignore[arg-type]

    def _prepared(self, clip: np.ndarray) -> np.ndarray:
        if clip.ndim != 1 or not len(clip):
            raise GemoclapError(f"a clip must be a waveform (T,), mono at {SAMPLE_RATE} Hz, not of shape {clip.shape}")
        recording = Recording(as_float(clip, "a clip"))
        edges = part_edges(recording, AudioSettings(self.max_seconds, self.trim_silence_db), LONGEST_SECONDS)
        # Each part is rounded by its own peak.
        return np.concatenate([from_int16(*to_int16(part)) for part in recording.pieces(edges)])
