"""Methods that several runs have trained with seeds of their own, and otherwise told the same: what they come to on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from gemoclap.metrics import Difference, paired_difference, score
from gemoclap.predictions import PredictionTable, paired
from gemoclap.recipes.seeds import over_seeds
from gemoclap.reports.results import MethodResults, SeedMean


def seed_means(groups: Sequence[tuple[str, Mapping[int, MethodResults]]]) -> tuple[SeedMean, ...]:
    """Return the mean over seeds of each group that has two or more, whose folds are all finished.

    Every seed tests the same utterances, so a class has as many in each: the figures of all their predictions put together are
    the means over seeds, and speakers are resampled with what all seeds said of them.

    Parameters
    ----------
    groups : a title each, and seed -> the method trained with it.
    """
    finished = [
        (title, {seed: members[seed] for seed in sorted(members) if not members[seed].missing})
        for title, members in groups
    ]
    several = [(title, members) for title, members in finished if len(members) > 1]
    return tuple(_seed_mean(title, members, several[0][1]) for title, members in several)


def _seed_mean(title: str, members: Mapping[int, MethodResults], first: Mapping[int, MethodResults]) -> SeedMean:
    each = [method.pooled for method in members.values() if method.pooled is not None]
    tables = _tables(members)
    truth, prediction, _, speakers = zip(*chain(*(paired(table, table) for table in tables)), strict=True)
    together = score(truth, prediction, tables[0].classes, speakers, [None] * len(truth))
    return SeedMean(
        title=title,
        members=members,
        war=over_seeds([one.war for one in each]),
        uar=over_seeds([one.uar for one in each]),
        war_interval=together.war_interval,
        uar_interval=together.uar_interval,
        difference=None if members is first or members.keys() != first.keys() else _difference(first, members),
    )


def _difference(first: Mapping[int, MethodResults], members: Mapping[int, MethodResults]) -> Difference:
    pairs = zip(_tables(first), _tables(members), strict=True)
    rows = chain(*(paired(*pair) for pair in pairs))
    truth, a, b, speakers = zip(*rows, strict=True)
    return paired_difference(truth, a, b, speakers)


def _tables(members: Mapping[int, MethodResults]) -> list[PredictionTable]:
    return [method.predictions for method in members.values() if method.predictions is not None]
