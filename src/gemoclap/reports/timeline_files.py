"""Emotion over time as files: JSON with everything, CSV, RTTM, WebVTT for players, a label track for Audacity."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from gemoclap.files import write_json
from gemoclap.inference.answers import UNKNOWN
from gemoclap.inference.emotion_timeline import EmotionTimeline, Lane
from gemoclap.inference.smoothing import EmotionSegment
from gemoclap.reports.timeline import plot_timeline
from gemoclap.writing import atomic_write

Seconds = float


def write_timeline(path: Path, found: EmotionTimeline, made_with: dict[str, Any]) -> None:
    """Write a timeline in the form that the name of the file asks for; CSV where it asks for none.

    Parameters
    ----------
    path : ends in .json, .csv, .rttm, .vtt, .txt or .png, or is a device or a pipe.
    made_with : what JSON says of the model and the versions.

    Raises
    ------
    WriteError : the file cannot be written.
    """
    writers: dict[str, Callable[[], None]] = {
        ".json": lambda: write_json(path, timeline_data(found) | made_with),
        ".rttm": lambda: _write_lines(path, _rttm(found)),
        ".vtt": lambda: _write_lines(path, _vtt(found)),
        ".txt": lambda: _write_lines(path, _labels(found)),
        ".png": lambda: plot_timeline(path, found),
    }
    writers.get(path.suffix.lower(), lambda: _write_csv(path, found))()


def timeline_data(found: EmotionTimeline) -> dict[str, Any]:
    """Return a timeline as plain data: all of it but the outline of the waveform."""
    return {
        "file": found.path,
        "duration": _rounded(found.duration),
        "emotions": [*found.labels],
        "settings": found.settings,
        "remarks": found.remarks,
        "speakers": [_lane_data(lane, found.labels) for lane in found.lanes],
    }


def _lane_data(lane: Lane, labels: tuple[str, ...]) -> dict[str, Any]:
    windows = []
    for window, means in zip(lane.windows, lane.smoothed, strict=True):
        row = {
            "start": _rounded(window.start),
            "end": _rounded(window.end),
            "probabilities": each_rounded(window.probabilities),
            "smoothed": {} if window.error else each_rounded(dict(zip(labels, map(float, means), strict=True))),
        }
        said = {"remark": window.remark, "error": window.error}
        windows.append(row | {name: text for name, text in said.items() if text})
    return {
        "speaker": lane.name,
        "remarks": lane.remarks,
        "speech": [[_rounded(start), _rounded(end)] for start, end in lane.speech],
        "segments": [_segment_data(segment) for segment in lane.segments],
        "windows": windows,
    } | ({"adapted_to": {"windows": round(lane.statistics.count, 2)}} if lane.statistics else {})


def _segment_data(segment: EmotionSegment) -> dict[str, Any]:
    return {
        "start": _rounded(segment.start),
        "end": _rounded(segment.end),
        "emotion": segment.emotion,
        "confidence": None if segment.error else round(segment.confidence, 6),
        "probabilities": each_rounded(segment.probabilities),
    } | ({"error": segment.error} if segment.error else {})


def _write_csv(path: Path, found: EmotionTimeline) -> None:
    """Write a row a segment; a speaker without any has one row that says why.

    The column error is empty but for segments without an answer, whose probabilities are empty.
    """
    columns = ["speaker", "start", "end", "emotion", "confidence", *found.labels, "remark", "error"]
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for name, segment in by_time(found):
            row = _segment_data(segment)
            writer.writerow({"speaker": name} | row.pop("probabilities") | row)
        for lane in found.lanes:
            if not lane.segments:
                about = {"speaker": lane.name, "start": 0, "end": _rounded(found.duration)}
                writer.writerow(about | {"remark": "; ".join(lane.remarks)})


def _vtt(found: EmotionTimeline) -> Iterator[str]:
    """Yield the lines of WebVTT: a cue a segment, with the speaker's voice tag where there are several."""
    yield "WEBVTT"
    for remark in [*([found.adaptation] if found.adaptation else []), *remarks_of(found)]:
        yield f"\nNOTE {_one_line(remark).replace('-->', '->')}"
    for name, segment in by_time(found):
        voice = f"<v {html.escape(_one_line(name))}>" if len(found.lanes) > 1 else ""
        yield f"\n{_clock(segment.start)} --> {_clock(segment.end)}"
        yield f"{voice}{html.escape(_said(segment))}"


def _rttm(found: EmotionTimeline) -> Iterator[str]:
    """Yield the lines of an RTTM: a segment each, with the emotion as its sixth field and the confidence as its ninth.

    The sixth field is NIST's orthography and the ninth its confidence: those that readers leave alone. NIST's md-eval allows
    nothing but ``<NA>`` as the seventh, and dscore neither comments nor empty lines, so remarks have no place here.
    """
    recording = _fields([Path(found.path).stem])[0]
    names = dict(zip((lane.name for lane in found.lanes), _fields([lane.name for lane in found.lanes]), strict=True))
    places = {lane.name: place for place, lane in enumerate(found.lanes, 1)}
    labels = [*dict.fromkeys((*found.labels, UNKNOWN))]
    emotions = dict(zip(labels, _fields(labels), strict=True))
    for name, segment in by_time(found):
        channel = places[name] if found.settings.get("by") == "channel" else 1
        start, end = round(segment.start, 6), round(segment.end, 6)  # so that no segment reaches into the next
        confidence = "<NA>" if segment.error else f"{segment.confidence:.6f}"
        yield (
            f"SPEAKER {recording} {channel} {start:.6f} {end - start:.6f} {emotions[segment.emotion]} <NA> {names[name]} "
            f"{confidence} <NA>"
        )


def _fields(names: Sequence[str]) -> list[str]:
    """Return names as fields between blanks, each different: blanks become ``_``, and quotes, which pandas acts on, ``'``."""
    found: list[str] = []
    for name in names:
        field = "_".join(name.replace('"', "'").split()) or "_"
        while field in found:
            field += "_"
        found.append(field)
    return found


def _labels(found: EmotionTimeline) -> Iterator[str]:
    """Yield the lines of a label track: start, end and text, with tabs between."""
    for name, segment in by_time(found):
        voice = f"{_one_line(name)}: " if len(found.lanes) > 1 else ""
        yield f"{segment.start:.6f}\t{segment.end:.6f}\t{voice}{_said(segment)}"


def by_time(found: EmotionTimeline) -> list[tuple[str, EmotionSegment]]:
    """Return the segments of all lanes with the names of these, in the order in which they begin."""
    rows = [
        (segment.start, place, lane.name, segment)
        for place, lane in enumerate(found.lanes)
        for segment in lane.segments
    ]
    return [(name, segment) for _, _, name, segment in sorted(rows, key=itemgetter(0, 1))]


class JoinedSegment(NamedTuple):
    """A time in which a speaker has one emotion, pauses included.

    Attributes
    ----------
    start, end : seconds.
    seconds : of speech in it.
    emotion : as shown: `UNKNOWN` with its likeliest label, such as ``unknown (sad)``.
    confidence : mean over that speech; for `UNKNOWN`, of that label.
    error : why there is no answer; None if there is one.
    """

    speaker: str
    start: Seconds
    end: Seconds
    seconds: Seconds
    emotion: str
    confidence: float
    error: str | None


def joined_over_pauses(found: EmotionTimeline) -> list[JoinedSegment]:
    """Return the segments of each speaker, neighbours of the same emotion joined to one, in the order in which they begin.

    This is for a table that people read: a long call has hundreds of segments, because each pause ends one.
    """
    rows = [
        _joined(lane.name, [*group])
        for lane in found.lanes
        for _, group in groupby(lane.segments, key=lambda segment: (segment.emotion, segment.error))
    ]
    return sorted(rows, key=lambda row: row.start)  # speakers who begin at the same time stay in their order


def _joined(speaker: str, neighbours: Sequence[EmotionSegment]) -> JoinedSegment:
    first, last = neighbours[0], neighbours[-1]
    seconds = sum(one.end - one.start for one in neighbours)
    means = {
        label: sum(one.probabilities[label] * (one.end - one.start) for one in neighbours) / seconds
        for label in first.probabilities
    }
    # Neighbours that are `UNKNOWN` can have different likeliest labels; the mean has one for all of them.
    label = first.emotion if first.emotion in means or first.error else _likeliest(means)
    emotion = first.emotion if label == first.emotion else f"{first.emotion} ({label})"
    return JoinedSegment(speaker, first.start, last.end, seconds, emotion, means.get(label, 0.0), first.error)


def remarks_of(found: EmotionTimeline) -> list[str]:
    """Return all remarks, each with the name of what it is about."""
    about = [(lane.name, remark) for lane in found.lanes for remark in lane.remarks]
    return [*found.remarks, *(f"{name}: {remark}" if len(found.lanes) > 1 else remark for name, remark in about)]


def _clock(seconds: Seconds) -> str:
    """Return ``HH:MM:SS.mmm`` as WebVTT has it."""
    milliseconds = round(1000 * seconds)
    minutes, left = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{left / 1000:06.3f}"


def _said(segment: EmotionSegment) -> str:
    if segment.error:
        return f"{segment.emotion} (no answer)"
    likeliest = _likeliest(segment.probabilities)
    shown = _one_line(f"{likeliest} {100 * segment.confidence:.0f} %")
    # `UNKNOWN` is shown with its likeliest label, whose probability its confidence is.
    return shown if segment.emotion == likeliest else f"{segment.emotion} ({shown})"


def _likeliest(probabilities: dict[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _rounded(seconds: Seconds) -> float:
    return round(seconds, 4)


def each_rounded(probabilities: dict[str, float]) -> dict[str, float]:
    """Return probabilities by label with the digits that are worth writing."""
    return {label: round(one, 6) for label, one in probabilities.items()}


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{line}\n" for line in lines)
