"""Finds the same audio on both sides of a split, under any names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import Fold, rows_of
from gemoclap.errors import GemoclapError

PARTS = ("trained on", "developed on", "tested on")


def refuse_same_audio(folds: Sequence[Fold], store: AudioStore, settings: DataSettings) -> list[str]:
    """Refuse folds in which two parts have the same audio under two ids, just as folds with shared speakers are refused.

    Audio is the same if the prepared clips are equal, sample by sample (`AudioStore.content_key`). Names and formats of the
    files do not matter. Silent clips are not compared.

    Returns
    -------
    A warning for each such fold, to show to the user, if ``allow_speaker_overlap`` is true.

    Raises
    ------
    GemoclapError : two parts of a fold have the same audio, and ``allow_speaker_overlap`` is false; or audio cannot be read.
    """
    rows = rows_of(folds)
    copies = _copies(rows, store)
    found = [sentence for fold in folds if (sentence := _same_audio(fold, copies))] if copies else []
    if found and not settings.allow_speaker_overlap:
        raise GemoclapError(
            f"{found[0]}; keep one row of each ('gemoclap inspect {settings.manifest}' lists them), or accept it with "
            "--data.allow_speaker_overlap true"
        )
    return [f"{sentence}: its figures are better than those of unseen audio" for sentence in found]


def _copies(rows: Sequence[Utterance], store: AudioStore) -> dict[str, str]:
    """Return id -> hash of the audio, for utterances whose audio another id has too."""
    by_audio: dict[str, list[Utterance]] = defaultdict(list)
    for row in rows:
        by_audio[store.content_key(row)].append(row)
    return {
        row.id: key
        for key, several in by_audio.items()
        if len(several) > 1 and store(several[0]).any()
        for row in several
    }


def _same_audio(fold: Fold, copies: dict[str, str]) -> str:
    """Return a sentence on the audio that two parts of a fold share; empty if there is none."""
    parts: dict[str, dict[int, Utterance]] = defaultdict(dict)
    for number, rows in enumerate((fold.train, fold.dev, fold.test)):
        for row in _among(rows, copies):
            parts[copies[row.id]].setdefault(number, row)
    both = [found for found in parts.values() if len(found) > 1]
    if not both:
        return ""
    (one, first), (other, second), *_ = sorted(both[0].items())
    return (
        f"{fold.name}: the same audio is {PARTS[one]} and {PARTS[other]} under two ids, {len(both)} time(s) ({first.id!r}, "
        f"{first.path}, is {second.id!r}, {second.path})"
    )


def _among(rows: Iterable[Utterance], copies: dict[str, str]) -> Iterable[Utterance]:
    return (row for row in rows if row.id in copies)
