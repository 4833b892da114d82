"""Tests whether methods differ on unseen speakers: sign-flip tests over speakers, with Holm's correction.

    python benchmarks/differences.py runs/ravdess runs/emodb --first emo_clap

Each run is a cross-validation, or one with several seeds, whose predictions are joined. The table shows the difference in UAR
from the first method. If two methods were equally good, each speaker's contribution to the difference could just as well have
the other sign. p is the share of random signs that give a difference as large. With up to 14 speakers all signs are tried.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from gemoclap.errors import GemoclapError
from gemoclap.metrics.comparisons import holm, sign_flip_p
from gemoclap.predictions import read_predictions

Hits = dict[str, dict[tuple[str, str], list[float]]]
"""Of each method: (speaker, true class) -> hits of that speaker's utterances, a 0 or 1 an utterance and seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--first", default="emo_clap", help="the method that the others are compared with")
    options = parser.parse_args()
    rows = []
    try:
        for run in options.runs:
            hits = read_hits(run)
            if options.first not in hits:
                parser.error(f"{run}: holds no predictions of {options.first}; it has {', '.join(hits) or 'none'}")
            for method in hits.keys() - {options.first}:
                shares = shares_of(hits[method], hits[options.first])
                rows.append((run.name, method, 100 * shares.sum(), sign_flip_p(shares), len(shares)))
    except GemoclapError as error:
        parser.error(str(error))
    show(rows, options.first)


def read_hits(run: Path) -> Hits:
    """Read every predictions.csv below a run."""
    hits: Hits = {}
    for path in sorted(run.rglob("fold_*/predictions.csv")):
        table = read_predictions(path)
        own = hits.setdefault(path.parent.parent.name, defaultdict(list))
        for speaker, truth, said in zip(table.speakers, table.truth, table.prediction, strict=True):
            own[str(speaker), truth].append(float(truth == said))
    return hits


def shares_of(one: dict[tuple[str, str], list[float]], other: dict[tuple[str, str], list[float]]) -> np.ndarray:
    """Return what each speaker adds to the difference of two UARs, ``one - other``; they sum to it."""
    classes = sorted({truth for _, truth in one})
    speakers = sorted({speaker for speaker, _ in one})
    shares = np.zeros(len(speakers))
    for hits, sign in ((one, 1.0), (other, -1.0)):
        for truth in classes:
            number = sum(len(found) for (_, true), found in hits.items() if true == truth)
            for place, speaker in enumerate(speakers):
                shares[place] += sign * sum(hits.get((speaker, truth), [])) / number / len(classes)
    return shares


def show(rows: list[tuple[str, str, float, float, int]], first: str) -> None:
    """Print a row a comparison, the smallest p first."""
    rows = sorted(rows, key=lambda row: row[3])
    table = Table("run", "method", f"UAR minus {first}, points", "p", "p, Holm", "speakers")
    for (run, method, value, p, speakers), corrected in zip(rows, holm([row[3] for row in rows]), strict=True):
        table.add_row(run, method, f"{value:+.1f}", f"{p:.4f}", f"{corrected:.3f}", str(speakers))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
