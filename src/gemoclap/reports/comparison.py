"""Compares every system with every other on the same clips: scores, differences over speakers, p-values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.metrics import (
    STATISTICS,
    Difference,
    Labelled,
    Scores,
    confusion_by_seed,
    difference_over_speakers,
    holm,
    mcnemar_p,
    score_seeds,
    sign_flip_p,
    speaker_shares,
)
from gemoclap.reports.records import cautions_of, is_significant, too_few
from gemoclap.reports.systems import System, clips_by_name
from gemoclap.wording import counted


@dataclass(frozen=True)
class SystemPair:
    """The system `second` minus the system `first`, by their places.

    Attributes
    ----------
    differences : ``"war"``, ``"uar"`` and ``"macro_f1"`` -> difference with its interval over speakers (and seeds).
    p, p_corrected : ``"war"`` and ``"uar"`` -> p of sign flips over speakers, and after Holm's correction for all pairs; NaN if
        there is only one speaker.
    only_first, only_second : number of clips that only this one gets right; None if a system has several seeds.
    mcnemar, mcnemar_corrected : p of McNemar's test over clips; NaN if a system has several seeds.
    """

    first: int
    second: int
    differences: Mapping[str, Difference]
    p: Mapping[str, float]
    p_corrected: Mapping[str, float]
    only_first: int | None
    only_second: int | None
    mcnemar: float
    mcnemar_corrected: float

    @property
    def differs(self) -> bool | None:
        """Whether the UARs differ significantly on other speakers (`is_significant`)."""
        return is_significant(self.differences["uar"], self.p_corrected["uar"])


@dataclass(frozen=True)
class SystemComparison:
    """Systems and all their pairs.

    Attributes
    ----------
    systems, scores : the systems in the order given, and the scores of each on the common clips.
    pairs : every pair, an earlier system first.
    classes : the classes, in order.
    n : number of clips.
    n_speakers : number of speakers; a clip of an unknown speaker counts as a speaker of its own.
    remarks : sentences on clips that were left out, unknown speakers, answers that are no label, and limits of intervals.
    """

    systems: tuple[System, ...]
    scores: tuple[Scores, ...]
    pairs: tuple[SystemPair, ...]
    classes: tuple[str, ...]
    n: int
    n_speakers: int
    remarks: tuple[str, ...]


def compare_systems(systems: Sequence[System], facts: System | None = None, common: bool = False) -> SystemComparison:
    """Compare every system with every other.

    Parameters
    ----------
    systems : two or more, with different names.
    facts : what a manifest says about the clips (`systems.manifest_facts`).
    common : whether clips that some system lacks are left out; otherwise they are an error.

    Raises
    ------
    GemoclapError : there is only one system; the systems have answered different clips, or no clip in common; the truth of a
        clip is unknown, or the files disagree about it.
    """
    if len(systems) < 2:
        raise GemoclapError(f"only one system, {systems[0].name}; name two or more to compare")
    clips, left_out = _clips(systems, common)
    truth = _truth(clips, systems, facts)
    whom, remark = _speakers(clips, systems, facts)
    genders = _values(clips, [one.genders for one in _sources(systems, facts)])
    classes = _classes(systems, truth, clips)
    labelled = [
        [Labelled(truth, [answers[clip] for clip in clips], whom, genders) for answers in system.answers]
        for system in systems
    ]
    scores = tuple(score_seeds(each, classes) for each in labelled)
    pairs = [_pair(first, second, labelled, classes) for first, second in combinations(range(len(systems)), 2)]
    about_answers = [*_adapted(systems), *_foreign_answers(systems, truth, clips)]
    remarks = [*left_out, *remark, *about_answers, *cautions_of(scores), *too_few(scores[0].n_clusters, len(pairs))]
    return SystemComparison(
        tuple(systems),
        scores,
        _corrected(pairs),
        classes,
        len(clips),
        scores[0].n_clusters,
        tuple(dict.fromkeys(remarks)),
    )


def _adapted(systems: Sequence[System]) -> list[str]:
    """Return a remark if some systems are adapted to speakers or recordings, and others are not."""
    names = [system.name for system in systems if system.is_adapted]
    if not 0 < len(names) < len(systems):
        return []
    return [
        f"{', '.join(names)}: adapted to speakers or recordings without labels, so an answer depends on other clips too; the "
        "others answer for each clip alone"
    ]


def _sources(systems: Sequence[System], facts: System | None) -> list[System]:
    return [*systems, *([facts] if facts else [])]


def _clips(systems: Sequence[System], common: bool) -> tuple[list[str], list[str]]:
    """Return the clips to compare on, in the order of the first system, and a remark if some are left out."""
    sets = [system.clips for system in systems]
    of_all, of_any = set.intersection(*sets), set.union(*sets)
    if not of_all:
        examples = "; ".join(
            f"{system.name} has {', '.join(clips_by_name(clips))}" for system, clips in zip(systems, sets, strict=True)
        )
        raise GemoclapError(f"the systems have no clip in common: {examples}; name the clips alike in all files")
    lacking = "; ".join(
        f"{system.name} lacks {len(of_any - clips):,} of {counted(len(of_any), 'clip')} "
        f"({', '.join(clips_by_name(of_any - clips))})"
        for system, clips in zip(systems, sets, strict=True)
        if of_any - clips
    )
    if lacking and not common:
        raise GemoclapError(
            f"the systems were not tested on the same clips: {lacking}; complete them, or add --common to compare on the "
            f"{len(of_all):,} that all have"
        )
    remark = (
        f"{counted(len(of_any) - len(of_all), 'clip')} left out, because not every system was tested on them: {lacking}"
    )
    return [clip for clip in systems[0].answers[0] if clip in of_all], [remark] if lacking else []


def _truth(clips: Sequence[str], systems: Sequence[System], facts: System | None) -> list[str]:
    """Return the true class of each clip. The manifest only counts if no system knows it, because labels may be merged."""
    known: dict[str, tuple[str, str]] = {}
    for system in systems:
        for clip in clips:
            if clip not in system.truth:
                continue
            label, whose = known.setdefault(clip, (system.truth[clip], system.name))
            if label != system.truth[clip]:
                raise GemoclapError(
                    f"clip {clip!r} is {label} in {whose} and {system.truth[clip]} in {system.name}; compare systems with the "
                    "same labels and merges"
                )
    found = {clip: label for clip, (label, _) in known.items()}
    found = {**(facts.truth if facts else {}), **found}
    lacking = [clip for clip in clips if clip not in found]
    if lacking:
        cure = "correct the manifest" if facts else "add a column 'truth', or --manifest with the labels"
        raise GemoclapError(
            f"the true label of {len(lacking):,} of {counted(len(clips), 'clip')} is unknown "
            f"({', '.join(clips_by_name(lacking))}); {cure}"
        )
    return [found[clip] for clip in clips]


def _speakers(clips: Sequence[str], systems: Sequence[System], facts: System | None) -> tuple[list[str], list[str]]:
    """Return the speaker of each clip, and a remark on unknown ones, each of which counts as a speaker of its own.

    All names come from the source that knows the most clips, since two sources may spell a speaker differently.
    """
    sources = [one.speakers for one in _sources(systems, facts)]
    fullest = max(sources, key=lambda names: sum(clip in names for clip in clips))
    unknown = [clip for clip in clips if clip not in fullest]
    remark = (
        f"the speaker of {len(unknown):,} of {counted(len(clips), 'clip')} is unknown, so each counts as a speaker of its own: "
        "intervals are too short and p is too small; add a column 'speaker', or --manifest"
    )
    return [fullest.get(clip, f"clip {clip}") for clip in clips], [remark] if unknown else []


def _values(clips: Sequence[str], sources: Sequence[Mapping[str, str]]) -> list[str | None]:
    return [next((source[clip] for source in sources if clip in source), None) for clip in clips]


def _classes(systems: Sequence[System], truth: Sequence[str], clips: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of the first system that lists them, and then all others that occur, by name."""
    listed = next((system.classes for system in systems if system.classes), ())
    said = {answers[clip] for system in systems for answers in system.answers for clip in clips}
    return (*listed, *sorted({*truth, *said} - {*listed}))


def _foreign_answers(systems: Sequence[System], truth: Sequence[str], clips: Sequence[str]) -> list[str]:
    """Return a remark on each system whose answers are classes of no clip: they are wrong, and count in its macro F1 alone."""
    found = []
    for system in systems:
        said = Counter(answers[clip] for answers in system.answers for clip in clips)
        foreign = {name: number for name, number in sorted(said.items()) if name not in set(truth)}
        if foreign:
            listed = ", ".join(f"{name} {number:,}" for name, number in foreign.items())
            found.append(
                f"{system.name} gave answers that are the label of no clip ({listed}): they count as wrong, and each such "
                "class as an F1 of 0 in its macro F1"
            )
    return found


def _pair(first: int, second: int, labelled: Sequence[Sequence[Labelled]], classes: Sequence[str]) -> SystemPair:
    both = [*labelled[first], *labelled[second]]
    by_seed = confusion_by_seed(both, classes)
    a, b = by_seed[: len(labelled[first])], by_seed[len(labelled[first]) :]
    p = {name: sign_flip_p(speaker_shares(a, b, name)) if a.shape[1] > 1 else math.nan for name in ("uar", "war")}
    counts = _only_one_right(*both) if len(both) == 2 else None
    mcnemar = mcnemar_p(*counts) if counts else math.nan
    return SystemPair(
        first,
        second,
        differences={name: difference_over_speakers(a, b, figure=figure) for name, figure in STATISTICS.items()},
        p=p,
        p_corrected=p,
        only_first=counts[0] if counts else None,
        only_second=counts[1] if counts else None,
        mcnemar=mcnemar,
        mcnemar_corrected=mcnemar,
    )


def _only_one_right(a: Labelled, b: Labelled) -> tuple[int, int]:
    right = [np.array(one.truth) == np.array(one.prediction) for one in (a, b)]
    return int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())


def _corrected(pairs: Sequence[SystemPair]) -> tuple[SystemPair, ...]:
    """Return the pairs with p-values corrected for all pairs, for each kind of test by itself."""
    by_speakers = {name: holm([pair.p[name] for pair in pairs]) for name in ("uar", "war")}
    by_clips = holm([pair.mcnemar for pair in pairs])
    return tuple(
        replace(
            pair,
            p_corrected={name: values[place] for name, values in by_speakers.items()},
            mcnemar_corrected=by_clips[place],
        )
        for place, pair in enumerate(pairs)
    )


def pair_row(comparison: SystemComparison, pair: SystemPair) -> dict[str, Any]:
    """Return a pair as plain values by column: differences and intervals as shares, p-values, counts; None if undefined."""
    row: dict[str, Any] = {
        "system": comparison.systems[pair.second].name,
        "minus": comparison.systems[pair.first].name,
        "n": comparison.n,
        "n_speakers": comparison.n_speakers,
    }
    for name in ("uar", "war", "macro_f1"):
        one = pair.differences[name]
        row |= {f"{name}_difference": one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        if name in pair.p:
            row |= {f"{name}_p": pair.p[name], f"{name}_p_holm": pair.p_corrected[name]}
    row |= {"only_right": pair.only_second, "only_minus_right": pair.only_first}
    row |= {"mcnemar_p": pair.mcnemar, "mcnemar_p_holm": pair.mcnemar_corrected, "differs": pair.differs}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
