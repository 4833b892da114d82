"""Scores of an evaluation, their intervals over speakers, tests of differences, and calibration (`metrics.calibration`)."""

from gemoclap.metrics.comparisons import holm, least_p, mcnemar_p, sign_flip_p, speaker_shares
from gemoclap.metrics.intervals import (
    Difference,
    bootstrap_interval,
    difference_over_speakers,
    expanded_tail,
    interval_over_speakers,
    paired_difference,
)
from gemoclap.metrics.scores import (
    STATISTICS,
    Clusters,
    Labels,
    confusion_matrix,
    group_gap,
    macro_f1,
    none_if_nan,
    recall_by_class,
    unweighted_average_recall,
    weighted_average_recall,
    without_nan,
)
from gemoclap.metrics.summary import INTERVAL, INTERVAL_SEEDS, Labelled, Scores, confusion_by_seed, score, score_seeds

__all__ = [
    "Clusters",
    "Difference",
    "INTERVAL",
    "INTERVAL_SEEDS",
    "Labelled",
    "Labels",
    "STATISTICS",
    "Scores",
    "bootstrap_interval",
    "confusion_by_seed",
    "confusion_matrix",
    "difference_over_speakers",
    "expanded_tail",
    "group_gap",
    "holm",
    "interval_over_speakers",
    "least_p",
    "macro_f1",
    "mcnemar_p",
    "none_if_nan",
    "paired_difference",
    "recall_by_class",
    "score",
    "score_seeds",
    "sign_flip_p",
    "speaker_shares",
    "unweighted_average_recall",
    "weighted_average_recall",
    "without_nan",
]
