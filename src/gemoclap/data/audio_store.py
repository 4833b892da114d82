"""Decoded and prepared audio, kept for every fold and epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from gemoclap.audio import load_audio, prepare_clip
from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` while clips are read."""


class AudioStore:
    """Waveforms in memory: each stretch of audio is decoded and prepared once, however many folds and epochs ask.

    Parameters
    ----------
    settings : what is done to every clip (`audio.prepare_clip`).
    """

    def __init__(self, settings: AudioSettings) -> None:
        self.settings = settings
        self._waveforms: dict[tuple[str, float | None, float | None], np.ndarray] = {}

    def __call__(self, utterance: Utterance) -> np.ndarray:
        """Return the prepared waveform (T,), float32, 16 kHz.

        Raises
        ------
        GemoclapError : the file cannot be read, or holds no sound that can be used.
        """
        key = _stretch(utterance)
        if key not in self._waveforms:
            self._waveforms[key] = prepare_clip(load_audio(*key), self.settings)
        return self._waveforms[key]

    def preload(self, utterances: Sequence[Utterance], workers: int = 2, progress: Progress | None = None) -> None:
        """Decode now, in `workers` threads, those of `utterances` that are not in memory yet.

        Raises
        ------
        GemoclapError : as `__call__`; of several bad files the one found first.
        """
        pool = ThreadPoolExecutor(workers)
        try:
            jobs = [pool.submit(self, row) for row in utterances if _stretch(row) not in self._waveforms]
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                if progress is not None:
                    progress(done, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)

    def lengths(self, utterances: Sequence[Utterance], progress: Progress | None = None) -> np.ndarray:
        """Return the number of samples of each prepared clip, (N,) int64; decodes what is not in memory yet."""
        self.preload(utterances, progress=progress)
        return np.array([len(self(utterance)) for utterance in utterances], dtype=np.int64)


def _stretch(utterance: Utterance) -> tuple[str, float | None, float | None]:
    return utterance.path, utterance.start, utterance.end
