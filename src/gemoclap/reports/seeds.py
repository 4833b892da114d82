"""Methods that several runs have trained with seeds of their own, and otherwise told the same: what they come to on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from gemoclap.metrics import Difference, paired_difference
from gemoclap.predictions import PredictionTable, concatenate, paired
from gemoclap.recipes.seeds import over_seeds
from gemoclap.reports.results import MethodResults, SeedMean, score_table


def seed_means(groups: Sequence[tuple[str, Mapping[int, MethodResults]]]) -> tuple[SeedMean, ...]:
    """Return the mean over seeds of each group.

    Every seed tests the same utterances, so a class has as many in each: the figures of all their predictions put together are
    the means over seeds, and speakers are resampled with what all seeds said of them.

    Parameters
    ----------
    groups : a title each, and two or more seeds -> the method trained with it, whose folds are all finished.
    """
    ordered = [(title, dict(sorted(members.items()))) for title, members in groups]
    return tuple(_seed_mean(title, members, ordered[0][1]) for title, members in ordered)


def _seed_mean(title: str, members: Mapping[int, MethodResults], first: Mapping[int, MethodResults]) -> SeedMean:
    each = [method.pooled for method in members.values() if method.pooled is not None]
    together = score_table(concatenate(_tables(members)))
    return SeedMean(
        title=title,
        members=members,
        war=over_seeds([one.war for one in each]),
        uar=over_seeds([one.uar for one in each]),
        war_interval=together.war_interval,
        uar_interval=together.uar_interval,
        difference=None if members is first or len(members) != len(first) else _difference(first, members),
    )


def _difference(first: Mapping[int, MethodResults], members: Mapping[int, MethodResults]) -> Difference:
    # Which seed of the one meets which of the other changes nothing: speakers are resampled with all seeds.
    pairs = zip(_tables(first), _tables(members), strict=True)
    rows = chain(*(paired(*pair) for pair in pairs))
    truth, a, b, speakers = zip(*rows, strict=True)
    return paired_difference(truth, a, b, speakers)


def _tables(members: Mapping[int, MethodResults]) -> list[PredictionTable]:
    return [method.predictions for method in members.values() if method.predictions is not None]
