"""Stores decoded and prepared audio with 16 bits per sample: in memory for all folds and epochs, or on disk for all runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gemoclap.audio import SAMPLE_RATE, Recording, from_int16, load_clip, regular_file, to_int16
from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.perturb import PERTURBATION, PerturbedUtterance, perturbed_copy
from gemoclap.data.shards import Shards, ShardWriter
from gemoclap.errors import GemoclapError

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` while clips are read."""

PREPARATION = 2
"""Version of `load_clip`. It is raised when `load_clip` changes, so that clips that were stored before are not used."""

SHARD_BYTES = 64 * 2**20
"""Number of bytes that are written together: about half an hour of audio. A run that is killed decodes at most this again."""


class AudioStore:
    """Prepared waveforms of utterances. Each is decoded only once for all folds and epochs.

    Clips are stored as `audio.to_int16` returns them. This changes nothing, because `prepare_clip` has rounded them already.

    Parameters
    ----------
    settings : how each clip is prepared (`audio.prepare_clip`).
    folder : folder for the clips, which other runs and processes use too. Keys are made from the content of a file and the
        settings. None keeps the clips in memory.
    """

    at_hand, is_exact = False, True

    def __init__(self, settings: AudioSettings, folder: str | os.PathLike | None = None) -> None:
        self.settings = settings
        # A clip is an int16 tensor (1 + T,). The first value is its exponent, the others are its samples.
        self._clips: _Memory | Shards = _Memory() if folder is None else Shards(Path(folder) / "audio")
        self._digests: dict[str, str] = {}
        self._content_keys: dict[str, str] = {}

    def __call__(self, utterance: Utterance) -> np.ndarray:
        """Return the prepared waveform (T,), float32, 16 kHz.

        Raises
        ------
        GemoclapError : the file cannot be read, or has no usable sound; or the folder cannot be written.
        """
        clip = self._clip(utterance)
        return from_int16(clip[1:], int(clip[0]))

    def content_key(self, utterance: Utterance) -> str:
        """Return the SHA-256 of the prepared clip in hex. It is a key for everything that is computed from the clip alone.

        Clips with the same samples have the same key, even if they are in different files. Raises the errors of `__call__`.
        """
        key = self._key(utterance)
        if key not in self._content_keys:
            self._content_keys[key] = hashlib.sha256(self._clip(utterance).data).hexdigest()
        return self._content_keys[key]

    def preload(self, utterances: Sequence[Utterance], workers: int = 2, progress: Progress | None = None) -> None:
        """Decode the `utterances` that are not stored yet, in `workers` threads. After an error, finished clips stay stored.

        Raises
        ------
        GemoclapError : as `__call__`. With several bad files, it names the one that was found first.
        """
        pool = ThreadPoolExecutor(workers)
        try:
            self._hash_files(utterances, pool)
            rows = {self._key(row): row for row in utterances}
            missing = self._clips.missing(rows)
            with self._clips.writer(SHARD_BYTES) as kept:
                # There is no list of the jobs. It would keep every clip in memory until the last one is decoded.
                jobs = as_completed([pool.submit(self._decode, key, rows[key]) for key in missing])
                for done, job in enumerate(jobs, 1):
                    key, clip = job.result()
                    kept[key] = clip
                    if progress is not None:
                        progress(done, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)

    def lengths(self, utterances: Sequence[Utterance], progress: Progress | None = None) -> np.ndarray:
        """Return the number of samples of each prepared clip, (N,) int64. Clips that are not stored yet are decoded."""
        self.preload(utterances, progress=progress)
        return np.array([self._clips.length(self._key(row)) - 1 for row in utterances], dtype=np.int64)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return the arguments of a model: ``waveforms`` (B, T) float32, zero-padded, and ``lengths`` (B,) int64."""
        waveforms, lengths = pad_waveforms([self(row) for row in utterances])
        return {"waveforms": waveforms, "lengths": lengths}

    def _clip(self, utterance: Utterance) -> np.ndarray:
        key = self._key(utterance)
        if key not in self._clips:
            self.preload([utterance])
        return self._clips[key].numpy()

    def _decode(self, key: str, row: Utterance) -> tuple[str, Tensor]:
        try:
            clip = load_clip(Recording(row.path, row.start, row.end), self.settings)
        except GemoclapError as error:
            # There may be more of them, and not every file can be mended.
            raise GemoclapError(
                f"{error} (or leave the row {row.id} out; 'gemoclap inspect' lists all such rows)"
            ) from error
        if isinstance(row, PerturbedUtterance):
            most = self.settings.max_seconds
            clip = perturbed_copy(clip, row.copy)[: None if most is None else round(most * SAMPLE_RATE)]
        samples, exponent = to_int16(clip)
        return key, torch.from_numpy(np.insert(samples, 0, exponent))

    def _key(self, row: Utterance) -> str:
        """Return the key of a stretch of audio. On disk, it is made from the content of the file and the preparation."""
        if isinstance(self._clips, _Memory):
            return json.dumps([row.path, row.start, row.end, *_copy_of(row)])
        if row.path not in self._digests:
            self._digests[row.path] = _file_sha256(row.path)
        made_from = [PREPARATION, self._digests[row.path], row.start, row.end, asdict(self.settings), *_copy_of(row)]
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()

    def _hash_files(self, utterances: Iterable[Utterance], pool: ThreadPoolExecutor) -> None:
        """Hash each file once, even if many rows are parts of the same file."""
        if isinstance(self._clips, Shards):
            paths = list(dict.fromkeys(row.path for row in utterances if row.path not in self._digests))
            self._digests.update(zip(paths, pool.map(_file_sha256, paths), strict=True))


def pad_waveforms(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return `waveforms` ((T_i,) each), padded with zeros to the longest, (B, T) float32, and their lengths, (B,) int64."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms], dtype=torch.int64)
    padded = torch.zeros(len(waveforms), int(lengths.max()), dtype=torch.float32)
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return padded, lengths


def _copy_of(row: Utterance) -> list[int]:
    """Return the part of a key that says which perturbed copy it is; empty for the clip itself."""
    return [PERTURBATION, row.copy] if isinstance(row, PerturbedUtterance) else []


class _Memory(dict[str, Tensor]):
    """Clips in memory. It has those methods of `Shards` that the store uses."""

    def length(self, key: str) -> int:
        return len(self[key])

    def missing(self, keys: Iterable[str]) -> list[str]:
        return [key for key in keys if key not in self]

    def writer(self, shard_bytes: int) -> AbstractContextManager[_Memory | ShardWriter]:
        return nullcontext(self)


def _file_sha256(path: str) -> str:
    try:
        with regular_file(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise GemoclapError(
            f"{path}: cannot be read ({error.strerror}); check the name, or the folder that the manifest lies in"
        ) from None
