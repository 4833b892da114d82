"""Reads the folder of a cross-validation, finished or not: scores for each method and fold."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.config import TITLES
from gemoclap.corpora.speakers import natural
from gemoclap.encoders.provenance import warnings_of
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.metrics import Scores
from gemoclap.predictions import PREDICTIONS, PredictionTable, concatenate, read_predictions
from gemoclap.recipes.calibration import CALIBRATION
from gemoclap.recipes.made import read_made
from gemoclap.recipes.other_folders import refuse_other_folder
from gemoclap.recipes.run_files import read_log, read_plan, read_run_config
from gemoclap.reports.records import FoldInfo, FoldMean, MethodResults, Results, Row
from gemoclap.reports.rows import differences, make_row, score_table


def collect(run_dir: str | os.PathLike) -> Results:
    """Read the folder of a cross-validation or a probe; folds without predictions are listed as missing.

    Each encoder of a probe is a row: the mean over the seeds of its heads.

    Raises
    ------
    GemoclapError : the folder is not that of a cross-validation, nothing in it is finished, or predictions do not belong to
        the folds; the message names the file.
    """
    run_dir = Path(run_dir)
    refuse_other_folder(run_dir)
    config = read_run_config(run_dir / "config.yaml")
    plan = read_plan(run_dir / "folds.json")
    classes = tuple(plan["vocabulary"]["emotions"])
    rows = [_collect_row(run_dir, name, plan["folds"], classes, _seeds_of(config)) for name in config["methods"]]
    methods = tuple(method for row in rows for method in row.members.values())
    if not any(method.folds for method in methods):
        raise GemoclapError(f"{run_dir}: no fold is finished yet; run the same 'gemoclap crossval' command again")
    speakers = tested_speakers(methods)
    folds = tuple(
        FoldInfo(
            name=fold["name"],
            hash=fold["hash"],
            n_test=len(fold["test"]),
            test_speakers=speakers.get(fold["name"], ()),
            shared_speakers=tuple(fold["shared_speakers"]),
        )
        for fold in plan["folds"]
    )
    return Results(
        output=run_dir,
        runs=(run_dir,),
        config=config,
        manifest=str(plan["manifest"]),
        vocabulary=plan["vocabulary"]["name"],
        classes=classes,
        selection=(config.get("train") or {}).get("select", "last"),
        speaker_overlap=bool(plan["speaker_overlap"]) or any(fold.shared_speakers for fold in folds),
        encoder_warnings=tuple(warnings_of(plan.get("encoder_speakers", {}))),
        left_out=plan.get("left_out", {}),
        folds=folds,
        methods=methods,
        rows=tuple(rows),
        differences=differences(rows),
        made=read_made(
            run_dir / name / fold.name / below
            for name in config["methods"]
            for fold in folds
            for below in ("", *(f"seed_{seed}" for seed in _seeds_of(config)))
        ),
    )


def _seeds_of(config: dict[str, Any]) -> list[int]:
    """Return the seeds that have a folder of their own below each fold of a probe; empty for a cross-validation."""
    seeds = (config.get("train") or {}).get("seeds") if "encoders" in config else []
    return [seed for seed in seeds if type(seed) is int] if isinstance(seeds, list) else []


def _collect_row(
    run_dir: Path, name: str, folds: Sequence[dict[str, Any]], classes: tuple[str, ...], seeds: Sequence[int]
) -> Row:
    if not seeds:
        method = _collect_method(run_dir, name, folds, classes)
        return make_row(name, method.title, name, {None: method})
    found: dict[int | None, MethodResults] = {}
    for seed in seeds:
        method = _collect_method(run_dir, name, folds, classes, f"seed_{seed}")
        if len(seeds) > 1:
            method = replace(method, name=f"{name}_seed_{seed}", title=f"{method.title}, seed {seed}")
        found[seed] = method
    finished = {seed: method for seed, method in found.items() if not method.missing}
    fullest = max(found, key=lambda seed: len(found[seed].folds))
    return make_row(name, TITLES.get(name, name), name, finished or {fullest: found[fullest]})


def _collect_method(
    run_dir: Path, name: str, folds: Sequence[dict[str, Any]], classes: tuple[str, ...], below: str = ""
) -> MethodResults:
    tables, logs, temperatures = {}, {}, {}
    for fold in folds:
        folder = run_dir / name / fold["name"] / below
        if (folder / PREDICTIONS).is_file():
            tables[fold["name"]] = _fold_predictions(folder / PREDICTIONS, fold, classes)
            if (folder / "log.jsonl").is_file():
                logs[fold["name"]] = read_log(folder / "log.jsonl")
            if (folder / CALIBRATION).is_file():
                temperatures[fold["name"]] = _read_temperature(folder / CALIBRATION)
    scores = {fold: score_table(table) for fold, table in tables.items()}
    together = concatenate(list(tables.values())) if tables else None
    return MethodResults(
        name=name,
        title=TITLES.get(name, name),
        folder=run_dir / name,
        folds=scores,
        missing=tuple(fold["name"] for fold in folds if fold["name"] not in tables),
        pooled=score_table(together) if together is not None else None,
        mean=_fold_mean(list(scores.values())) if scores else None,
        predictions=together,
        logs=logs,
        temperatures=temperatures,
    )


def _read_temperature(path: Path) -> float:
    found = read_json(path, "remove the file").get("temperature")
    if type(found) not in (int, float) or not 0 < found < math.inf:
        raise GemoclapError(f"{path}: has no temperature; remove the file")
    return float(found)


def _fold_predictions(path: Path, fold: dict[str, Any], classes: tuple[str, ...]) -> PredictionTable:
    table = read_predictions(path)
    if table.classes != classes:
        raise GemoclapError(f"{path}: its classes are not those of folds.json; remove the file and run the fold again")
    if sorted(table.ids) != sorted(fold["test"]):
        raise GemoclapError(
            f"{path}: its utterances are not the {len(fold['test'])} test utterances of the fold in folds.json; "
            "remove the file and run the fold again"
        )
    return replace(table, folds=(fold["name"],) * len(table))


def _fold_mean(scores: Sequence[Scores]) -> FoldMean:
    wars, uars, f1s = ([getattr(one, name) for one in scores] for name in ("war", "uar", "macro_f1"))
    return FoldMean(
        n_folds=len(scores),
        war=float(np.mean(wars)),
        war_sd=_sd(wars),
        uar=float(np.mean(uars)),
        uar_sd=_sd(uars),
        macro_f1=float(np.mean(f1s)),
        macro_f1_sd=_sd(f1s),
    )


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def tested_speakers(methods: Iterable[MethodResults]) -> dict[str, tuple[str, ...]]:
    """Return fold -> test speakers, for folds that some method has finished.

    If all speakers belong to one corpus, their names are given without the name of the corpus.
    """
    speakers: dict[str, set[str]] = {}
    for method in methods:
        table = method.predictions
        for fold, speaker in zip(table.folds, table.speakers, strict=True) if table is not None else ():
            if fold is not None and speaker is not None:
                speakers.setdefault(fold, set()).add(speaker)
    corpora = {name.rpartition("/")[0] for names in speakers.values() for name in names}
    if len(corpora) == 1:
        speakers = {fold: {name.rpartition("/")[2] for name in names} for fold, names in speakers.items()}
    return {fold: tuple(sorted(names, key=natural)) for fold, names in speakers.items()}
