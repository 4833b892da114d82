"""The report of a matrix of corpora: what is drawn and written follows the predictions, finished or not."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from rich.console import Console

from gemoclap.config import DataSettings, Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.labels import Vocabulary
from gemoclap.metrics import unweighted_average_recall
from gemoclap.predictions import PredictionTable
from gemoclap.recipes.crosscorpus import Corpus, Pair
from gemoclap.reports.corpus_matrix import ink_on
from gemoclap.reports.crosscorpus import print_crosscorpus, read_crosscorpus, write_crosscorpus
from gemoclap.reports.tables import percent
from gemoclap.reports.within import Within, cost_of

LABELS = ("happy", "sad")


@dataclass
class Matrix:
    """Stands in for `CrossCorpus`: three corpora, predictions made up, those of a pair absent."""

    output: Path
    method: str = "emo_clap"
    seeds: tuple[int, ...] = (0,)
    settings: Settings = field(default_factory=Settings)
    warnings: list[str] = field(default_factory=list)
    left_out: list[Pair] = field(default_factory=list)
    within: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        vocabulary = Vocabulary("v", LABELS)
        rows = [Utterance(f"u{n}", "x.wav", corpus="c", speaker=f"s{n % 5}", emotion=LABELS[n % 2]) for n in range(40)]
        self.corpora = {name: Corpus(name, DataSettings(manifest=name), vocabulary, tuple(rows)) for name in "abc"}
        shared = {("a", "b"): LABELS, ("a", "c"): ("happy",), ("b", "a"): LABELS, ("b", "c"): LABELS}
        shared |= {("c", "a"): (), ("c", "b"): LABELS}
        self.pairs = [Pair(*names, labels) for names, labels in shared.items()]

    def predictions(self, pair: Pair) -> list[PredictionTable]:
        if (pair.trained, pair.tested) == ("c", "b"):
            return []
        rng = np.random.default_rng(len(pair.name) + ord(pair.trained[0]))
        rows = self.corpora[pair.tested].rows
        truth = tuple(str(row.emotion) for row in rows)
        said = tuple(word if rng.random() < 0.8 else LABELS[0] for word in truth)
        words = [tuple(getattr(row, name) for row in rows) for name in ("id", "speaker", "gender")]
        ids, speakers, genders = words
        return [PredictionTable(LABELS, ids, (pair.name,) * 40, speakers, genders, truth, said, np.full((40, 2), 0.5))]


@pytest.fixture
def matrix(tmp_path: Path) -> Any:
    return Matrix(tmp_path)


def uar(matrix: Any, trained: str, tested: str) -> str:
    (table,) = matrix.predictions(Pair(trained, tested, LABELS))
    return percent(unweighted_average_recall(table.truth, table.prediction))


def rows_under(page: str, heading: str) -> dict[str, list[str]]:
    text = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows[2:]}


def test_the_page_has_a_row_for_what_was_trained_on(matrix: Any) -> None:
    page = write_crosscorpus(read_crosscorpus(matrix)).read_text()
    rows = rows_under(page, "UAR")
    assert (
        rows["a"][0] == "\N{EN DASH}"
        and rows["a"][1].startswith(f"{uar(matrix, 'a', 'b')} [")
        and rows["a"][2] == "only happy shared"
    )
    assert rows["b"][2].startswith(uar(matrix, "b", "c")) and rows["c"] == [
        "no label shared",
        "not finished",
        "\N{EN DASH}",
    ]
    assert "**Unfinished:** 1 of 6 cells" in page and "Beware" not in page
    assert rows.keys() == rows_under(page, "WAR").keys()


def test_a_picture_that_fails_does_not_cost_the_table(matrix: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no font")

    whole = write_crosscorpus(read_crosscorpus(matrix)).read_text()
    monkeypatch.setattr("gemoclap.reports.crosscorpus.draw_matrix", fail)
    page = write_crosscorpus(read_crosscorpus(matrix)).read_text()
    assert "**crosscorpus.png could not be drawn:** ValueError: no font" in page and "](crosscorpus.png)" not in page
    assert rows_under(page, "UAR") == rows_under(whole, "UAR") and (matrix.output / "crosscorpus.json").is_file()


def test_warnings_come_first(matrix: Any) -> None:
    matrix.warnings = ["two of them are one"]
    assert (
        write_crosscorpus(read_crosscorpus(matrix)).read_text().split("\n\n")[1] == "**Beware: two of them are one.**"
    )


def test_utterances_whose_label_is_no_class_are_counted(matrix: Any) -> None:
    assert "Left out" not in write_crosscorpus(read_crosscorpus(matrix)).read_text()
    matrix.corpora["b"] = replace(matrix.corpora["b"], left_out={"bored": 1200, "no label": 3})
    page = write_crosscorpus(read_crosscorpus(matrix)).read_text()
    wanted = "Left out of b, because the label is not one of its classes: 1,203 utterances (bored 1,200, no label 3)."
    assert page.count("Left out") == page.count(wanted) == 1
    facts = json.loads((matrix.output / "crosscorpus.json").read_text())["corpora"]
    assert [facts[name]["left_out"] for name in "ab"] == [{}, {"bored": 1200, "no label": 3}]


def test_few_speakers_of_a_corpus_are_said(matrix: Any) -> None:
    rows = matrix.corpora["c"].rows
    few = tuple(replace(row, speaker=f"s{place % 3}") for place, row in enumerate(rows))
    matrix.corpora["c"] = replace(matrix.corpora["c"], rows=few)
    limit = "with so few, an interval covers the true figure at most 75 times in 100, not 95"
    said = f"Beware: c: there are only 3 speakers: {limit}."
    page = write_crosscorpus(read_crosscorpus(matrix)).read_text()
    assert f"**{said}**" in page and page.count("Beware") == 1
    output = io.StringIO()
    print_crosscorpus(read_crosscorpus(matrix), Console(file=output, width=200))
    assert output.getvalue().splitlines()[-1] == said


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: (figures.append(self), save(self, *args, **options))
    )
    return figures


def test_the_picture_has_the_figures_where_they_belong(matrix: Any, drawn: list[Figure]) -> None:
    write_crosscorpus(read_crosscorpus(matrix))
    axes = drawn[0].axes[0]
    cells: dict[tuple[int, int], list[str]] = {}
    for text in axes.texts:
        x, y = text.get_position()
        cells.setdefault((round(y), round(x)), []).append(text.get_text())
    assert cells[0, 1][0].startswith(f"UAR {uar(matrix, 'a', 'b')} [") and cells[0, 1][2] == "2 labels, n = 40"
    assert cells[0, 2] == ["only happy\nshared"] and cells[2, 1] == ["not finished"] and len(cells) == 9
    shares = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert percent(shares[1, 0] / 100) == uar(matrix, "b", "a") and np.isnan(shares[np.diag_indices(3)]).all()


def test_all_others_are_a_row_of_the_picture_and_of_every_file(matrix: Any, drawn: list[Figure]) -> None:
    matrix.left_out = [Pair("b+c", "a", LABELS, ("b", "c")), Pair("a", "b", LABELS), Pair("", "c", ())]
    page = write_crosscorpus(read_crosscorpus(matrix)).read_text()
    row = rows_under(page, "UAR")["all others"]
    assert row[0].startswith(uar(matrix, "b+c", "a")) and row[1] == rows_under(page, "UAR")["a"][1]
    assert row[2] == "no label shared" and "| b and c | a |" in page
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "all others"]
    assert np.ma.filled(axes.images[0].get_array(), np.nan).shape == (4, 3)
    assert "left out,b+c,a,finished" in (matrix.output / "crosscorpus.csv").read_text()


def test_crossing_is_compared_on_the_utterances_that_the_cross_validation_tests() -> None:
    def table(n: int, seed: int) -> PredictionTable:
        probabilities = np.random.default_rng(seed).dirichlet([1, 1], n)
        truth = tuple(LABELS[place % 2] for place in range(n))
        said = tuple(LABELS[place] for place in probabilities.argmax(1))
        ids, speakers = (tuple(f"{letter}{place}" for place in range(n)) for letter in "us")
        return PredictionTable(LABELS, ids, ("f",) * n, speakers, (None,) * n, truth, said, probabilities)

    own, across = table(20, 0), table(100, 1)
    found = cost_of(Pair("a", "b", LABELS), Within("run", (own,), LABELS, 1), [across])
    assert found is not None and found.within.n == found.across.n == 20
    assert found.within.uar == pytest.approx(unweighted_average_recall(own.truth, own.prediction))
    assert found.across.uar == pytest.approx(unweighted_average_recall(across.truth[:20], across.prediction[:20]))
    assert found.difference.value == pytest.approx(found.across.uar - found.within.uar)


def luminance(colour: Any) -> np.ndarray:
    """Return WCAG's relative luminance of colours (..., 3 or 4)."""
    rgb = np.asarray(colour)[..., :3]
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_in_grey_a_higher_figure_is_darker_and_every_figure_is_legible(matrix: Any, drawn: list[Figure]) -> None:
    write_crosscorpus(read_crosscorpus(matrix))
    axes = drawn[0].axes[0]
    image = axes.images[0]
    assert np.all(np.diff(luminance(image.cmap(np.linspace(0, 1, 101)))) < 0)
    for share in np.linspace(0, 1, 101):
        background = luminance(image.cmap(image.norm(100 * share)))
        ink = luminance(to_rgb(ink_on(share)))
        contrast = (max(background, ink) + 0.05) / (min(background, ink) + 0.05)
        assert contrast > 4.5, f"contrast {contrast:.1f} at {share:.2f}"
    assert {text.get_color() for text in axes.texts} >= {
        ink_on(share / 100) for share in image.get_array().compressed()
    }


def test_the_terminal_has_the_matrix(matrix: Any) -> None:
    output = io.StringIO()
    print_crosscorpus(read_crosscorpus(matrix), Console(file=output, width=100))
    text = output.getvalue()
    assert all(uar(matrix, *pair) in text for pair in (("a", "b"), ("b", "a"), ("b", "c")))
    assert "only happy shared" in text and "2 labels, n 40" in text and "not finished" in text


def test_the_predictions_of_a_cell_are_read_once(matrix: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Pair] = []
    predictions = matrix.predictions
    monkeypatch.setattr(matrix, "predictions", lambda pair: asked.append(pair) or predictions(pair))
    write_crosscorpus(read_crosscorpus(matrix))
    assert asked == [pair for pair in matrix.pairs if not pair.is_empty]
