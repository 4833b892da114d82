"""Which clips a command is given. Names are looked at before a model is loaded, which takes seconds."""

from __future__ import annotations

import glob
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gemoclap.audio import regular_file
from gemoclap.corpora.csv_io import read_csv_manifest
from gemoclap.corpora.layout import rows_of_folder
from gemoclap.corpora.manifest import AUDIO_SUFFIXES, TABLE_SUFFIXES, Utterance, read_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.adaptation import write_statistics
from gemoclap.inference.job import about
from gemoclap.inference.model_folder import is_model_folder
from gemoclap.inference.rows import key_of
from gemoclap.labels import untrained_explained
from gemoclap.terminal import on_one_line
from gemoclap.wording import counted

logger = logging.getLogger(__name__)


def clips_of(given: Sequence[str]) -> list[Utterance]:
    """Return a row per clip: the files of folders and patterns, and the rows of manifests and tables.

    Raises
    ------
    GemoclapError : a named file is missing or no regular file, or none of the files in a manifest or table is there.
    """
    found: dict[str, Utterance] = {}
    count = 0
    for name in given:
        for clip in _named(name):
            found.setdefault(key_of(about(clip)), clip)
            count += 1
    if len(found) < count:
        logger.warning("named more than once: %s; each is predicted once", counted(count - len(found), "clip"))
    return [*found.values()]


def _named(name: str) -> Iterable[Utterance]:
    path = Path(name)
    if path.is_dir():
        if is_model_folder(path):
            raise GemoclapError(f"{path}: is the folder of a model, not of recordings; name it with --model {path}")
        return rows_of_folder(path)
    if path.suffix == ".jsonl":
        return with_audio(read_manifest(path), name)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return with_audio(read_csv_manifest(path), name)
    if not path.exists() and glob.has_magic(name):
        files = sorted(file for file in glob.glob(name, recursive=True) if Path(file).suffix.lower() in AUDIO_SUFFIXES)
        if not files:
            raise GemoclapError(f"{name}: no audio file matches this pattern")
        return [Utterance(file, file) for file in files]
    regular_file(name)
    return [Utterance(name, name)]


def with_audio(rows: Sequence[Utterance], table: str | os.PathLike) -> Sequence[Utterance]:
    """Return the rows of a manifest or table; raise a GemoclapError if the audio file of every row is missing.

    Then the table or the audio was moved. A single missing file is an error of its row alone.
    """
    if not any(os.path.exists(row.path) for row in rows):
        raise GemoclapError(
            f"{table}: none of its audio files is there, such as {rows[0].path}; paths start from the folder of the table, so "
            "move it back, or correct the paths"
        )
    return rows


def require_audio(rows: Iterable[Utterance]) -> None:
    """Raise a GemoclapError if the audio file of a row is missing, before hours of work end with that."""
    for row in rows:
        regular_file(row.path)


def speakers_of(clips: Sequence[Utterance], otherwise: str = "") -> list[str]:
    """Return the speaker of each clip, to whom it is adapted.

    Raises
    ------
    GemoclapError : one is not known. Its message ends in `otherwise`, what else can be done.
    """
    for clip in clips:
        if clip.speaker is None:
            raise GemoclapError(
                f"{clip.path}: its speaker is not known; give a manifest with a speaker column{otherwise}"
            )
    return [speaker_name(clip) for clip in clips]


def say_what_is_needed(needed: str | None, how: str) -> None:
    """Print what a model needs (`Predictor.needs_adaptation`), if anything, and how it gets it, on standard error."""
    if needed:
        print(f"gemoclap: {needed}; {how}", file=sys.stderr)


def save_adaptation(path: str, model: str, statistics: Mapping[str, Statistics]) -> None:
    """Write what --save_adapt names, and print how it is used, on standard error.

    Without statistics, this is said, and nothing is written: a file without groups could not be read again.
    """
    if not statistics:
        logger.warning("%s: not written, because there was no speech to measure", path)
        return
    write_statistics(path, model, statistics)
    print(on_one_line(f"gemoclap: {path}: saved; --adapt {path} adapts other recordings with it"), file=sys.stderr)


def say_what_is_untrained(labels: Sequence[str] | None, trained: Sequence[str]) -> None:
    """Print which of the labels a model was not trained on, if any, and what that means, on standard error."""
    if remark := untrained_explained(labels or (), trained):
        print(f"gemoclap: {on_one_line(remark)} (docs/models.md)", file=sys.stderr)
