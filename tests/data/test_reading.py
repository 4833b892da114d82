"""What is said of utterances that no class takes."""

from __future__ import annotations

from gemoclap.corpora.manifest import Utterance
from gemoclap.data.reading import left_out
from gemoclap.labels import Vocabulary

TWO = Vocabulary("two", ("angry", "happy"), {"excited": "happy"})


def rows(*emotions: str | None) -> list[Utterance]:
    return [Utterance(str(number), "x.wav", emotion=emotion) for number, emotion in enumerate(emotions)]


def test_utterances_of_other_classes_are_counted_by_label() -> None:
    sentence = left_out(rows("angry", "bored", "excited", None, "bored"), TWO)
    assert sentence.startswith("3 of 5 utterances are left out, as two has no such class: bored 2, no label 1 (")


def test_nothing_is_said_where_all_are_taken() -> None:
    assert left_out(rows("angry", "excited", "happy"), TWO) == ""
