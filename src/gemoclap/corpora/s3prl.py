"""S3PRL's IEMOCAP manifests: ``{"labels": {...}, "meta_data": [{"path", "label", "speaker"}]}``, one pair per
session.

Two of its fields need care. ``speaker`` is the letter of the dialogue, which is not the speaker in half of the rows. So the
speaker is read from the id. ``hap`` is happy and excited in one class, which cannot be undone. Both become happy.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemoclap.corpora import iemocap
from gemoclap.corpora.layout import AudioFinder
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.values import known
from gemoclap.errors import GemoclapError
from gemoclap.files import parse_json, read_text
from gemoclap.labels import canonical_emotion


def read_s3prl(source: str | os.PathLike, audio_root: str | os.PathLike | None = None) -> list[Utterance]:
    """Read S3PRL's IEMOCAP metadata.

    Parameters
    ----------
    source : a ``*_meta_data.json``; a ``Session1`` folder, of which the training rows and the test rows are read; or the folder
        of all sessions, of which the test rows are read. In both folders, these rows are the whole corpus.
    audio_root : IEMOCAP_full_release, or any folder that has the wavs in it. The default is the folder of the first file.

    Raises
    ------
    GemoclapError : there is no such file; it does not have S3PRL's format; or a row is no utterance of IEMOCAP. The message
        names the row.
    """
    files = _meta_data(Path(source))
    finder = AudioFinder(Path(audio_root) if audio_root is not None else files[0].parent)
    return [_utterance(row, finder, f"{path}: row {number}") for path in files for number, row in _rows(path)]


def _meta_data(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    files = sorted(source.glob("*_meta_data.json")) or sorted(source.glob("Session*/test_meta_data.json"))
    if not files:
        raise GemoclapError(
            f"{source}: no train_meta_data.json or test_meta_data.json here; point at S3PRL's Session1 folder"
        )
    return files


def _rows(path: Path) -> list[tuple[int, Any]]:
    try:
        return list(enumerate(parse_json(read_text(path))["meta_data"], 1))
    except (ValueError, KeyError, TypeError) as error:
        raise GemoclapError(f"{path}: not S3PRL's metadata ({error}); expected 'labels' and 'meta_data'") from None


def _utterance(row: Any, finder: AudioFinder, where: str) -> Utterance:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("path", "label")):
        raise GemoclapError(f"{where}: field 'path' or 'label' is missing; make the metadata again with S3PRL")
    utterance = iemocap.describe(Path(row["path"]).stem, finder(row["path"], by_stem=True))
    if utterance is None:
        raise GemoclapError(
            f"{where}: {row['path']} is not an IEMOCAP utterance; this importer reads S3PRL's IEMOCAP only"
        )
    return replace(utterance, emotion=canonical_emotion(row["label"]) if known(row["label"]) else None)
