"""Records of table1, sweep, compare ems, and of the benchmark of layers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from results_commands import Command, unlike_the_default
from results_parts import REPEAT, Record, checked, corpus_facts, figures, made_by

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS
from gemoclap.reports.results import collect
from gemoclap.reports.rows import score_tables

CORPORA = {"cremad": "CREMA-D", "emodb": "EmoDB", "nemo": "nEMO", "ravdess": "RAVDESS"}
"""Names of manifests -> how tables write the corpora."""


def of_table1(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the figures of every cell, ENCODER/METHOD."""
    run, command = checked(runs, commands)
    rows, results = {}, None
    for encoder, method in ((path.parent.name, path.name) for path in sorted(run.glob("cells/*/*"))):
        seeds = sorted((run / "cells" / encoder / method).glob("seed_*"))
        each = [collect(folder) for folder in seeds]
        if any(one.partial for one in each):
            raise GemoclapError(f"{run}: {encoder} with {method} is not finished; {REPEAT} first")
        results = each[0]
        tables = [one.methods[0].predictions for one in each if one.methods[0].predictions]
        rows[f"{encoder}/{method}"] = {"title": encoder, **figures(score_tables(tables))}
    if results is None:
        raise GemoclapError(f"{run}: has no cells")
    seeds_of_all = list(run.glob("cells/*/*/seed_*"))
    made = made_by(path.parent for path in run.glob("cells/*/*/*/*/*/predictions.csv"))
    return {
        "made": made,
        "settings": {command.args.output: unlike_the_default(command)},
        "corpus": corpus_facts(results, results.rows),
        "interval": INTERVAL_SEEDS if len(seeds_of_all) > len(rows) else INTERVAL,
        "rows": rows,
    }


def of_sweep(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return UAR on development speakers of every combination, and each method's scores on test speakers."""
    run, command = checked(runs, commands)
    data = read_json(run / "sweep.json", REPEAT)
    rows = {}
    for method, found in data["methods"].items():
        test = found["test"]
        if test is None:
            raise GemoclapError(f"{run}: {method} is not finished; {REPEAT} first")
        three = {name: [float(test[name]), *test[f"{name}_interval"]] for name in ("war", "uar", "macro_f1")}
        rows[method] = {"n": int(test["n"]), "speakers": test["n_clusters"], **three}
    return {
        "made": made_by(path.parent for path in run.glob("cells/**/predictions.csv")),
        "settings": {command.args.output: unlike_the_default(command)},
        "over": data["over"],
        "seeds": data["seeds"],
        "folds": {fold["name"]: fold["hash"] for fold in data["folds"]},
        "interval": data["interval"],
        "rows": rows,
        "development": data["combinations"],
    }


def of_ems(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the score of every variant and seed; means, intervals and differences come from them."""
    (run,), (command,) = runs, map(Command.of, commands)
    with open(run / "ems.csv", encoding="utf-8", newline="") as file:
        scores = [
            {**row, "seed": int(row["seed"]), "war": float(row["war"]), "uar": float(row["uar"])}
            for row in csv.DictReader(file)
        ]
    if not scores:
        raise GemoclapError(f"{run}: has no scores yet")
    data = read_json(run / "ems.json", REPEAT)
    return {
        "made": made_by(path.parent for path in run.glob("**/made.json")),
        "settings": {command.args.output: {}},
        "interval": data["interval"],
        "warnings": data["warnings"],
        "scores": scores,
        "rows": {},
    }


def of_layers(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the UAR of a linear probe on every layer, CORPUS/LAYER, from the table that the benchmark wrote."""
    (table,), (command,) = runs, commands
    rows: Record = {}
    with open(table, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            corpus, _, classes = row["corpus"].partition(", ")
            uar = [float(row[name]) / 100 for name in ("uar", "low", "high")]
            rows[f"{corpus.casefold()}/{row['layer']}"] = {
                "corpus": CORPORA.get(corpus, corpus),
                "classes": int(classes.split()[0]),
                "uar": uar,
            }
    if not command.startswith("python benchmarks/emotion_by_layer.py "):
        raise GemoclapError(f"{command}: give the command 'python benchmarks/emotion_by_layer.py ...'")
    return {"settings": {}, "interval": "95 %, as the benchmark wrote them", "rows": rows}
