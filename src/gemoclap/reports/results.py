"""Reads a cross-validation's folder, finished or not, into plain data: scores by method and fold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.config import TITLES
from gemoclap.encoders.provenance import warnings_of
from gemoclap.errors import GemoclapError
from gemoclap.metrics import Difference, Scores, none_if_nan, paired_difference, score, without_nan
from gemoclap.predictions import PredictionTable, clusters, concatenate, paired, read_predictions
from gemoclap.recipes.run_files import read_log, read_plan, read_run_config
from gemoclap.recipes.seeds import OverSeeds


@dataclass(frozen=True)
class FoldInfo:
    """A fold as it was meant: its hash, how many utterances it tests, and the speakers on both sides of its split.

    `test_speakers` come from the predictions, so they are empty for a fold that no method has finished.
    """

    name: str
    hash: str
    n_test: int
    test_speakers: tuple[str, ...]
    shared_speakers: tuple[str, ...]


@dataclass(frozen=True)
class FoldMean:
    """Figures averaged over folds, each counting the same; sd is the sample standard deviation (NaN of one fold)."""

    n_folds: int
    war: float
    war_sd: float
    uar: float
    uar_sd: float
    macro_f1: float
    macro_f1_sd: float


@dataclass(frozen=True)
class MethodResults:
    """One method: `folds` holds the finished folds in order; the others are named in `missing`.

    `title` is how reports call the method, and `folder` holds its folds. `pooled` scores all test utterances together;
    `pooled` and `mean` are None where no fold is finished.
    """

    name: str
    title: str
    folder: Path
    folds: dict[str, Scores]
    missing: tuple[str, ...]
    pooled: Scores | None
    mean: FoldMean | None
    predictions: PredictionTable | None
    logs: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class PairedDifference:
    """UAR of `method` less UAR of `baseline` on the `n` test utterances that both have predicted."""

    baseline: str
    method: str
    n: int
    uar: Difference


@dataclass(frozen=True)
class SeedMean:
    """A method trained with several seeds, and otherwise told the same.

    Attributes
    ----------
    title : how reports call it.
    members : the rows it is the mean of, by seed.
    war, uar : pooled over folds, of each seed, and their mean.
    war_interval, uar_interval : 95 % over speakers, of the mean over these seeds.
    difference : of the mean UAR from that of the first method that has several seeds; None of that itself, and where there are
        more seeds or fewer.
    """

    title: str
    members: Mapping[int, MethodResults]
    war: OverSeeds
    uar: OverSeeds
    war_interval: tuple[float, float]
    uar_interval: tuple[float, float]
    difference: Difference | None


@dataclass(frozen=True)
class Results:
    """All that a report says about a cross-validation, or about several over the same folds (`reports.joined`).

    Attributes
    ----------
    output : folder for the report; that of the cross-validation, where it is one.
    runs : the folders it was read from.
    config : what the config.yaml of the first run says.
    manifest : path of the manifest, as the first run was given it.
    vocabulary : name of the set of classes.
    classes : the emotions, in order.
    selection : ``"last"`` or ``"dev"``: which epoch is reported (`TrainSettings.select`).
    speaker_overlap : some speaker stands on both sides of a split.
    encoder_warnings : sentences on encoders that know speakers who are tested.
    folds : every fold of the run, finished or not.
    methods : in the order of the run.
    differences : each later method against the first.
    seed_means : methods that several runs have trained with seeds of their own (`reports.joined`).
    """

    output: Path
    runs: tuple[Path, ...]
    config: Mapping[str, Any]
    manifest: str
    vocabulary: str
    classes: tuple[str, ...]
    selection: str
    speaker_overlap: bool
    encoder_warnings: tuple[str, ...]
    folds: tuple[FoldInfo, ...]
    methods: tuple[MethodResults, ...]
    differences: tuple[PairedDifference, ...]
    seed_means: tuple[SeedMean, ...] = ()

    @property
    def is_joined(self) -> bool:
        """Whether it goes to a folder of its own, not into that of the run it was read from."""
        return self.runs != (self.output,)

    @property
    def scored(self) -> tuple[MethodResults, ...]:
        """The methods with at least one finished fold."""
        return tuple(method for method in self.methods if method.pooled is not None)

    @property
    def partial(self) -> bool:
        """Whether some method lacks some fold."""
        return any(method.missing for method in self.methods)

    @property
    def class_counts(self) -> dict[str, int]:
        """Test utterances of each class, of the method that has most folds."""
        fullest = max(self.scored, key=lambda method: len(method.folds))
        counts: Counter[str] = Counter()
        for scores in fullest.folds.values():
            counts.update(dict(zip(self.classes, scores.confusion.sum(axis=1).tolist(), strict=True)))
        return {name: counts[name] for name in self.classes}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: figures are shares between 0 and 1, None where undefined; folders from `output`."""
        return {
            "runs": [os.path.relpath(run, self.output) for run in self.runs],
            "manifest": self.manifest,
            "vocabulary": self.vocabulary,
            "classes": list(self.classes),
            "class_counts": self.class_counts,
            "selection": self.selection,
            "speaker_overlap": self.speaker_overlap,
            "encoder_warnings": list(self.encoder_warnings),
            "partial": self.partial,
            "interval": "95 % percentile bootstrap over speakers, 1000 resamples; where it says so, Student's t over seeds",
            "folds": [asdict(fold) for fold in self.folds],
            "methods": {method.name: _method_to_dict(method, self.output) for method in self.methods},
            "differences": [_difference_to_dict(difference) for difference in self.differences],
            "seed_means": [_seed_mean_to_dict(one) for one in self.seed_means],
        }


def collect(run_dir: str | os.PathLike) -> Results:
    """Read a cross-validation's folder; folds without predictions are listed as missing.

    Raises
    ------
    GemoclapError : the folder is not a cross-validation's, nothing in it is finished, or predictions do not belong to
        the folds; the message names the file.
    """
    run_dir = Path(run_dir)
    config = read_run_config(run_dir / "config.yaml")
    plan = read_plan(run_dir / "folds.json")
    classes = tuple(plan["vocabulary"]["emotions"])
    methods = tuple(_collect_method(run_dir, name, plan["folds"], classes) for name in config["methods"])
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
        folds=folds,
        methods=methods,
        differences=differences(methods),
    )


def _collect_method(
    run_dir: Path, name: str, folds: Sequence[dict[str, Any]], classes: tuple[str, ...]
) -> MethodResults:
    tables, logs = {}, {}
    for fold in folds:
        folder = run_dir / name / fold["name"]
        if (folder / "predictions.csv").is_file():
            tables[fold["name"]] = _fold_predictions(folder / "predictions.csv", fold, classes)
            if (folder / "log.jsonl").is_file():
                logs[fold["name"]] = read_log(folder / "log.jsonl")
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
    )


def score_table(table: PredictionTable) -> Scores:
    """Return every figure of a table of predictions."""
    return score(table.truth, table.prediction, table.classes, clusters(table), table.genders)


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
    """Return the speakers of each fold that some method has finished; those of one corpus without its name in front."""
    speakers: dict[str, set[str]] = {}
    for method in methods:
        table = method.predictions
        for fold, speaker in zip(table.folds, table.speakers, strict=True) if table is not None else ():
            if fold is not None and speaker is not None:
                speakers.setdefault(fold, set()).add(speaker)
    corpora = {name.rpartition("/")[0] for names in speakers.values() for name in names}
    # Of one corpus alone its name would only be repeated.
    if len(corpora) == 1:
        speakers = {fold: {name.rpartition("/")[2] for name in names} for fold, names in speakers.items()}
    return {fold: tuple(sorted(names)) for fold, names in speakers.items()}


def differences(methods: Sequence[MethodResults]) -> tuple[PairedDifference, ...]:
    """Compare each later method with the first on the folds that both have finished."""
    baseline, *others = methods
    compared = (_difference(baseline, other) for other in others)
    return tuple(difference for difference in compared if difference is not None)


def _difference(baseline: MethodResults, other: MethodResults) -> PairedDifference | None:
    if baseline.predictions is None or other.predictions is None:
        return None
    rows = paired(baseline.predictions, other.predictions)
    if not rows:
        return None
    truth, a, b, speakers = zip(*rows, strict=True)
    return PairedDifference(baseline.name, other.name, len(rows), paired_difference(truth, a, b, speakers))


def _method_to_dict(method: MethodResults, output: Path) -> dict[str, Any]:
    return {
        "title": method.title,
        "folder": os.path.relpath(method.folder, output),
        "missing_folds": list(method.missing),
        "pooled": method.pooled.to_dict() if method.pooled else None,
        "mean_of_folds": without_nan(asdict(method.mean)) if method.mean else None,
        "folds": {name: scores.to_dict() for name, scores in method.folds.items()},
    }


def _difference_to_dict(difference: PairedDifference) -> dict[str, Any]:
    return {
        "baseline": difference.baseline,
        "method": difference.method,
        "n": difference.n,
        "uar": without_nan(asdict(difference.uar)),
    }


def _seed_mean_to_dict(one: SeedMean) -> dict[str, Any]:
    return {
        "title": one.title,
        "methods": {str(seed): method.name for seed, method in one.members.items()},
        "war": _over_seeds_to_dict(one.war, one.war_interval),
        "uar": _over_seeds_to_dict(one.uar, one.uar_interval),
        "difference": without_nan(asdict(one.difference)) if one.difference else None,
    }


def _over_seeds_to_dict(over: OverSeeds, over_speakers: tuple[float, float]) -> dict[str, Any]:
    bounds = {"over_speakers": over_speakers, "over_seeds": (over.low, over.high)}
    return {
        "values": list(over.values),
        "mean": over.mean,
        "sd": over.sd,
        **{name: [none_if_nan(bound) for bound in interval] for name, interval in bounds.items()},
    }
