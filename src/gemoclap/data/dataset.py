"""Makes batches of model inputs and labels from utterances."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gemoclap.audio import SAMPLE_RATE
from gemoclap.config import TrainSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.batching import (
    balanced_draw,
    balanced_draw_within,
    count_batches,
    count_budgeted,
    length_bucketed,
    length_budgeted,
    shuffled,
)
from gemoclap.data.shards import Shards
from gemoclap.data.targets import Targets, labels_of, training_targets
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.wording import counted

PREFETCH = 2
"""Number of batches that are prepared in the background while another one is in use."""


PADDED = {
    "waveforms": "lengths",
    "frozen_frames": "frame_counts",
    "intensity": "intensity_lengths",
    "frame_labels": "frame_labels_lengths",
}
"""Inputs that are padded along their second dimension -> the input that has the length of each row."""


class InputSource(Protocol):
    """A source of model inputs: waveforms (`AudioStore`), or the output of frozen parts of the encoder."""

    at_hand: bool
    """Whether `inputs` only looks values up. A background thread would make this slower."""
    is_exact: bool
    """Whether the model gives the same scores as for the waveforms, apart from rounding in float32."""

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the length of each clip, (N,) int64, in any unit. Clips are grouped into batches by length."""

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        """Return the keyword arguments of the model, with one row per utterance."""


class InputsWithSeries:
    """A source of model inputs that adds a series of values for each clip, padded to the longest.

    Parameters
    ----------
    source : the source of the other inputs.
    store : gives the content keys of the clips.
    kept : content key -> series ``(F, ...)``.
    name : name of the model's argument for the series ``(B, F, ...)``. It is one of `PADDED`.
    """

    def __init__(self, source: InputSource, store: AudioStore, kept: Shards, name: str) -> None:
        self.source, self.store, self.kept, self.name = source, store, kept, name
        self.at_hand, self.is_exact = False, source.is_exact

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the length of each clip, as `source` has it."""
        return self.source.lengths(utterances)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        """Return the inputs of `source`, the series and their lengths."""
        found = [self.kept[self.store.content_key(row)] for row in utterances]
        padded = torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
        lengths = torch.tensor([len(series) for series in found])
        return {**self.source.inputs(utterances), self.name: padded, PADDED[self.name]: lengths}


@dataclass(frozen=True)
class Batch:
    """A batch of utterances.

    Attributes
    ----------
    inputs : the keyword arguments of the model, one row per utterance. These are ``waveforms`` (B, T) float32 at 16 kHz,
        zero-padded to the longest, and ``lengths`` (B,) int64, their numbers of samples. Or they are the output of frozen
        parts of the encoder (`encoders/feature_cache.py`).
    targets : the labels of the utterances.
    ids : B ids of utterances.
    """

    inputs: dict[str, torch.Tensor]
    targets: Targets
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with its tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the same batch in pinned memory. A GPU can copy it while the step before is still running."""
        return self._each(lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)

    def split(self, rows: int) -> list[Batch]:
        """Return the batch in chunks of at most `rows` utterances. Each is padded only to its own longest clip."""
        return [self._part(first, first + rows) for first in range(0, len(self), rows)]

    def _part(self, first: int, last: int) -> Batch:
        inputs = {name: tensor[first:last] for name, tensor in self.inputs.items()}
        for padded, lengths in PADDED.items():
            if padded in inputs:
                inputs[padded] = inputs[padded][:, : int(inputs[lengths].max())]
        return Batch(inputs, self.targets.each(lambda tensor: tensor[first:last]), self.ids[first:last])

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        inputs = {name: change(tensor) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.targets.each(change), self.ids)


def collate(utterances: Sequence[Utterance], source: InputSource, vocabulary: Vocabulary | None) -> Batch:
    """Return the inputs and labels of `utterances` as a batch. For more targets than labels, see `TrainBatches`."""
    return Batch(source.inputs(utterances), labels_of(utterances, vocabulary), tuple(row.id for row in utterances))


def check_classes(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> None:
    """Raise a GemoclapError unless there are two or more classes and each has an utterance."""
    present = {vocabulary.index(row.emotion) for row in utterances}
    missing = [word for index, word in enumerate(vocabulary.emotions) if index not in present]
    if missing:
        others = sum(vocabulary.index(row.emotion) is not None for row in utterances)
        raise GemoclapError(
            f"class {missing[0]!r} has no training utterance ({counted(others, 'utterance')} of other classes); "
            "choose folds that leave some (--data.folds, --data.n_folds) or classes without it (--data.emotions)"
        )
    if len(vocabulary.emotions) < 2:
        raise GemoclapError(
            f"all training utterances are {vocabulary.emotions[0]!r}: with one class there is nothing to tell apart; "
            "name two or more classes with --data.emotions or --data.vocabulary"
        )


class TrainBatches:
    """The training batches of every epoch, for one of several processes.

    The batches of epoch ``index`` depend only on seed and index. A run that was stopped within an epoch continues at batch
    `start`, with exactly the batches that it would have had. Utterances whose label is not in the vocabulary are skipped.

    Parameters
    ----------
    utterances : the training part of a fold.
    source : source of the inputs. All are prepared here, because batches are grouped by length.
    vocabulary : the classes. None is for speech without labels: all utterances are used, and every label is -1.
    settings : `batch_size`, `batch_seconds`, `batching`, `balance`, `balance_corpora`, `epochs` and `seed` are used.
    process, processes : number of this process, and number of processes that share each epoch.
    votes : whether the targets have the votes of the raters (`targets.vote_shares`).
    dimensions : (N, D), the values to predict for each of `utterances`. Only without a vocabulary, which leaves some out.

    Raises
    ------
    GemoclapError : the vocabulary has one class; a class has no utterance; or there are too few utterances for batches.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        source: InputSource,
        vocabulary: Vocabulary | None,
        settings: TrainSettings,
        process: int = 0,
        processes: int = 1,
        votes: bool = False,
        dimensions: np.ndarray | None = None,
    ) -> None:
        if vocabulary is not None:
            utterances = [row for row in utterances if vocabulary.index(row.emotion) is not None]
            check_classes(utterances, vocabulary)
        self.utterances = list(utterances)
        self.source = source
        self.vocabulary = vocabulary
        self.settings = settings
        self.process = process
        self.processes = processes
        self._targets = training_targets(self.utterances, vocabulary, votes, dimensions)
        self._emotions, self._genders = self._targets.emotions.numpy(), self._targets.genders.numpy()
        self._corpora = self._drawn_corpora()
        self._lengths = source.lengths(self.utterances)
        self._number = self._count()

    def _count(self) -> int:
        """Return the number of batches of an epoch, over all processes. Each process has equally many."""
        settings = self.settings
        if settings.batch_seconds is None:
            return count_batches(len(self.utterances), settings.batch_size, self.processes)
        # Each epoch draws other clips. For each position, the longest clip of all epochs is a bound for all of them.
        draws = settings.balance or self._corpora is not None
        epochs = range(settings.epochs if draws else 1)
        drawn = [np.sort(self._lengths[self._draw(np.random.default_rng([settings.seed, epoch]))]) for epoch in epochs]
        self._bounds = np.max(drawn, axis=0)
        return count_budgeted(self._bounds, self._budget, self.processes)

    @property
    def _budget(self) -> int:
        """Largest number of samples in a batch, including padding."""
        return round((self.settings.batch_seconds or 0) * SAMPLE_RATE)

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return the positions in `utterances` of the utterances that an epoch uses."""
        if self._corpora is not None:
            classes = self._emotions if self.settings.balance else np.zeros_like(self._corpora)
            return balanced_draw_within(self._corpora, classes, rng)
        return balanced_draw(self._emotions, rng) if self.settings.balance else np.arange(len(self.utterances))

    def _drawn_corpora(self) -> np.ndarray | None:
        """Return (N,) the number of each utterance's corpus, or None if corpora are not drawn evenly, or there is only one."""
        if not self.settings.balance_corpora:
            return None
        names, numbers = np.unique([row.corpus or "" for row in self.utterances], return_inverse=True)
        return numbers if len(names) > 1 else None

    def __len__(self) -> int:
        """Number of batches per epoch in each process."""
        return self._number // self.processes

    def plan(self, index: int) -> list[list[int]]:
        """Return the batches of this process in epoch `index`, as positions in `utterances`."""
        rng = np.random.default_rng([self.settings.seed, index])
        drawn = self._draw(rng)
        batches = self._divide(drawn, rng)
        return [[int(drawn[place]) for place in batch] for batch in batches[self.process :: self.processes]]

    def _divide(self, drawn: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
        """Return the batches of all processes, as positions in `drawn`."""
        settings = self.settings
        if settings.batching == "shuffled":
            return shuffled(len(drawn), settings.batch_size, rng, self.processes)
        labels = self._emotions[drawn], self._genders[drawn]
        if settings.batching == "bucketed":
            labels = np.zeros_like(drawn), np.zeros_like(drawn)  # all equal, so that they have no effect
        if settings.batch_seconds is None:
            return length_bucketed(self._lengths[drawn], *labels, settings.batch_size, rng, self.processes)
        return length_budgeted(self._lengths[drawn], *labels, self._budget, rng, self.processes, self._bounds)

    def epoch(self, index: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `index`, from batch number `start` on."""
        if self.source.at_hand:
            yield from map(self._collate, self.plan(index)[start:])
            return
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
        if self.settings.chunk_size is not None:
            # Clips of similar length then share a chunk, which saves padding.
            places = sorted(places, key=lambda place: self._lengths[place])
        rows = [self.utterances[place] for place in places]
        targets = self._targets.each(lambda tensor: tensor[places])
        batch = Batch(self.source.inputs(rows), targets, tuple(row.id for row in rows))
        return batch.pin_memory() if torch.cuda.is_available() else batch


def eval_batches(
    utterances: Sequence[Utterance], source: InputSource, vocabulary: Vocabulary | None, batch_size: int
) -> Iterator[Batch]:
    """Yield every utterance once, in batches of at most `batch_size`. The shortest come first, to save padding."""
    order = np.argsort(source.lengths(utterances), kind="stable")
    for first in range(0, len(order), batch_size):
        yield collate([utterances[place] for place in order[first : first + batch_size]], source, vocabulary)
