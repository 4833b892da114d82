"""The classes of an evaluation: those of the model, some of them, other words, or several joined to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import Vocabulary, completed_merges, refuse_same, same_word


@dataclass(frozen=True)
class Choice:
    """The words that a model gives probabilities for, and the classes that these words are joined to.

    Attributes
    ----------
    words : (W,) the labels of the classifier.
    vocabulary : the C classes, and how the labels of utterances are renamed before they are compared with the classes.
    """

    words: tuple[str, ...]
    vocabulary: Vocabulary

    def join(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the probabilities ``(N, C)`` of the classes: the sums of the probabilities ``(N, W)`` of their words."""
        classes = self.vocabulary.emotions
        if self.words == classes:
            return probabilities
        joined = np.zeros((len(probabilities), len(classes)), probabilities.dtype)
        for column, word in enumerate(self.words):
            joined[:, self.vocabulary.index(word)] += probabilities[:, column]
        return joined


def as_spelt(
    labels: Sequence[str] | None, merges: Mapping[str, str], trained: Vocabulary, found: Sequence[str | None]
) -> tuple[list[str] | None, dict[str, str]]:
    """Return `labels` and `merges` as the model and the utterances spell them: *Angry* is the class *angry*.

    Parameters
    ----------
    labels, merges : as in `choice_of`, as they were given.
    found : the labels of the utterances.

    Raises
    ------
    GemoclapError : two words in `merges` are the same label, so that only one of them could rename it.
    """
    classes = [*trained.emotions, *trained.merges]
    known = [*classes, *(label for label in found if label is not None)]
    wanted = None if labels is None else [same_word(label, classes, synonyms=False) or label for label in labels]
    targets = [*(wanted or ()), *trained.emotions]
    renamed = [same_word(label, known) or label for label in merges]
    refuse_same([*merges], renamed)
    into = [same_word(target, targets, synonyms=False) or target for target in merges.values()]
    return wanted, dict(zip(renamed, into, strict=True))


def choice_of(
    trained: Vocabulary,
    labels: Sequence[str] | None = None,
    merges: Mapping[str, str] | None = None,
    found: Sequence[str | None] = (),
) -> Choice:
    """Return the choice among `labels`, after `merges` has renamed classes and labels.

    Parameters
    ----------
    trained : the classes of the model, and how its training labels were merged.
    labels : the classes to choose among. None takes those of the model. A class that `merges` renames to one of them is a part
        of it.
    merges : label -> class. It renames labels of utterances and classes of the model.
    found : the labels of the utterances. As in training, one is a class in whatever spelling (`completed_merges`).

    Raises
    ------
    GemoclapError : fewer than two classes are left; a label is given twice; or a merge renames to a word that is renamed too.
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
    renamed = completed_merges({**of_training, **merges}, classes, {label for label in found if label is not None})
    return Choice(tuple(words), Vocabulary("chosen", classes, renamed))


def check_merges(
    merges: Mapping[str, str],
    trained: Vocabulary,
    found: Sequence[str | None],
    labels: Sequence[str] | None = None,
) -> None:
    """Check that every label in `merges` exists, and every class that it is renamed to.

    Parameters
    ----------
    found : the labels of the utterances.
    labels : the classes to choose among, where they are not those of the model.

    Raises
    ------
    GemoclapError : a label is neither a class of the model nor a label of an utterance; or it is renamed to what no class of
        the model is called, and none is renamed to.
    """
    of_model = {*trained.emotions, *trained.merges}
    known = sorted({*of_model, *(label for label in found if label is not None)})
    classes = sorted({*of_model, *(labels or ()), *(into for label, into in merges.items() if label in of_model)})
    for label, into in merges.items():
        if label not in known:
            raise GemoclapError(
                f"--merges: no class of the model and no utterance is called {label}{did_you_mean(label, known)}; known: "
                f"{', '.join(known)}"
            )
        if into not in classes:
            raise GemoclapError(
                f"--merges: {label} becomes {into}, which is no class{did_you_mean(into, classes)}; name one of "
                f"{', '.join(classes)}, or rename classes of the model to {into} too"
            )


def _words(label: str, trained: Sequence[str], merges: Mapping[str, str]) -> list[str]:
    """Return the words whose probabilities are added up for a label: the classes that are renamed to it, and maybe itself.

    The label itself is not among them if it is only a name that classes are joined to, and no class of the model.
    """
    joined = [name for name in trained if merges.get(name) == label]
    return [label, *joined] if label in trained or not joined else joined
