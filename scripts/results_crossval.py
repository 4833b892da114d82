"""Records of cross-validations: the scores of each row, and every pair of rows compared."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean

from results_commands import Command, check_command, unlike_the_default
from results_parts import REPEAT, RESTORE, Record, corpus_facts, figures, made_by

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, read_yaml
from gemoclap.gmp.codebooks import QUALITY
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS
from gemoclap.recipes.run_folder import CONFIG, seed_folders
from gemoclap.reports.joined import joined
from gemoclap.reports.records import Row
from gemoclap.reports.results import collect
from gemoclap.reports.rows import differences


def of_crossval(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the figures of cross-validations: of each row, and of each pair of rows."""
    asked = [Command.of(text) for text in commands]
    folders: list[Path] = []
    for run, command in zip(runs, asked, strict=True):
        own = seed_folders(run) or [run]
        for folder in own:
            check_command(command, read_yaml(folder / CONFIG, RESTORE))
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
        "corpus": corpus_facts(results, rows),
        "interval": INTERVAL_SEEDS if any(row.seeds for row in rows) else INTERVAL,
        "rows": {names[row.name]: _row(row) for row in rows},
        "pairs": _pairs(rows, names),
        **({"clusters": clusters} if (clusters := _clusters(rows)) else {}),
    }


def _refuse_gaps(rows: Sequence[Row], wanted: set[tuple[Path, str]]) -> None:
    for row in rows:
        if gaps := [fold for method in row.members.values() for fold in method.missing]:
            raise GemoclapError(f"{row.first.folder}: {', '.join(gaps)} not finished; {REPEAT} first")
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


def _pairs(rows: Sequence[Row], names: Mapping[str, str]) -> list[Record]:
    """Return UAR of the second minus UAR of the first for all pairs of rows; p is not corrected, as tables do that."""
    found = []
    for one, other in combinations(rows, 2):
        for pair in differences([one, other]):
            uar = pair.uar
            named = {"first": names[one.name], "second": names[other.name], "n": pair.n}
            found.append({**named, "uar": [uar.value, uar.low, uar.high], "p": pair.p})
    return found


def _clusters(rows: Sequence[Row]) -> Record:
    """Return what the clusters of GMP-TL know, mean over folds and seeds: scale -> figures."""
    files = [
        path
        for row in rows
        for one in row.members.values()
        for fold in one.folds
        if (path := one.folder / fold / "clusters" / QUALITY).is_file()
    ]
    by_scale: dict[str, list[Record]] = defaultdict(list)  # runs can have different scales
    for path in files:
        for scale, found in read_json(path, RESTORE).items():
            by_scale[scale].append(found)
    return {
        scale: {
            "inertia": mean(one["inertia"] for one in ones),
            **{
                what: [mean(one[what][figure] for one in ones) for figure in ("purity", "nmi")]
                for what in ("emotion", "gender", "speaker")
                if all(one.get(what) for one in ones)
            },
        }
        for scale, ones in by_scale.items()
    }
