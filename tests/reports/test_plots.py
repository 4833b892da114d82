"""Pictures: what is drawn follows the data, and nothing global is touched."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from gemoclap.metrics import score
from gemoclap.metrics.calibration import confidence_of
from gemoclap.reports import plots
from gemoclap.reports.records import RowConfidence


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are saved."""
    figures = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, *to: (figures.append(figure), save(figure, *to)))
    return figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_cells_hold_percent_of_the_true_class_and_counts(tmp_path, drawn):
    truth = ["angry"] * 3 + ["sad"] * 5
    prediction = ["angry", "angry", "sad", "sad", "sad", "sad", "sad", "angry"]
    scores = score(truth, prediction, ("angry", "sad", "bored"), [None] * 8, [None] * 8)
    plots.write_confusion(scores, tmp_path / "confusion.png", "Emo-CLAP")
    cells = np.array(texts(drawn[0])).reshape(3, 3).tolist()
    dash = "\N{EN DASH}"
    assert cells == [["66.7\n(2)", "33.3\n(1)", "0"], ["20.0\n(1)", "80.0\n(4)", "0"], [dash, dash, dash]]
    assert drawn[0].axes[0].get_title() == "Emo-CLAP\nUAR 73.3 %, WAR 75.0 %, n = 8"
    assert matplotlib.image.imread(tmp_path / "confusion.png").shape[2] == 4


def test_curves_draw_each_loss_and_the_development_uar_a_line_a_fold(tmp_path, drawn):
    rows = [{"epoch": e, "step": e, "lr": 0.1, "kl": 2.0 - e, "loss": 3.0 - e, "seconds": 1.0} for e in (1, 2, 3)]
    with_dev = [{**row, "dev_uar": 0.1 * row["epoch"], "dev_war": 0.2} for row in rows[:2]]
    assert plots.write_curves({"fold_1": rows, "fold_2": with_dev}, tmp_path / "curves.png", "Emo-CLAP")
    panels = {axes.get_title(): axes.get_lines() for axes in drawn[0].axes if axes.get_visible()}
    assert list(panels) == ["loss", "kl", "UAR on the development speakers (%)"]
    first, second, mean = panels["loss"]
    assert first.get_xydata().tolist() == [[1, 2], [2, 1], [3, 0]]
    assert second.get_xydata().tolist() == [[1, 2], [2, 1]]
    assert mean.get_xydata().tolist() == [[1, 2], [2, 1]]
    assert panels["UAR on the development speakers (%)"][1].get_ydata().tolist() == pytest.approx([10, 20])


def test_no_log_draws_nothing(tmp_path):
    assert not plots.write_curves({}, tmp_path / "curves.png", "eGeMAPS + SVM")
    assert not list(tmp_path.iterdir())


LONG = "GMP-TL, train.seed: 1, model.audio_encoder: /home/me/models/whisper-large-v3-turbo-tuned, objective.alpha: 0.7"


def confidence() -> RowConfidence:
    truth, probabilities = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.6, 0.4]])
    one = confidence_of(probabilities, truth)
    return RowConfidence(one, one, (0.5, 0.6), "the test predictions of the other folds")


def draw_confusion(path: Path, name: str) -> None:
    classes = ("angry", "disappointed and sad" if name == LONG else "sad")
    scores = score(classes, classes, classes, [None] * 2, [None] * 2)
    plots.write_confusion(replace(scores, n_seeds=3), path, name)


def draw_curves(path: Path, name: str) -> None:
    plots.write_curves({"fold_1": [{"epoch": epoch, "loss": 1.0 / epoch} for epoch in (1, 2, 3)]}, path, name)


@pytest.mark.parametrize("name", ["CE", LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    "draw",
    [
        draw_confusion,
        draw_curves,
        *(
            lambda path, name, panels=panels: plots.write_reliability(
                {f"{name} {number}": confidence() for number in range(panels)}, path
            )
            for panels in (1, 2, 3, 4)
        ),
    ],
    ids=["confusion", "curves", "reliability 1", "reliability 2", "reliability 3", "reliability 4"],
)
def test_no_title_is_cut_off(tmp_path, drawn, draw, name):
    draw(tmp_path / "picture.png", name)
    figure = drawn[0]
    titles = [figure._suptitle, *(axes.title for axes in figure.axes if axes.get_visible())]
    for title in [one for one in titles if one is not None and one.get_text()]:
        box = title.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, title.get_text()


@pytest.mark.parametrize("label", ["怒り・いらいら・不満", "disappointed and a bit sad, too"])
def test_long_labels_leave_room_for_the_axes(label: str, no_other_font: None, tmp_path: Path, drawn: list) -> None:
    """Letters that no font has are spelt, six for one: the words beside the matrix were cut off."""
    classes = (label, "happy")
    plots.write_confusion(score(classes, classes, classes, [None] * 2, [None] * 2), tmp_path / "one.png", "CE")
    axes = drawn[0].axes[0]
    for one in (axes.yaxis.label, axes.xaxis.label, axes.title, *axes.get_yticklabels()):
        box = one.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= drawn[0].bbox.x1, one.get_text()


def test_pyplot_is_never_loaded():
    code = "import sys, gemoclap.reports; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
