"""The answer for a clip, from those for its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gemoclap.audio import SAMPLE_RATE
from gemoclap.errors import NO_NUMBERS, GemoclapError
from gemoclap.group_statistics import Statistics, adapt
from gemoclap.inference.answers import NO_SPEECH_REMARK
from gemoclap.inference.clips import Clip, Stretch
from gemoclap.labels import GENDERS

LONG_SECONDS = 15.0
"""Seconds from which a remark says that one answer stands for all of them: more than a few sentences."""
CLOSE = 0.05
"""Difference between the largest two probabilities up to which an answer gets the remark that it is close [C]."""


class Remarks(NamedTuple):
    """Why an answer may mean less than it seems, by what it is about; None where there is nothing to say.

    Attributes
    ----------
    clip : the clip itself, such as "silent".
    labels : those that the model was not trained on; the same for all clips.
    close : two labels that are about equally probable.
    """

    clip: str | None = None
    labels: str | None = None
    close: str | None = None

    def __str__(self) -> str:
        return "; ".join(filter(None, self))


@dataclass(frozen=True)
class Prediction:
    """The answer for one clip.

    Attributes
    ----------
    emotion : the likeliest label.
    confidence : its probability.
    probabilities : label -> probability; they add up to one. For a clip of several parts, their mean over the parts,
        weighted by length.
    embedding : (E,) float32: of unit length in the space that audio and prompts share; of a model with a plain head its
        pooled features.
    has_speech : False for a silent clip, for channels that cancel, and where `Predictor.check_speech` found no speech.
    seconds : length of the sound that was used: without silence at head and tail, and without what `parts` leave out.
    parts : number of parts that the answer is the mean of. A clip is cut if it is longer than those of training, and at long
        pauses if `Predictor.check_speech` is set.
    genders : gender -> probability, if `Predictor.predict_gender` was set.
    remarks : why the answer may mean less than it seems, part by part.
    """

    emotion: str
    confidence: float
    probabilities: dict[str, float]
    embedding: np.ndarray = field(repr=False)
    has_speech: bool = True
    seconds: float = 0.0
    parts: int = 1
    genders: dict[str, float] | None = None
    remarks: Remarks = Remarks()

    @property
    def remark(self) -> str | None:
        """All `remarks` in a line; None where there are none."""
        return str(self.remarks) or None


class Featured(NamedTuple):
    """A clip and the pooled features of its parts, ``(parts, P)``, standardised by training.

    `name` is the clip's. No part itself is kept, since a long clip has many: `stretches` says where they lie.
    """

    name: str
    features: np.ndarray
    stretches: Sequence[Stretch]
    remark: str | None

    @classmethod
    def of(cls, clip: Clip, features: np.ndarray, stretches: Sequence[Stretch]) -> Featured:
        """Return the features of a clip, with its remark."""
        found = cls(clip.name, features, stretches, None)
        speaks = found.speaks
        remarks = [NO_SPEECH_REMARK] if clip.is_sound and not speaks.any() else []
        remarks += [clip.remark] if clip.remark else []
        if (seconds := found.samples[speaks].sum() / SAMPLE_RATE) > LONG_SECONDS and len(speaks) > 1:
            what = "speech" if clip.skips_pauses else "sound"
            remarks.append(
                f"one answer for {seconds:.0f} s of {what}, the mean of {speaks.sum()} parts; "
                "a timeline shows the emotions one by one"
            )
        return found._replace(remark="; ".join(remarks) or None)

    @property
    def speaks(self) -> np.ndarray:
        """Whether each part has speech, ``(parts,)`` bool."""
        return np.array([one.has_speech for one in self.stretches])

    @property
    def samples(self) -> np.ndarray:
        """Lengths of the parts, ``(parts,)``."""
        return np.array([one.samples for one in self.stretches])

    @property
    def counts(self) -> np.ndarray:
        """Whether the prediction uses each part, ``(parts,)`` bool: those with speech if there are any, otherwise all."""
        speaks = self.speaks
        return speaks if speaks.any() else ~speaks

    @property
    def counted(self) -> np.ndarray:
        """The features of the parts that the prediction uses."""
        return self.features[self.counts]

    @property
    def weights(self) -> np.ndarray:
        """The weight of each part that the prediction uses; they add up to one."""
        samples = self.samples[self.counts]
        return samples / samples.sum()

    @property
    def weights_to_adapt(self) -> np.ndarray:
        """As how many clips each part counts when its speaker or folder is adapted to, ``(parts,)``.

        A part without speech counts as none. The others count as one each on average, in proportion to their lengths.
        """
        samples = self.samples * self.speaks
        return samples * (self.speaks.sum() / max(samples.sum(), 1))

    @property
    def seconds(self) -> float:
        """Length of the sound that the prediction uses."""
        return float(self.samples[self.counts].sum() / SAMPLE_RATE)


def adapt_clips(
    clips: Sequence[Featured], groups: Sequence[str], known: Mapping[str, Statistics] | None = None
) -> tuple[list[Featured], dict[str, Statistics]]:
    """Return the clips with features that are adapted by group (`group_statistics.adapt`), and the statistics of each group.

    Parameters
    ----------
    groups : the group of each clip; there is at least one clip.
    known : as in `adapt`.
    """
    of_parts = [group for clip, group in zip(clips, groups, strict=True) for _ in clip.features]
    features, used = adapt(
        np.concatenate([clip.features for clip in clips]),
        of_parts,
        known,
        np.concatenate([clip.weights_to_adapt for clip in clips]),
    )
    ends = np.cumsum([len(clip.features) for clip in clips])[:-1]
    return [clip._replace(features=part) for clip, part in zip(clips, np.split(features, ends), strict=True)], used


class PartPrediction(NamedTuple):
    """The prediction for a part of a clip.

    `start` and `end` are seconds in the clip as it was given; the other fields are those of `Prediction`.
    """

    start: float
    end: float
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    embedding: np.ndarray


class ClipFeatures(NamedTuple):
    """The features of a clip, before they are classified.

    `features` (P,) are pooled, standardised as in training, and averaged over the parts. `has_speech` and `remark` are those of
    `Prediction`.
    """

    features: np.ndarray
    has_speech: bool
    remark: str | None

    @classmethod
    def of(cls, clip: Featured) -> ClipFeatures:
        return cls(_mean(clip.counted, clip.weights), bool(clip.speaks.any()), clip.remark)


def prediction_of(
    clip: Featured,
    labels: Sequence[str],
    probabilities: np.ndarray,
    embeddings: np.ndarray,
    genders: np.ndarray | None = None,
    *,
    label_remark: str | None = None,
) -> Prediction | GemoclapError:
    """Return the answer for a clip, the mean over its parts, or an error where that is no number.

    Parameters
    ----------
    probabilities, embeddings, genders : for each part that counts, ``(parts, C)``, ``(parts, E)`` and ``(parts, 2)``.
    label_remark : what makes an answer with these labels doubtful (`labels.untrained_remark`).
    """
    if not np.isfinite(probabilities).all():
        return GemoclapError(f"{clip.name}: {NO_NUMBERS}")
    weights = clip.weights
    emotion, confidence, by_label = likeliest(labels, _mean(probabilities, weights))
    has_speech = bool(clip.speaks.any())
    if has_speech:
        close = close_call(by_label)
    else:  # no emotion is named then
        label_remark = close = None
    return Prediction(
        emotion,
        confidence,
        by_label,
        embeddings[0] if len(embeddings) == 1 else _mean_embedding(embeddings, weights),
        has_speech,
        clip.seconds,
        len(weights),
        None if genders is None else _by_label(GENDERS, _mean(genders, weights)),
        Remarks(clip.remark, label_remark, close),
    )


def likeliest(labels: Sequence[str], probabilities: np.ndarray) -> tuple[str, float, dict[str, float]]:
    """Return the label with the largest of the probabilities ``(C,)``, that probability, and all of them by label."""
    by_label = _by_label(labels, probabilities)
    emotion = max(by_label, key=lambda label: by_label[label])
    return emotion, by_label[emotion], by_label


def close_call(probabilities: Mapping[str, float]) -> str | None:
    """Return a remark if the two most probable labels differ by `CLOSE` or less: ``close: sad 0.41, neutral 0.38``."""
    first, second = sorted(probabilities, key=lambda label: probabilities[label], reverse=True)[:2]
    if probabilities[first] - probabilities[second] > CLOSE + 1e-9:  # 0.525 - 0.475 is a little more than 0.05
        return None
    return f"close: {first} {probabilities[first]:.2f}, {second} {probabilities[second]:.2f}"


def _by_label(labels: Sequence[str], probabilities: np.ndarray) -> dict[str, float]:
    return {label: float(score) for label, score in zip(labels, probabilities, strict=True)}


def _mean(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of rows ``(parts, N)``, in their precision."""
    return (weights @ rows).astype(rows.dtype, copy=False)


def _mean_embedding(embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean; of unit length, if all `embeddings` are."""
    mean, lengths = _mean(embeddings, weights), np.linalg.norm(embeddings, axis=1)
    return mean / np.linalg.norm(mean) if np.allclose(lengths, 1, atol=1e-4) else mean
