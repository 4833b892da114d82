"""The targets of a batch, and the interface of objectives: outputs and targets -> named losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gemoclap.corpora.manifest import Utterance
from gemoclap.labels import Vocabulary, gender_index

UNLABELLED = -1
"""Class index of an utterance without a label, or with a label that is not in the vocabulary."""
Losses = dict[str, Tensor]
"""What an objective returns: scalars by name. ``"loss"`` is minimised, and the others are logged."""


@dataclass(frozen=True)
class Targets:
    """The labels of B utterances. An objective reads those that it needs.

    Attributes
    ----------
    emotions : (B,) int64, indices of classes in the vocabulary; -1 for an utterance without a label.
    genders : (B,) int64, indices in `labels.GENDERS`; -1 if it is unknown.
    classes : (B, C) bool, which classes the corpus of each utterance has. None if every corpus has all classes.
    votes : (B, C) float32, the share of each class in the votes of the raters. Shares add up to 1. None if labels are used.
    dimensions : (B, D) float32, values to predict, such as valence. NaN if a value is unknown; None if there are none.
    """

    emotions: Tensor
    genders: Tensor
    classes: Tensor | None = None
    votes: Tensor | None = None
    dimensions: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the fields that are not None, by name."""
        return dict(self._given())

    def each(self, change: Callable[[Tensor], Tensor]) -> Targets:
        """Return the same targets with every tensor changed, for example moved to a device or cut to some rows."""
        return replace(self, **{name: change(tensor) for name, tensor in self._given()})

    def _given(self) -> Iterator[tuple[str, Tensor]]:
        for field in fields(self):
            tensor = getattr(self, field.name)
            if tensor is not None:
                yield field.name, tensor


class Objective(Protocol):
    """`row_outputs` are the names of the outputs with one row per utterance, which are gathered over processes."""

    row_outputs: tuple[str, ...]

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses: ...


def labels_of(utterances: Sequence[Utterance], vocabulary: Vocabulary | None) -> Targets:
    """Return the emotions and genders of `utterances`. Without a vocabulary, every emotion is -1."""
    emotions, genders = _indices(utterances, vocabulary)
    return Targets(torch.from_numpy(emotions), torch.from_numpy(genders))


def training_targets(
    utterances: Sequence[Utterance],
    vocabulary: Vocabulary | None,
    votes: bool = False,
    dimensions: np.ndarray | None = None,
) -> Targets:
    """Return all targets of a training set; those of a batch are some of its rows.

    Parameters
    ----------
    votes : whether to include the votes of the raters. Without a vocabulary there are none.
    dimensions : (N, D), the values to predict for each of `utterances`.
    """
    classes = classes_by_corpus(utterances, vocabulary) if vocabulary else None
    shares = vote_shares(utterances, vocabulary, classes) if vocabulary and votes else None
    values = None if dimensions is None else dimensions.astype(np.float32)
    optional = {"classes": classes, "votes": shares, "dimensions": values}
    known = {name: torch.from_numpy(array) for name, array in optional.items() if array is not None}
    return replace(labels_of(utterances, vocabulary), **known)


def _indices(utterances: Sequence[Utterance], vocabulary: Vocabulary | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the emotion and gender indices, (N,) int64 each."""
    classes = (vocabulary.index(utterance.emotion) if vocabulary else None for utterance in utterances)
    emotions = np.array([UNLABELLED if index is None else index for index in classes], dtype=np.int64)
    genders = np.array([gender_index(utterance.gender) for utterance in utterances], dtype=np.int64)
    return emotions, genders


def classes_by_corpus(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> np.ndarray | None:
    """Return which classes the corpus of each utterance has, (N, C) bool; None if every corpus has all classes."""
    emotions, _ = _indices(utterances, vocabulary)
    corpora = np.array([row.corpus or "" for row in utterances])
    classes = np.zeros((len(utterances), len(vocabulary.emotions)), dtype=bool)
    for corpus in np.unique(corpora):
        members = corpora == corpus
        classes[members] = np.isin(np.arange(len(vocabulary.emotions)), emotions[members])
    return None if classes.all() else classes


def vote_shares(
    utterances: Sequence[Utterance], vocabulary: Vocabulary, classes: np.ndarray | None = None
) -> np.ndarray:
    """Return (N, C) float32: the share of each class in the votes of each labelled utterance, of sum 1 [C].

    Votes for emotions that are no class are left out, as are votes for classes that the utterance's corpus does not have. If no
    votes are left, the label has all of them.

    Parameters
    ----------
    classes : what `classes_by_corpus` returned.
    """
    emotions, _ = _indices(utterances, vocabulary)
    labelled = np.eye(len(vocabulary.emotions))[emotions]
    counts = np.array([vocabulary.counts(row.votes or {}) for row in utterances])
    if classes is not None:
        counts = counts * classes
    counts = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, labelled)
    return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
