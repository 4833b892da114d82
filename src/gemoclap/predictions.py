"""The table of an evaluation's predictions, with one row per test utterance."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from gemoclap.errors import GemoclapError
from gemoclap.metrics.summary import Labelled
from gemoclap.wording import counted
from gemoclap.writing import NOT_UTF8, atomic_write

COLUMNS = ("fold", "id", "speaker", "gender", "truth", "prediction")
"""The first columns of predictions.csv; then follow one column ``p_EMOTION`` per class, and `PATH`."""
PREDICTIONS = "predictions.csv"
"""Name of the file in a fold's folder with a table of predictions. If it is there, the fold is finished."""
PROBABILITY_PREFIX = "p_"
PATH = "path"
"""The last column, which files of earlier versions lack."""
EMBEDDINGS = "embeddings.safetensors"
"""The file beside predictions.csv with the embedding of each row, which runs of earlier versions lack."""


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Predictions for N labelled utterances among C classes.

    Attributes
    ----------
    classes : (C,) the emotions, in the order of the model's outputs.
    ids : (N,) utterance ids.
    folds, speakers, genders : (N,) words, None where unknown.
    truth, prediction : (N,) words of `classes`.
    probabilities : (N, C) float; NaN if a method gives none.
    paths : (N,) audio files, None where unknown; empty if all are unknown.
    embeddings : (N, E) what the model compares with the classes, or None; predictions.csv does not have them.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    folds: tuple[str | None, ...]
    speakers: tuple[str | None, ...]
    genders: tuple[str | None, ...]
    truth: tuple[str, ...]
    prediction: tuple[str, ...]
    probabilities: np.ndarray
    paths: tuple[str | None, ...] = ()
    embeddings: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.paths:
            object.__setattr__(self, "paths", (None,) * len(self))
        if self.probabilities.shape != (len(self), len(self.classes)):
            raise GemoclapError(
                f"probabilities of shape {self.probabilities.shape} for {len(self)} utterances and "
                f"{len(self.classes)} classes; give one row per utterance and one column per class"
            )
        for name in ("folds", "speakers", "genders", "truth", "prediction", "paths"):
            if len(getattr(self, name)) != len(self):
                raise GemoclapError(f"{len(getattr(self, name))} {name} for {len(self)} utterances; give one each")

    def __len__(self) -> int:
        return len(self.ids)

    def write(self, path: str | os.PathLike) -> None:
        """Write predictions.csv: unknown values as empty cells, probabilities with 6 significant digits."""
        with atomic_write(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *(PROBABILITY_PREFIX + name for name in self.classes), PATH])
            words = zip(self.folds, self.ids, self.speakers, self.genders, self.truth, self.prediction, strict=True)
            for row, probabilities, audio in zip(words, self.probabilities, self.paths, strict=True):
                known = ("" if word is None else word for word in row)
                writer.writerow([*known, *map(_format, probabilities), audio or ""])


def write_embeddings(path: str | os.PathLike, embeddings: np.ndarray) -> None:
    """Write embeddings (N, E) in half precision, in the order of the rows of predictions.csv."""
    largest = np.finfo(np.float16).max
    with atomic_write(path, "wb") as file:
        file.write(save({"embeddings": np.clip(embeddings, -largest, largest).astype(np.float16)}))


def read_embeddings(path: str | os.PathLike, rows: int) -> np.ndarray | None:
    """Return what `write_embeddings` wrote as float32 (N, E); None if there is no file.

    Raises
    ------
    GemoclapError : the file is damaged, does not have `rows` embeddings, or has some that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        found = load_file(path)["embeddings"].astype(np.float32)
    except (SafetensorError, KeyError) as error:
        raise GemoclapError(f"{path}: holds no embeddings ({error}); remove the file") from None
    if found.ndim != 2 or len(found) != rows:
        raise GemoclapError(
            f"{path}: its embeddings are not those of the {rows} rows of predictions.csv; remove the file"
        )
    if not np.isfinite(found).all():
        raise GemoclapError(f"{path}: has embeddings that are not finite numbers; remove the file")
    return found


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Return one table with the rows of all, in order.

    Raises
    ------
    GemoclapError : no tables, or their classes differ.
    """
    if not tables:
        raise GemoclapError("there are no predictions to put together; is any fold finished?")
    classes = tables[0].classes
    for table in tables:
        if table.classes != classes:
            raise GemoclapError(
                f"some predictions have the classes {', '.join(table.classes)}, and others {', '.join(classes)}; "
                "join only runs with one vocabulary"
            )
    return PredictionTable(
        classes=classes,
        ids=tuple(one for table in tables for one in table.ids),
        folds=tuple(one for table in tables for one in table.folds),
        speakers=tuple(one for table in tables for one in table.speakers),
        genders=tuple(one for table in tables for one in table.genders),
        truth=tuple(one for table in tables for one in table.truth),
        prediction=tuple(one for table in tables for one in table.prediction),
        probabilities=np.concatenate([table.probabilities for table in tables]),
        paths=tuple(one for table in tables for one in table.paths),
    )


def clusters(table: PredictionTable) -> list[str]:
    """Return (N,) the units that intervals resample: speakers, or the utterance itself if its speaker is unknown."""
    return [
        speaker if speaker is not None else f"utterance {fold} {one}"
        for fold, one, speaker in zip(table.folds, table.ids, table.speakers, strict=True)
    ]


def aligned(tables: Sequence[PredictionTable]) -> list[Labelled]:
    """Return truth and prediction of the test utterances that all tables have, in one order.

    Speakers are the `clusters` of the first table, because other versions may have written them differently.
    """
    keyed = [{key: place for place, key in enumerate(zip(one.folds, one.ids, strict=True))} for one in tables]
    common = [key for key in keyed[0] if all(key in other for other in keyed)]
    speakers = clusters(tables[0])
    whom = [speakers[keyed[0][key]] for key in common]
    found = []
    for table, places in zip(tables, keyed, strict=True):
        rows = [places[key] for key in common]
        truth, prediction = ([column[row] for row in rows] for column in (table.truth, table.prediction))
        found.append(Labelled(truth, prediction, whom, [table.genders[row] for row in rows]))
    return found


def read_predictions(path: str | os.PathLike) -> PredictionTable:
    """Read what `PredictionTable.write` wrote.

    Raises
    ------
    GemoclapError : no such file, no rows, other columns, or a faulty cell; the message names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise GemoclapError(f"{path}: no such predictions; 'gemoclap evaluate' and 'gemoclap crossval' write them")
    with path.open(encoding="utf-8", errors=NOT_UTF8, newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise GemoclapError(f"{path}:{reader.line_num}: not a row of a CSV ({error}); evaluate again") from None
    has_paths = header[-1:] == [PATH]
    classes = _classes(header[:-1] if has_paths else header, path)
    if not rows:
        raise GemoclapError(f"{path}: the predictions have no rows; remove the file and evaluate again")
    for line, row in rows:
        _check_row(row, classes, len(header), f"{path}:{line}")
    end = len(COLUMNS) + len(classes)
    columns = [tuple(row[index] for _, row in rows) for index in range(len(COLUMNS))]
    folds, ids, speakers, genders, truth, prediction = columns
    return PredictionTable(
        classes=classes,
        ids=ids,
        folds=_none_where_empty(folds),
        speakers=_none_where_empty(speakers),
        genders=_none_where_empty(genders),
        truth=truth,
        prediction=prediction,
        probabilities=_probabilities([(line, row[len(COLUMNS) : end]) for line, row in rows], path),
        paths=_none_where_empty(tuple(row[-1] for _, row in rows)) if has_paths else (),
    )


def _classes(header: list[str], path: Path) -> tuple[str, ...]:
    words, probabilities = header[: len(COLUMNS)], header[len(COLUMNS) :]
    if tuple(words) != COLUMNS or not probabilities or not all(n.startswith(PROBABILITY_PREFIX) for n in probabilities):
        raise GemoclapError(
            f"{path}:1: expected the columns {','.join(COLUMNS)} and one {PROBABILITY_PREFIX}EMOTION a class"
        )
    return tuple(name.removeprefix(PROBABILITY_PREFIX) for name in probabilities)


def _check_row(row: list[str], classes: tuple[str, ...], width: int, where: str) -> None:
    if len(row) != width:
        raise GemoclapError(f"{where}: {counted(len(row), 'cell')} where the header has {width}; evaluate again")
    for column in ("truth", "prediction"):
        word = row[COLUMNS.index(column)]
        if word not in classes:
            raise GemoclapError(f"{where}: {column} {word!r} is not one of the classes {', '.join(classes)}")


def _probabilities(rows: list[tuple[int, list[str]]], path: Path) -> np.ndarray:
    """Return (N, C) probabilities, of a method that gives none NaN throughout.

    A row without probabilities among others with some was not predicted: earlier versions wrote such rows where a model's
    output was not a number, and named the first class.
    """
    if not any(cell for _, cells in rows for cell in cells):
        return np.full((len(rows), len(rows[0][1])), np.nan)
    parsed = []
    for line, cells in rows:
        try:
            parsed.append([float(cell) for cell in cells])
        except ValueError as error:
            raise GemoclapError(f"{path}:{line}: a probability is not a number ({error}); evaluate again") from None
        if not np.isfinite(parsed[-1]).all():
            raise GemoclapError(f"{path}:{line}: a probability is not a finite number; evaluate again")
    return np.array(parsed)


def _format(probability: float) -> str:
    return "" if np.isnan(probability) else f"{probability:.6g}"


def _none_where_empty(cells: tuple[str, ...]) -> tuple[str | None, ...]:
    return tuple(cell or None for cell in cells)
