"""Compares names. Speakers belong to their corpus, and different spellings of a name or label are one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gemoclap.labels import EMOTIONS, folded, joined_votes

if TYPE_CHECKING:  # manifest.py uses this file
    from gemoclap.corpora.manifest import Utterance


def speaker_name(utterance: Utterance) -> str:
    """Return ``"corpus/speaker"``. A model stores its training speakers in this form."""
    return f"{(utterance.corpus or '').strip() or 'unnamed'}/{(utterance.speaker or '').strip() or 'unknown'}"


def row_columns(rows: Sequence[Utterance]) -> dict[str, Any]:
    """Return what tables of predictions say about rows: ``ids``, ``speakers`` and ``genders``, each (N,), None where unknown.

    A speaker is called ``"corpus/speaker"`` if the corpus has a name, so that tables of several corpora can be joined.
    """
    return {
        "ids": tuple(row.id for row in rows),
        "speakers": tuple(speaker_name(row) if row.speaker and row.corpus else row.speaker for row in rows),
        "genders": tuple(row.gender for row in rows),
    }


def speaker_key(utterance: Utterance) -> str:
    """Return a key that is equal for all rows of a speaker: ``"corpus/speaker"`` in lower case, without blanks around names."""
    return normal_name(speaker_name(utterance))


def normal_name(name: str) -> str:
    """Return a name in lower case, in composed characters, without blanks around its parts: ``"a/ B "`` -> ``"a/b"``."""
    return re.sub(r"\s*/\s*", "/", folded(name))


def shown_speakers(rows: Iterable[Utterance]) -> dict[str, str]:
    """Return `speaker_key` -> name to show, in natural order. Rows without a speaker are left out.

    If all rows are from one corpus, this is the name of the speaker as in the first row. Otherwise it is ``"corpus/speaker"``.
    """
    first: dict[str, Utterance] = {}
    corpora: set[str] = set()
    for row in rows:
        corpora.add(normal_name(row.corpus or ""))
        if (row.speaker or "").strip():
            first.setdefault(speaker_key(row), row)
    names = {key: (row.speaker or "").strip() if len(corpora) == 1 else speaker_name(row) for key, row in first.items()}
    return dict(sorted(names.items(), key=lambda item: natural(item[1])))


def row_speakers(rows: Sequence[Utterance], shown: dict[str, str]) -> list[str | None]:
    """Return, for each row, the name in `shown` of its speaker, or None if it has no speaker."""
    return [shown.get(speaker_key(row)) for row in rows]


def common_speakers(known: Iterable[str], present: Iterable[str]) -> set[str]:
    """Return the names ``"corpus/speaker"`` in `present` that are also in `known`, in any spelling."""
    keys = set(map(normal_name, known))
    return {name for name in present if normal_name(name) in keys}


def one_spelling(rows: Sequence[Utterance]) -> list[Utterance]:
    """Return the rows with the names of each corpus and speaker, and each label, spelt as in the first row.

    If one of the spellings of a label is a word of `labels.EMOTIONS`, all have that one.
    """
    corpora: dict[str, str] = {}
    speakers: dict[str, str] = {}
    labels = label_spellings(rows)
    return [
        replace(
            row,
            corpus=_first_spelling(corpora, normal_name(row.corpus or ""), row.corpus),
            speaker=_first_spelling(speakers, speaker_key(row), row.speaker),
            emotion=None if row.emotion is None else labels[folded(row.emotion)],
            votes=None if row.votes is None else joined_votes(row.votes, lambda word: labels[folded(word)]),
        )
        for row in rows
    ]


def label_spellings(rows: Iterable[Utterance]) -> dict[str, str]:
    """Return `labels.folded` of each label, also of those that are voted for -> the spelling that `one_spelling` gives it."""
    found: dict[str, str] = {}
    for row in rows:
        for word in (row.emotion, *(row.votes or ())):
            if word is not None and (folded(word) not in found or word in EMOTIONS):
                found[folded(word)] = word
    return found


def _first_spelling(spellings: dict[str, str], key: str, name: str | None) -> str | None:
    return None if name is None else spellings.setdefault(key, name.strip())


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts 2 before 10: ``sorted(names, key=natural)``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
