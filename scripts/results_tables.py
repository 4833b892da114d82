"""The kinds of tables that pages can have. Each takes records, and returns Markdown.

A column of a record that today's code might not give again has a dagger, with the reason below the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from results_crosscorpus import costs_of, entries_of
from results_parts import nan

from gemoclap.config import TITLES
from gemoclap.errors import GemoclapError
from gemoclap.metrics import Difference, holm
from gemoclap.recipes.ems import EmsComparison, Score
from gemoclap.reports.corpus_matrix import ABOUT_OTHERS, ABOUT_WITHIN, ALL_OTHERS, matrix_rows
from gemoclap.reports.ems import difference_table, score_table
from gemoclap.reports.pseudo_labels import KNOWN, agreement_cell, inertia_cell
from gemoclap.reports.tables import (
    UNDEFINED,
    markdown_table,
    p_value,
    percent,
    with_interval,
    with_points,
    with_sd,
)
from gemoclap.reports.within import cost_grid
from gemoclap.wording import counted

Record = Mapping[str, Any]
Records = Mapping[str, Record]
Options = Mapping[str, str]
CHANGES = Path(__file__).parents[1] / "docs" / "records" / "changes.json"
DAGGER = "\N{DAGGER}"
SCORED_AGAIN = ("crossval", "table1", "crosscorpus")
"""Kinds of records whose figures are computed from predictions when the record is made."""


def interval_of(figure: Sequence[float | None]) -> str:
    """Return ``"74.5 [69.7, 78.9]"``."""
    value, low, high = map(nan, figure)
    return with_interval(value, (low, high))


def difference_of(record: Record, one: str, other: str) -> tuple[Difference, float] | None:
    """Return UAR of row `one` minus UAR of row `other`, and p before correction; None if they were not compared."""
    for pair in record["pairs"]:
        value, low, high = map(nan, pair["uar"])
        if (pair["second"], pair["first"]) == (one, other):
            return Difference(value, low, high), nan(pair["p"])
        if (pair["first"], pair["second"]) == (one, other):
            return Difference(-value, -high, -low), nan(pair["p"])
    return None


# How old a record is.


@cache
def _changes() -> list[dict[str, Any]]:
    return json.loads(CHANGES.read_text(encoding="utf-8"))


def age(record: Record) -> str:
    """Return why today's code might give other figures, or an empty text."""
    again = record.get("repeated")
    numbers = [int(one) for one in record["made"].get("results") or ()]
    if again and again["folds"] == again["of"] and again["same"] == again["answers"]:
        numbers = [again["results"]]  # that code gives the same answers
    if not numbers:
        return f"{_trained_earlier(record)}{_repeated(again) if again else ''}"
    names = {part for name in record["rows"] for part in re.split("[/@]", name)}  # of methods, also in ENCODER/METHOD
    touched = {record["kind"], record.get("method"), *names}
    since = [one["what"] for one in _changes() if one["results"] > min(numbers) and touched & {*one["affects"]}]
    return f"the models were trained before a change of the code: {'; '.join(since)}" if since else ""


def _trained_earlier(record: Record) -> str:
    if record["kind"] in SCORED_AGAIN:
        return (
            "the models were trained by an earlier version of this code; scores and intervals are computed from their "
            "predictions by a later version"
        )
    return "the models were trained and scored by an earlier version of this code"


def _repeated(again: Record) -> str:
    return (
        f". Repeated by a later version: {again['folds']} of {again['of']} trainings; {again['same']:,} of "
        f"{again['answers']:,} predictions stayed the same"
    )


def titled(record: Record, suffix: str = "") -> str:
    """Return the title of a record's column."""
    return f"{record['title']}{suffix}{f' {DAGGER}' if age(record) else ''}"


def noted(table: str, records: Sequence[Record]) -> str:
    """Return a table with a line for each reason why one of its records is old."""
    why: dict[str, list[str]] = {}
    for record in records:
        if reason := age(record):
            why.setdefault(reason, []).append(record["title"])
    lines = [
        f"{DAGGER} {reason[0].upper()}{reason[1:]}."
        if len(titles) == len(records)
        else f"{DAGGER} {'; '.join(titles)}: {reason}."
        for reason, titles in why.items()
    ]
    return "\n\n".join([table, *lines])


# Cross-validations.


def scores(records: Records, options: Options, figure: str = "uar") -> str:
    """Return a figure of every method, with a column a record; with ``seeds=each`` that of each seed too."""
    names = _rows(records.values())

    def cell(row: Record | None) -> str:
        if row is None:
            return UNDEFINED
        each = (
            f" ({', '.join(map(percent, row['seeds'].values()))})" if options.get("seeds") and row.get("seeds") else ""
        )
        return interval_of(row[figure]) + each

    header = ["method", *(titled(one, _protocol(one)) for one in records.values())]
    rows = [[title, *(cell(one["rows"].get(name)) for one in records.values())] for name, title in names.items()]
    return noted(markdown_table(header, rows), [*records.values()])


def _protocol(record: Record) -> str:
    corpus = record["corpus"]
    return f", {counted(len(corpus['folds']), 'fold')} ({corpus['speakers']} speakers)"


def _rows(records: Sequence[Record] | Any) -> dict[str, str]:
    """Return name -> title of all rows, in the order in which the commands list methods."""
    found = {name: row["title"] for record in records for name, row in record["rows"].items()}
    order = list(TITLES)
    place = {name: order.index(name.partition("@")[0]) for name in found if name.partition("@")[0] in order}
    return {name: found[name] for name in sorted(found, key=lambda name: place.get(name, len(order)))}


def differences(records: Records, options: Options) -> str:
    """Return UAR of every row minus that of the row ``first=``, the smallest p first; p is corrected over the whole table."""
    first = options.get("first", "emo_clap")
    found = []
    for record in records.values():
        for name, row in record["rows"].items():
            compared = difference_of(record, name, first) if name != first else None
            if compared:
                found.append((titled(record), row["title"], *compared, record["rows"][first]["speakers"]))
    found.sort(key=lambda one: one[3])
    corrected = holm([p for *_, p, _ in found])
    title = next(record["rows"][first]["title"] for record in records.values())
    header = ["corpus", "method", f"UAR minus {title}'s, points", "p", f"p, Holm over {len(found)}", "speakers"]
    rows = [
        [corpus, method, with_points(uar), p_value(p), p_value(holm_p), str(speakers)]
        for (corpus, method, uar, p, speakers), holm_p in zip(found, corrected, strict=True)
    ]
    return noted(markdown_table(header, rows, text_columns=2), [*records.values()])


def gains(records: Records, options: Options) -> str:
    """Return what the second run of a record gains in UAR over the first, method by method; p is corrected over the table.

    The options `first` and `second` are the titles of their columns.
    """
    found = []
    for record in records.values():
        for second, row in record["rows"].items():
            first, _, run = second.partition("@")
            compared = difference_of(record, second, first) if run and first in record["rows"] else None
            if compared:
                found.append((titled(record), record["rows"][first], row, *compared))
    corrected = holm([p for *_, p in found])
    header = [
        "corpus",
        "method",
        options.get("first", "alone").replace("_", " "),
        options["second"].replace("_", " "),
        "gain, points",
        f"p, Holm over {len(found)}",
        "speakers",
    ]
    rows = [
        [
            corpus, plain["title"], percent(plain["uar"][0]), interval_of(row["uar"]), with_points(uar), p_value(p),
            str(plain["speakers"]),
        ]
        for (corpus, plain, row, uar, _), p in zip(found, corrected, strict=True)
    ]  # fmt: skip
    return noted(markdown_table(header, rows, text_columns=2), [*records.values()])


def all_figures(records: Records, options: Options) -> str:
    """Return every figure of the rows of one record."""
    (record,) = records.values()
    header = ["method", "WAR", "UAR", "macro F1", "UAR mean of folds ± sd", "UAR women", "UAR men"]
    rows = [
        [
            row["title"],
            *(interval_of(row[name]) for name in ("war", "uar", "macro_f1")),
            with_sd(row["mean_of_folds"]["uar"], nan(row["mean_of_folds"]["uar_sd"])),
            *(percent(row["by_gender"].get(gender)) for gender in ("female", "male")),
        ]
        for row in (record["rows"][name] for name in _rows([record]))
    ]
    return noted(markdown_table(header, rows), [record])


def calibration(records: Records, options: Options) -> str:
    """Return the expected calibration error of every method in points, before and after a temperature."""

    def cell(row: Record | None) -> str:
        return ", ".join(map(percent, row["ece"])) if row and row.get("ece") else UNDEFINED

    rows = [
        [title, *(cell(one["rows"].get(name)) for one in records.values())]
        for name, title in _rows(records.values()).items()
    ]
    return noted(markdown_table(["method", *map(titled, records.values())], rows), [*records.values()])


def clusters(records: Records, options: Options) -> str:
    """Return what the clusters of GMP-TL know: purity in percent, and normalised mutual information."""
    (record,) = records.values()

    def cell(scale: Record, what: str) -> str:
        return agreement_cell(*scale[what]) if what in scale else UNDEFINED

    rows = [
        [f"{int(number):,}", inertia_cell(scale["inertia"]), *(cell(scale, what) for what in KNOWN)]
        for number, scale in record["clusters"].items()
    ]
    return noted(markdown_table(["clusters", "inertia", *KNOWN], rows), [record])


# Other commands.


def development(records: Records, options: Options) -> str:
    """Return mean ± standard deviation of the UAR on development speakers for the values of one setting.

    In parentheses is the number of folds (of all seeds) in which the value was the best.
    """

    def cell(row: Mapping[str, Any]) -> str:
        chosen = f" ({row['chosen']})" if row["chosen"] else ""
        return with_sd(nan(row["development_uar"]), nan(row["development_uar_sd"])) + chosen

    columns = {
        (record["title"], method): {
            row[next(iter(record["over"]))]: cell(row) for row in record["development"] if row["method"] == method
        }
        for record in records.values()
        for method in record["rows"]
    }
    first = next(iter(records.values()))
    setting = next(iter(first["over"]))
    old = {record["title"] for record in records.values() if age(record)}
    header = [f"`{setting}`", *(f"{TITLES[m]}, {t}{f' {DAGGER}' if t in old else ''}" for t, m in columns)]
    rows = [[value, *(one.get(value, UNDEFINED) for one in columns.values())] for value in first["over"][setting]]
    return noted(markdown_table(header, rows), [*records.values()])


def table1(records: Records, options: Options) -> str:
    """Return WAR / UAR of every encoder and method."""
    (record,) = records.values()
    cells: dict[str, dict[str, str]] = {}
    for name, row in record["rows"].items():
        encoder, _, method = name.rpartition("/")
        cells.setdefault(encoder, {})[method] = f"{percent(row['war'][0])} / {interval_of(row['uar'])}"
    methods = [name for name in TITLES if any(name in row for row in cells.values())]
    header = [f"audio encoder{f' {DAGGER}' if age(record) else ''}", *(TITLES[name] for name in methods)]
    rows = [[encoder, *(row.get(method, UNDEFINED) for method in methods)] for encoder, row in cells.items()]
    return noted(markdown_table(header, rows), [record])


def crosscorpus(records: Records, options: Options) -> str:
    """Return the UAR of every training corpus (rows) and test corpus (columns)."""
    (record,) = records.values()
    names, entries = list(record["corpora"]), entries_of(record)
    header = [f"trained on{f' {DAGGER}' if age(record) else ''}", *names]
    kinds = {one.kind for one in entries}
    about = [
        *([f"The row '{ALL_OTHERS}' is {ABOUT_OTHERS}."] if "left out" in kinds else []),
        *([ABOUT_WITHIN] if "within" in kinds else []),
    ]
    table = markdown_table(header, matrix_rows(names, entries, "uar"))
    return noted("\n\n".join([table, *([" ".join(about)] if about else [])]), [record])


def crossing(records: Records, options: Options) -> str:
    """Return the UAR of training on other corpora minus that of training on the tested corpus, with the same labels."""
    (record,) = records.values()
    costs = costs_of(record)
    if not costs:
        raise GemoclapError("crossing: the record has no diagonal to compare with; its run needs --within train")
    grid = cost_grid(costs)
    return noted(f"{grid.caption}\n\n{markdown_table(*grid.cells, text_columns=grid.text_columns)}", [record])


def layers(records: Records, options: Options) -> str:
    """Return the UAR of a linear probe on every layer."""
    (record,) = records.values()
    corpora = {row["corpus"]: row["classes"] for row in record["rows"].values()}
    cells: dict[str, list[str]] = {}
    for name, row in record["rows"].items():
        cells.setdefault(name.rpartition("/")[2], []).append(interval_of(row["uar"]))
    header = [
        f"layer{f' {DAGGER}' if age(record) else ''}",
        *(f"{name}, {number} classes" for name, number in corpora.items()),
    ]
    return noted(markdown_table(header, [[layer, *row] for layer, row in cells.items()]), [record])


def comparison_of(record: Record) -> tuple[EmsComparison, list[tuple[str, str]]]:
    """Return what `gemoclap.reports.ems` needs of a record of `gemoclap compare ems`: the comparison, its tasks and corpora."""
    found = [Score(**one) for one in record["scores"]]
    trials = list(dict.fromkeys((one.task, one.corpus) for one in found))
    return EmsComparison(found, {}, list(record["warnings"]), []), trials


def ems(records: Records, options: Options) -> str:
    """Return the UAR of every way to pre-train, its picture, and what each part of EMS changes, in points."""
    ((name, record),) = records.items()
    comparison, trials = comparison_of(record)
    picture = f"![UAR of each encoder; each ring is one seed](images/{name}.png)"
    return noted(
        "\n\n".join([score_table(comparison, trials, "uar"), picture, difference_table(comparison, trials)]), [record]
    )


def commands(records: Records, options: Options) -> str:
    """Return the commands of the records, each once."""
    found = dict.fromkeys(command for record in records.values() for command in record["commands"])
    return "\n".join(_wrapped(command) for command in found)


def _wrapped(command: str, width: int = 150) -> str:
    """Return an indented command; a long one is continued on the next line, before an option."""
    lines = [""]
    for part in re.split(r" (?=--?[a-zA-Z])", command):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {part}".strip()
    return " \\\n".join(f"{'    ' if number == 0 else '        '}{line}" for number, line in enumerate(lines))


def provenance(records: Records, options: Options) -> str:
    """Return when and with what each record's run was made."""
    rows = [
        [
            f"[{name}](records/{name}.json)",
            record["commands"][0].rpartition(" -o ")[2],
            " to ".join(record["made"]["date"]),
            *(", ".join(record["made"].get(what) or [UNDEFINED]) for what in ("gemoclap", "code", "torch")),
            f"earlier {DAGGER}" if age(record) else "as today",
        ]
        for name, record in records.items()
    ]
    header = ["record", "run", "trained", "gemoclap", "its code (hash)", "torch", "figures"]
    return markdown_table(header, rows, text_columns=7)


KINDS: dict[str, Callable[[Records, Options], str]] = {
    "uar": scores,
    "war": lambda records, options: scores(records, options, "war"),
    "figures": all_figures,
    "differences": differences,
    "calibration": calibration,
    "clusters": clusters,
    "development": development,
    "table1": table1,
    "crosscorpus": crosscorpus,
    "crossing": crossing,
    "gains": gains,
    "layers": layers,
    "ems": ems,
    "commands": commands,
    "provenance": provenance,
}
"""Name of a kind on a page -> the function that makes the table."""
