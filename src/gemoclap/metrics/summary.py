"""All figures of an evaluation together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.metrics.intervals import SAMPLES, cautions, confusion_by_cluster, interval_over_speakers
from gemoclap.metrics.scores import Clusters, group_gap, macro_f1_of, none_if_nan, recalls_of, uar_of, war_of

INTERVAL = f"95 %, expanded percentile bootstrap over speakers, {SAMPLES:,} resamples"
INTERVAL_SEEDS = f"95 %, expanded percentile bootstrap over speakers and seeds, {SAMPLES:,} resamples"
ENOUGH = 5
"""Utterances of other classes from which on a single answer is a failure of the training. With fewer it may be chance, as in
the fold of a speaker with few utterances."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of an evaluation, between 0 and 1; NaN if one is not defined.

    Attributes
    ----------
    n : number of utterances; each counts once, even with several seeds.
    n_clusters : number of speakers; an utterance of an unknown speaker counts as a speaker of its own.
    n_seeds : number of seeds that the scores are means over; usually 1.
    war, uar, macro_f1 : see the functions of `gemoclap.metrics.scores`.
    recalls : recall of every class, NaN for a class without utterances.
    confusion : (C, C) counts, summed over seeds; rows are the truth, in the order of `recalls`.
    war_interval, uar_interval, macro_f1_interval : low and high end of the 95 % interval over speakers (and seeds, if there are
        several).
    uar_by_gender : UAR of each gender that occurs.
    gender_gap : UAR of female minus UAR of male speakers, or None unless both occur.
    cautions : sentences on the limits of the intervals.
    """

    n: int
    n_clusters: int
    n_seeds: int
    war: float
    uar: float
    macro_f1: float
    recalls: dict[str, float]
    confusion: np.ndarray
    war_interval: tuple[float, float]
    uar_interval: tuple[float, float]
    macro_f1_interval: tuple[float, float]
    uar_by_gender: dict[str, float]
    gender_gap: float | None
    cautions: tuple[str, ...] = ()

    @property
    def only_answer(self) -> str | None:
        """The class that was predicted for all utterances, or None. These have several classes, and `ENOUGH` are of others."""
        support, predicted = self.confusion.sum(axis=1), np.flatnonzero(self.confusion.sum(axis=0))
        if len(predicted) > 1 or np.count_nonzero(support) < 2:
            return None
        others = support.sum() - support[predicted[0]]
        return list(self.recalls)[predicted[0]] if others >= ENOUGH else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None in place of NaN."""
        return {
            "n": self.n,
            "n_clusters": self.n_clusters,
            "n_seeds": self.n_seeds,
            "war": self.war,
            "war_interval": [none_if_nan(bound) for bound in self.war_interval],
            "uar": self.uar,
            "uar_interval": [none_if_nan(bound) for bound in self.uar_interval],
            "macro_f1": self.macro_f1,
            "macro_f1_interval": [none_if_nan(bound) for bound in self.macro_f1_interval],
            "interval": INTERVAL if self.n_seeds == 1 else INTERVAL_SEEDS,
            "cautions": list(self.cautions),
            "recalls": {name: none_if_nan(recall) for name, recall in self.recalls.items()},
            "uar_by_gender": dict(self.uar_by_gender),
            "gender_gap": self.gender_gap,
            "classes": list(self.recalls),
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class Labelled:
    """The true classes of N utterances, and the predictions of a training with one seed.

    Attributes
    ----------
    truth, prediction : (N,) words.
    speakers, genders : (N,) words, or None if unknown.
    """

    truth: Sequence[str]
    prediction: Sequence[str]
    speakers: Clusters
    genders: Sequence[str | None]


def score(
    truth: Sequence[str],
    prediction: Sequence[str],
    classes: Sequence[str],
    speakers: Clusters,
    genders: Sequence[str | None],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Scores:
    """Compute all scores of an evaluation.

    Parameters
    ----------
    truth, prediction : (N,) words among `classes`.
    classes : (C,) in the order of the model's outputs.
    speakers, genders : (N,) words, or None if unknown.
    samples, seed : number of resamples and seed of the bootstrap over speakers.

    Raises
    ------
    GemoclapError : as `confusion_matrix` and `bootstrap_interval`.
    """
    return score_seeds([Labelled(truth, prediction, speakers, genders)], classes, samples=samples, seed=seed)


def score_seeds(each: Sequence[Labelled], classes: Sequence[str], *, samples: int = SAMPLES, seed: int = 0) -> Scores:
    """Compute all scores as means over seeds. All seeds must have tested the same utterances, in any order.

    Raises
    ------
    GemoclapError : as `score`; or seeds have tested different numbers of utterances of some class or speaker.
    """
    by_seed = confusion_by_seed(each, classes)
    sums = by_seed.sum(axis=1)  # (K, C, C)
    genders = [group_gap(one.truth, one.prediction, one.genders) for one in each]
    gaps = [gap for _, gap in genders if gap is not None]
    intervals = [
        interval_over_speakers(by_seed, one, samples=samples, seed=seed) for one in (war_of, uar_of, macro_f1_of)
    ]
    return Scores(
        n=int(sums[0].sum()),
        n_clusters=by_seed.shape[1],
        n_seeds=len(each),
        war=float(war_of(sums).mean()),
        uar=float(uar_of(sums).mean()),
        macro_f1=float(macro_f1_of(sums).mean()),
        recalls=dict(zip(classes, recalls_of(sums.sum(axis=0)).tolist(), strict=True)),
        confusion=sums.sum(axis=0),
        war_interval=intervals[0],
        uar_interval=intervals[1],
        macro_f1_interval=intervals[2],
        uar_by_gender={name: float(np.mean([uars[name] for uars, _ in genders])) for name in genders[0][0]},
        gender_gap=float(np.mean(gaps)) if gaps else None,
        cautions=cautions(by_seed[0], classes),
    )


def confusion_by_seed(each: Sequence[Labelled], classes: Sequence[str]) -> np.ndarray:
    """Return (K, S, C, C) int64, one confusion matrix per seed and speaker, with the same order of speakers for all seeds.

    Raises
    ------
    GemoclapError : as `score_seeds`.
    """
    order = list(dict.fromkeys(each[0].speakers)) if len(each) > 1 else None
    matrices = [confusion_by_cluster(one.truth, one.prediction, one.speakers, classes, order) for one in each]
    for one in matrices[1:]:
        if one.shape != matrices[0].shape or (one.sum(axis=2) != matrices[0].sum(axis=2)).any():
            raise GemoclapError("seeds that tested different utterances have no mean; test all of them with each seed")
    return np.stack(matrices)
