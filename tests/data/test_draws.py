"""Properties of balanced draws: which clips an epoch takes when classes, or corpora, count alike."""

from __future__ import annotations

import numpy as np
import pytest

from gemoclap.data.batching import balanced_draw, balanced_draw_within


def test_balanced_draw_takes_every_class_alike_and_repeats_evenly() -> None:
    rng = np.random.default_rng(5)
    classes = np.array([0] * 50 + [1] * 20 + [2] * 5)
    for _ in range(20):
        drawn = balanced_draw(classes, rng)
        times = np.bincount(drawn, minlength=len(classes))
        assert len(drawn) == len(classes)
        assert np.ptp(np.bincount(classes[drawn])) <= 1
        for one in range(3):  # nobody twice before everybody once
            assert np.ptp(times[classes == one]) <= 1


def test_balanced_draw_leaves_nobody_out_for_good() -> None:
    rng = np.random.default_rng(6)
    classes = np.array([0] * 30 + [1] * 10)
    seen = np.concatenate([balanced_draw(classes, rng) for _ in range(20)])
    assert set(seen) == set(range(40))


def test_balanced_draw_of_balanced_classes_is_a_permutation() -> None:
    classes = np.repeat(np.arange(4), 7)
    assert sorted(balanced_draw(classes, np.random.default_rng(7))) == list(range(28))


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_within_groups_is_even_over_groups_and_over_their_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.choice(3, 200, p=[0.8, 0.15, 0.05])
    classes = np.where(groups == 2, 0, rng.integers(0, 4, 200))  # the smallest group has one class alone
    drawn = balanced_draw_within(groups, classes, np.random.default_rng(seed))
    assert len(drawn) == 200
    assert np.ptp(np.bincount(groups[drawn])) <= 1
    for group in range(3):
        counts = np.bincount(classes[drawn][groups[drawn] == group])
        assert np.ptp(counts[counts > 0]) <= 1
    # No item is drawn twice more often than another of its group and class.
    times = np.bincount(drawn, minlength=200)
    for group in range(3):
        for one in range(4):
            same = times[(groups == group) & (classes == one)]
            assert not len(same) or np.ptp(same) <= 1


def test_a_draw_of_fewer_items_than_classes_has_each_class_once_at_most() -> None:
    drawn = balanced_draw(np.arange(6), np.random.default_rng(0), total=4)
    assert len(set(drawn)) == 4
