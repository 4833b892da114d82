"""Joins the judgements of several raters to one utterance with their votes."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gemoclap.corpora.manifest import DIMENSIONS, Utterance
from gemoclap.errors import GemoclapError
from gemoclap.labels import folded
from gemoclap.wording import counted

logger = logging.getLogger(__name__)

SAME = ("path", "start", "end", "corpus", "session", "speaker", "gender", "partition")
"""Fields that are about the clip, so that all judgements of it must agree in them."""


@dataclass(frozen=True)
class Judgement:
    """What one rater heard in a clip. `rater` is a name, or None. `where` is the position in the table, for messages."""

    row: Utterance
    rater: str | None
    where: str


def most_voted(votes: Mapping[str, float]) -> str | None:
    """Return the word with the most votes; None if there are no votes, or several words have the most.

    Sums of fractions that differ in their last digits only are equal: 0.1 + 0.2 and 0.3.
    """
    most = max(votes.values(), default=0)
    words = [word for word, count in votes.items() if math.isclose(count, most)]
    return words[0] if len(words) == 1 else None


def join_judgements(judgements: Sequence[Judgement], source: str) -> list[Utterance]:
    """Return one row for each clip, in the order in which the clips come first, and print how many were joined.

    Each judgement of an emotion is a vote. The label is the word with the most votes, or None if several have the most.
    Valence, arousal and dominance are means. The other fields are those of the first judgement.

    Parameters
    ----------
    judgements : their names and labels must have one spelling each (`speakers.one_spelling`). Raters are compared here.
    source : name of the table, for what is printed.

    Raises
    ------
    GemoclapError : judgements of a clip differ in a field of `SAME`, or a rater judged a clip twice.
    """
    of_clips: dict[str, list[Judgement]] = {}
    for one in judgements:
        of_clips.setdefault(one.row.id, []).append(one)
    rows = [_joined(of_clip) for of_clip in of_clips.values()]
    joined = f"{counted(len(judgements), 'judgement')} of {counted(len(rows), 'clip')} joined"
    labels = about_labels(rows) if any(row.votes for row in rows) else "no judgement names an emotion"
    logger.warning("%s: %s; %s", source, joined, labels)
    return rows


def about_labels(rows: Sequence[Utterance]) -> str:
    """Return a sentence on labels that are the emotion with the most votes, and on clips that have none."""
    silent = sum(row.votes is None for row in rows)
    unsure = sum(row.votes is not None and row.emotion is None for row in rows)
    reasons = ((unsure, "several emotions have the most votes"), (silent, "nobody voted"))
    lacking = [f"{counted(number, 'clip')} without a label, because {why}" for number, why in reasons if number]
    return "; ".join(["labels are the emotions with the most votes", *lacking])


def _joined(judgements: Sequence[Judgement]) -> Utterance:
    first = judgements[0]
    raters: dict[str, str] = {}
    votes: dict[str, float] = {}
    for one in judgements:
        for field in SAME:
            if getattr(one.row, field) != getattr(first.row, field):
                here, there = getattr(one.row, field), getattr(first.row, field)
                raise GemoclapError(
                    f"{one.where}: the {field} of clip {one.row.id} is {here!r} here and {there!r} at {first.where}; "
                    "correct one of the rows"
                )
        if one.rater is not None and (earlier := raters.setdefault(folded(one.rater), one.where)) != one.where:
            raise GemoclapError(
                f"{one.where}: rater {one.rater!r} has judged clip {one.row.id} at {earlier} already; drop one row"
            )
        for word, count in (one.row.votes or ({one.row.emotion: 1.0} if one.row.emotion else {})).items():
            votes[word] = votes.get(word, 0.0) + count
    means = {field: _mean([getattr(one.row, field) for one in judgements]) for field in DIMENSIONS}
    return replace(first.row, emotion=most_voted(votes), votes=votes or None, **means)  # type: ignore[arg-type]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
