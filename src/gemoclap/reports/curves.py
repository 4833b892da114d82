"""Pictures over the time of a clip, with its waveform below: intensity of emotion, or GMP-TL's emotions of each frame."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from gemoclap.audio import SAMPLE_RATE, Recording
from gemoclap.inference.frames import FrameEmotions
from gemoclap.reports.canvas import COLOURS, drawing, new_figure, save
from gemoclap.wording import shortened_inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_COLUMNS = 5
TITLE = 80
"""Letters of a title that fit above a picture."""
COLUMNS = 2000
"""Number of columns of the waveform, each drawn from its smallest to its largest sample; more than the picture has pixels."""


def plot_curve(
    path: str | os.PathLike, times: np.ndarray, scores: np.ndarray, recording: Recording, title: str = ""
) -> None:
    """Draw the intensity of a clip over time, its mean, and the waveform below.

    Parameters
    ----------
    path : PNG to write.
    times, scores : (F,) seconds and intensities, from `ems.intensity.intensity_curve`.
    recording : the clip.
    title : title of the picture.
    """
    with drawing():
        figure = new_figure(7.2, 3.4, "constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        _draw_scores(above, times, scores)
        _draw_waveform(below, recording)
        above.set_title(shortened_inside(title, TITLE), loc="left")
        _save(figure, path, below, recording, times)


def plot_emotions(path: str | os.PathLike, found: FrameEmotions, recording: Recording, title: str = "") -> None:
    """Draw the emotions of a clip's frames over time, their clusters at each scale, and the waveform.

    Nothing is drawn over the silence at the start and end of a recording, which is left out.

    Parameters
    ----------
    path : PNG to write.
    found : from `inference.frames.FrameLabeler`.
    recording : the clip.
    title : title of the picture.
    """
    heights = [2.6, 0.25 + 0.25 * len(found.scales), 1.0]
    with drawing():
        figure = new_figure(7.2, 1.15 * sum(heights), "constrained")
        above, between, below = figure.subplots(3, 1, sharex=True, height_ratios=heights)
        _draw_emotions(above, found)
        _draw_clusters(between, found)
        _draw_waveform(below, recording)
        rows = -(-len(found.emotions) // LEGEND_COLUMNS)
        above.set_title(shortened_inside(title, TITLE), loc="left", pad=8 + 14 * rows)  # above the legend
        _save(figure, path, below, recording, found.times)


def frame_edges(times: np.ndarray) -> np.ndarray:
    """Return the edges of frames, ``(F + 1,)``, half way between their middles ``(F,)``; a single frame is 20 ms long."""
    if len(times) == 1:
        return np.array([times[0] - 0.01, times[0] + 0.01])
    between = (times[1:] + times[:-1]) / 2
    return np.concatenate([[2 * times[0] - between[0]], between, [2 * times[-1] - between[-1]]])


def _save(figure: Figure, path: str | os.PathLike, axes: Axes, recording: Recording, times: np.ndarray) -> None:
    # The shortest clips have one frame, and its middle lies after the end of the clip.
    axes.set_xlim(0, max(recording.samples / SAMPLE_RATE, float(times[-1])))
    save(figure, path, ("png",))


def _draw_emotions(axes: Axes, found: FrameEmotions) -> None:
    """Draw one line per emotion, and a dashed line at chance, where all lines would be if clusters had no information."""
    chance = 1 / len(found.emotions)
    axes.axhline(chance, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
    lone = "o" if len(found.times) == 1 else ""
    for place, emotion in enumerate(found.emotions):
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(found.times, found.probabilities[:, place], color=colour, linewidth=1.4, marker=lone, label=emotion)
    # At least up to twice chance, so that noise around chance does not fill the picture.
    axes.set_ylim(0, max(2 * chance, 1.05 * float(found.probabilities.max())))
    axes.set_ylabel("p(emotion | clusters)")
    axes.text(1.01, chance, "chance", transform=axes.get_yaxis_transform(), va="center", color="#555555")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=LEGEND_COLUMNS, borderaxespad=0.2)


def _draw_clusters(axes: Axes, found: FrameEmotions) -> None:
    """Draw one strip per scale with a shade of grey per cluster, which shows when the cluster changes."""
    # Clusters with neighbouring numbers have nothing in common, so their shades should differ much.
    shades = 0.15 + 0.7 * ((found.clusters.T * 0.618034) % 1.0)
    rows = np.arange(len(found.scales) + 1)
    axes.pcolormesh(frame_edges(found.times), rows, shades, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    axes.set_yticks(rows[:-1] + 0.5, [f"{k:,}" for k in found.scales])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_ylabel("clusters", labelpad=8)
    axes.spines[:].set_visible(False)


def _draw_scores(axes: Axes, times: np.ndarray, scores: np.ndarray) -> None:
    lone = "o" if len(scores) == 1 else ""
    axes.plot(times, scores, color=COLOURS[1], linewidth=1.4, marker=lone, markersize=4)
    mean = float(np.mean(scores))
    axes.axhline(mean, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(1.01, mean, f"mean\n{mean:.2f}", transform=axes.get_yaxis_transform(), va="center", color="#555555")
    # Scores are mostly between 0 and 1, but can lie outside.
    axes.set_ylim(min(0.0, float(scores.min()) - 0.03), max(1.0, float(scores.max()) + 0.03))
    axes.set_ylabel("emotion intensity")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_waveform(axes: Axes, recording: Recording) -> None:
    step = max(1, recording.samples // COLUMNS)
    starts = np.arange(0, recording.samples, step)
    columns = [(column.min(), column.max()) for column in recording.pieces([*starts, recording.samples])]
    low, high = np.transpose(columns)
    seconds = (starts + min(step, recording.samples) / 2) / SAMPLE_RATE
    axes.fill_between(seconds, low, high, color=COLOURS[0], linewidth=0.4)
    peak = recording.peak or 1.0
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    axes.set_xlabel("seconds")
    axes.set_ylabel("waveform")
