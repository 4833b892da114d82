"""The picture of a timeline: for each speaker the waveform, a band with the most probable emotion, and one line per emotion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from gemoclap.inference.answers import UNKNOWN
from gemoclap.inference.emotion_timeline import EmotionTimeline, Lane
from gemoclap.inference.smoothing import EmotionSegment, owned, summed_up
from gemoclap.reports.canvas import COLOURS, drawing, drawn_length, matplotlib, new_figure, save
from gemoclap.wording import shortened, shortened_inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USUAL = {
    "neutral": "#7F7F7F", "calm": "#009E73", "happy": "#E69F00", "excited": "#FF99AA", "sad": "#0072B2", "angry": "#C0392B",
    "fearful": "#6A3D9A", "disgusted": "#8C7B00", "surprised": "#56B4E9", "bored": "#4D4D4D",
}  # fmt: skip
"""Fixed colours of emotions. Other labels get the remaining `COLOURS`."""
UNSURE = "#D0D0D0"
HATCHED: dict[str, Any] = {"facecolor": "white", "edgecolor": UNSURE, "hatch": "//////", "linewidth": 0}
"""Style of speech below the threshold, or without an answer, so that it looks like no emotion."""
WIDTH = 10.0
"""Width of the picture in inches."""
LANE_HEIGHT, LONGEST = 2.5, 200.0
"""Height of a lane, and largest height of a picture, in inches: matplotlib cannot draw much larger ones."""
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Seconds between two times on the axis."""
LETTER, LINE_HEIGHT = 0.065, 0.16
"""Width of a letter in the band, and height of a line of text, in inches."""
UPRIGHT = 54
"""Font size of an upright word, times its number of letters, so that it fits the height of the band."""
DETAILED = 600.0
"""Longest recording, in seconds, of which every segment is drawn."""
MOST_BARS = 200
"""Largest number of bars for a longer recording."""
Points = list[tuple[float, dict[str, float]]]
"""Time and label -> value; an empty mapping breaks the lines."""
TITLE, NAME, LABEL, BESIDE, LINE = 90, 40, 50, 114, 130
"""Largest number of letters in the title, in the name of a speaker, in an emotion of the legend, in the line that the name
begins, and in a line of remarks."""
BOLD = 1.7
"""How many letters of the rest of that line a capital letter of the name takes."""
COLUMNS, BESIDE_LABEL = 8, 0.65
"""Largest number of columns of the legend, and inches that a column takes beside its letters."""
SMALLEST = 4.5
"""Smallest font size that can be read; an upright word that would need a smaller one is left to the legend."""
PALE = 0.72
"""Share of white in the colour of the band above the confidence."""


def plot_timeline(path: str | os.PathLike, found: EmotionTimeline) -> None:
    """Draw a timeline with one lane per speaker or channel.

    A long recording is summed up in bars of equal length, since single segments would be too narrow to see.
    The band has the colour of the emotion: full colour up to the confidence, and pale above it. The band is white where nobody
    speaks.

    Parameters
    ----------
    path : PNG to write.
    """
    colours = colours_of(found.labels)
    width, threshold = _bar_seconds(found.duration), float(found.settings.get("threshold", 0.0))
    height = min(0.9 + LANE_HEIGHT * len(found.lanes), LONGEST)
    with drawing():
        figure = new_figure(WIDTH, height, "constrained")
        axes = figure.subplots(
            3 * len(found.lanes), 1, sharex=True, squeeze=False, height_ratios=[0.7, 0.6, 1.2] * len(found.lanes)
        )[:, 0]
        for place, lane in enumerate(found.lanes):
            above, between, below = axes[3 * place : 3 * place + 3]
            _draw_waveform(above, lane, found.duration)
            bars = (
                summed_up(found.labels, owned(lane.speech, _places(lane)), lane.smoothed, width, threshold)
                if width
                else None
            )
            _draw_band(between, lane.segments if bars is None else bars, colours, found.duration)
            _draw_lines(below, _points(lane) if bars is None else _bar_points(bars), found.labels, colours)
        axes[-1].set_xlim(0, found.duration)
        ticker = matplotlib("ticker")
        axes[-1].xaxis.set_major_locator(ticker.MultipleLocator(_step(found.duration)))
        axes[-1].xaxis.set_major_formatter(ticker.FuncFormatter(lambda seconds, _: _clock(seconds, found.duration)))
        axes[-1].set_xlabel("time (hours:minutes:seconds)" if found.duration >= 3600 else "time (minutes:seconds)")
        bars_say = [f"Each bar is the mean of the speech in {_spoken(width)}."] if width else []
        notes = _wrapped([*bars_say, found.adaptation_explained, *map(_sentence, found.remarks)])
        if notes:
            figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=9, color="#444444")
        names = {label: shortened(label, LABEL) for label in found.labels}
        handles = [matplotlib("patches").Patch(color=colours[label], label=name) for label, name in names.items()]
        reasons = [f"below {100 * threshold:g} %"] if threshold else []
        if any(segment.error for lane in found.lanes for segment in lane.segments):
            reasons.append("no answer")
        if reasons:
            handles.append(matplotlib("patches").Patch(label=f"{UNKNOWN}: {' or '.join(reasons)}", **HATCHED))
        name = Path(found.path).name
        figure.legend(
            handles=handles,
            title=shortened(name, TITLE),
            loc="outside upper left",
            alignment="left",
            ncols=_columns([str(handle.get_label()) for handle in handles]),
            title_fontsize=11,
        )
        save(figure, path, ("png",))


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """Return a colour for each label. An emotion has the same colour in every picture; colours repeat only if they run out."""
    found = {label: USUAL[label] for label in labels if label in USUAL}
    spare = [colour for colour in COLOURS if colour not in found.values()]
    others = [label for label in labels if label not in found]
    return {UNKNOWN: UNSURE} | found | {label: spare[place % len(spare)] for place, label in enumerate(others)}


def _columns(labels: Sequence[str]) -> int:
    """Return how many columns of a legend fit beside each other."""
    return max(1, min(COLUMNS, int(WIDTH / (BESIDE_LABEL + LETTER * max(map(drawn_length, labels))))))


def _wrapped(remarks: Sequence[str]) -> list[str]:
    return [line for remark in remarks for line in wrap(remark, LINE)]


def _sentence(remark: str) -> str:
    return f"{remark[:1].upper()}{remark[1:]}."


def _clock(seconds: float, duration: float) -> str:
    if _step(duration) < 1:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if duration >= 3600 else f"{minutes}:{rest:02d}"


def _step(duration: float) -> float:
    """Return the seconds between two times on the axis: the smallest step that does not crowd it."""
    return next((step for step in STEPS if duration / step <= 12), 3600 * max(1.0, duration // (12 * 3600) + 1))


def _draw_waveform(axes: Axes, lane: Lane, duration: float) -> None:
    """Draw the outline of the waveform, dark where this speaker speaks."""
    times, low, high = lane.envelope.outline()
    speaks = np.zeros(len(times), bool)
    for start, end in lane.speech:
        speaks[np.searchsorted(times, start) : np.searchsorted(times, end)] = True
    axes.fill_between(times, low, high, color="#CCCCCC", linewidth=0.5)
    axes.fill_between(times, low, high, where=speaks, color="#444444", linewidth=0.5)
    peak = lane.envelope.peak or 1.0
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0)
    name = shortened_inside(lane.name, NAME)
    title = axes.set_title(name, loc="left", fontweight="bold", pad=2)
    text = beside_name(lane, int(BESIDE - BOLD * len(name)))
    axes.annotate(text, (1, 0), (10, 3), xycoords=title, textcoords="offset points", fontsize=9, in_layout=False)


def beside_name(lane: Lane, letters: int) -> str:
    """Return the shares of a lane's emotions and its remarks, in so many letters at most.

    Of what is too long, the smallest shares are left out first.
    """
    seconds, shares = shares_of([lane])
    remarks = "".join(f"   ({remark})" for remark in lane.remarks)
    if not shares:
        return shortened(remarks.lstrip(), letters)
    ending = f" of {seconds:.0f} s of speech{remarks}"
    if len(shares) + len(ending) > letters:
        kept = shares[: max(0, letters - len(ending) - len(", ..."))].rpartition(", ")[0]
        shares = f"{kept}, ..." if kept else shares.partition(", ")[0]
    return shortened(shares + ending, letters)


def shares_of(lanes: Sequence[Lane]) -> tuple[float, str]:
    """Return the seconds of speech, and how much of it has which emotion: ``neutral 62 %, angry 38 %``."""
    seconds: dict[str, float] = {}
    for lane in lanes:
        for segment in lane.segments:
            seconds[segment.emotion] = seconds.get(segment.emotion, 0.0) + segment.end - segment.start
    total = sum(seconds.values())
    shares = sorted(((share / total, label) for label, share in seconds.items()), reverse=True)
    return total, ", ".join(f"{label} {100 * share:.0f} %" for share, label in shares)


def _bar_seconds(duration: float) -> float:
    """Return the length of a bar in seconds, or 0 if there is room for every segment."""
    if duration <= DETAILED:
        return 0.0
    return next((step for step in STEPS if duration / step <= MOST_BARS), 3600.0)


def _spoken(seconds: float) -> str:
    return f"{seconds:g} seconds" if seconds < 60 else "a minute" if seconds == 60 else f"{seconds / 60:g} minutes"


def _places(lane: Lane) -> list[tuple[float, float]]:
    return [(window.start, window.end) for window in lane.windows]


def _draw_band(axes: Axes, boxes: Sequence[EmotionSegment], colours: dict[str, str], duration: float) -> None:
    """Draw one box per segment, filled up to its confidence, with the name of the emotion. In a narrow box it is upright."""
    for segment in boxes:
        colour, width = colours[segment.emotion], segment.end - segment.start
        axes.bar(segment.start, 1.0, width, align="edge", color=_paler(colour), linewidth=0)
        full = {"color": colour, "linewidth": 0} if segment.emotion != UNKNOWN else HATCHED
        axes.bar(segment.start, 1.0 if segment.error else segment.confidence, width, align="edge", **full)
        inches = width / duration * 0.9 * WIDTH
        across = inches > LETTER * (len(segment.emotion) + 1)
        upright = min(8, UPRIGHT / len(segment.emotion))
        if across or (inches > LINE_HEIGHT and upright >= SMALLEST):
            text = axes.text(segment.start + width / 2, 0.5, segment.emotion, ha="center", va="center", fontsize=8)
            text.set_bbox({"facecolor": "white", "alpha": 0.85, "linewidth": 0, "boxstyle": "round,pad=0.15"})
            if not across:
                text.set(rotation=90, fontsize=upright)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["0", "100 %"], fontsize=7)
    axes.set_ylabel("most probable\nemotion", fontsize=7, rotation=0, ha="right", va="center")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _draw_lines(axes: Axes, points: Points, labels: Sequence[str], colours: dict[str, str]) -> None:
    """Draw the smoothed probabilities. Lines of emotions that are the most probable at some time are bold. Lines break where
    there are no probabilities."""
    leading = {max(row, key=lambda label: row[label]) for _, row in points if row}
    times = [time for time, _ in points]
    for label in labels:
        values = [row.get(label, np.nan) for _, row in points]
        bold = label in leading
        axes.plot(times, values, color=colours[label], linewidth=1.8 if bold else 0.9, alpha=1.0 if bold else 0.6)
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=7)
    axes.set_ylabel("probability of\neach emotion", fontsize=7, rotation=0, ha="right", va="center")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _points(lane: Lane) -> Points:
    """Return the points of the lines.

    A stretch of speech starts and ends with the values of its first and last window, so that short stretches are visible too.
    """
    points: Points = []
    own = owned(lane.speech, _places(lane))
    for number, (window, (start, end)) in enumerate(zip(lane.windows, own, strict=True)):
        row = {} if window.error else dict(zip(window.probabilities, lane.smoothed[number].tolist(), strict=True))
        if number == 0 or own[number - 1][1] < start:
            points += [(start, {}), (start, row)]
        points.append(((window.start + window.end) / 2, row))
        if number + 1 == len(own) or end < own[number + 1][0]:
            points.append((end, row))
    return points


def _bar_points(bars: Sequence[EmotionSegment]) -> Points:
    """Return the points of the lines through the middles of bars; a bar without neighbours has a line as wide as itself."""
    points: Points = []
    for number, bar in enumerate(bars):
        if number == 0 or bars[number - 1].end < bar.start:
            points += [(bar.start, {}), (bar.start, bar.probabilities)]
        points.append(((bar.start + bar.end) / 2, bar.probabilities))
        if number + 1 == len(bars) or bar.end < bars[number + 1].start:
            points.append((bar.end, bar.probabilities))
    return points


def _paler(colour: str) -> tuple[float, ...]:
    return tuple(PALE + (1 - PALE) * part for part in matplotlib("colors").to_rgb(colour))
