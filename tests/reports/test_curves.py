"""The picture of an intensity curve shows what it was given."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from sound import noise

from gemoclap.audio import Recording
from gemoclap.inference.frames import FrameEmotions
from gemoclap.reports.curves import frame_edges, plot_curve, plot_emotions


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def collect(figure: Figure, *arguments: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", collect)
    return figures


def test_the_curve_lies_over_the_waveform_on_one_axis_of_seconds(tmp_path: Path, drawn: list[Figure]) -> None:
    times, scores, waveform = np.array([0.25, 0.5, 1.75]), np.array([0.1, 1.3, 0.7]), noise(2.0)
    waveform[20000] = 3.0  # in the middle of its second: no sample may be lost between the columns
    plot_curve(tmp_path / "curve.png", times, scores, Recording(waveform), "Actor 7, angry")
    above, below = drawn[0].axes
    curve, mean = above.get_lines()
    assert curve.get_xydata().tolist() == [[0.25, 0.1], [0.5, 1.3], [1.75, 0.7]]
    assert mean.get_ydata()[0] == pytest.approx(0.7) and above.texts[0].get_text() == "mean\n0.70"
    assert above.get_title("left") == "Actor 7, angry"
    assert above.get_xlim() == below.get_xlim() == (0, 2.0)
    assert above.get_ylim()[0] <= 0 and above.get_ylim()[1] > 1.3
    outline = below.collections[0].get_paths()[0].vertices
    assert outline[:, 1].max() == 3.0 and outline[:, 1].min() == waveform.min()
    assert abs(outline[outline[:, 1].argmax(), 0] - 20000 / 16000) < 0.002
    assert matplotlib.image.imread(tmp_path / "curve.png").shape[2] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


@pytest.mark.parametrize("samples", [1, 100, 16000])
def test_silence_and_the_shortest_clips_are_drawn(tmp_path: Path, drawn: list[Figure], samples: int) -> None:
    plot_curve(tmp_path / "curve.png", np.array([0.016]), np.array([0.5]), Recording(np.zeros(samples, np.float32)))
    assert drawn[0].axes[0].get_lines()[0].get_marker() == "o"
    assert drawn[0].axes[0].get_xlim() == (0, max(samples / 16000, 0.016))
    assert drawn[0].axes[0].get_ylim() == (0, 1)


def test_emotions_lie_over_the_clusters_and_the_waveform(tmp_path: Path, drawn: list[Figure]) -> None:
    times = np.array([0.5, 0.7, 0.9])
    shares = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    found = FrameEmotions(times, np.array([[0, 5], [1, 5], [0, 6]]), shares, ("angry", "sad"), (2, 9))
    plot_emotions(tmp_path / "frames.png", found, Recording(noise(2.0)), "a clip")
    above, between, below = drawn[0].axes
    chance, *lines = above.get_lines()
    assert chance.get_ydata()[0] == 0.5 and [line.get_label() for line in lines] == ["angry", "sad"]
    for place, line in enumerate(lines):
        assert line.get_xdata().tolist() == times.tolist() and line.get_ydata().tolist() == shares[:, place].tolist()
    assert above.get_ylim() == (0, 1.0)
    shades = between.collections[0].get_array().reshape(2, 3)
    assert shades[0, 0] == shades[0, 2] != shades[0, 1] and shades[1, 0] == shades[1, 1] != shades[1, 2]
    assert [text.get_text() for text in between.get_yticklabels()] == ["2", "9"]
    assert above.get_xlim() == below.get_xlim() == (0, 2.0) and above.get_title("left") == "a clip"


def test_a_long_file_name_is_shortened_in_its_middle(tmp_path: Path, drawn: list[Figure]) -> None:
    name = f"{'interview_with_many_words_' * 5}take_07.wav"
    plot_curve(tmp_path / "clip.png", np.array([0.5]), np.array([0.5]), Recording(noise(1.0)), name)
    title = drawn[0].axes[0]._left_title
    assert title.get_text().startswith("interview") and title.get_text().endswith("take_07.wav")
    assert title.get_window_extent().x1 <= drawn[0].bbox.x1


def test_the_names_of_many_emotions_fit_in(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
    shares = np.full((3, 8), 0.125)
    found = FrameEmotions(np.array([0.5, 0.7, 0.9]), np.zeros((3, 1), int), shares, names, (2,))
    plot_emotions(tmp_path / "frames.png", found, Recording(noise(2.0)), "a clip")
    above = drawn[0].axes[0]
    whole, legend = drawn[0].bbox, above.get_legend().get_window_extent()
    assert whole.x0 <= legend.x0 and legend.x1 <= whole.x1 and legend.y1 <= whole.y1
    assert above.get_window_extent().width > 0.7 * whole.width
    assert above._left_title.get_window_extent().y0 >= legend.y1 - 1


def test_a_frame_reaches_half_way_to_its_neighbours() -> None:
    assert np.allclose(frame_edges(np.array([1.0, 1.5, 2.5])), [0.75, 1.25, 2.0, 3.0])
    assert np.allclose(frame_edges(np.array([0.3])), [0.29, 0.31])
