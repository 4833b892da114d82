"""What a report is made from, as plain records: folds, methods, the rows of the tables, and how rows compare."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, Difference, Scores, none_if_nan, without_nan
from gemoclap.metrics.calibration import BINS, Confidence
from gemoclap.predictions import PredictionTable
from gemoclap.recipes.seeds import OverSeeds

LEVEL = 0.05
"""A difference is called one where its corrected p-value is below this."""


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
    """One method, trained with one seed: `folds` holds the finished folds in order; the others are named in `missing`.

    `title` is how reports call the method, and `folder` holds its folds. `pooled` scores all test utterances together;
    `pooled` and `mean` are None where no fold is finished. `temperatures` are those that were fitted on development speakers,
    by fold.
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


@dataclass(frozen=True)
class RowConfidence:
    """How far a row's probabilities are from how often it is right, before and after a temperature.

    Attributes
    ----------
    before, after : of the model's own probabilities, and of those at the temperatures; `after` is None where none was fitted.
    temperatures : one a fold and seed.
    fitted_on : in words.
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
    name : goes into the names of pictures.
    title : how the report calls it.
    settings : a key that rows share which differ in their seeds alone.
    members : the method by seed; None where the seed is not known, or there is none.
    scores : pooled over folds, means over the seeds; None where no fold is finished.
    mean : over folds, each figure and standard deviation a mean over the seeds.
    war, uar : of each seed, and what they are on average; None where there is one.
    confidence : None where the method gives no probabilities.
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
        """The seeds, where there are several."""
        return tuple(seed for seed in self.members if seed is not None) if len(self.members) > 1 else ()


@dataclass(frozen=True)
class PairedDifference:
    """UAR of the row `method` minus UAR of the row `baseline` on the `n` test utterances that both have predicted.

    `p` is that of a sign-flip test over speakers, NaN where there is one speaker alone, and `p_corrected` the same after Holm's
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
        """Whether the difference is clear of chance after correction; None where that cannot be told."""
        return None if self.p != self.p else self.p_corrected < LEVEL


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
    methods : every training with one seed, in the order of the runs.
    rows : of the tables; what differs in its seed alone is one.
    differences : each later row against the first.
    made : versions, machine, date and seconds (`recipes.made`), empty where the runs do not say.
    first_settings : of several runs, the settings of the first that others have otherwise, ``"model.pooling: mean"``.
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
    rows: tuple[Row, ...]
    differences: tuple[PairedDifference, ...]
    made: Mapping[str, Any] = field(default_factory=dict)
    first_settings: tuple[str, ...] = ()

    @property
    def is_joined(self) -> bool:
        """Whether it goes to a folder of its own, not into that of the run it was read from."""
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

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the intervals of the rows cannot know, each sentence once."""
        return tuple(
            dict.fromkeys(one for row in self.scored_rows for one in (row.scores.cautions if row.scores else ()))
        )

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
            "interval": f"{INTERVAL}; of means over seeds {INTERVAL_SEEDS}",
            "test": "sign flips over speakers, p corrected for all comparisons (Holm)",
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
        bins = (confidence.sizes, confidence.confidences, confidence.rights)
        names = ("size", "mean_confidence", "share_right")
        return {
            "ece": confidence.ece,
            "nll": confidence.nll,
            "brier": confidence.brier,
            "bins": [
                without_nan(dict(zip(names, values, strict=True))) for values in zip(*map(list_of, bins), strict=True)
            ],
        }

    return {
        "ece": f"{BINS} bins of equal width",
        "before": figures(one.before),
        "after": figures(one.after),
        "temperatures": list(one.temperatures),
        "fitted_on": one.fitted_on,
    }


def list_of(array: Any) -> list[Any]:
    """Return an array as a list of Python's own numbers."""
    return array.tolist()


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
