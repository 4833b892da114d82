"""Strength of emotion of an utterance, learned from classes alone: relative attributes.

There are no labels of intensity, but neutral speech has less of an emotion than emotional speech. A linear function of
utterance features is trained to rank such pairs (Parikh and Grauman, Relative Attributes, 2011). Its value is the strength of
an utterance. Zhu et al. (2019) do this for speech, with openSMILE's functionals and one ranker per emotion, and StrengthNet
(Liu et al., arXiv 2110.03156) is trained on their scores [S].
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import speaker_key
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary

TOLERANCE = 1e-8
"""A ranker is solved when the norm of its gradient, relative to the first, is below this."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Positions of utterances that are compared.

    Attributes
    ----------
    ordered : (P, 2), a neutral utterance and an emotional one, which should rank higher.
    similar : (Q, 2), two neutral utterances or two of the emotion, which should rank equally.
    across_speakers : whether the utterances of a pair can be from different speakers.
    """

    ordered: np.ndarray
    similar: np.ndarray
    across_speakers: bool


@dataclass(frozen=True)
class Ranker:
    """The ranking function of one emotion, ``w . z`` of standardised features z.

    Attributes
    ----------
    weights : w (D,).
    low, high : the least and the largest value among the training utterances, neutral or of the emotion.
    pairs : the pairs that it was trained with.
    """

    weights: np.ndarray
    low: float
    high: float
    pairs: Pairs

    def __call__(self, standardized: np.ndarray) -> np.ndarray:
        """Return the strength (N,) of standardised features (N, D), in [0, 1]."""
        span = self.high - self.low
        return np.clip((standardized @ self.weights - self.low) / (span if span > 0 else 1.0), 0.0, 1.0)


@dataclass(frozen=True)
class StrengthRankers:
    """A ranker for each emotion [S], with the preparation of the features.

    Attributes
    ----------
    vocabulary, neutral : the classes, and the one without emotion.
    rankers : emotion -> its ranker.
    center_speakers : as in `fit_rankers`.
    mean, scale : (D,), of the training utterances' features.
    """

    vocabulary: Vocabulary
    neutral: str
    rankers: dict[str, Ranker]
    center_speakers: bool
    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, features: np.ndarray, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the strength (N,) in [0, 1] of N utterances with `features` (N, D) and one of the classes.

        An emotional utterance is ranked by its own emotion's ranker [S]; a neutral one gets the
        mean over all rankers [C]. Values beyond those of the training set are clipped.
        """
        centred = center_speakers(features, utterances) if self.center_speakers else features
        standardized = (centred - self.mean) / self.scale
        by_emotion = {emotion: ranker(standardized) for emotion, ranker in self.rankers.items()}
        by_emotion[self.neutral] = np.mean(list(by_emotion.values()), axis=0)
        emotions = [str(self.vocabulary.resolve(row.emotion)) for row in utterances]
        return np.array([by_emotion[emotion][place] for place, emotion in enumerate(emotions)])


def fit_rankers(
    features: np.ndarray,
    utterances: Sequence[Utterance],
    vocabulary: Vocabulary,
    *,
    neutral: str = "neutral",
    cost: float = 1e-3,
    max_pairs: int = 20000,
    center: bool = True,
    seed: int = 0,
) -> StrengthRankers:
    """Fit one ranker per emotion to training utterances.

    Parameters
    ----------
    features : (N, D), of any scale.
    utterances : N, all with a class of `vocabulary`.
    neutral : the class without emotion.
    cost : weight of a pair in the wrong order [C]. Parikh's code has 0.1 [S], which ranks unseen speakers worse.
    max_pairs : largest number of random pairs of each kind for each emotion, but at least one per utterance [C].
    center : whether to apply `center_speakers` first [C].
    seed : seed of the random pairs.

    Raises
    ------
    GemoclapError : no utterance is neutral, or all are.
    """
    check_neutral(utterances, vocabulary, neutral)
    emotions = np.array([vocabulary.resolve(row.emotion) for row in utterances])
    centred = center_speakers(features, utterances) if center else features
    mean, deviation = centred.mean(axis=0, dtype=np.float64), centred.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)
    standardized = (centred - mean) / scale
    rng = np.random.default_rng(seed)
    rankers = {}
    for emotion in vocabulary.emotions:
        if emotion != neutral and emotion in emotions:
            pairs = draw_pairs(utterances, emotions == neutral, emotions == emotion, max_pairs, rng)
            if pairs.across_speakers:
                logger.warning(
                    "no speaker has both %s and %s utterances: they are compared across speakers, so voices count too; "
                    "where speakers are known, give --ranking.center_speakers false",
                    neutral,
                    emotion,
                )
            weights = fit_direction(
                _differences(standardized, pairs.ordered), _differences(standardized, pairs.similar), cost
            )
            values = standardized[(emotions == neutral) | (emotions == emotion)] @ weights
            rankers[emotion] = Ranker(weights, float(values.min()), float(values.max()), pairs)
    return StrengthRankers(vocabulary, neutral, rankers, center, mean, scale)


def _differences(standardized: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return standardized[pairs[:, 1]] - standardized[pairs[:, 0]]


def center_speakers(features: np.ndarray, utterances: Sequence[Utterance]) -> np.ndarray:
    """Subtract from `features` (N, D) each speaker's mean over the given utterances, float64 (N, D).

    This removes the effect of voice and microphone. Ranks within a speaker stay the same, and strengths of different speakers
    become comparable [C]. StrengthNet's published scores are scaled for each speaker for the same reason [S]. Utterances of
    unknown speakers share one mean.
    """
    speakers, rows = np.unique([_speaker(row) or "" for row in utterances], return_inverse=True)
    sums = np.zeros((len(speakers), features.shape[1]))
    np.add.at(sums, rows, features)
    return features - (sums / np.bincount(rows)[:, None])[rows]


def _speaker(row: Utterance) -> str | None:
    """Return a key that is equal for rows of the same speaker; None if the speaker is unknown."""
    return speaker_key(row) if row.speaker else None


def check_neutral(utterances: Sequence[Utterance], vocabulary: Vocabulary, neutral: str) -> None:
    """Raise a GemoclapError unless some of `utterances` are of class `neutral`, and some are not."""
    emotions = {vocabulary.resolve(row.emotion) for row in utterances} - {None}
    if neutral not in emotions:
        seen = ", ".join(sorted({str(row.emotion) for row in utterances if vocabulary.resolve(row.emotion)}))
        raise GemoclapError(
            f"no training utterance is {neutral!r} (labels: {seen}), and intensity is ranked against neutral speech; take "
            "a corpus that has some, or name its class without emotion with --ranking.neutral"
        )
    if emotions == {neutral}:
        raise GemoclapError(
            f"all training utterances are {neutral!r}, and intensity is how far others rank above them; "
            "take a corpus with emotions"
        )


def draw_pairs(
    utterances: Sequence[Utterance],
    is_neutral: np.ndarray,
    is_emotional: np.ndarray,
    limit: int,
    rng: np.random.Generator,
) -> Pairs:
    """Draw pairs of neutral utterances and those of one emotion.

    An utterance is compared with those of its speaker and text; if there are none, or the text is unknown, with those
    of its speaker; and if no speaker has both kinds, with all [C].

    Parameters
    ----------
    is_neutral, is_emotional : (N,) bool.
    limit : largest number of ordered pairs, and of similar pairs, but at least one per utterance.
    """
    neutral, emotional = np.flatnonzero(is_neutral), np.flatnonzero(is_emotional)
    across = False
    ordered = _draw(utterances, emotional, neutral, limit, rng, across)
    if not len(ordered):
        across = True
        ordered = _draw(utterances, emotional, neutral, limit, rng, across)
    alike = [_draw(utterances, members, members, limit // 2, rng, across) for members in (neutral, emotional)]
    similar = np.sort(np.concatenate(alike), axis=1)
    similar = np.unique(similar[similar[:, 0] != similar[:, 1]], axis=0)
    return Pairs(ordered[:, ::-1], similar, across)


def _draw(
    utterances: Sequence[Utterance],
    sources: np.ndarray,
    targets: np.ndarray,
    limit: int,
    rng: np.random.Generator,
    across_speakers: bool,
) -> np.ndarray:
    """Return (P, 2) positions, a source and one of the targets that it is compared with, possibly itself."""
    share = max(1, limit // len(sources))
    partners_of = _partners(utterances, targets, across_speakers)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for source in sources:
        partners = partners_of(source)
        drawn = partners[rng.choice(len(partners), min(share, len(partners)), replace=False)]
        pairs.append(np.column_stack([np.full(len(drawn), source), drawn]))
    return np.concatenate(pairs)


def _partners(
    utterances: Sequence[Utterance], targets: np.ndarray, across_speakers: bool
) -> Callable[[int], np.ndarray]:
    """Return a function from an utterance's position to the positions of the `targets` that it is compared with."""
    nobody = np.empty(0, dtype=np.int64)
    of_group: dict[Hashable, list[int]] = defaultdict(list)
    for target in targets:
        speaker, text = _speaker(utterances[target]), utterances[target].text
        of_group[speaker].append(target)
        of_group[speaker, text].append(target)
    arrays = {group: np.array(places) for group, places in of_group.items()}

    def look_up(place: int) -> np.ndarray:
        speaker, text = _speaker(utterances[place]), utterances[place].text
        if across_speakers:
            return targets
        if speaker is None:
            return nobody
        same_text = arrays.get((speaker, text), nobody) if text is not None else nobody
        # An utterance cannot be its own partner.
        return same_text if len(same_text[same_text != place]) else arrays.get(speaker, nobody)

    return look_up


def fit_direction(ordered: np.ndarray, similar: np.ndarray, cost: float) -> np.ndarray:
    """Return the w (D,) that minimises the ranking SVM with similar pairs, solved in the primal with Newton steps.

        1/2 |w|^2 + cost/2 (sum_p max(0, 1 - w . o_p)^2 + sum_q (w . s_q)^2)

    This is the objective of Parikh and Grauman's code [S].

    Parameters
    ----------
    ordered : o (P, D), features of the stronger utterance minus those of the weaker.
    similar : s (Q, D), differences of similar pairs.
    """
    quadratic = np.eye(ordered.shape[1]) + cost * similar.T @ similar

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        slack = np.maximum(0.0, 1.0 - ordered @ weights)
        value = (weights @ quadratic @ weights + cost * slack @ slack) / 2
        return float(value), quadratic @ weights - cost * ordered.T @ slack

    def curvature(weights: np.ndarray) -> np.ndarray:
        violated = ordered[ordered @ weights < 1.0]
        return quadratic + cost * violated.T @ violated

    start = np.zeros(ordered.shape[1])
    tolerance = TOLERANCE * (float(np.linalg.norm(objective(start)[1])) or 1.0)
    found = minimize(objective, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": tolerance})
    return found.x
