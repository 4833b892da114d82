"""A picture of emotion intensity over time, above the waveform that it was heard in."""

from __future__ import annotations

import os

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gemoclap.audio import SAMPLE_RATE
from gemoclap.files import atomic_write
from gemoclap.reports.plots import DPI, OKABE_ITO, STYLE

COLUMNS = 2000
"""Of the waveform, each drawn from its least to its largest sample: more than the picture has pixels."""


def plot_curve(
    path: str | os.PathLike, times: np.ndarray, scores: np.ndarray, waveform: np.ndarray, title: str = ""
) -> None:
    """Draw the intensity of a clip's frames over time, their mean, and the waveform beneath on the same axis.

    Parameters
    ----------
    path : PNG to write.
    times, scores : (F,) seconds and intensities, as `ems.intensity.intensity_curve` gives them.
    waveform : (T,) at 16 kHz.
    title : of the picture.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), dpi=DPI, layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        _draw_scores(above, times, scores)
        _draw_waveform(below, waveform)
        # The one frame of the shortest clips has its middle behind their end.
        below.set_xlim(0, max(len(waveform) / SAMPLE_RATE, float(times[-1])))
        above.set_title(title, loc="left")
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format="png", dpi=DPI)


def _draw_scores(axes: Axes, times: np.ndarray, scores: np.ndarray) -> None:
    lone = "o" if len(scores) == 1 else ""
    axes.plot(times, scores, color=OKABE_ITO[1], linewidth=1.4, marker=lone, markersize=4)
    mean = float(np.mean(scores))
    axes.axhline(mean, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(1.01, mean, f"mean\n{mean:.2f}", transform=axes.get_yaxis_transform(), va="center", color="#555555")
    # Scores are about 0 to 1 but not bound to it.
    axes.set_ylim(min(0.0, float(scores.min()) - 0.03), max(1.0, float(scores.max()) + 0.03))
    axes.set_ylabel("emotion intensity")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_waveform(axes: Axes, waveform: np.ndarray) -> None:
    step = max(1, len(waveform) // COLUMNS)
    starts = np.arange(0, len(waveform), step)
    low, high = np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)
    seconds = (starts + min(step, len(waveform)) / 2) / SAMPLE_RATE
    axes.fill_between(seconds, low, high, color=OKABE_ITO[0], linewidth=0.4)
    peak = float(np.abs(waveform).max()) or 1.0
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    axes.set_xlabel("seconds")
    axes.set_ylabel("waveform")
