"""Stores the embeddings of recordings on disk, to search them by words or by another clip.

The folder of an index has three files. ``index.json`` says which model made it. ``clips.jsonl`` has a row per recording: its
path, and the place, emotion and confidence of each of its parts with speech. ``embeddings.f16`` has the embeddings of these
parts, in the order of the rows, in half precision. New recordings are appended to both files, the embeddings first. So a row
is complete or absent, and a command that was killed can continue.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.files import entry, parse_json, read_json, to_json, write_json
from gemoclap.inference.prediction import PartPrediction
from gemoclap.inference.rows import key_of
from gemoclap.wording import counted
from gemoclap.writing import NOT_UTF8, readable_write_errors

ABOUT, CLIPS, EMBEDDINGS = "index.json", "clips.jsonl", "embeddings.f16"
VERSION = 1
"""Version of the files. It is increased when their meaning changes."""
STORED = np.dtype("<f2")
BLOCK = 65_536
"""Number of embeddings that are compared at a time: 134 MB at 512 numbers each."""
REMEDY = "make the index again with 'gemoclap index ... --overwrite'"


class Found(NamedTuple):
    """A part of a recording that was found.

    Attributes
    ----------
    similarity : cosine of its embedding with that of the words or the clip, from -1 to 1.
    about : identifies the recording: its path, and for a row of a manifest also id, start and end.
    start, end : seconds in the file.
    emotion, confidence : the model's prediction for this part alone.
    """

    similarity: float
    about: Mapping[str, Any]
    start: float
    end: float
    emotion: str
    confidence: float


class IndexWriter:
    """Adds recordings to an index: ``with IndexWriter(folder, made_with) as index: index.add(...)``.

    Parameters
    ----------
    folder : folder of the index. It is created if it does not exist.
    made_with : the model and the settings; equal for all recordings of an index. ``made_with["size"]`` is E.
    overwrite : whether to delete the index and build it again.

    Attributes
    ----------
    known : key of a recording (`rows.key_of`) -> the ``stamp`` with which it was added.
    recordings, parts : as in `ClipIndex`.

    Raises
    ------
    GemoclapError : another process is writing to it; it was made with another model or other settings; or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike, made_with: Mapping[str, Any], overwrite: bool = False) -> None:
        folder = Path(folder)
        self.folder, self._overwrite = folder, overwrite
        self.known: dict[str, Any] = {}
        self._parts: dict[str, int] = {}  # of each recording that could be read
        self._made_with = json.loads(to_json({"version": VERSION, **made_with}))

    def __enter__(self) -> IndexWriter:
        with ExitStack() as stack, readable_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except Timeout:
                raise GemoclapError(
                    f"{self.folder}: another 'gemoclap index' is adding to it; wait, or give -o another name"
                ) from None
            if (self.folder / ABOUT).is_file() and not self._overwrite:
                self._go_on()
            else:
                # Rows are deleted first: embeddings without rows are ignored, and an empty index can belong to any model.
                for name in (CLIPS, EMBEDDINGS):
                    _cut(self.folder / name, 0)
                write_json(self.folder / ABOUT, self._made_with)
            self._clips = stack.enter_context((self.folder / CLIPS).open("a", encoding="utf-8", errors=NOT_UTF8))
            self._embeddings = stack.enter_context((self.folder / EMBEDDINGS).open("ab"))
            self._leave = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        with readable_write_errors(self.folder):  # a full disk is also met when what is left is written
            self._leave.__exit__(*error)

    def _go_on(self) -> None:
        about = _about(self.folder)
        if about != self._made_with:
            other = [name for name in about if about[name] != self._made_with.get(name)]
            raise GemoclapError(
                f"{self.folder}: was made with another model or other settings ({', '.join(_as_words(about, other))}); add "
                "--overwrite to make it again, or give -o another name"
            )
        count, whole = 0, 0
        for row, end in _rows(self.folder / CLIPS):
            self._remember(row)
            count, whole = count + len(row.get("parts", ())), end
        _check_size(self.folder, count, about["size"])
        _cut(self.folder / CLIPS, whole)
        _cut(self.folder / EMBEDDINGS, count * about["size"] * STORED.itemsize)

    def add(self, about: Mapping[str, Any], parts: Sequence[PartPrediction] | GemoclapError, stamp: Any = None) -> None:
        """Add a recording, or the error with which it could not be read. An earlier entry of this recording is replaced.

        Parameters
        ----------
        about : `Found.about`.
        parts : its parts, with seconds from the start of the clip. The clip begins at ``about["start"]`` of the file, if given.
        stamp : plain data that shows later whether the file has changed. It is not stored for an error.
        """
        row: dict[str, Any] = {**about}
        if isinstance(parts, GemoclapError):
            row["error"] = str(parts)
        else:
            row["stamp"] = stamp
            begin = float(about.get("start") or 0.0)
            row["parts"] = [
                [round(begin + one.start, 3), round(begin + one.end, 3), one.emotion, round(one.confidence, 4)]
                for one in parts
            ]
        with readable_write_errors(self.folder):
            if row.get("parts"):
                self._embeddings.write(np.stack([one.embedding for one in parts]).astype(STORED).tobytes())  # type: ignore[union-attr]
                self._embeddings.flush()
            self._clips.write(to_json(row) + "\n")
            self._clips.flush()
        self._remember(row)

    def _remember(self, row: Mapping[str, Any]) -> None:
        key = key_of(row)
        self.known[key] = row.get("stamp")
        self._parts.pop(key, None)
        if "parts" in row:
            self._parts[key] = len(row["parts"])

    @property
    def recordings(self) -> int:
        return len(self._parts)

    @property
    def parts(self) -> int:
        return sum(self._parts.values())


class ClipIndex:
    """An index that can be searched.

    Attributes
    ----------
    made_with : the model and the settings.
    recordings : number of recordings that could be read.
    parts : N, the number of their parts with speech.

    Raises
    ------
    GemoclapError : there is no index, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        folder = Path(folder)
        self._folder = folder
        self.made_with = _about(folder)
        latest: dict[str, tuple[int, dict[str, Any]]] = {}
        count = 0
        for row, _ in _rows(folder / CLIPS):
            latest[key_of(row)] = (count, row)
            count += len(row.get("parts", ()))
        size = self.made_with["size"]
        _check_size(folder, count, size)
        kept = [(first, row) for first, row in latest.values() if "parts" in row]
        self.recordings = len(kept)
        self._rows = [row for _, row in kept]
        lengths = [len(row["parts"]) for row in self._rows]
        self._begin = np.cumsum([0, *lengths])
        places = [first + np.arange(length) for (first, _), length in zip(kept, lengths, strict=True)]
        self._places = np.concatenate([np.arange(0), *places])
        path = folder / EMBEDDINGS
        self._embeddings = np.memmap(path, STORED, "r", shape=(count, size)) if count else np.zeros((0, size), STORED)

    def __repr__(self) -> str:
        return f"<ClipIndex {self._folder}: {counted(self.recordings, 'recording')}, {counted(self.parts, 'part')}>"

    @property
    def parts(self) -> int:
        return len(self._places)

    def search(self, question: np.ndarray, count: int) -> list[Found]:
        """Return the parts with the most similar embeddings, the most similar first.

        Every embedding is compared (exact search), `BLOCK` at a time, so they need not fit into memory together.

        Parameters
        ----------
        question : embedding of the words or the clip to search for, ``(E,)``, of unit length.
        count : largest number of parts to return.

        Raises
        ------
        GemoclapError : faiss is not installed, or an embedding is not finite.
        """
        faiss = needed("faiss", "a search", "faiss-cpu")
        asked = np.ascontiguousarray(question[None], np.float32)
        best: list[tuple[float, int]] = []
        for first in range(0, len(self._places), BLOCK):
            block = self._embeddings[self._places[first : first + BLOCK]].astype(np.float32)
            if not np.isfinite(block).all():
                raise GemoclapError(
                    f"{self._folder / EMBEDDINGS}: has embeddings that are not finite numbers; {REMEDY}"
                )
            cosines, found = faiss.knn(asked, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            best += [(float(cosine), first + int(place)) for cosine, place in zip(cosines[0], found[0], strict=True)]
            best = sorted(best, key=lambda one: (-one[0], one[1]))[:count]
        return [self._found(cosine, place) for cosine, place in best]

    def _found(self, similarity: float, place: int) -> Found:
        number = int(np.searchsorted(self._begin, place, side="right")) - 1
        row = self._rows[number]
        start, end, emotion, confidence = row["parts"][place - self._begin[number]]
        about = {name: value for name, value in row.items() if name in ("path", "id", "start", "end")}
        return Found(similarity, about, start, end, emotion, confidence)


def _about(folder: Path) -> dict[str, Any]:
    if folder.exists() and not folder.is_dir():
        raise GemoclapError(f"{folder}: is not a folder; name the folder that 'gemoclap index' wrote")
    if not (folder / ABOUT).is_file():
        raise GemoclapError(f"{folder}: no index in it (no {ABOUT}); 'gemoclap index RECORDINGS -o {folder}' makes one")
    found = read_json(folder / ABOUT, REMEDY)
    if found.get("version") != VERSION:
        raise GemoclapError(f"{folder}: has version {found.get('version')} of the files, not {VERSION}; {REMEDY}")
    for name in ("model", "name", "speech"):
        entry(found, name, str, folder / ABOUT, REMEDY)
    if entry(found, "size", int, folder / ABOUT, REMEDY) < 1:
        raise GemoclapError(f"{folder / ABOUT}: size is {found['size']}, not a length of embeddings; {REMEDY}")
    return found


def _as_words(about: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield, in words, the settings in which an index differs from those requested."""
    if "model" in names or "name" in names:
        yield f"the model {about['name']}"
    if "speech" in names:
        yield f"--speech {about['speech']}"
    yield from (f"other {name}" for name in names if name in ("labels", "size"))


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each whole row, and the byte at which it ends."""
    if not path.is_file():
        return
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # the command that wrote it was killed
            end += len(line)
            try:
                row = parse_json(line.decode("utf-8", NOT_UTF8))
            except ValueError:
                row = None
            if not _is_row(row):
                raise GemoclapError(f"{path}, line {number}: not a row of an index; {REMEDY}")
            yield row, end


def _is_row(row: Any) -> bool:
    """Whether data is a row as `IndexWriter.add` writes it."""
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        return False
    parts = row.get("parts", [])
    return isinstance(parts, list) and all(map(_is_part, parts))


def _is_part(part: Any) -> bool:
    """Whether data is [start, end, emotion, confidence] of a part."""
    if not isinstance(part, list) or len(part) != 4 or not isinstance(part[2], str):
        return False
    return all(isinstance(one, int | float) and math.isfinite(one) for one in (part[0], part[1], part[3]))


def _check_size(folder: Path, count: int, size: int) -> None:
    """Raise a GemoclapError unless there are embeddings for as many parts as the rows have."""
    path = folder / EMBEDDINGS
    if count and (not path.is_file() or path.stat().st_size < count * size * STORED.itemsize):
        raise GemoclapError(f"{path}: has fewer embeddings than {CLIPS} names; {REMEDY}")


def _cut(path: Path, size: int) -> None:
    """Cut off what an ended command has left behind the last whole row."""
    if path.is_file() and path.stat().st_size > size:
        os.truncate(path, size)
