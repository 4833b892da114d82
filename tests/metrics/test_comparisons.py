"""Sign-flip tests against scipy's permutation test and against every exchange of speakers; McNemar's and Holm's by scipy and
statsmodels; how often the tests find a difference where there is none."""

import itertools
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from gemoclap.metrics import (
    Labelled,
    comparisons,
    confusion_by_seed,
    difference_over_speakers,
    holm,
    mcnemar_p,
    sign_flip_p,
    speaker_shares,
)
from gemoclap.metrics.scores import uar_of, war_of
from gemoclap.reports.records import is_significant


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


@pytest.mark.parametrize("size", [15, 40, 91])
def test_signs_drawn_in_chunks_are_those_drawn_at_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = np.random.default_rng(size).normal(0.2, 1, size)
    at_once = np.random.default_rng(0).choice([-1, 1], (20_000, size))
    at_once[0] = 1
    expected = np.mean(np.abs(at_once @ shares) >= abs(shares.sum()) - 1e-12)
    assert sign_flip_p(shares) == expected
    monkeypatch.setattr(comparisons, "CHUNK", 1000)
    assert sign_flip_p(shares) == expected


@pytest.mark.parametrize("zeros", [1, 30])
@pytest.mark.parametrize("moving", [5, 14, 17])
def test_speakers_without_a_share_change_nothing(moving: int, zeros: int) -> None:
    """All signs of 17 shares are 131,072 sums; p of the random ones may be off by three standard errors."""
    shares = np.random.default_rng(moving).normal(0.3, 1, moving)
    sums = np.zeros(1)
    for one in shares:
        sums = np.concatenate([sums + one, sums - one])
    exact = np.mean(np.abs(sums) >= abs(shares.sum()) - 1e-12)
    mixed = np.random.default_rng(1).permutation(np.append(shares, np.zeros(zeros)))
    error = 0 if moving <= 14 else 3 * np.sqrt(exact * (1 - exact) / 20_000)
    assert sign_flip_p(mixed) == pytest.approx(exact, abs=error, rel=1e-12)


def test_memory_does_not_grow_with_the_number_of_clips_that_are_their_own_speakers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no speakers are known, each clip is one."""
    monkeypatch.setattr(comparisons, "DRAWS", 2000)
    shares = np.zeros(60_000)
    shares[::12] = np.random.default_rng(0).choice([-1, 1], 5000) / 60_000
    tracemalloc.start()
    p = sign_flip_p(shares)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # At once, 2000 draws of 5000 signs would take 80 MB as integers, and as much again as floats.
    assert most < 40e6
    normal = 2 * scipy.stats.norm.sf(abs(shares.sum()) * 60_000 / np.sqrt(5000))
    assert p == pytest.approx(normal, abs=0.04)


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
    for statistic, figure in (("uar", uar_of), ("war", war_of)):
        shares = speaker_shares(a, b, statistic)
        assert shares.shape == (7,)
        assert shares.sum() == pytest.approx(figure(b.sum(axis=1)).mean() - figure(a.sum(axis=1)).mean())


@pytest.mark.parametrize(("statistic", "sklearns"), [("uar", balanced_accuracy_score), ("war", accuracy_score)])
def test_p_is_the_share_of_exchanges_of_whole_speakers(statistic: str, sklearns: Callable[..., float]) -> None:
    """Sign flips of shares are the same as exchanging the two systems' answers for some of the speakers."""
    rng = np.random.default_rng(5)
    truth, speakers = rng.integers(0, 3, 90), rng.integers(0, 6, 90)
    a = np.where(rng.random(90) < 0.5, truth, rng.integers(0, 3, 90))
    b = np.where(rng.random(90) < 0.7, truth, rng.integers(0, 3, 90))
    observed = sklearns(truth, b) - sklearns(truth, a)
    larger = []
    for exchanged in itertools.product((False, True), repeat=6):
        swap = np.array(exchanged)[speakers]
        difference = sklearns(truth, np.where(swap, a, b)) - sklearns(truth, np.where(swap, b, a))
        larger.append(abs(difference) >= abs(observed) - 1e-12)
    one, other = confusion_by_seed([Labelled(truth, said, speakers, [None] * 90) for said in (a, b)], range(3))
    assert sign_flip_p(speaker_shares(one[None], other[None], statistic)) == np.mean(larger)


def test_holm_by_its_definition() -> None:
    values = np.random.default_rng(2).random(6) / 8
    order = np.sort(values)
    for value, corrected in zip(values, holm(values.tolist()), strict=True):
        rank = int(np.searchsorted(order, value))
        assert corrected == pytest.approx(min(1, max((6 - i) * order[i] for i in range(rank + 1))))
    assert holm([]) == [] and holm([0.2]) == [0.2]


def test_holm_does_not_count_tests_that_are_not_defined() -> None:
    found = holm([0.01, float("nan"), 0.03])
    assert found[::2] == [0.02, 0.03] and np.isnan(found[1])


def test_mcnemar_is_the_exact_binomial_test_of_the_clips_that_one_alone_gets_right() -> None:
    for only_a, only_b in itertools.product(range(12), range(12)):
        expected = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar_p(only_a, only_b) == pytest.approx(expected)
    assert mcnemar_p(310, 402) == pytest.approx(scipy.stats.binomtest(310, 712).pvalue)


def test_statsmodels_says_the_same() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for only_a, only_b in ((0, 0), (3, 9), (40, 21), (5, 5)):
        expected = tables.mcnemar([[50, only_a], [only_b, 7]], exact=True).pvalue if only_a + only_b else 1.0
        assert mcnemar_p(only_a, only_b) == pytest.approx(expected)
    values = np.random.default_rng(8).random(10) ** 3
    assert holm(values.tolist()) == pytest.approx(multitest.multipletests(values, method="holm")[1])


def answered(rng: np.random.Generator, seeds: int, of_seeds: float, of_speakers: float, ease: np.ndarray) -> np.ndarray:
    """Return confusion matrices (K, S, C, C) of a system that is as good as any other of the same `ease` (S, C)."""
    speakers, classes = ease.shape
    odds = ease + of_speakers * rng.standard_normal(ease.shape) + of_seeds * rng.standard_normal((seeds, 1, classes))
    right = 1 / (1 + np.exp(-odds))
    chances = np.repeat(((1 - right) / (classes - 1))[..., None], classes, axis=-1)
    chances[..., np.arange(classes), np.arange(classes)] = right
    return rng.multinomial(12, chances)


def test_mcnemar_finds_too_much_where_speakers_differ_and_the_test_over_speakers_does_not() -> None:
    rng = np.random.default_rng(6)
    found = {"speakers": [], "clips": []}
    for _ in range(200):
        ease = 0.8 + 0.6 * rng.standard_normal((9, 4))
        a, b = (answered(rng, 1, 0.0, 1.2, ease) for _ in range(2))
        found["speakers"].append(sign_flip_p(speaker_shares(a, b)) < 0.05)
        # Clips are independent given the speaker, so those that only one gets right can be counted class by class.
        hits = [np.diagonal(one[0], axis1=1, axis2=2) for one in (a, b)]
        right = [rng.permuted(np.arange(12) < one[..., None], axis=-1) for one in hits]
        found["clips"].append(mcnemar_p((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()) < 0.05)
    assert np.mean(found["speakers"]) < 0.08
    assert np.mean(found["clips"]) > 0.12


def test_seeds_that_differ_much_are_not_taken_for_a_difference_of_methods() -> None:
    """The test over speakers knows nothing of seeds; the interval does, so a finding needs both."""
    rng = np.random.default_rng(7)
    p_alone, both = [], []
    for _ in range(80):
        ease = 0.8 + 0.6 * rng.standard_normal((16, 4))
        a, b = (answered(rng, 3, 0.4, 0.3, ease) for _ in range(2))
        p = sign_flip_p(speaker_shares(a, b))
        p_alone.append(p < 0.05)
        both.append(is_significant(difference_over_speakers(a, b, samples=400), p))
    # Three seeds are few, so the interval is a little too short too.
    assert np.mean(both) < 0.15 < 0.2 < np.mean(p_alone)
