"""Reads and writes EmoBox manifests (Ma et al. 2024): JSONL rows with key, dataset, wav, length and emo; a label map; folds.

EmoBox rows have no speaker, gender or session. For corpora with a parser here, these are read from the file name by its rules.
For other corpora, they are read from the row if it has them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemoclap.audio import probe_audio
from gemoclap.corpora import cremad, emodb, emovo, esd, iemocap, ravdess, savee, tess
from gemoclap.corpora.layout import AudioFinder, Describe
from gemoclap.corpora.manifest import DIMENSIONS, OPTIONAL, Utterance, read_votes
from gemoclap.corpora.speakers import one_spelling
from gemoclap.corpora.tables import say_unused
from gemoclap.corpora.values import known, name, number, seconds
from gemoclap.errors import GemoclapError
from gemoclap.files import parse_json, read_text, relative_to, to_json
from gemoclap.labels import EMOTIONS, GENDERS, canonical_emotion, canonical_votes
from gemoclap.writing import atomic_write, readable_write_errors

DESCRIBE: dict[str, Describe] = {
    "iemocap": iemocap.describe,
    "ravdess": ravdess.describe,
    "emodb": emodb.describe,
    "cremad": cremad.describe,
    "tess": tess.describe,
    "savee": savee.describe,
    "esd": esd.describe,
    "emovo": emovo.describe,
}
"""EmoBox's name of a corpus -> function from a file name to its labels."""

EMOBOX_NAMES = {"fearful": "Fear", "disgusted": "Disgust", "surprised": "Surprise", "bored": "Boredom"}
"""Labels in the label maps of EmoBox -> ours, if they differ by more than a capital letter."""

EXTRA_FIELDS = ("speaker", "gender", "session", "text", "language", *OPTIONAL)
"""Our fields that `write_emobox` adds to the fields of EmoBox. EmoBox ignores them, and `read_emobox` reads them."""

OTHER_FIELDS = ("type", "sample_rate", "num_frame", "task", "length", "channel")
"""Fields of EmoBox that a manifest does not need."""
USED_FIELDS = ("key", "dataset", "wav", "emo", "start_time", "end_time")

LABEL_MAP = "label_map.json"


def read_emobox(source: str | os.PathLike, audio_root: str | os.PathLike | None = None) -> list[Utterance]:
    """Read an EmoBox manifest.

    Parameters
    ----------
    source : a JSONL or JSON manifest, or the folder of a corpus (``data/ravdess``, read as ``ravdess.jsonl``).
    audio_root : the folder that EmoBox's paths (``downloads/ravdess/...``) are relative to. For corpora with a parser here, it
        can be any folder with the corpus, and clips are found by file name without suffix. The default is the nearest folder
        above the manifest in which the audio of the first row exists.

    Returns
    -------
    Rows. For corpora with a parser here, the ids are file names without suffix. For others, they are EmoBox's keys without the
    name of the corpus. Labels are those of EmoBox, and are not merged: IEMOCAP's *exc* stays excited, although the label map
    makes it Happy. The map is only used for labels that are no words for emotions, such as EmoDB's *boredem*. An unknown value
    can be a word (`values.MISSING`). Fields that neither EmoBox nor a manifest has are listed on standard error.

    Raises
    ------
    GemoclapError : there is no such file, or a row is not JSON or lacks a field. The message names the row.
    """
    path = _manifest(Path(source))
    rows = _read_rows(path)
    label_map = _read_label_map(path)
    finder = AudioFinder(Path(audio_root) if audio_root is not None else _root_above(path, rows[0][1]["wav"]))
    utterances = [_utterance(row, label_map, finder, where) for where, row in rows]
    fields = dict.fromkeys(field for _, row in rows for field in row)
    say_unused(path, (field for field in fields if field not in (*USED_FIELDS, *OTHER_FIELDS, *EXTRA_FIELDS)))
    return one_spelling(utterances)


def write_emobox(
    utterances: Sequence[Utterance],
    folder: str | os.PathLike,
    folds: Mapping[str, Sequence[Iterable[str]]] | None = None,
) -> None:
    """Write ``CORPUS.jsonl`` and ``label_map.json``, and with `folds` ``fold_N/CORPUS_{train,test,valid}_fold_N.jsonl``.

    Rows without a label are left out, because EmoBox does not have any. Paths of audio below `folder` are relative. Others are
    absolute.

    Parameters
    ----------
    folds : name -> (training ids, test ids), or (training ids, test ids, development ids). Folds are numbered from 1 in this
        order, as EmoBox needs it. Without development ids, a fold has no file for validation.

    Raises
    ------
    GemoclapError : no row has a label; audio cannot be read (EmoBox needs lengths); an id in a fold is not that of a labelled
        row; or files exist already.
    """
    folder = Path(folder)
    labelled = [utterance for utterance in utterances if utterance.emotion is not None]
    if not labelled:
        raise GemoclapError(f"{folder}: nothing to write, no row has an emotion")
    corpora = {utterance.corpus for utterance in labelled}
    corpus = (corpora.pop() if len(corpora) == 1 else None) or folder.resolve().name
    parts = _fold_parts(folder, corpus, folds or {}) | {folder / f"{corpus}.jsonl": [u.id for u in labelled]}
    for path in (*parts, folder / LABEL_MAP):
        if path.exists():
            raise GemoclapError(f"{path}: is there already; remove it or name another folder")
    rows = {utterance.id: _row(utterance, corpus, folder) for utterance in labelled}
    for path, ids in parts.items():
        unknown = [id for id in ids if id not in rows]
        if unknown:
            raise GemoclapError(
                f"{path}: fold id {unknown[0]!r} is not a labelled row of the manifest; correct the folds"
            )
    words = sorted({utterance.emotion for utterance in labelled if utterance.emotion})
    lines = {path: [to_json(rows[id]) + "\n" for id in ids] for path, ids in parts.items()}
    names = {word: EMOBOX_NAMES.get(word, word.capitalize()) for word in words}
    lines[folder / LABEL_MAP] = [to_json(names, indent=2) + "\n"]
    _write_all(folder, lines)


def _write_all(folder: Path, lines: Mapping[Path, Sequence[str]]) -> None:
    """Write files below a folder. They are renamed when all are written, so that a failure leaves none of them."""
    with readable_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as beside:
            for path, text in lines.items():
                with atomic_write(Path(beside, path.relative_to(folder))) as file:
                    file.writelines(text)
            for path in lines:
                path.parent.mkdir(exist_ok=True)
                os.replace(Path(beside, path.relative_to(folder)), path)


def _fold_parts(folder: Path, corpus: str, folds: Mapping[str, Sequence[Iterable[str]]]) -> dict[Path, list[str]]:
    """Return name of the file of a part -> ids."""
    return {
        folder / f"fold_{number}" / f"{corpus}_{side}_fold_{number}.jsonl": list(ids)
        for number, sides in enumerate(folds.values(), 1)
        for side, ids in zip(("train", "test", "valid"), map(list, sides), strict=False)
        if ids or side != "valid"
    }


def _manifest(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise GemoclapError(f"{source}: no such file; name an EmoBox manifest such as data/ravdess/ravdess.jsonl")
    named = [source / f"{source.resolve().name}{suffix}" for suffix in (".jsonl", ".json")]
    others = sorted(source.glob("*.jsonl")) + sorted(path for path in source.glob("*.json") if path.name != LABEL_MAP)
    found = [path for path in named if path.is_file()] or others
    if not found:
        raise GemoclapError(f"{source}: no *.jsonl here; name an EmoBox manifest such as data/ravdess/ravdess.jsonl")
    return found[0]


def _read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return pairs (position in the file, row) of a JSONL file, or of a JSON file that maps keys to rows."""
    text = read_text(path)
    if path.suffix == ".json":
        entries = _from_json(text, str(path)).items()
        rows = [(f"{path}: {key}", {"key": key, **_as_row(entry)}) for key, entry in entries]
    else:
        lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [(where, _from_json(line, where)) for where, line in lines]
    if not rows:
        raise GemoclapError(f"{path}: has no rows; download EmoBox's manifest again")
    for where, row in rows:
        missing = [field for field in ("key", "wav", "emo") if not isinstance(row.get(field), str)]
        missing += [field for field in ("key", "wav") if field not in missing and not known(row[field])]
        if missing:
            raise GemoclapError(f"{where}: field {missing[0]!r} is missing; expected EmoBox's key, wav and emo")
        if "\0" in row["wav"] or Path(row["wav"]).name in ("", ".."):
            raise GemoclapError(f"{where}: field 'wav' names no file ({row['wav'][:40]!r}); correct or remove the row")
    return rows


def _from_json(text: str, where: str) -> dict[str, Any]:
    try:
        return _as_row(parse_json(text))
    except ValueError as error:
        raise GemoclapError(f"{where}: not JSON ({error}); expected an EmoBox manifest, JSONL or JSON") from None


def _as_row(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {}


def _read_label_map(manifest: Path) -> dict[str, str]:
    for folder in (manifest.absolute().parent, manifest.absolute().parent.parent):
        if (folder / LABEL_MAP).is_file():
            return _from_json(read_text(folder / LABEL_MAP), str(folder / LABEL_MAP))
    return {}


def _root_above(manifest: Path, wav: str) -> Path:
    parents = manifest.absolute().parents
    return next((folder for folder in parents if (folder / wav).is_file()), parents[0])


def _utterance(row: dict[str, Any], label_map: dict[str, str], finder: AudioFinder, where: str) -> Utterance:
    dataset = known(row.get("dataset")) or ""
    describe = DESCRIBE.get(dataset, lambda stem, path: None)
    described = describe(Path(row["wav"]).stem, row["wav"])
    # With a parser, the file name is the id: in EmoBox's keys of CREMA-D, hyphens replace the underscores of the names.
    base = described or Utterance(id=row["key"].removeprefix(f"{dataset}-"), path=row["wav"], corpus=dataset or None)
    fields = _extra_fields(row, where)
    if fields.get("gender", "female") not in GENDERS:
        raise GemoclapError(f"{where}: gender {fields['gender']!r} is not female or male; correct or remove the field")
    return replace(
        base,
        **fields,
        path=finder(row["wav"], by_stem=described is not None),
        start=seconds(row.get("start_time"), "start_time", where),
        end=seconds(row.get("end_time"), "end_time", where),
        emotion=_emotion(row["emo"], label_map, base.emotion) if known(row["emo"]) else None,
    )


def _extra_fields(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Return those of `EXTRA_FIELDS` that the row has. Names can be numbers."""
    numbers = {field: number(row.get(field), f"field {field!r}", where) for field in DIMENSIONS}
    votes = read_votes(row.get("votes"), where)
    others: dict[str, Any] = numbers | {"votes": votes and canonical_votes(votes)}
    fields = {field: value for field, value in others.items() if value is not None}
    for field in EXTRA_FIELDS:
        value = row.get(field)
        if field in others:
            continue
        if isinstance(value, bool | list | dict):
            raise GemoclapError(
                f"{where}: field {field!r} must be text, not {str(value)[:40]}; correct or remove the field"
            )
        word = name(value) if field in ("speaker", "session") else known(value)
        if word is not None:
            fields[field] = word
    return fields


def _emotion(word: str, label_map: dict[str, str], named: str | None) -> str:
    """Return the emotion of a row; `named` is that of the file name, for words such as EMOVO's *gio* without a map."""
    emotion = canonical_emotion(word)
    if emotion in EMOTIONS:
        return emotion
    mapped = label_map.get(word, word)
    found = canonical_emotion(mapped) if isinstance(mapped, str) else emotion
    return found if found in EMOTIONS or named is None else named


def _row(utterance: Utterance, corpus: str, folder: Path) -> dict[str, Any]:
    try:
        info = probe_audio(utterance.path)
    except GemoclapError as error:
        raise GemoclapError(f"row {utterance.id}: {error}") from None
    begin, end = utterance.start or 0.0, info.duration if utterance.end is None else utterance.end
    whole = utterance.start is None and utterance.end is None
    row = {
        "key": f"{corpus}-{utterance.id}",
        "dataset": corpus,
        "wav": str(relative_to(utterance.path, folder)),
        "type": "raw",
        "sample_rate": info.sample_rate,
        "num_frame": info.samples if whole else round((end - begin) * info.sample_rate),
        "task": "category",
        "length": end - begin,
        "emo": utterance.emotion,
        "channel": info.channels,
        **({} if whole else {"start_time": begin, "end_time": end}),
    }
    extra = {field: getattr(utterance, field) for field in EXTRA_FIELDS}
    extra["votes"] = dict(utterance.votes) if utterance.votes else None
    return row | {field: value for field, value in extra.items() if value is not None}
