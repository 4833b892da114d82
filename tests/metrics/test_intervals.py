"""Intervals over few speakers cover what they claim, plain percentiles do not; what so few cannot say is said."""

import math

import numpy as np
import pytest

from gemoclap.errors import GemoclapError
from gemoclap.metrics import Labelled, bootstrap_interval, paired_difference, score, score_seeds
from gemoclap.metrics.intervals import difference_over_speakers, expanded_tail, interval_over_speakers
from gemoclap.metrics.scores import uar_of

CLASSES, EACH = 4, 12


def made_up(rng: np.random.Generator, corpora: int, speakers: int) -> np.ndarray:
    """Return confusion matrices (corpora, 1, S, C, C) of speakers who differ as a whole and class by class."""
    ease = np.array([1.6, 0.9, 0.5, 0.2]) + 0.6 * rng.standard_normal((corpora, 1, speakers, 1))
    right = 1 / (1 + np.exp(-ease - 0.6 * rng.standard_normal((corpora, 1, speakers, CLASSES))))
    chances = np.repeat(((1 - right) / (CLASSES - 1))[..., None], CLASSES, axis=-1)
    chances[..., np.arange(CLASSES), np.arange(CLASSES)] = right
    return rng.multinomial(EACH, chances)


def plain_percentile(confusion: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    drawn = confusion[0][rng.integers(0, confusion.shape[1], (1000, confusion.shape[1]))].sum(axis=1)
    recalls = np.diagonal(drawn, axis1=1, axis2=2) / drawn.sum(axis=2)
    low, high = np.quantile(recalls.mean(axis=1), [0.025, 0.975])
    return low, high


@pytest.mark.parametrize("seeds", [1, 3])
def test_speakers_may_have_other_sums_than_matrices(seeds: int) -> None:
    """A plain mean of values, from the sum and number of those of each speaker, by drawing whole speakers."""
    rng = np.random.default_rng(4)
    of_speakers = [rng.normal(rng.normal(), 1, (seeds, rng.integers(3, 9))) for _ in range(12)]
    sums = np.stack([[one.sum(axis=1), np.full(seeds, one.shape[1])] for one in of_speakers]).transpose(2, 0, 1)
    assert sums.shape == (seeds, 12, 2)
    means = []
    for _ in range(4000):
        drawn = np.concatenate([of_speakers[place] for place in rng.integers(0, 12, 12)], axis=1)
        means.append(drawn[rng.integers(0, seeds, seeds)].mean())
    tail = expanded_tail(0.95, 12)
    found = interval_over_speakers(sums, lambda drawn: drawn[..., 0] / drawn[..., 1])
    assert found == pytest.approx(np.quantile(means, [tail, 1 - tail]), abs=0.08)


@pytest.mark.parametrize("speakers", [9, 10])
def test_few_speakers_are_covered_as_often_as_is_claimed(speakers: int) -> None:
    rng = np.random.default_rng(3)
    many = made_up(rng, 1, 20000)[0, 0]
    true = float(np.mean(np.diag(many.sum(axis=0)) / many.sum(axis=(0, 2))))
    corpora = made_up(rng, 400, speakers)
    new = [interval_over_speakers(one, uar_of, samples=2000) for one in corpora]
    old = [plain_percentile(one, rng) for one in corpora]
    covered_new, covered_old = (np.mean([low <= true <= high for low, high in found]) for found in (new, old))
    assert 0.925 <= covered_new <= 0.98
    assert covered_old < 0.92 and covered_old < covered_new - 0.02


def test_differences_of_few_speakers_are_covered_too() -> None:
    rng = np.random.default_rng(4)
    a, b = made_up(rng, 300, 9), made_up(rng, 300, 9)  # alike: the true difference is 0
    found = [difference_over_speakers(*pair, samples=2000) for pair in zip(a, b, strict=True)]
    assert 0.925 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.98


def labelled(hits: dict[str, list[tuple[str, str]]]) -> tuple[list[str], list[str], list[str]]:
    rows = [(truth, said, speaker) for speaker, pairs in hits.items() for truth, said in pairs]
    truth, said, speakers = (list(column) for column in zip(*rows, strict=True))
    return truth, said, speakers


RIGHT, WRONG = [("a", "a"), ("b", "b")], [("a", "a"), ("b", "a")]


def test_one_speaker_has_no_interval_and_it_is_said() -> None:
    truth, said, speakers = labelled({"s": RIGHT + WRONG})
    scores = score(truth, said, ["a", "b"], speakers, [None] * 4)
    assert all(math.isnan(one) for one in (*scores.uar_interval, *scores.war_interval, *scores.macro_f1_interval))
    assert math.isnan(paired_difference(truth, said, truth, speakers).high)
    assert "only one speaker" in scores.cautions[0]


def test_two_speakers_give_their_range_and_it_is_said_what_that_is_worth() -> None:
    truth, said, speakers = labelled({"s": RIGHT, "t": WRONG})
    scores = score(truth, said, ["a", "b"], speakers, [None] * 4)
    assert scores.uar_interval == (0.5, 1.0)
    assert scores.cautions == (
        "there are only 2 speakers: with so few, an interval covers the true figure at most 50 times in 100, not 95",
    )


def test_a_class_of_one_speaker_is_named_and_makes_nothing_undefined() -> None:
    truth, said, speakers = labelled({f"s{n}": RIGHT + WRONG for n in range(6)} | {"t": [("c", "c"), *WRONG]})
    scores = score(truth, said, ["a", "b", "c"], speakers, [None] * len(truth))
    assert np.isfinite(scores.uar_interval).all() and scores.uar_interval[0] <= scores.uar <= scores.uar_interval[1]
    assert scores.cautions == (
        "only one speaker has c: intervals cannot show how much that recall differs between speakers",
    )
    assert not score(
        *labelled({f"s{n}": RIGHT for n in range(5)})[:2], ["a", "b"], list("vwxyz") * 2, [None] * 10
    ).cautions


def seeds_of(rng: np.random.Generator, number: int, spread: float) -> np.ndarray:
    """Return (K, S, C, C) of ten speakers, each seed with an ease of its own."""
    right = 1 / (1 + np.exp(-0.5 - spread * np.linspace(-1, 1, number)[:, None, None] * np.ones((1, 10, 3))))
    chances = np.repeat(((1 - right) / 2)[..., None], 3, axis=-1)
    chances[..., np.arange(3), np.arange(3)] = right
    return rng.multinomial(20, chances)


def test_seeds_that_differ_widen_the_interval_of_their_mean() -> None:
    near, far = (seeds_of(np.random.default_rng(1), 4, spread) for spread in (0.0, 1.0))
    widths = [np.diff(interval_over_speakers(one, uar_of))[0] for one in (near, far)]
    assert widths[1] > 2 * widths[0]
    # Speakers drawn alone do not see it.
    over_speakers = np.diff(interval_over_speakers(far.sum(axis=0, keepdims=True), uar_of))[0]
    assert widths[1] > 2 * over_speakers


def test_the_mean_over_seeds_is_resampled_as_written_out() -> None:
    by_seed = seeds_of(np.random.default_rng(2), 3, 0.6)
    rng, values = np.random.default_rng(9), []
    for _ in range(6000):
        speakers, seeds = rng.integers(0, 10, 10), rng.integers(0, 3, 3)
        sums = by_seed[seeds][:, speakers].sum(axis=1)
        values.append(np.mean([np.diag(one) / one.sum(axis=1) for one in sums]))
    tail = 0.00784  # Phi(-t(0.975, 9) sqrt(10 / 9)) of tables
    assert interval_over_speakers(by_seed, uar_of) == pytest.approx(np.quantile(values, [tail, 1 - tail]), abs=0.012)


def test_a_difference_of_means_counts_every_seed() -> None:
    a, b = seeds_of(np.random.default_rng(5), 2, 0.3), seeds_of(np.random.default_rng(6), 3, 0.8)
    found = difference_over_speakers(a, b)
    expected = [np.mean([np.diag(one) / one.sum(axis=1) for one in group.sum(axis=1)]) for group in (a, b)]
    assert found.value == pytest.approx(expected[1] - expected[0])
    assert found.low < found.value < found.high


def test_scores_over_seeds_are_means_and_count_an_utterance_once() -> None:
    rng = np.random.default_rng(8)
    truth = [["a", "b", "c"][one] for one in rng.integers(0, 3, 90)]
    speakers = [f"s{one}" for one in rng.integers(0, 9, 90)]
    genders = ["female" if one < "s5" else "male" for one in speakers]
    each = [[["a", "b", "c"][one] for one in rng.integers(0, 3, 90)] for _ in range(3)]
    backwards = Labelled(truth[::-1], each[1][::-1], speakers[::-1], genders[::-1])
    seeds = [Labelled(truth, each[0], speakers, genders), backwards, Labelled(truth, each[2], speakers, genders)]
    together = score_seeds(seeds, ["a", "b", "c"])
    alone = [score(truth, said, ["a", "b", "c"], speakers, genders) for said in each]
    for name in ("war", "uar", "macro_f1", "gender_gap"):
        assert getattr(together, name) == pytest.approx(np.mean([getattr(one, name) for one in alone]))
    assert (together.n, together.n_seeds, together.confusion.sum()) == (90, 3, 270)
    with pytest.raises(GemoclapError, match="tested different utterances"):
        score_seeds([seeds[0], Labelled(truth[:-1], each[1][:-1], speakers[:-1], genders[:-1])], ["a", "b", "c"])


def test_resampling_is_the_same_every_time_and_in_whatever_order() -> None:
    truth, said, speakers = labelled({f"s{n}": RIGHT * n + WRONG for n in range(7)})
    backwards = bootstrap_interval(truth[::-1], said[::-1], speakers[::-1])
    assert bootstrap_interval(truth, said, speakers) == backwards
