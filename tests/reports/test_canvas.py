"""Letters and colours of pictures: nothing in a label is a formula, no letter becomes a box without a word."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.image import imread
from matplotlib.text import Text

from gemoclap.reports import canvas
from gemoclap.reports.canvas import COLOURS, drawing, fonts_for, lacking_remark, save


def drawn(words: list[str], path: Path, formats: tuple[str, ...] = ("png", "svg", "pdf")) -> list[str]:
    """Draw words and return what the last file shows."""
    with drawing():
        figure = Figure(figsize=(2, 2), layout="tight")
        axes = figure.add_subplot()
        for place, word in enumerate(words):
            axes.text(0, place / len(words), word)
        axes.set_title(words[0])
        save(figure, path, formats)
    return [one.get_text() for one in figure.findobj(Text) if one.get_text()]


@pytest.mark.parametrize(
    "word", ["$\\angry$", "$", "a_{b}^$", "\\frac", "100 %", "$\\undefined{$", "<b>&", "Wut/Ärger"]
)
def test_no_label_is_a_formula(word: str, tmp_path: Path) -> None:
    assert word in drawn([word, "$x$"], tmp_path / "one.png")
    assert all((tmp_path / f"one.{kind}").stat().st_size > 500 for kind in ("png", "svg", "pdf"))


def test_letters_that_no_font_has_are_spelt_and_said_in_one_line(
    no_other_font: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for _ in range(2):
        shown = drawn(["生气 angry", "高兴"], tmp_path / "one.png")
    assert "[751F][6C14] angry" in shown and "[9AD8][5174]" in shown
    assert "生气 angry" in (tmp_path / "one.svg").read_text()  # a browser has the letters
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"beware: {lacking_remark(['生气', '高兴'])}" and "兴气生高" in line and "Noto Sans CJK" in line
    assert lacking_remark(["Ärger", "ярость", "$"]) == ""


def test_letters_are_taken_from_the_first_font_that_has_them(
    no_other_font: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry(name: str, weight: int = 400) -> FontEntry:
        return FontEntry(fname=f"/fonts/{name}", name=name, weight=weight)

    glyphs = {"/fonts/Bold": "生气", "/fonts/One": "生", "/fonts/Both": "生气", "/fonts/Last Resort HE": "生气高"}
    monkeypatch.setattr(canvas, "_glyphs", lambda path: frozenset(map(ord, glyphs.get(path, "abc"))))
    fonts = [entry("Last Resort HE"), entry("Bold", 700), entry("One"), entry("Both")]
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist, *fonts])
    assert fonts_for(frozenset("a生气")) == (("DejaVu Sans", "One", "Both"), frozenset())
    assert fonts_for(frozenset("b高"))[1] == {"高"}
    assert fonts_for(frozenset("abc")) == (("DejaVu Sans",), frozenset())


def test_colours_can_be_told_apart() -> None:
    assert len(COLOURS) > 8
    shades = {name: np.array(to_rgb(name)) for name in COLOURS}
    near = [pair for pair in combinations(COLOURS, 2) if np.abs(shades[pair[0]] - shades[pair[1]]).sum() < 0.3]
    assert near == []


def test_a_name_that_is_not_utf8_is_drawn(tmp_path: Path) -> None:
    assert drawn([os.fsdecode(b"b\xe4d.wav"), "plain"], tmp_path / "one.png").count("b\\xe4d.wav") == 2
    assert "b\\xe4d.wav" in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_words_at_ticks_are_spelt_too_and_have_room(no_other_font: None, tmp_path: Path) -> None:
    with drawing():
        figure = Figure(figsize=(3, 2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xticks([0, 1], ["生气", "sad"], rotation=35)
        axes.set_yticks([0, 1], ["高兴", "sad"])
        save(figure, tmp_path / "one.png", ("svg", "png"))
        figure.canvas.draw()  # a picture takes the words from the axes
    shown = [one.get_text() for axis in (axes.xaxis, axes.yaxis) for one in axis.get_ticklabels()]
    assert shown == ["[751F][6C14]", "sad", "[9AD8][5174]", "sad"]
    assert imread(tmp_path / "one.png")[:, :2].min() == 1, "the picture is cut off on the left"
    assert "生气" in (tmp_path / "one.svg").read_text() and "751F" not in (tmp_path / "one.svg").read_text()


@pytest.mark.parametrize("width", [3.0, 5.3, 9.0])
def test_a_note_is_not_wider_than_its_figure(width: float, tmp_path: Path) -> None:
    text = "[95 % interval over test speakers and seeds]; guessing has a UAR of 100 % / number of labels; frame: one corpus"
    with drawing():
        figure = canvas.new_figure(width, 2.0, "constrained")
        figure.add_subplot()
        canvas.write_note(figure, text)
        save(figure, tmp_path / "x.png")
        (note,) = [one for one in figure.findobj(Text) if "guessing" in one.get_text()]
        box = note.get_window_extent()
    assert " ".join(note.get_text().split()) == text
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0
