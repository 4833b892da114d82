"""The manifest: a file with one utterance per line, as JSON. All other code reads corpora in this format only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from gemoclap.corpora.speakers import one_spelling
from gemoclap.corpora.values import known, name, number, partition, seconds
from gemoclap.errors import GemoclapError
from gemoclap.files import as_on_disk, parse_json, read_text, relative_to, to_json
from gemoclap.labels import GENDERS
from gemoclap.writing import atomic_write

AUDIO_SUFFIXES = (
    ".wav", ".rf64", ".w64", ".flac", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".sph", ".nist", ".voc",
    ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".m4b", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".wma", ".3gp", ".mov",
    ".amr", ".awb",
)  # fmt: skip
"""Suffixes of audio files. Those of better formats come first: CREMA-D has each clip as wav and as mp3, and the wav is used.
From .m4a on, files are read with PyAV (``pip install av``)."""
TABLE_SUFFIXES = (".csv", ".tsv")
"""Suffixes of tables, which list clips in columns of any name."""


@dataclass(frozen=True)
class Utterance:
    """One utterance: a file, or a part of one, with its labels.

    Attributes
    ----------
    id : unique in its manifest.
    path : audio file; absolute, or relative to the manifest's folder. `read_manifest` returns it
        joined with that folder.
    start, end : seconds within the file, or None for the whole file.
    corpus, session, speaker : names; None where unknown.
    gender : ``female``, ``male`` or None.
    emotion : a word of `gemoclap.labels.EMOTIONS`, unmerged, or None when unlabelled.
    text : the words that are spoken, or None.
    language : ISO 639-1 code, or None.
    partition : ``train``, ``dev``, or a name that begins with ``test``, where the corpus comes divided, or None.
    valence, arousal, dominance : how pleasant, how active and how strong the speaker sounds, on the corpus's own scale
        (docs/corpora.md), or None.
    votes : emotion -> how many raters heard it, which can be a fraction; words of `gemoclap.labels.EMOTIONS`, unmerged. None if
        the corpus has no votes.
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
    partition: str | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    votes: Mapping[str, float] | None = dataclass_field(default=None, hash=False)


FIELDS = tuple(field.name for field in fields(Utterance))
DIMENSIONS = ("valence", "arousal", "dominance")
OPTIONAL = ("partition", *DIMENSIONS, "votes")
"""Fields that are written only if they are known, because most corpora do not have them."""
WORDS = tuple(field for field in FIELDS if field not in ("start", "end", *DIMENSIONS, "votes"))
"""Fields that hold text."""


def read_manifest(path: str | os.PathLike, *, as_spelt: bool = False) -> list[Utterance]:
    """Read a JSONL manifest; relative audio paths are joined with the manifest's folder.

    Unknown values can be null or a word such as nan, None, N/A or unknown (`values.MISSING`). Blanks around names are removed.
    File names that are not UTF-8 are kept (`files.to_json`). File names with accents are found even if the disk stores the
    accents in another form, as macOS does.

    Parameters
    ----------
    as_spelt : keep the spelling of speaker names in each row. By default, names that differ only in case or blanks are one
        speaker, with the spelling of the first row.

    Raises
    ------
    GemoclapError : no such file, a recording or a table, no rows, a row that is not JSON, unknown or missing fields, or an id
        given twice; the message names the line.
    """
    path = Path(path)
    if path.is_dir():
        raise GemoclapError(f"{path}: is a folder, not a manifest; name the JSONL file that 'gemoclap prepare' wrote")
    if not path.exists():
        where = "" if path.is_absolute() else f" below {Path.cwd()}"
        raise GemoclapError(f"{path}: no such manifest{where}; make one with 'gemoclap prepare CORPUS ROOT -o {path}'")
    if path.suffix.lower() in TABLE_SUFFIXES:
        raise GemoclapError(
            f"{path}: is a table, not a manifest; make one of it: gemoclap prepare csv {path} -o {path.with_suffix('.jsonl')}"
        )
    if path.suffix.lower() in AUDIO_SUFFIXES:
        raise GemoclapError(
            f"{path}: is a recording, not a manifest, which lists recordings with their labels (gemoclap prepare --help)"
        )
    utterances: list[Utterance] = []
    seen: dict[str, int] = {}
    for place, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        utterance = _parse_row(line, f"{path}:{place}")
        if utterance.id in seen:
            raise GemoclapError(f"{path}:{place}: id {utterance.id!r} is already on line {seen[utterance.id]}")
        seen[utterance.id] = place
        utterances.append(replace(utterance, path=str(as_on_disk(path.parent / utterance.path))))
    if not utterances:
        raise GemoclapError(f"{path}: the manifest has no rows; was the corpus folder right when it was prepared?")
    return utterances if as_spelt else one_spelling(utterances)


def _parse_row(line: str, where: str) -> Utterance:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise GemoclapError(f"{where}: not a line of JSON ({error}); a manifest is JSONL, one object a line") from None
    if not isinstance(row, dict):
        raise GemoclapError(f"{where}: expected a JSON object with the fields {', '.join(FIELDS)}")
    unknown = sorted(set(row) - set(FIELDS))
    if unknown:
        raise GemoclapError(f"{where}: unknown field {unknown[0]!r}; known: {', '.join(FIELDS)}")
    words = {field: _word(row.get(field), field, where) for field in WORDS}
    missing = [field for field in ("id", "path") if not words[field]]
    if missing:
        raise GemoclapError(f"{where}: field {missing[0]!r} is missing or not a string")
    if words["gender"] not in (None, *GENDERS):
        raise GemoclapError(f"{where}: gender must be {' or '.join(GENDERS)} or null, not {words['gender']!r}")
    for field in ("start", "end"):
        value = row.get(field)
        if value is not None and known(value) is not None and not isinstance(value, int | float):
            raise GemoclapError(f"{where}: field {field!r} must be seconds or null, not {value!r}")
    start, end = (seconds(row.get(field), f"field {field!r}", where) for field in ("start", "end"))
    numbers = {field: number(row.get(field), f"field {field!r}", where) for field in DIMENSIONS}
    return Utterance(**words, start=start, end=end, **numbers, votes=read_votes(row.get("votes"), where))  # type: ignore[arg-type]


def read_votes(value: Any, where: str) -> dict[str, float] | None:
    """Return the votes of a row: words for emotions -> numbers, 0 or more, some above 0; None if they are unknown.

    Raises
    ------
    GemoclapError : they are something else; the message begins with `where`.
    """
    if not isinstance(value, Mapping):
        if known(value) is None and not isinstance(value, list | bool):
            return None
        raise GemoclapError(f'{where}: votes must be like {{"angry": 2, "sad": 1}} or null, not {str(value)[:40]}')
    votes = {str(word): number(count, f"the number of votes for {word!r}", where) for word, count in value.items()}
    if not any(votes.values()) or any(count is None or count < 0 for count in votes.values()):
        raise GemoclapError(f"{where}: votes must be numbers, 0 or more and not all 0, not {str(dict(value))[:60]}")
    return {word: count for word, count in votes.items() if count}


def _word(value: Any, field: str, where: str) -> str | None:
    """Return a field's text, or None if it is unknown."""
    if value is None or isinstance(value, float) and known(value) is None:
        return None
    if not isinstance(value, str):
        raise GemoclapError(f"{where}: field {field!r} must be a string or null, not {str(value)[:40]}")
    if "\0" in value or re.search("[\ud800-\udc7f\udd00-\udfff]", value):
        raise GemoclapError(
            f"{where}: field {field!r} holds a character that is none (NUL, or half of one); correct the row"
        )
    if field in ("id", "path"):
        return value
    if field == "text":
        return value if known(value) else None
    if field == "partition":
        return partition(value)
    if field in ("corpus", "session", "speaker"):
        return value if name(value) == value.strip() else name(value)
    return known(value)


def write_manifest(utterances: Iterable[Utterance], path: str | os.PathLike) -> None:
    """Write a JSONL manifest to a temporary file and rename it; paths of audio below the manifest's folder are relative.

    Links keep their own names, because in a store of links the names of the targets have no meaning. File names that are not
    UTF-8 are kept.

    Raises
    ------
    GemoclapError : there is nothing to write, or two rows have the same id.
    """
    path = Path(path)
    utterances = list(utterances)
    if not utterances:
        raise GemoclapError(f"{path}: nothing to write, the corpus has no utterances")
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        if first.setdefault(utterance.id, utterance) is not utterance:
            files = f"{first[utterance.id].path} and {utterance.path}"
            raise GemoclapError(f"{path}: two utterances have the id {utterance.id!r} ({files}); keep one of them")
    with atomic_write(path) as file:
        for utterance in utterances:
            row = asdict(utterance) | {"path": str(relative_to(utterance.path, path.parent))}
            file.write(to_json({field: row[field] for field in FIELDS if not _is_left_out(field, row)}) + "\n")


def _is_left_out(field: str, row: dict[str, Any]) -> bool:
    return field in OPTIONAL and row[field] is None
