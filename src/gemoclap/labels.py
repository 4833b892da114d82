"""Emotion and gender words, and the named sets of emotions that a model can be trained on.

A corpus parser writes the corpus's own classes as the adjectives of `EMOTIONS`, unmerged (IEMOCAP's *excited* stays
``excited``). A `Vocabulary` says which of them are a model's classes, and which are merged. It is plain data with a name,
and is saved in the model's config.json.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.wording import shortened

EMOTIONS = (
    "angry", "happy", "sad", "neutral", "calm", "fearful", "disgusted", "surprised", "bored", "excited", "frustrated",
    "contemptuous", "other",
)  # fmt: skip
GENDERS = ("female", "male")
LISTED, EVERY_LABEL = "custom", "manifest"
"""Names of the vocabulary of classes that are listed in ``data.emotions``, and of that of all labels of a manifest."""
SHOWN = 200
"""Characters of a label that an error shows."""
UNKNOWN_GENDER = -1
"""Index of an unknown gender; such an utterance has the same gender as itself only ([C], docs/methods.md)."""

ABBREVIATIONS: Mapping[str, str] = {
    "ang": "angry", "hap": "happy", "neu": "neutral", "fea": "fearful", "dis": "disgusted", "sur": "surprised",
    "exc": "excited", "fru": "frustrated", "oth": "other",
}  # fmt: skip
"""Short forms of `EMOTIONS` in toolkits and corpora, in lower case. They are no words, so a text encoder cannot know them."""
SYNONYMS: Mapping[str, str] = {
    "anger": "angry", "happiness": "happy", "joy": "happy", "joyful": "happy", "sadness": "sad", "calmness": "calm",
    "fear": "fearful", "afraid": "fearful", "anxiety": "fearful", "anxious": "fearful", "disgust": "disgusted",
    "surprise": "surprised", "boredom": "bored", "excitement": "excited", "frustration": "frustrated",
    "contempt": "contemptuous", **ABBREVIATIONS,
}  # fmt: skip
"""Other words for `EMOTIONS` in toolkits and corpora, in lower case."""

OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "neutral": ("unemotional", "matter-of-fact", "emotionless"),
    "calm": ("relaxed", "peaceful", "serene", "tranquil"),
    "happy": ("joyful", "delighted", "cheerful", "joyous", "glad", "overjoyed"),
    "sad": ("unhappy", "in tears", "sorrowful", "gloomy", "miserable", "mournful", "heartbroken"),
    "angry": ("furious", "annoyed", "enraged", "infuriated", "outraged", "irate"),
    "fearful": ("scared", "terrified", "frightened"),
    "disgusted": ("revolted", "repelled", "grossed out"),
    "surprised": ("astonished", "amazed", "startled"),
}
"""Emotion -> other words for it, in lower case. The first two for each emotion of `default` were measured (docs/models.md). The
words after those were not; the prompt of each lies nearest to that of its emotion."""


def canonical_emotion(word: str) -> str:
    """Return the adjective this project uses for `word`: ``"Anger"`` -> ``"angry"``; an unknown word in lower case.

    Accents are composed (NFC), as `folded` says.
    """
    lowered = " ".join(unicodedata.normalize("NFC", word).lower().split())
    return SYNONYMS.get(lowered, lowered)


def canonical_votes(votes: Mapping[str, float]) -> dict[str, float]:
    """Return votes for words as votes for `canonical_emotion` of each: ``{"Anger": 1, "angry": 2}`` -> ``{"angry": 3}``."""
    return joined_votes(votes, canonical_emotion)


def joined_votes(votes: Mapping[str, float], rename: Callable[[str], str]) -> dict[str, float]:
    """Return votes with their words renamed; the votes of words that become one are added up."""
    joined: dict[str, float] = {}
    for word, count in votes.items():
        joined[rename(word)] = joined.get(rename(word), 0.0) + count
    return joined


@lru_cache(maxsize=2**17)  # corpora have far more rows than names
def folded(word: str) -> str:
    """Return a key that is equal for spellings of a word that differ in case, blanks, or in how accents are stored.

    A letter with an accent is one character (NFC) or two (NFD). They look the same.
    """
    composed = unicodedata.normalize("NFC", word).casefold()
    return unicodedata.normalize("NFC", " ".join(composed.split()))


def same_word(word: str, known: Iterable[str], synonyms: bool = True) -> str | None:
    """Return the first of `known` that is `word`, else `word` in another case, else another word of `SYNONYMS` for it; or None.

    Parameters
    ----------
    synonyms : look for other words too, not for another case only.
    """
    known = list(known)
    spellings: list[Callable[[str], str]] = [str, folded]
    for spelling in [*spellings, canonical_emotion] if synonyms else spellings:
        for one in known:
            if spelling(one) == spelling(word):
                return one
    return None


def completed_merges(merges: Mapping[str, str], classes: Sequence[str] | None, labels: Iterable[str]) -> dict[str, str]:
    """Return `merges` with the spelling of `labels` and `classes`, and with the labels that are a class in another spelling.

    ``prepare`` writes labels in lower case, and *anger* as *angry*; who lists the classes writes *Wut* or *anger*. Without this
    the utterances of such a class would be left out.

    A label in another case is the same word. One that is another word (`SYNONYMS`) belongs to a class only if no label is the
    class's own word: where there are both *joy* and *happy*, they are kept apart.

    Parameters
    ----------
    merges : label -> class, as it was given.
    classes : the classes, as they were given; None if every label is one.
    labels : the labels that utterances have.
    """
    labels = sorted(labels)
    if classes is None:
        found = {label: same_word(into, labels, synonyms=False) or into for label, into in merges.items()}
    else:
        found = {label: same_word(into, classes) or into for label, into in merges.items()}
    class_of = {**{one: one for one in classes or ()}, **found}
    unused = [word for word in class_of if same_word(word, labels, synonyms=False) is None]
    for label in labels:
        word = same_word(label, class_of, synonyms=False) or same_word(label, unused)
        if word is not None and class_of[word] != label:
            found[label] = class_of[word]
    return found


def prompt_word(label: str, trained: Sequence[str]) -> str:
    """Return the word that stands for a label in a prompt.

    A class of training in another case is that class, whose prompt the model has learnt, and a short form the whole word. Any
    other word stands for itself, also another word for a class: its prompt is another one.
    """
    whole = ABBREVIATIONS.get(label.strip().lower())
    return same_word(label, trained, synonyms=whole is not None) or whole or label.strip()


def refuse_same(labels: Sequence[str], meant: Sequence[str]) -> None:
    """Raise a GemoclapError if two of the labels mean the same, so that they would share its probability."""
    first: dict[str, str] = {}
    for label, word in zip(labels, meant, strict=True):
        if word in first:
            raise GemoclapError(f"labels: {first[word]} and {label} are the same class, {word}; give one of them")
        first[word] = label


def class_columns(
    labels: Sequence[str],
    trained: Sequence[str],
    what: str = "this model",
    remedy: str = "train a model that compares with prompts, such as emo_clap",
) -> list[int]:
    """Return the columns of the probabilities of `trained` that labels name: what a model without prompts can choose among.

    Parameters
    ----------
    what, remedy : the model, and what else to do, for the error.

    Raises
    ------
    GemoclapError : a label names no class (`same_word`), or two name the same.
    """
    named = [same_word(label, trained) for label in labels]
    known = [one for one in named if one is not None]
    if len(known) < len(named):
        missing = labels[named.index(None)]
        found = f"labels: {what} only has the classes {', '.join(trained)}, not {missing}; leave labels out"
        raise GemoclapError(f"{found}, or {remedy}", for_clients=found)
    refuse_same(labels, known)
    return [trained.index(one) for one in known]


def chosen_labels(labels: Sequence[str] | None, trained: Sequence[str]) -> tuple[str, ...]:
    """Return the classes to choose among: `labels`, or if it is None, those that a model was trained on.

    Raises
    ------
    GemoclapError : `labels` is a word instead of a list; it has fewer than two labels, or one twice (upper and lower case are
        the same); or a label is empty or no text.
    """
    found = (labels,) if isinstance(labels, str) else tuple(trained if labels is None else labels)
    wrong = [one for one in found if not (isinstance(one, str) and one.strip())]
    if wrong and labels is not None:
        raise GemoclapError(f"labels must be words, not {shortened(repr(wrong[0]), SHOWN)}")
    # Two spellings of one word would share its probability, and each would have half of it.
    if len(found) < 2 or len(set(map(folded, found))) < len(found):
        given = shortened(", ".join(found) or "none", SHOWN)
        raise GemoclapError(f"labels must be a list of two or more different words, not {given}")
    return tuple(map(str, found))


def untrained_labels(labels: Sequence[str], trained: Sequence[str]) -> list[str]:
    """Return the `labels` that are neither a class of training nor another word for one in `SYNONYMS` or `OTHER_WORDS`."""
    known = {canonical_emotion(one) for one in trained}
    known |= {word for one in known for word in OTHER_WORDS.get(one, ())}
    return [one for one in labels if canonical_emotion(one) not in known]


def untrained_remark(labels: Sequence[str], trained: Sequence[str]) -> str | None:
    """Return a remark that names the `untrained_labels`; None if there are none."""
    unknown = ", ".join(untrained_labels(labels, trained))
    return f"the model was not trained on {shortened(unknown, SHOWN)}" if unknown else None


def untrained_explained(labels: Sequence[str], trained: Sequence[str]) -> str | None:
    """Return `untrained_remark` with what it means for the answers."""
    remark = untrained_remark(labels, trained)
    return remark and (
        f"{remark}; other words for its own emotions ({', '.join(trained)}) can work, but a new emotion is hardly ever "
        "recognised, and clips of other emotions can get its word"
    )


def gender_index(gender: str | None) -> int:
    """Return the index of `gender` in `GENDERS`, or `UNKNOWN_GENDER`."""
    return GENDERS.index(gender) if gender in GENDERS else UNKNOWN_GENDER


@dataclass(frozen=True)
class Vocabulary:
    """A named, ordered set of emotions; the order is the order of the classes everywhere (`id2label`, columns).

    Attributes
    ----------
    name : the name of the set in settings and reports, ``"iemocap4"``.
    emotions : the classes, in order.
    merges : label -> class, applied before look-up, ``{"excited": "happy"}``.
    """

    name: str
    emotions: tuple[str, ...]
    merges: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, emotion: str | None) -> str | None:
        """Return the class of a label after merging, or None if the label is not in the set."""
        merged = self.merges.get(emotion, emotion) if emotion is not None else None
        return merged if merged in self.emotions else None

    def index(self, emotion: str | None) -> int | None:
        """Return the class index of a label after merging, or None if the label is not in the set."""
        resolved = self.resolve(emotion)
        return None if resolved is None else self.emotions.index(resolved)

    def counts(self, votes: Mapping[str, float]) -> list[float]:
        """Return the number of votes for each class after merging, those outside the set left out; not normalised."""
        found = [0.0] * len(self.emotions)
        for emotion, count in votes.items():
            if (place := self.index(emotion)) is not None:
                found[place] += count
        return found

    def to_dict(self) -> dict:
        """Return plain data for JSON; `Vocabulary.from_dict` reads it back."""
        return {"name": self.name, "emotions": list(self.emotions), "merges": dict(self.merges)}

    @classmethod
    def from_dict(cls, data: Mapping) -> Vocabulary:
        return cls(data["name"], tuple(data["emotions"]), dict(data["merges"]))


_BASIC = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")

VOCABULARIES: dict[str, Vocabulary] = {
    vocabulary.name: vocabulary
    for vocabulary in (
        Vocabulary("iemocap4", ("angry", "happy", "neutral", "sad"), {"excited": "happy"}),
        Vocabulary("iemocap6", ("angry", "excited", "frustrated", "happy", "neutral", "sad")),
        Vocabulary("ravdess8", ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")),
        Vocabulary("synthetic4", ("angry", "happy", "neutral", "sad")),
        Vocabulary("emodb4", ("angry", "happy", "neutral", "sad")),
        Vocabulary("emodb7", ("angry", "bored", "disgusted", "fearful", "happy", "neutral", "sad")),
        Vocabulary("nemo6", ("angry", "fearful", "happy", "neutral", "sad", "surprised")),
        Vocabulary("cremad6", ("angry", "disgusted", "fearful", "happy", "neutral", "sad")),
        Vocabulary("tess7", _BASIC),
        Vocabulary("savee7", _BASIC),
        Vocabulary("emovo7", _BASIC),
        Vocabulary("meld7", _BASIC),
        Vocabulary("esd5", ("angry", "happy", "neutral", "sad", "surprised")),
        Vocabulary("msppodcast4", ("angry", "happy", "neutral", "sad")),
        Vocabulary(
            "msppodcast8",
            ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"),
        ),
    )
}


def get_vocabulary(name: str) -> Vocabulary:
    """Return a named vocabulary.

    Raises
    ------
    GemoclapError : the name is not in `VOCABULARIES`.
    """
    if name not in VOCABULARIES:
        known = sorted(VOCABULARIES)
        raise GemoclapError(
            f"no vocabulary is called {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}; "
            "or list the classes with --data.emotions"
        )
    return VOCABULARIES[name]


def vocabulary_of(emotions: Iterable[str | None]) -> Vocabulary:
    """Return the vocabulary of all given labels, in alphabetical order, nothing merged, named `EVERY_LABEL`."""
    return Vocabulary(EVERY_LABEL, tuple(sorted({emotion for emotion in emotions if emotion})))
