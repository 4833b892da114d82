"""Made-up corpora to divide into folds, and what every division must be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.labels import Vocabulary

TWO = Vocabulary("two", ("angry", "happy"), {"excited": "happy"})


def corpus(speakers: int = 8, each: int = 4) -> list[Utterance]:
    """Speakers s1, s2, ... of alternating gender, two a session, `each` utterances of either class and some outside."""
    return [
        Utterance(
            f"s{speaker}_{emotion}{take}",
            "x.wav",
            session=str((speaker + 1) // 2),
            speaker=f"s{speaker}",
            gender="female" if speaker % 2 else "male",
            emotion=emotion,
        )
        for speaker in range(1, speakers + 1)
        for take in range(each)
        for emotion in ("angry", "excited", "bored")
    ]


def ids(rows: Sequence[Utterance]) -> set[str]:
    return {row.id for row in rows}


def speakers(rows: Sequence[Utterance]) -> set[str | None]:
    return {row.speaker for row in rows}


def assert_sound(folds: list[Fold], rows: Sequence[Utterance], vocabulary: Vocabulary) -> None:
    """Hold what every kind of fold promises; test parts together are the corpus, each utterance once."""
    taking_part = {row.id for row in rows if vocabulary.resolve(row.emotion)}
    assert sorted(row.id for fold in folds for row in fold.test) == sorted(taking_part)
    assert len({fold.name for fold in folds}) == len({fold.hash for fold in folds}) == len(folds)
    for fold in folds:
        assert len(fold.train) + len(fold.dev) + len(fold.test) == len(taking_part)
        assert ids(fold.train) | ids(fold.dev) | ids(fold.test) == taking_part
        for one, two in combinations((fold.train, fold.dev, fold.test), 2):
            assert not speakers(one) & speakers(two)
        assert fold.shared_speakers == ()
