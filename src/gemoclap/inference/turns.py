"""Reads the turns of speakers that diarisation tools write: RTTM, or a table."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gemoclap.corpora.csv_io import ALIASES
from gemoclap.corpora.speakers import normal_name
from gemoclap.corpora.tables import by_plain_name, column_called, open_table, require_utf8, with_point
from gemoclap.corpora.values import known, seconds
from gemoclap.errors import GemoclapError
from gemoclap.files import read_text
from gemoclap.labels import folded
from gemoclap.wording import counted

logger = logging.getLogger(__name__)
COLUMNS = ("speaker", "start", "end")
"""Columns of a table of turns."""


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes
    ----------
    speaker : the name.
    start, end : seconds in the recording, start < end.
    line : of the file.
    """

    speaker: str
    start: float
    end: float
    line: int


def read_turns(path: str | os.PathLike, recording: str | os.PathLike) -> list[Turn]:
    """Read the turns of one recording.

    Parameters
    ----------
    path : RTTM (.rttm: lines ``SPEAKER FILE CHANNEL START DURATION <NA> <NA> NAME ...``), or a CSV or TSV table with the
        columns speaker, start and end, in seconds.
    recording : the recording whose turns to read. If an RTTM has several recordings, the turns under its name without suffix
        are used, also with ``_`` in place of blanks.

    Raises
    ------
    GemoclapError : the file cannot be read, has no turns, or a row is malformed; the message names the line.
    """
    path = Path(path)
    turns = _of_rttm(path, Path(recording).stem) if path.suffix.lower() == ".rttm" else _of_table(path)
    if not turns:
        raise GemoclapError(f"{path}: has no turns; check that it is the right file")
    first: dict[str, str] = {}  # upper and lower case are the same name, as everywhere
    return [replace(turn, speaker=first.setdefault(normal_name(turn.speaker), turn.speaker)) for turn in turns]


def _of_table(path: Path) -> list[Turn]:
    table = open_table(path)
    named = by_plain_name(table.header)
    columns = {name: column_called(ALIASES[name], named) for name in COLUMNS}
    if missing := [name for name, column in columns.items() if column is None]:
        raise GemoclapError(f"{path}:1: has no column {missing[0]!r}; name the columns {', '.join(COLUMNS)}")
    found = []
    for where, row in table.rows:
        require_utf8(row, where)
        if _is_never_heard(row):
            continue
        speaker, *times = (row[str(columns[name])] for name in COLUMNS)
        start, end = times if table.delimiter == "," else map(with_point, times)
        found.append(_turn(speaker, start, end, where))
    return found


def _is_never_heard(row: Mapping[str, str]) -> bool:
    """Whether a row of a timeline's CSV only says why a speaker or channel has no segments. Its times are the recording's."""
    return bool(row.get("remark")) and not any(row.get(name, "?") for name in ("emotion", "confidence", "error"))


def _of_rttm(path: Path, stem: str) -> list[Turn]:
    lines = [(f"{path}:{number}", line.split()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    rows = [(where, cells) for where, cells in lines if cells and cells[0] == "SPEAKER"]
    for where, cells in rows:
        if len(cells) < 8:
            raise GemoclapError(f"{where}: {counted(len(cells), 'field')}, an RTTM line has 8 or more; mend the line")
    files = {cells[1] for _, cells in rows}
    own = _name_of(stem, files)
    if len(files) > 1 and own is None:
        raise GemoclapError(
            f"{path}: is about {counted(len(files), 'recording')} and none is called {stem!r}; rename it there, or "
            "keep only its lines"
        )
    if len(files) == 1 and own is None:
        logger.warning("%s: is about %s, and the recording is called %s", path, *files, stem)
    found = []
    for where, cells in rows:
        if len(files) == 1 or cells[1] == own:
            start, duration = (seconds(cells[place], name, where) for place, name in ((3, "start"), (4, "duration")))
            end = None if start is None or duration is None else start + duration
            found.append(_turn(cells[7], start, end, where))
    return found


def _name_of(stem: str, files: Iterable[str]) -> str | None:
    """Return the name in an RTTM that is a recording's; None if there is none.

    A field of RTTM has no blanks, so writers put ``_`` in their place. Letters with accents may be stored in another form.
    """
    known = [*files]
    alike = [name for name in known if _as_field(name) == _as_field(stem)]
    return stem if stem in known else alike[0] if len(alike) == 1 else None


def _as_field(name: str) -> str:
    """Return a key that is equal for a name and for what writers of RTTM, such as `timeline`, make of it."""
    return "_".join(folded(name.replace('"', "'")).split())


def _turn(speaker: str, start: str | float | None, end: str | float | None, where: str) -> Turn:
    name, first, last = known(speaker), seconds(start, "start", where), seconds(end, "end", where)
    if name is None:
        raise GemoclapError(f"{where}: no speaker; name one")
    if first is None or last is None:
        raise GemoclapError(f"{where}: no {'start' if first is None else 'end'}; give seconds")
    if first >= last:
        raise GemoclapError(f"{where}: start {first:.10g} s is not before end {last:.10g} s; mend the row")
    return Turn(name, first, last, int(where.rpartition(":")[2]))


def turns_by_speaker(turns: Iterable[Turn]) -> dict[str, list[tuple[float, float]]]:
    """Return speaker -> (start, end) in order; turns of one speaker that touch or overlap are made one."""
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in sorted(turns, key=lambda turn: turn.start):
        own = found.setdefault(turn.speaker, [])
        if own and turn.start <= own[-1][1]:
            own[-1] = (own[-1][0], max(own[-1][1], turn.end))
        else:
            own.append((turn.start, turn.end))
    return found


def lane_names(channels: int, by: str, turns: Iterable[Turn] | None = None) -> list[str]:
    """Return the names of the lanes of a timeline: the speakers of turns, the channels, or one for the whole recording."""
    if turns is not None:
        return [*turns_by_speaker(turns)]
    return [f"channel {number}" for number in range(1, channels + 1)] if by == "channel" else ["recording"]


def remarks_on_turns(turns: Sequence[Turn], duration: float) -> list[str]:
    """Return in a line each what is odd about turns: some end after the recording, or two speakers talk at once.

    Parameters
    ----------
    duration : of the recording, in seconds.
    """
    found = []
    # Half a millisecond: what tools round off.
    if beyond := [turn for turn in turns if turn.end > duration + 0.0005]:
        outside = sum(turn.start >= duration for turn in beyond)
        found.append(
            f"{counted(len(beyond), 'turn ends', 'turns end')} after the end of the recording at {duration:.2f} s, the first "
            f"in line {beyond[0].line}: {outside} left out, {len(beyond) - outside} cut short"
            + ("; are they of this recording, and in seconds?" if outside == len(turns) else "")
        )
    if (overlap := seconds_at_once(turns_by_speaker(turns), duration)) > 0:
        found.append(
            f"for {overlap:.2f} s two or more speakers talk at once: each gets the emotion of all voices together"
        )
    return found


def seconds_at_once(turns: Mapping[str, Sequence[tuple[float, float]]], duration: float) -> float:
    """Return for how many seconds, up to `duration`, more than one speaker talks."""
    edges = sorted(
        (min(time, duration), step)
        for own in turns.values()
        for turn in own
        for time, step in zip(turn, (1, -1), strict=True)
    )
    total, speaking, before = 0.0, 0, 0.0
    for time, step in edges:
        total += time - before if speaking > 1 else 0.0
        speaking, before = speaking + step, time
    return total
