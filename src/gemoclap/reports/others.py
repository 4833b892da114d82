"""Reads predictions that other toolkits wrote: a table, S3PRL's text files, or EmoBox's list of keys and predictions.

S3PRL's emotion task writes ``test_FOLD_predict.txt`` and ``test_FOLD_truth.txt`` for each fold, with a line ``NAME LABEL`` per
clip. EmoBox's evaluation takes a list of ``{"key": ..., "pred": ...}``, and the truth as ``{"key": ..., "label": ...}``. It
does not say how to store them, so JSON and JSONL of such rows are read, with the truth in the same row if it is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemoclap.corpora import iemocap
from gemoclap.corpora.csv_io import ALIASES, GENDER_WORDS
from gemoclap.corpora.layout import files_named
from gemoclap.corpora.speakers import speaker_name
from gemoclap.corpora.tables import by_plain_name, column_called, read_table, shown_columns
from gemoclap.corpora.values import known, name
from gemoclap.errors import GemoclapError
from gemoclap.files import parse_json, read_text
from gemoclap.labels import canonical_emotion, folded
from gemoclap.predictions import PROBABILITY_PREFIX

S3PRL_ANSWERS, S3PRL_TRUTH = "_predict.txt", "_truth.txt"
COLUMNS: dict[str, tuple[str, ...]] = {
    "clip": (*ALIASES["id"], *ALIASES["path"], "utterance", "clip", "name"),
    "answer": (
        *("prediction", "predicted", "pred", "predict", "hypothesis", "hyp"),
        *(f"{said}_{what}" for said in ("predicted", "pred") for what in ("label", "emotion", "class")),
    ),
    "truth": (
        *("truth", "true", "target", "reference", "ref", "ground_truth", "actual"),
        *(f"true_{what}" for what in ("label", "emotion", "class")),
    ),
    "speaker": ALIASES["speaker"],
    "gender": ALIASES["gender"],
}
"""Field -> names of columns or keys, in any spelling; if there are several, the first is used."""
LABELS = ALIASES["emotion"]
"""Columns that are the truth if another has the answers. Otherwise they are the answers, as in the output of `predict`."""


@dataclass(frozen=True)
class ToolkitAnswer:
    """A line of a file of predictions; all but `clip` and `answer` may be unknown. `where` is its file and line."""

    where: str
    clip: str
    answer: str
    truth: str | None = None
    speaker: str | None = None
    gender: str | None = None


def read_answers(source: Path, labels: Sequence[str] = ()) -> list[ToolkitAnswer]:
    """Read the predictions of another toolkit.

    Parameters
    ----------
    source : a CSV or TSV table, a JSON or JSONL file of EmoBox's rows, or a ``*_predict.txt`` of S3PRL or a folder of them.
    labels : names of the classes, for files that have numbers from 0 instead.

    Returns
    -------
    One entry per clip, with labels as this project spells them. In S3PRL's files, speakers come from IEMOCAP's names.

    Raises
    ------
    GemoclapError : the file is none of these, has a faulty row, no rows, or a clip twice; the message names file and line.
    """
    if source.is_dir() or source.name.endswith(S3PRL_ANSWERS):
        rows = _s3prl(source)
    else:
        rows = (_rows_of_json if source.suffix.lower() in (".json", ".jsonl") else _rows_of_table)(source)
    found: dict[str, ToolkitAnswer] = {}
    for row in rows:
        if row.clip in found:
            raise GemoclapError(
                f"{row.where}: clip {row.clip!r} is already at {found[row.clip].where}; keep one answer for each clip"
            )
        found[row.clip] = row
    if not found:
        raise GemoclapError(f"{source}: has no predictions; name another file")
    return [
        replace(
            row,
            answer=_word(row.answer, labels, row.where),
            truth=None if row.truth is None else _word(row.truth, labels, row.where),
        )
        for row in found.values()
    ]


def _word(label: str, labels: Sequence[str], where: str) -> str:
    """Return a label as this project spells it; a number is the place of its name in `labels`."""
    if not label.isdecimal():
        return canonical_emotion(label)
    if not labels:
        raise GemoclapError(
            f"{where}: label {label} is a number; add --labels with the names of the classes in the order of their numbers"
        )
    if int(label) >= len(labels):
        raise GemoclapError(f"{where}: label {label} is beyond the {len(labels)} names of --labels, counted from 0")
    return canonical_emotion(labels[int(label)])


# Tables.


def _rows_of_table(path: Path) -> Iterator[ToolkitAnswer]:
    header, rows = read_table(path)
    columns = _columns(header, f"{path}:1")
    scores = [column for column in header if column == "confidence" or column.startswith(PROBABILITY_PREFIX)]
    for where, row in rows:
        if any(_is_no_number(row[column]) for column in scores):
            raise GemoclapError(
                f"{where}: its scores are not finite numbers, so it is no prediction; predict the clip again"
            )
        yield _answer({field: row[column] for field, column in columns.items()}, where)


def _is_no_number(cell: str) -> bool:
    """Whether a cell has NaN or an infinite number. An empty one is a score that the toolkit does not write."""
    try:
        return not math.isfinite(float(cell))
    except ValueError:
        return False


def _columns(header: Iterable[str], where: str) -> dict[str, str]:
    """Return field -> name of a column or key."""
    names = by_plain_name(header)
    found = {field: column_called(words, names) or "" for field, words in COLUMNS.items()}
    label = column_called(LABELS, names) or ""
    if found["answer"]:
        found["truth"] = found["truth"] or label
    elif "confidence" in names:  # a file of 'gemoclap predict'; elsewhere such a column is as likely the truth
        found["answer"] = label
    elif label:
        raise GemoclapError(
            f"{where}: has no column prediction; if {label} has the predictions, rename it, and if this is a manifest or a "
            "list of the true labels, give it with --manifest"
        )
    for field, examples in (("clip", "id or file"), ("answer", "prediction")):
        if not found[field]:
            raise GemoclapError(f"{where}: has no column {examples} among {shown_columns(names.values())}; rename one")
    return {field: column for field, column in found.items() if column}


def _answer(values: Mapping[str, Any], where: str) -> ToolkitAnswer:
    clip, answer = name(values["clip"]), name(values["answer"])
    for what, value in (("clip", clip), ("prediction", answer)):
        if value is None:
            raise GemoclapError(f"{where}: has no {what}; fill it in or drop the row")
    assert clip is not None and answer is not None
    gender = GENDER_WORDS.get(folded(known(values.get("gender")) or ""))
    return ToolkitAnswer(where, clip, answer, name(values.get("truth")), name(values.get("speaker")), gender)


# EmoBox.


def _rows_of_json(path: Path) -> Iterator[ToolkitAnswer]:
    for where, row in _json_rows(path):
        if not isinstance(row, dict):
            raise GemoclapError(f'{where}: is not a row such as {{"key": ..., "pred": ...}}; write one per clip')
        columns = _columns(map(str, row), where)
        values = {field: row[column] for field, column in columns.items()}
        if odd := next((one for one in values.values() if isinstance(one, list | dict | bool)), None):
            raise GemoclapError(f"{where}: {odd!r} is not a label; write the name of the class")
        yield _answer(values, where)


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    text = read_text(path)
    try:
        if path.suffix.lower() == ".json":
            data = parse_json(text)
            # Some tools write a mapping from key to row.
            rows = [{"key": key, **row} for key, row in data.items()] if isinstance(data, dict) else data
            yield from ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))
            return
    except (ValueError, TypeError) as error:
        raise GemoclapError(f'{path}: is not a list of rows {{"key": ..., "pred": ...}} ({error})') from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", parse_json(line)
            except ValueError as error:
                raise GemoclapError(f"{path}:{number}: not JSON ({error}); write one row per line") from None


# S3PRL.


def s3prl_files(folder: Path) -> list[Path]:
    """Return S3PRL's test predictions below a folder; files of the development set are left out."""
    return [path for path in files_named(folder, f"*{S3PRL_ANSWERS}") if not path.name.startswith("dev_")]


def _s3prl(source: Path) -> Iterator[ToolkitAnswer]:
    for path in s3prl_files(source) if source.is_dir() else [source]:
        beside = path.with_name(path.name.removesuffix(S3PRL_ANSWERS) + S3PRL_TRUTH)
        truth = {clip: label for _, clip, label in _pairs(beside)} if beside.is_file() else {}
        for where, clip, label in _pairs(path):
            described = iemocap.describe(clip, clip)
            speaker, gender = (speaker_name(described), described.gender) if described else (None, None)
            yield ToolkitAnswer(where, clip, label, truth.get(clip), speaker, gender)


def _pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        words = line.rsplit(maxsplit=1)
        if len(words) == 2:
            yield f"{path}:{number}", words[0].strip(), words[1]
        elif words:
            raise GemoclapError(f"{path}:{number}: expected the name of a clip and a label, as S3PRL writes them")
