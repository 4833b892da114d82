"""The manifest: one utterance a line of JSON, the only form in which a corpus enters the rest of the code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from gemoclap.errors import GemoclapError
from gemoclap.files import atomic_write, read_text
from gemoclap.labels import GENDERS


@dataclass(frozen=True)
class Utterance:
    """One labelled stretch of speech.

    Attributes
    ----------
    id : unique in its manifest.
    path : audio file; absolute, or relative to the manifest's folder. `read_manifest` returns it resolved.
    start, end : seconds within the file, or None for the whole of it.
    corpus, session, speaker : names; None where unknown.
    gender : ``female``, ``male`` or None.
    emotion : a word of `gemoclap.labels.EMOTIONS`, unmerged, or None when unlabelled.
    text : what is said, or None.
    language : ISO 639-1 code, or None.
    """

    id: str
    path: str
    start: float | None = None
    end: float | None = None
    corpus: str | None = None
    session: str | None = None
    speaker: str | None = None
    gender: str | None = None
    emotion: str | None = None
    text: str | None = None
    language: str | None = None


FIELDS = tuple(field.name for field in fields(Utterance))


def read_manifest(path: str | os.PathLike) -> list[Utterance]:
    """Read a JSONL manifest; relative audio paths are resolved against the manifest's folder.

    Raises
    ------
    GemoclapError : no such file, no rows, a row that is not JSON, unknown or missing fields, or an id given twice; the
        message names the line.
    """
    path = Path(path)
    if not path.is_file():
        where = "" if path.is_absolute() else f" below {Path.cwd()}"
        raise GemoclapError(f"{path}: no such manifest{where}; make one with 'gemoclap prepare CORPUS ROOT -o {path}'")
    utterances: list[Utterance] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        utterance = _parse_row(line, f"{path}:{number}")
        if utterance.id in seen:
            raise GemoclapError(f"{path}:{number}: id {utterance.id!r} is already on line {seen[utterance.id]}")
        seen[utterance.id] = number
        utterances.append(replace(utterance, path=str(path.parent / utterance.path)))
    if not utterances:
        raise GemoclapError(f"{path}: the manifest has no rows; was the corpus folder right when it was prepared?")
    return utterances


def _parse_row(line: str, where: str) -> Utterance:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise GemoclapError(
            f"{where}: not a line of JSON ({error.msg}); a manifest is JSONL, one object a line"
        ) from None
    if not isinstance(row, dict):
        raise GemoclapError(f"{where}: expected a JSON object with the fields {', '.join(FIELDS)}")
    unknown = sorted(set(row) - set(FIELDS))
    if unknown:
        raise GemoclapError(f"{where}: unknown field {unknown[0]!r}; known: {', '.join(FIELDS)}")
    missing = [name for name in ("id", "path") if not isinstance(row.get(name), str) or not row[name]]
    if missing:
        raise GemoclapError(f"{where}: field {missing[0]!r} is missing or not a string")
    for name in ("corpus", "session", "speaker", "gender", "emotion", "text", "language"):
        if row.get(name) is not None and not isinstance(row[name], str):
            raise GemoclapError(f"{where}: field {name!r} must be a string or null, not {row[name]!r}")
    if row.get("gender") not in (None, *GENDERS):
        raise GemoclapError(f"{where}: gender must be {' or '.join(GENDERS)} or null, not {row['gender']!r}")
    for name in ("start", "end"):
        if row.get(name) is not None and not isinstance(row[name], int | float):
            raise GemoclapError(f"{where}: field {name!r} must be seconds or null, not {row[name]!r}")
    return Utterance(**row)


def write_manifest(utterances: Iterable[Utterance], path: str | os.PathLike) -> None:
    """Write a JSONL manifest beside its final name and rename; audio under the manifest's folder is named relatively.

    Raises
    ------
    GemoclapError : there is nothing to write.
    """
    path = Path(path)
    utterances = list(utterances)
    if not utterances:
        raise GemoclapError(f"{path}: nothing to write, the corpus has no utterances")
    folder = path.parent.resolve()
    with atomic_write(path) as file:
        for utterance in utterances:
            row = asdict(replace(utterance, path=_relative(utterance.path, folder)))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _relative(audio: str, folder: Path) -> str:
    resolved = Path(audio).resolve()
    return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)
