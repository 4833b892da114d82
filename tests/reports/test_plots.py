"""Pictures: what is drawn follows the data, and nothing global is touched."""

import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from gemoclap.metrics import score
from gemoclap.reports import plots


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


def test_pyplot_is_never_loaded():
    code = "import sys, gemoclap.reports; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
