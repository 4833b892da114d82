"""Sign-flip tests against scipy's permutation test and against every sign written out; Holm's correction by its definition."""

import itertools

import numpy as np
import pytest
import scipy.stats

from gemoclap.metrics import holm, sign_flip_p, speaker_shares
from gemoclap.metrics.scores import uar_of


def test_p_is_the_share_of_all_signs_that_give_as_much() -> None:
    shares = np.array([0.02, -0.01, 0.03, 0.005, 0.0])
    sums = [abs(np.dot(signs, shares)) for signs in itertools.product((1, -1), repeat=5)]
    assert sign_flip_p(shares) == np.mean([one >= abs(shares.sum()) - 1e-12 for one in sums])


@pytest.mark.parametrize("size", [9, 24])
def test_p_equals_scipys_permutation_test(size: int) -> None:
    shares = np.random.default_rng(size).normal(0.4, 1, size)
    expected = scipy.stats.permutation_test(
        (shares,), np.sum, permutation_type="samples", n_resamples=20000, rng=np.random.default_rng(1)
    )
    assert sign_flip_p(shares) == pytest.approx(expected.pvalue, abs=0.01)


def test_no_difference_is_no_finding() -> None:
    assert sign_flip_p(np.zeros(8)) == 1
    assert sign_flip_p(np.full(5, 0.1)) == 2 / 2**5  # five speakers cannot say more


def test_alike_methods_are_found_to_differ_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    found = [sign_flip_p(one) < 0.05 for one in rng.standard_normal((1000, 9))]
    assert 0.03 < np.mean(found) < 0.07


def test_shares_add_up_to_the_difference_of_the_mean_uars() -> None:
    rng = np.random.default_rng(1)
    a, b = np.zeros((2, 7, 4, 4), int), np.zeros((3, 7, 4, 4), int)
    truth, speakers = rng.integers(0, 3, 200), rng.integers(0, 7, 200)  # the fourth class does not occur
    for group in (a, b):
        for one in group:
            np.add.at(one, (speakers, truth, rng.integers(0, 4, 200)), 1)
    shares = speaker_shares(a, b)
    assert shares.shape == (7,)
    assert shares.sum() == pytest.approx(uar_of(b.sum(axis=1)).mean() - uar_of(a.sum(axis=1)).mean())


def test_holm_by_its_definition() -> None:
    values = np.random.default_rng(2).random(6) / 8
    order = np.sort(values)
    for value, corrected in zip(values, holm(values.tolist()), strict=True):
        rank = int(np.searchsorted(order, value))
        assert corrected == pytest.approx(min(1, max((6 - i) * order[i] for i in range(rank + 1))))
    assert holm([]) == [] and holm([0.2]) == [0.2]
