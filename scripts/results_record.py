"""Makes a record: the figures of one run, as a small JSON file that can be kept in the repository.

Figures are computed again from the run's predictions, so they have today's intervals and tests, also where the training is
older. A record has no path of a machine and no utterance.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from results_commands import Command, check_command, unlike_the_default

from gemoclap import __version__
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, read_yaml
from gemoclap.gmp.codebooks import QUALITY
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, Scores
from gemoclap.predictions import read_predictions
from gemoclap.recipes.made import RESULTS, read_made
from gemoclap.recipes.run_folder import CONFIG
from gemoclap.reports.joined import joined
from gemoclap.reports.records import Results, Row
from gemoclap.reports.results import collect
from gemoclap.reports.rows import differences, score_tables

FORM = 1
"""Raise it with a change after which older records cannot be read."""
Record = dict[str, Any]


def make_record(runs: Sequence[Path], commands: Sequence[str], title: str) -> Record:
    """Return the record of a run, or of several cross-validations over the same folds that are compared with each other.

    Parameters
    ----------
    runs : the folders, or the .csv that benchmarks/emotion_by_layer.py wrote.
    commands : the command of each, with paths as a reader would type them.
    title : name of the corpus in tables.

    Raises
    ------
    GemoclapError : a file is missing or damaged; a command is not the run's; nothing is finished.
    """
    if len(runs) != len(commands):
        raise GemoclapError(
            f"{len(runs)} runs and {len(commands)} commands; give one --command for each run, in their order"
        )
    kind = kind_of(runs[0])
    if len(runs) > 1 and kind != "crossval":
        raise GemoclapError(f"{runs[0]}: only cross-validations can be recorded together")
    found = MAKERS[kind](runs, commands)
    return rounded(
        {
            "form": FORM,
            "kind": kind,
            "title": title,
            "commands": list(commands),
            "made": {"date": [_day(runs)], **found.pop("made", {})},
            "recorded": {"gemoclap": __version__, "date": datetime.now(UTC).strftime("%Y-%m-%d")},
            **found,
        }
    )


def kind_of(run: Path) -> str:
    """Return which command made a folder."""
    for kind in ("sweep", "table1", "crosscorpus", "ems"):
        if (run / f"{kind}.json").is_file():
            return kind
    if run.suffix == ".csv" and run.is_file():
        return "layers"
    if (run / CONFIG).is_file() or _seed_folders(run):
        return "crossval"
    raise GemoclapError(f"{run}: no run of crossval, sweep, table1, crosscorpus or compare ems, and no table of layers")


def _day(runs: Iterable[Path]) -> str:
    """Return the day on which the last file of predictions, or else of results, was written."""
    files = [path for run in runs for path in (run.rglob("predictions.csv") if run.is_dir() else [run])]
    files = files or [path for run in runs for path in run.glob("*.json")]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in files), UTC).strftime("%Y-%m-%d")


# Cross-validations.


def made_by(folders: Iterable[Path]) -> Record:
    """Return with what the folds in these folders were made; `results` and `code` only if every fold has noted them."""
    each = list(folders)
    noted = [read_made([folder]) for folder in each]
    partial = {name for name in ("results", "code") if not all(one.get(name) for one in noted)}
    return {name: value for name, value in read_made(each).items() if name not in partial}


def _seed_folders(run: Path) -> list[Path]:
    return sorted(path.parent for path in run.glob(f"seed_*/{CONFIG}"))


def of_crossval(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the figures of cross-validations: of each row, and of each pair of rows."""
    asked = [Command.of(text) for text in commands]
    folders: list[Path] = []
    for run, command in zip(runs, asked, strict=True):
        own = _seed_folders(run) or [run]
        for folder in own:
            check_command(command, read_yaml(folder / CONFIG, "restore it from the run"))
        seeds = command.args.seeds or [command.args.train.seed]
        if len(own) != len(seeds):
            raise GemoclapError(f"{run}: does not have the {len(seeds)} seeds of the command")
        folders += own
    results = joined(folders, runs[0]) if len(folders) > 1 else collect(folders[0])
    wanted = {(run.resolve(), method) for run, one in zip(runs, asked, strict=True) for method in one.args.methods}
    rows = [row for row in results.scored_rows if (_run_of(row).resolve(), row.first.folder.name) in wanted]
    _refuse_gaps(rows, wanted)
    names = _row_names(rows)
    return {
        "made": made_by(
            method.folder / fold for row in rows for method in row.members.values() for fold in method.folds
        ),
        "settings": {one.args.output: unlike_the_default(one) for one in asked},
        "corpus": _corpus(results, rows),
        "interval": INTERVAL_SEEDS if any(row.seeds for row in rows) else INTERVAL,
        "rows": {names[row.name]: _row(row) for row in rows},
        "pairs": _pairs(rows, names),
        **({"clusters": clusters} if (clusters := _clusters(rows)) else {}),
    }


def _refuse_gaps(rows: Sequence[Row], wanted: set[tuple[Path, str]]) -> None:
    for row in rows:
        if gaps := [fold for method in row.members.values() for fold in method.missing]:
            raise GemoclapError(f"{row.first.folder}: {', '.join(gaps)} not finished; repeat the run's command first")
    if lacking := wanted - {(_run_of(row).resolve(), row.first.folder.name) for row in rows}:
        raise GemoclapError(
            f"the command trains {', '.join(sorted(name for _, name in lacking))}, which the run does not have"
        )


def _run_of(row: Row) -> Path:
    """Return the folder of the command that trained a row."""
    folder = row.first.folder.parent
    return folder.parent if re.fullmatch(r"seed_\d+", folder.name) else folder


def _row_names(rows: Sequence[Row]) -> dict[str, str]:
    """Return for each row its method, with the name of its run behind an @ where several runs trained the method."""
    kinds = [row.first.folder.name for row in rows]
    first: dict[str, Path] = {}
    for row in rows:
        first.setdefault(row.first.folder.name, _run_of(row))
    return {
        row.name: kind if kinds.count(kind) == 1 or first[kind] == _run_of(row) else f"{kind}@{_run_of(row).name}"
        for row, kind in zip(rows, kinds, strict=True)
    }


def _row(row: Row) -> Record:
    assert row.scores is not None and row.mean is not None
    found = {"title": row.title.partition(" (")[0], **figures(row.scores)}
    found["seeds"] = {str(seed): one.pooled.uar for seed, one in row.members.items() if one.pooled} if row.seeds else {}
    found["mean_of_folds"] = {name: getattr(row.mean, name) for name in ("war", "war_sd", "uar", "uar_sd")}
    found["folds"] = {fold: mean(one.folds[fold].uar for one in row.members.values()) for fold in row.first.folds}
    if row.confidence:
        after = row.confidence.after
        found["ece"] = [row.confidence.before.ece, after.ece if after else None]
        found["temperature_from"] = row.confidence.fitted_on
    return found


def figures(scores: Scores) -> Record:
    """Return scores with their intervals, each ``[value, low, high]`` between 0 and 1."""
    return {
        "n": scores.n,
        "speakers": scores.n_clusters,
        **{name: [getattr(scores, name), *getattr(scores, f"{name}_interval")] for name in ("war", "uar", "macro_f1")},
        "by_gender": scores.uar_by_gender,
        "recalls": scores.recalls,
    }


def _pairs(rows: Sequence[Row], names: Mapping[str, str]) -> list[Record]:
    """Return UAR of the second minus UAR of the first for all pairs of rows; p is not corrected, as tables do that."""
    found = []
    for one, other in combinations(rows, 2):
        for pair in differences([one, other]):
            uar = pair.uar
            named = {"first": names[one.name], "second": names[other.name], "n": pair.n}
            found.append({**named, "uar": [uar.value, uar.low, uar.high], "p": pair.p})
    return found


def _corpus(results: Results, rows: Sequence[Row]) -> Record:
    return {
        "manifest": Path(results.manifest).name,
        "vocabulary": results.vocabulary,
        "classes": results.class_counts,
        "speakers": max(row.scores.n_clusters for row in rows if row.scores),
        "folds": {fold.name: fold.hash for fold in results.folds},
    }


def _clusters(rows: Sequence[Row]) -> Record:
    """Return what the clusters of GMP-TL know, mean over folds and seeds: scale -> figures."""
    files = [
        path
        for row in rows
        for one in row.members.values()
        for fold in one.folds
        if (path := one.folder / fold / "clusters" / QUALITY).is_file()
    ]
    found = [read_json(path, "restore it from the run") for path in files]
    scales = list(found[0]) if found else []
    return {
        scale: {
            "inertia": mean(one[scale]["inertia"] for one in found),
            **{
                what: [mean(one[scale][what][figure] for one in found) for figure in ("purity", "nmi")]
                for what in ("emotion", "gender", "speaker")
                if all(one[scale].get(what) for one in found)
            },
        }
        for scale in scales
    }


# Other commands.


def _checked(runs: Sequence[Path], commands: Sequence[str]) -> tuple[Path, Command]:
    """Return the one run and its command, if they have the same settings."""
    (run,), (command,) = runs, map(Command.of, commands)
    check_command(command, read_yaml(run / CONFIG, "restore it from the run"))
    return run, command


def of_table1(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the figures of every cell, ENCODER/METHOD."""
    run, command = _checked(runs, commands)
    rows, results = {}, None
    for encoder, method in ((path.parent.name, path.name) for path in sorted(run.glob("cells/*/*"))):
        seeds = sorted((run / "cells" / encoder / method).glob("seed_*"))
        each = [collect(folder) for folder in seeds]
        if any(one.partial for one in each):
            raise GemoclapError(f"{run}: {encoder} with {method} is not finished; repeat the run's command first")
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
        "corpus": _corpus(results, results.rows),
        "interval": INTERVAL_SEEDS if len(seeds_of_all) > len(rows) else INTERVAL,
        "rows": rows,
    }


def of_crosscorpus(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the figures of every pair of corpora, TRAINED_to_TESTED."""
    run, command = _checked(runs, commands)
    data = read_json(run / "crosscorpus.json", "repeat the run's command")
    rows = {}
    for pair in data["pairs"]:
        name = f"{pair['trained_on']}_to_{pair['tested_on']}"
        if len(pair["labels"]) < 2:
            continue  # nothing is trained for it
        if pair["state"] != "finished":
            raise GemoclapError(f"{run}: {name} is {pair['state']}; repeat the run's command first")
        tables = [read_predictions(path) for path in sorted((run / "cells" / name).glob("seed_*/predictions.csv"))]
        rows[name] = {
            **{key: pair[key] for key in ("trained_on", "tested_on", "labels")},
            **figures(score_tables(tables)),
        }
    corpora = {name: {**facts, "manifest": Path(facts["manifest"]).name} for name, facts in data["corpora"].items()}
    return {
        "made": made_by(path.parent for path in run.glob("cells/*/seed_*/predictions.csv")),
        "settings": {command.args.output: unlike_the_default(command)},
        "method": data["method"],
        "seeds": data["seeds"],
        "corpora": corpora,
        "interval": INTERVAL if len(data["seeds"]) == 1 else INTERVAL_SEEDS,
        "rows": rows,
    }


def of_sweep(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return UAR on development speakers of every combination, and each method's scores on test speakers."""
    run, command = _checked(runs, commands)
    data = read_json(run / "sweep.json", "repeat the run's command")
    rows = {}
    for method, found in data["methods"].items():
        test = found["test"]
        if test is None:
            raise GemoclapError(f"{run}: {method} is not finished; repeat the run's command first")
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
    data = read_json(run / "ems.json", "repeat the run's command")
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
                "corpus": corpus,
                "classes": int(classes.split()[0]),
                "uar": uar,
            }
    if not command.startswith("python benchmarks/emotion_by_layer.py "):
        raise GemoclapError(f"{command}: give the command 'python benchmarks/emotion_by_layer.py ...'")
    return {"settings": {}, "interval": "95 %, as the benchmark wrote them", "rows": rows}


MAKERS = {
    "crossval": of_crossval,
    "table1": of_table1,
    "crosscorpus": of_crosscorpus,
    "sweep": of_sweep,
    "ems": of_ems,
    "layers": of_layers,
}


# Repeated runs.


def repeated(runs: Sequence[Path], again: Sequence[Path]) -> Record:
    """Compare a run's answers with those of the same run made again with today's code (`RESULTS`), as far as it has got.

    Raises
    ------
    GemoclapError : the second run has no fold of the first.
    """
    folds, answers, same = 0, 0, 0
    for run, other in zip(runs, again, strict=True):
        for path in sorted(other.rglob("predictions.csv")):
            if not (run / path.relative_to(other)).is_file():
                continue
            one, two = (read_predictions(folder / path.relative_to(other)) for folder in (run, other))
            if one.ids != two.ids:
                raise GemoclapError(f"{path}: its utterances are not those of {run}")
            folds += 1
            answers += len(one.ids)
            same += int(np.sum(np.array(one.prediction) == np.array(two.prediction)))
    if not folds:
        raise GemoclapError(f"{', '.join(map(str, again))}: no fold of {', '.join(map(str, runs))} is finished there")
    all_folds = sum(1 for run in runs for _ in run.rglob("predictions.csv"))
    counts = {"folds": folds, "of": all_folds, "answers": answers, "same": same}
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "results": RESULTS, **counts}


def rounded(value: Any) -> Any:
    """Return plain data with six decimals, and None in place of NaN."""
    if isinstance(value, Mapping):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else round(float(value), 6)
    return value
