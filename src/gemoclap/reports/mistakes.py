"""The most confident mistakes of a method, and their sound as a player in a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from gemoclap.audio import SAMPLE_RATE, load_audio
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.errors import GemoclapError
from gemoclap.metrics.calibration import class_numbers
from gemoclap.predictions import PredictionTable
from gemoclap.reports.html import data_uri

WORST_MISTAKES = 10
LONGEST = 20.0
"""Seconds of a clip that a player has; the rest is left out."""
MOST_BYTES = 8_000_000
"""Size of all sound in a page together."""
MP3, WAV = ("MP3", "audio/mpeg"), ("WAV", "audio/wav")
"""Format and media type. Every browser plays both. MP3 is a tenth as large; a libsndfile before 1.1 cannot write it."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer; `probability` is that of the answer, before any temperature. `path` is None if it is not known."""

    id: str
    fold: str | None
    speaker: str | None
    truth: str
    answer: str
    probability: float
    path: str | None


def worst_mistakes(table: PredictionTable) -> list[Mistake]:
    """Return the wrong answers with the highest probabilities, the most probable first; none if there are no probabilities."""
    if not np.isfinite(table.probabilities).all():
        return []
    chosen = class_numbers(table.prediction, table.classes)
    sure = table.probabilities[np.arange(len(table)), chosen]
    wrong = np.flatnonzero(chosen != class_numbers(table.truth, table.classes))
    rows = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST_MISTAKES]
    return [
        Mistake(
            table.ids[row],
            table.folds[row],
            table.speakers[row],
            table.truth[row],
            table.prediction[row],
            float(sure[row]),
            table.paths[row],
        )
        for row in rows.tolist()
    ]


def manifest_rows(manifest: str) -> dict[str, Utterance]:
    """Return id -> row of a run's manifest; empty if it is not there any more or not readable."""
    try:
        return {row.id: row for row in read_manifest(manifest)}
    except (GemoclapError, OSError):
        return {}


class Players:
    """Makes players of clips until the page has enough sound.

    Parameters
    ----------
    rows : id -> row of the manifest, which says where in a file a clip is. Other clips are whole files.
    """

    def __init__(self, rows: Mapping[str, Utterance]) -> None:
        self.rows = rows
        self.left = MOST_BYTES

    def sound(self, mistake: Mistake) -> tuple[str, str]:
        """Return the address of a clip's sound, and a remark; the address is empty if there is no sound."""
        row = self.rows.get(mistake.id)
        path = row.path if row is not None else mistake.path
        if path is None or not Path(path).is_file():
            return "", "sound not found"
        start, end = (row.start, row.end) if row is not None else (None, None)
        try:
            waveform = load_audio(path, start, end)
        except GemoclapError:
            return "", "sound not readable"
        content, kind = _encoded(waveform[: int(LONGEST * SAMPLE_RATE)])
        if len(content) > self.left:
            return "", "left out, because the page has enough sound"
        self.left -= len(content)
        return data_uri(kind, content), f"first {LONGEST:g} s" if len(waveform) > LONGEST * SAMPLE_RATE else ""


def _encoded(waveform: np.ndarray) -> tuple[bytes, str]:
    """Return 16 kHz sound (T,) as a small file, and its media type."""
    name, kind = MP3 if MP3[0] in soundfile.available_formats() else WAV
    file = io.BytesIO()
    soundfile.write(file, np.clip(waveform, -1, 1), SAMPLE_RATE, format=name)
    return file.getvalue(), kind


def file_name(mistake: Mistake, rows: Mapping[str, Utterance]) -> str:
    """Return the name of a clip's file without its folder, or an empty string."""
    path = rows[mistake.id].path if mistake.id in rows else mistake.path
    return Path(path).name if path else ""


def speakers_of(mistakes: Sequence[Mistake]) -> list[str]:
    """Return the speaker of each mistake, without the corpus if all are from one."""
    names = [mistake.speaker or "" for mistake in mistakes]
    one_corpus = len({name.rpartition("/")[0] for name in names}) == 1
    return [name.rpartition("/")[2] if one_corpus else name for name in names]
