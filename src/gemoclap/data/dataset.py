"""Utterances to padded batches of waveforms and labels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from gemoclap.config import TrainSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.batching import balanced_draw, count_batches, length_bucketed
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary, gender_index

UNLABELLED = -1
"""Class index of an utterance without a label, or with one outside the vocabulary."""
PREFETCH = 2
"""Batches collated in the background while one is in use."""


@dataclass(frozen=True)
class Batch:
    """Utterances side by side.

    Attributes
    ----------
    waveforms : (B, T) float32, zero-padded to the longest, 16 kHz.
    lengths : (B,) int64, valid samples of each row.
    emotions : (B,) int64 class indices in the vocabulary, -1 unlabelled.
    genders : (B,) int64 indices in `labels.GENDERS`, -1 unknown.
    ids : B utterance ids.
    """

    waveforms: torch.Tensor
    lengths: torch.Tensor
    emotions: torch.Tensor
    genders: torch.Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with its tensors on `device`."""
        waveforms, lengths, emotions, genders = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.waveforms, self.lengths, self.emotions, self.genders)
        )
        return Batch(waveforms, lengths, emotions, genders, self.ids)


def collate(utterances: Sequence[Utterance], waveforms: Sequence[np.ndarray], vocabulary: Vocabulary) -> Batch:
    """Pad `waveforms` ((T_i,) each) with zeros to the longest and set their labels beside them."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms], dtype=torch.int64)
    padded = torch.zeros(len(waveforms), int(lengths.max()), dtype=torch.float32)
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    emotions, genders = _labels(utterances, vocabulary)
    return Batch(
        padded, lengths, torch.from_numpy(emotions), torch.from_numpy(genders), tuple(row.id for row in utterances)
    )


def _labels(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Return the emotion and gender indices, (N,) int64 each."""
    classes = (vocabulary.index(utterance.emotion) for utterance in utterances)
    emotions = np.array([UNLABELLED if index is None else index for index in classes], dtype=np.int64)
    genders = np.array([gender_index(utterance.gender) for utterance in utterances], dtype=np.int64)
    return emotions, genders


class TrainBatches:
    """The training batches of every epoch, for one of several processes.

    Epoch ``index`` is a pure function of (seed, index): a run that was stopped in the middle of an epoch goes on at
    batch `start` and meets exactly the batches it would have met. Utterances whose label is outside the vocabulary stay
    out.

    Parameters
    ----------
    utterances : the training part of a fold.
    store : where waveforms come from; all are decoded here, because batches are made by length.
    vocabulary : the classes.
    settings : `batch_size`, `balance` and `seed` are used.
    process, processes : this process's number, and how many share each epoch.

    Raises
    ------
    GemoclapError : the vocabulary has one class, a class has no utterance, or there are too few utterances for batches.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        store: AudioStore,
        vocabulary: Vocabulary,
        settings: TrainSettings,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.utterances = [row for row in utterances if vocabulary.index(row.emotion) is not None]
        self.store = store
        self.vocabulary = vocabulary
        self.settings = settings
        self.process = process
        self.processes = processes
        self._emotions, self._genders = _labels(self.utterances, vocabulary)
        self._check_classes()
        self._number = count_batches(len(self.utterances), settings.batch_size, processes)
        self._lengths = store.lengths(self.utterances)

    def _check_classes(self) -> None:
        missing = [word for index, word in enumerate(self.vocabulary.emotions) if index not in self._emotions]
        if missing:
            raise GemoclapError(
                f"class {missing[0]!r} has no training utterance ({len(self.utterances)} utterances of other classes); "
                "choose folds that leave some (--data.folds, --data.n_folds) or classes without it (--data.emotions)"
            )
        if len(self.vocabulary.emotions) < 2:
            raise GemoclapError(
                f"all training utterances are {self.vocabulary.emotions[0]!r}: one class gives a contrastive loss "
                "nothing to tell apart; name two or more classes with --data.emotions or --data.vocabulary"
            )

    def __len__(self) -> int:
        """Batches an epoch and process."""
        return self._number // self.processes

    def plan(self, index: int) -> list[list[int]]:
        """Return this process's batches of epoch `index` as places in `utterances`."""
        rng = np.random.default_rng([self.settings.seed, index])
        drawn = balanced_draw(self._emotions, rng) if self.settings.balance else np.arange(len(self.utterances))
        batches = length_bucketed(
            self._lengths[drawn],
            self._emotions[drawn],
            self._genders[drawn],
            self.settings.batch_size,
            rng,
            self.processes,
        )
        return [[int(drawn[place]) for place in batch] for batch in batches[self.process :: self.processes]]

    def epoch(self, index: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `index` from batch `start` on."""
        pool = ThreadPoolExecutor(1)
        pending: deque[Future[Batch]] = deque()
        try:
            for places in self.plan(index)[start:]:
                pending.append(pool.submit(self._collate, places))
                if len(pending) > PREFETCH:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _collate(self, places: list[int]) -> Batch:
        rows = [self.utterances[place] for place in places]
        return collate(rows, [self.store(row) for row in rows], self.vocabulary)


def eval_batches(
    utterances: Sequence[Utterance], store: AudioStore, vocabulary: Vocabulary, batch_size: int
) -> Iterator[Batch]:
    """Yield every utterance once, in batches of at most `batch_size`, shortest first so that little is padding."""
    order = np.argsort(store.lengths(utterances), kind="stable")
    for first in range(0, len(order), batch_size):
        rows = [utterances[place] for place in order[first : first + batch_size]]
        yield collate(rows, [store(row) for row in rows], vocabulary)
