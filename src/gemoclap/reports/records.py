"""The data of a report as plain records: folds, methods, rows of the tables, and differences between rows."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from gemoclap.labels import EVERY_LABEL, LISTED
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, Difference, Scores, least_p, none_if_nan, without_nan
from gemoclap.metrics.calibration import BINS, Confidence
from gemoclap.predictions import PredictionTable
from gemoclap.recipes.seeds import OverSeeds
from gemoclap.reports.genders import gender_remarks
from gemoclap.reports.tables import shorten

LEVEL = 0.05
"""Two rows can only be said to differ if the corrected p-value is below this (`is_significant`)."""


def cautions_of(scores: Iterable[Scores | None]) -> list[str]:
    """Return the sentences on the limits of the intervals of these scores, each once."""
    return list(dict.fromkeys(one for each in scores if each for one in each.cautions))


def too_few(speakers: int, tests: int) -> list[str]:
    """Return a sentence if Holm's correction for so many tests lets none be significant, or nothing.

    It multiplies the smallest p by the number of tests, and then the others by less.
    """
    smallest = least_p(speakers)
    if speakers < 2 or not tests or smallest * tests < LEVEL:
        return []
    corrected = "" if tests == 1 else f", or {min(1.0, smallest * tests):.3f} after correction for {tests} comparisons"
    return [
        f"no difference can be significant here: with {speakers} speakers p is at least {smallest:.3f}{corrected}; compare "
        "fewer systems, or on more speakers"
    ]


@dataclass(frozen=True)
class FoldInfo:
    """A fold as folds.json describes it: its hash, number of test utterances, and speakers in both training and test.

    `test_speakers` come from the predictions, so they are empty if no method has finished the fold.
    """

    name: str
    hash: str
    n_test: int
    test_speakers: tuple[str, ...]
    shared_speakers: tuple[str, ...]


@dataclass(frozen=True)
class FoldMean:
    """Figures averaged over folds with equal weight; sd is the sample standard deviation (NaN if there is only one fold)."""

    n_folds: int
    war: float
    war_sd: float
    uar: float
    uar_sd: float
    macro_f1: float
    macro_f1_sd: float


@dataclass(frozen=True)
class MethodResults:
    """One method, trained with one seed.

    Attributes
    ----------
    title : name of the method in reports.
    folder : folder that contains the folds.
    folds : scores of the finished folds, in order; `missing` names the other folds.
    pooled : scores of all test utterances together; None if no fold is finished.
    mean : mean over folds; None if no fold is finished.
    temperatures : fold -> temperature, for those that were fitted on development speakers.
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
    temperatures: dict[str, float] = field(default_factory=dict)


def same_answers(method: MethodResults) -> list[str]:
    """Return a sentence for each class that a training predicts for all test utterances of a fold."""
    folds: dict[str, list[str]] = {}
    for name, scores in method.folds.items():
        if scores.only_answer is not None:
            folds.setdefault(scores.only_answer, []).append(name)
    return [
        f"{method.title} predicts {answer} for every utterance of {shorten(names, 5)}, so it has not learned the classes there"
        for answer, names in folds.items()
    ]


@dataclass(frozen=True)
class RowConfidence:
    """Calibration of a row's probabilities, before and after the temperature.

    Attributes
    ----------
    before, after : calibration of the model's own probabilities, and after the temperature; `after` is None if no temperature
        was fitted.
    temperatures : one per fold and seed.
    fitted_on : the data that the temperatures were fitted on, in words.
    """

    before: Confidence
    after: Confidence | None
    temperatures: tuple[float, ...]
    fitted_on: str


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method trained once, or with several seeds and otherwise the same settings.

    Attributes
    ----------
    name : used in the names of pictures.
    title : name of the row in the report.
    settings : a key for the settings without the seed; rows that only differ in their seed have the same key.
    members : seed -> training; the key is None if the seed is unknown, or the method has none.
    scores : pooled over folds, mean over seeds; None if no fold is finished.
    mean : mean over folds; each figure and standard deviation is a mean over seeds.
    war, uar : the score of each seed and their mean; None if there is only one seed.
    confidence : None if the method gives no probabilities.
    """

    name: str
    title: str
    settings: str
    members: Mapping[int | None, MethodResults]
    scores: Scores | None
    mean: FoldMean | None
    war: OverSeeds | None = None
    uar: OverSeeds | None = None
    confidence: RowConfidence | None = None

    @property
    def first(self) -> MethodResults:
        """The method with the first seed."""
        return next(iter(self.members.values()))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds if there are several, otherwise empty."""
        return tuple(seed for seed in self.members if seed is not None) if len(self.members) > 1 else ()


def is_significant(difference: Difference, p_corrected: float) -> bool | None:
    """Return whether two rows differ: the corrected p is below `LEVEL`, and the interval excludes 0; None if there is no p.

    The p-value only knows the speakers. If rows are means over seeds, the interval knows the seeds too. Without it, two methods
    would be said to differ far too often if scores vary much between seeds.
    """
    if math.isnan(p_corrected):
        return None
    return p_corrected < LEVEL and not difference.low <= 0 <= difference.high


@dataclass(frozen=True)
class PairedDifference:
    """UAR of the row `method` minus UAR of the row `baseline` on the `n` test utterances that both have predicted.

    `p` comes from a permutation test over speakers; it is NaN if there is only one speaker. `p_corrected` is p after Holm's
    correction for all comparisons of the report.
    """

    baseline: str
    method: str
    n: int
    uar: Difference
    p: float
    p_corrected: float

    @property
    def differs(self) -> bool | None:
        """Whether the rows differ significantly (`is_significant`); None if there is no p-value."""
        return is_significant(self.uar, self.p_corrected)


@dataclass(frozen=True)
class Results:
    """All results of a cross-validation, or of several over the same folds (`reports.joined`).

    Attributes
    ----------
    output : folder for the report; for a single cross-validation, its own folder.
    runs : the folders that were read.
    config : contents of config.yaml of the first run.
    manifest : path of the manifest as the first run has it.
    vocabulary : name of the set of classes.
    classes : the emotions, in order.
    selection : ``"last"`` or ``"dev"``: which epoch is reported (`TrainSettings.select`).
    speaker_overlap : whether some speaker is in both training and test of a fold.
    encoder_warnings : sentences on encoders that were trained on test speakers.
    left_out : label -> number of utterances of the manifest that have it and are in no fold, since it is no class.
    folds : every fold of the run, finished or not.
    methods : every training with one seed, in the order of the runs.
    rows : rows of the tables; trainings that only differ in their seed share a row.
    differences : the difference of each later row from the first.
    made : versions, machine, date and seconds (`recipes.made`); empty if the runs do not have them.
    first_settings : for several runs, settings of the first run that differ in another, ``"model.pooling: mean"``.
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
    left_out: Mapping[str, int]
    folds: tuple[FoldInfo, ...]
    methods: tuple[MethodResults, ...]
    rows: tuple[Row, ...]
    differences: tuple[PairedDifference, ...]
    made: Mapping[str, Any] = field(default_factory=dict)
    first_settings: tuple[str, ...] = ()

    @property
    def is_probe(self) -> bool:
        """Whether it is a probe, whose rows are encoders."""
        return "encoders" in self.config

    @property
    def subject(self) -> str:
        """What was trained on, for a title: the named set of classes, or the manifest if its set has no name of its own."""
        return Path(self.manifest).stem if self.vocabulary in (LISTED, EVERY_LABEL) else self.vocabulary

    @property
    def is_adapted(self) -> bool:
        """Whether the first run standardises features over each speaker's clips, so that a prediction depends on others."""
        return (self.config.get("model") or {}).get("standardize") == "speaker"

    @property
    def is_joined(self) -> bool:
        """Whether the report goes to a folder of its own, and not into the folder of its run."""
        return self.runs != (self.output,)

    @property
    def scored(self) -> tuple[MethodResults, ...]:
        """The methods with at least one finished fold."""
        return tuple(method for method in self.methods if method.pooled is not None)

    @property
    def scored_rows(self) -> tuple[Row, ...]:
        """The rows with at least one finished fold."""
        return tuple(row for row in self.rows if row.scores is not None)

    @property
    def seed_means(self) -> tuple[Row, ...]:
        """The rows that are means over several seeds."""
        return tuple(row for row in self.rows if row.seeds)

    @property
    def partial(self) -> bool:
        """Whether some fold of some method is not finished."""
        return any(method.missing for method in self.methods)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of test utterances of each class, counted in the method with the most finished folds."""
        fullest = max(self.scored, key=lambda method: len(method.folds))
        counts: Counter[str] = Counter()
        for scores in fullest.folds.values():
            counts.update(dict(zip(self.classes, scores.confusion.sum(axis=1).tolist(), strict=True)))
        return {name: counts[name] for name in self.classes}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Warnings about trainings without success, intervals, tests and scores by gender, each sentence once."""
        scores = [row.scores for row in self.scored_rows if row.scores]
        speakers = max((one.n_clusters for one in scores), default=0)
        tests = sum(one.p == one.p for one in self.differences)
        tables = [method.predictions for method in self.scored if method.predictions is not None]
        genders = gender_remarks(max(tables, key=len)) if tables else []
        failed = chain.from_iterable(map(same_answers, self.scored))
        return (*failed, *cautions_of(scores), *too_few(speakers, tests), *genders)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: figures between 0 and 1, or None if undefined; folders are relative to `output`."""
        return {
            "runs": [os.path.relpath(run, self.output) for run in self.runs],
            "manifest": self.manifest,
            "vocabulary": self.vocabulary,
            "classes": list(self.classes),
            "class_counts": self.class_counts,
            "selection": self.selection,
            "speaker_overlap": self.speaker_overlap,
            "encoder_warnings": list(self.encoder_warnings),
            "left_out": dict(self.left_out),
            "partial": self.partial,
            "interval": f"{INTERVAL}; of means over seeds {INTERVAL_SEEDS}",
            "test": "permutation test over speakers, p corrected for all comparisons (Holm)",
            "folds": [asdict(fold) for fold in self.folds],
            "methods": {method.name: _method_to_dict(method, self.output) for method in self.methods},
            "rows": [_row_to_dict(row) for row in self.rows],
            "differences": [_difference_to_dict(difference) for difference in self.differences],
            "seed_means": [_seed_mean_to_dict(one) for one in self.seed_means],
            "made": dict(self.made),
        }


def _method_to_dict(method: MethodResults, output: Path) -> dict[str, Any]:
    return {
        "title": method.title,
        "folder": os.path.relpath(method.folder, output),
        "missing_folds": list(method.missing),
        "pooled": method.pooled.to_dict() if method.pooled else None,
        "mean_of_folds": without_nan(asdict(method.mean)) if method.mean else None,
        "folds": {name: scores.to_dict() for name, scores in method.folds.items()},
    }


def _row_to_dict(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "methods": [method.name for method in row.members.values()],
        "seeds": list(row.seeds),
        "pooled": row.scores.to_dict() if row.scores else None,
        "mean_of_folds": without_nan(asdict(row.mean)) if row.mean else None,
        "confidence": confidence_to_dict(row.confidence) if row.confidence else None,
    }


def confidence_to_dict(one: RowConfidence) -> dict[str, Any]:
    """Return plain data for JSON."""

    def figures(confidence: Confidence | None) -> dict[str, Any] | None:
        if confidence is None:
            return None
        bins = [array.tolist() for array in (confidence.sizes, confidence.confidences, confidence.rights)]
        names = ("size", "mean_confidence", "share_right")
        return {
            "ece": confidence.ece,
            "nll": confidence.nll,
            "brier": confidence.brier,
            "bins": [without_nan(dict(zip(names, values, strict=True))) for values in zip(*bins, strict=True)],
        }

    return {
        "ece": f"{BINS} bins of equal width",
        "before": figures(one.before),
        "after": figures(one.after),
        "temperatures": list(one.temperatures),
        "fitted_on": one.fitted_on,
    }


def _difference_to_dict(difference: PairedDifference) -> dict[str, Any]:
    return {
        "baseline": difference.baseline,
        "method": difference.method,
        "n": difference.n,
        "uar": without_nan(asdict(difference.uar)),
        **without_nan({"p": difference.p, "p_corrected": difference.p_corrected}),
        "differs": difference.differs,
    }


def _seed_mean_to_dict(one: Row) -> dict[str, Any]:
    assert one.scores is not None and one.war is not None and one.uar is not None
    return {
        "title": one.title,
        "methods": {str(seed): method.name for seed, method in one.members.items()},
        "war": _over_seeds_to_dict(one.war, one.scores.war_interval),
        "uar": _over_seeds_to_dict(one.uar, one.scores.uar_interval),
    }


def _over_seeds_to_dict(over: OverSeeds, over_both: tuple[float, float]) -> dict[str, Any]:
    intervals = {"over_speakers_and_seeds": over_both, "over_seeds": (over.low, over.high)}
    figures = {name: [none_if_nan(bound) for bound in pair] for name, pair in intervals.items()}
    return {"values": list(over.values), "mean": over.mean, **without_nan({"sd": over.sd}), **figures}
