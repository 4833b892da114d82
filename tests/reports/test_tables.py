"""How figures are put into words, and the table on a terminal."""

import io
import math

import pytest
from fakerun import make_run
from rich.console import Console

from gemoclap.metrics import Difference
from gemoclap.reports import collect, print_table
from gemoclap.reports.records import PairedDifference
from gemoclap.reports.tables import (
    drawn_table,
    markdown_table,
    p_value,
    percent,
    points,
    shorten,
    verdict,
    with_interval,
    with_sd,
)


def test_figures_as_people_read_them():
    assert percent(0.6125) == "61.3" or percent(0.6125) == "61.2"  # a tie in binary
    assert percent(1.0) == "100.0" and percent(0.0) == "0.0"
    assert percent(None) == percent(math.nan) == points(None) == "\N{EN DASH}"
    assert points(0.012) == "+1.2" and points(-0.012) == "\N{MINUS SIGN}1.2"
    assert points(-0.0002) == points(0.0) == "+0.0"
    assert with_interval(0.5, (0.4, 0.6)) == "50.0 [40.0, 60.0]"
    assert with_interval(0.5, (math.nan, math.nan)) == "50.0"
    assert with_sd(0.5, 0.1) == "50.0 ± 10.0" and with_sd(0.5, math.nan) == "50.0"
    assert shorten(["a", "b"], 2) == "a, b" and shorten(["a", "b", "c", "d"], 2) == "a, b and 2 more"


@pytest.mark.parametrize(
    ("p", "corrected", "said"), [(0.01, 0.02, "yes"), (0.01, 0.06, "no"), (math.nan, math.nan, "\N{EN DASH}")]
)
def test_the_verdict_is_that_of_the_corrected_p(p, corrected, said):
    assert verdict(PairedDifference("a", "b", 10, Difference(0.2, 0.1, 0.3), p, corrected).differs) == said
    assert [p_value(one) for one in (0.0004, 0.0316, math.nan)] == ["< 0.001", "0.032", "\N{EN DASH}"]


def test_markdown_escapes_what_would_break_the_table():
    assert markdown_table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| :--- | ---: |\n| x\\|y | 1 |"


def test_a_drawn_table_breaks_words_and_no_figure():
    words = "a name of several words, among them Zusammenstellungsverzeichnis"
    rows = [[words, "wav2vec2-large", "71.2 [65.0, 76.0] / 70.0 [63.1, 75.2]", "\N{EN DASH}", "[bold]mine", "a note"]]
    rows += [["short", "\N{EN DASH}", "83.16 / \N{EN DASH}", "0.031", "Table 1", "a later version of it"]]
    header = ["system", "encoder", "WAR / UAR [95 % CI]", "p, Holm over 12 comparisons", "source", "remark"]
    output = io.StringIO()
    Console(file=output, width=80).print(drawn_table(header, rows, text_columns=2))
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    for figure in ("71.2", "[65.0, 76.0]", "70.0", "[63.1, 75.2]", "83.16", "0.031"):
        assert any(figure in line for line in lines), figure
    start = next(line.index("encoder") for line in lines if "encoder" in line)
    first = "".join(line[:start] for line in lines)
    assert "".join(words.split()) in "".join(first.split())  # a long word goes on in the next line
    assert "[bold]mine" in output.getvalue()  # it is a name, not a style


@pytest.mark.parametrize("shared", [(), ("01",)])
def test_terminal_table_names_both_aggregates_within_80_columns(tmp_path, shared):
    results = collect(make_run(tmp_path / "run", n_folds=2, epochs=1, shared_speakers=shared))
    output = io.StringIO()
    print_table(results, Console(file=output, width=80))
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "pooled" in text and "mean of" in text and "±" in text
    assert text.count("Emo-CLAP, points") == 1 and "p corrected" in text
    for method in results.methods:
        low, high = method.pooled.uar_interval
        assert method.title in text and percent(method.pooled.uar) in text
        assert f"[{percent(low)}, {percent(high)}]" in text
    assert ("not speaker-independent" in text) == bool(shared)
