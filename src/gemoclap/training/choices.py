"""Which classes an evaluation chooses among: those of the model, some of them, other words, or several joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import Vocabulary


@dataclass(frozen=True)
class Choice:
    """The words that a model gives a probability each, and the classes that they are joined to.

    Attributes
    ----------
    words : (W,) what the classifier is made for.
    vocabulary : the C classes, and what is done to the labels of utterances before they are compared with them.
    """

    words: tuple[str, ...]
    vocabulary: Vocabulary

    def join(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the probabilities ``(N, C)`` of the classes: those ``(N, W)`` of the words, added up class by class."""
        classes = self.vocabulary.emotions
        if self.words == classes:
            return probabilities
        joined = np.zeros((len(probabilities), len(classes)), probabilities.dtype)
        for column, word in enumerate(self.words):
            joined[:, self.vocabulary.index(word)] += probabilities[:, column]
        return joined


def choice_of(
    trained: Vocabulary, labels: Sequence[str] | None = None, merges: Mapping[str, str] | None = None
) -> Choice:
    """Return the choice among `labels`, after classes and labels were renamed by `merges`.

    Parameters
    ----------
    trained : the classes of the model, and the merges that its training labels went through.
    labels : the classes to choose among; None takes those of the model. A class that `merges` turns into one of them
        belongs to it.
    merges : label -> class, for labels of utterances and classes of the model alike.

    Raises
    ------
    GemoclapError : fewer than two classes are left, a label is given twice, or a merge leads to a word that is merged itself.
    """
    merges = {label: into for label, into in (merges or {}).items() if label != into}
    for label, into in merges.items():
        if into in merges:
            raise GemoclapError(
                f"--merges: {label} becomes {into}, which becomes {merges[into]}; write {label}: {merges[into]}"
            )
    if labels is not None and len(set(labels)) < len(labels):
        raise GemoclapError(f"--labels: {', '.join(labels)}: give each label once")
    wanted = trained.emotions if labels is None else labels
    words = [word for label in wanted for word in _words(label, trained.emotions, merges)]
    words = [*dict.fromkeys(words)]
    classes = tuple(dict.fromkeys(merges.get(word, word) for word in words))
    if len(classes) < 2:
        raise GemoclapError(f"only one class is left to choose among, {''.join(classes) or 'none'}; leave two or more")
    of_training = {label: merges.get(into, into) for label, into in trained.merges.items() if label not in classes}
    return Choice(tuple(words), Vocabulary("chosen", classes, {**of_training, **merges}))


def check_merges(merges: Mapping[str, str], trained: Vocabulary, found: Sequence[str | None]) -> None:
    """Check that every label that is renamed exists.

    Parameters
    ----------
    found : the labels of the utterances.

    Raises
    ------
    GemoclapError : a label is neither a class of the model nor a label of an utterance.
    """
    known = sorted({*trained.emotions, *trained.merges, *(label for label in found if label is not None)})
    for label in merges:
        if label not in known:
            raise GemoclapError(
                f"--merges: no class of the model and no utterance is called {label}{did_you_mean(label, known)}; known: "
                f"{', '.join(known)}"
            )


def _words(label: str, trained: Sequence[str], merges: Mapping[str, str]) -> list[str]:
    """Return the words whose probabilities make up a label: the classes that become it, and itself if it can be asked for.

    A name that several classes are joined to, and that is no class itself, is not one more word to compare a clip with.
    """
    joined = [name for name in trained if merges.get(name) == label]
    return [label, *joined] if label in trained or not joined else joined
