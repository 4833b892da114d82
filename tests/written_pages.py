"""Reads what reports have written, without the code that wrote it."""

import csv

from sklearn.metrics import accuracy_score, recall_score


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def sklearn_percent(paths):
    """Return WAR and UAR in percent with one decimal from predictions.csv files, without the code under test."""
    rows = [row for path in paths for row in csv.DictReader(path.open(newline=""))]
    truth, prediction = [row["truth"] for row in rows], [row["prediction"] for row in rows]
    return (
        f"{100 * accuracy_score(truth, prediction):.1f}",
        f"{100 * recall_score(truth, prediction, average='macro'):.1f}",
    )


def table_after(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first Markdown table after a heading, ruler left out."""
    lines = page.split(heading, 1)[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]
