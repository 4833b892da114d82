"""The options of a prediction, and how the prediction for a clip becomes a row of the table.

torch is only imported when a model is loaded, so the command can check its options first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemoclap.errors import GemoclapError
from gemoclap.inference.answers import NO_SPEECH, UNKNOWN

if TYPE_CHECKING:
    from gemoclap.corpora.manifest import Utterance
    from gemoclap.inference.prediction import Featured, Prediction
    from gemoclap.inference.predictor import Predictor

Row = dict[str, Any]
"""A row of the table: what identifies the clip, and its prediction or the error with which it could not be read."""


@dataclass(frozen=True)
class Job:
    """Options that are the same for all clips.

    Attributes
    ----------
    model : folder of a model, repository of the hub, or a model that comes with the package.
    labels : classes to choose from. None = the model's own.
    batch_size : largest number of clips to process at a time.
    workers : threads that read clips. None = the predictor's default.
    any_words : whether labels may be words that are unlike any word for an emotion.
    find_speech : whether clips without speech get `NO_SPEECH` in place of an emotion.
    threshold : probability that the most probable class must reach; otherwise the prediction is `UNKNOWN`.
    columns : additional columns: gender, seconds, embedding.
    """

    model: str
    labels: Sequence[str] | None = None
    batch_size: int = 16
    workers: int | None = None
    any_words: bool = False
    find_speech: bool = True
    threshold: float = 0.0
    columns: Sequence[str] = ()

    def load(self) -> Predictor:
        """Return a predictor with the model and these options.

        Raises
        ------
        GemoclapError : there is no such model, or it cannot predict gender.
        """
        # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
        from gemoclap.inference.predictor import Predictor

        predictor = Predictor.from_pretrained(self.model)
        predictor.check_speech = self.find_speech
        predictor.any_words = self.any_words
        predictor.predict_gender = "gender" in self.columns
        if self.workers:
            predictor.workers = self.workers
        return predictor

    def row(self, clip: Utterance, answer: Prediction | GemoclapError) -> Row:
        """Return the row of a clip."""
        if isinstance(answer, GemoclapError):
            return about(clip) | {"error": str(answer)}
        scores = {"confidence": answer.confidence, **answer.probabilities}
        emotion = answer.emotion if answer.confidence >= self.threshold else UNKNOWN
        if self.find_speech and not answer.has_speech:
            emotion = NO_SPEECH
        row = about(clip) | {"emotion": emotion, **{name: round(one, 6) for name, one in scores.items()}}
        row |= {name: value for name, value in _further(answer).items() if name in self.columns}
        own = str(answer.remarks._replace(labels=None))  # what is the same in every row is said once, by the command
        return row | ({"remark": own} if own else {})


class LocalEngine:
    """Does a job in this process.

    Other engines, such as `ray_engine.RayEngine`, have the same methods.
    """

    def __init__(self, job: Job, predictor: Predictor) -> None:
        self.job, self.predictor = job, predictor

    def rows(self, clips: Sequence[Utterance]) -> Iterator[Row]:
        """Yield the row of each clip, in turn."""
        answers = self.predictor.predict_many(clips, self.job.labels, self.job.batch_size)
        return (self.job.row(clip, answer) for clip, answer in zip(clips, answers, strict=True))

    def featured(self, clips: Sequence[Utterance]) -> Iterator[Featured | GemoclapError]:
        """Yield the pooled features of each clip in turn, or the error that kept it from being read."""
        return self.predictor.featured(clips, self.job.batch_size)


def about(clip: Utterance) -> Row:
    """Return the fields that identify a clip: its path, and for a row of a manifest also its id, start and end."""
    fields = {"path": clip.path, "id": clip.id, "start": clip.start, "end": clip.end}
    return {name: value for name, value in fields.items() if value is not None and (name, value) != ("id", clip.path)}


def _further(answer: Prediction) -> Row:
    """Return the values of the columns that --columns can add."""
    genders = answer.genders or {}
    return {
        "gender": max(genders, key=lambda name: genders[name]) if genders else None,
        "seconds": round(answer.seconds, 3),
        "embedding": [float(f"{value:.6g}") for value in answer.embedding.tolist()],
    }


def columns_of(clips: Sequence[Utterance], labels: Sequence[str], further: Sequence[str]) -> list[str]:
    """Return the names of the table's columns.

    Raises
    ------
    GemoclapError : a label is the name of another column, whose values it would replace.
    """
    of_manifests = {name for clip in clips for name in about(clip)}
    identity = [name for name in ("path", "id", "start", "end") if name in of_manifests]
    before, behind = [*identity, "emotion", "confidence"], [*further, "error", "remark"]
    if taken := [label for label in labels if label in (*before, *behind)]:
        raise GemoclapError(f"labels: {taken[0]!r} is the name of a column of the table; take another word")
    return [*before, *labels, *behind]
