"""The concordance correlation coefficient against loops, and its interval against a plain bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gemoclap.errors import GemoclapError
from gemoclap.metrics import expanded_tail
from gemoclap.metrics.concordance import concordance, concordance_interval


def naive(truth: list[float], prediction: list[float]) -> float:
    """2 cov / (var + var + (difference of means)^2), in Python's own floats."""
    count = len(truth)
    mean_t, mean_p = sum(truth) / count, sum(prediction) / count
    var_t = sum((t - mean_t) ** 2 for t in truth) / count
    var_p = sum((p - mean_p) ** 2 for p in prediction) / count
    shared = sum((t - mean_t) * (p - mean_p) for t, p in zip(truth, prediction, strict=True)) / count
    return 2 * shared / (var_t + var_p + (mean_t - mean_p) ** 2)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_it_is_that_of_the_definition(offset: float) -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 50):
        truth = offset + rng.uniform(1, 7, size)
        prediction = offset + 0.5 * (truth - offset) + rng.normal(1, 1, size)
        assert concordance(truth, prediction) == pytest.approx(naive(truth.tolist(), prediction.tolist()), abs=1e-9)


def test_right_wrong_and_shifted_predictions() -> None:
    truth = [1.0, 2.0, 3.0, 7.0]
    assert concordance(truth, truth) == 1
    assert concordance(truth, [8 - value for value in truth]) < 0
    assert concordance(truth, [value + 1 for value in truth]) < 1  # Pearson's correlation would be 1
    assert concordance(truth, [3.0] * 4) == 0
    assert math.isnan(concordance([], [])) and math.isnan(concordance([0.1] * 3, [0.1] * 3))


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        ([1.0], [1.0, 2.0], "1 true values have 2"),
        ([1.0, math.nan], [1.0, 2.0], "finite"),
        ([1.0], [math.inf], "finite"),
    ],
)
def test_what_is_no_pair_of_numbers_is_refused(truth: list[float], prediction: list[float], words: str) -> None:
    with pytest.raises(GemoclapError, match=words):
        concordance(truth, prediction)


def test_the_interval_is_that_of_a_bootstrap_over_speakers() -> None:
    rng = np.random.default_rng(1)
    speakers = [f"s{number}" for number in range(8) for _ in range(20)]
    truth = rng.uniform(1, 5, 160)
    bias = np.repeat(rng.normal(0, 0.8, 8), 20)
    prediction = truth + bias + rng.normal(0, 0.5, 160)
    low, high = concordance_interval(truth, prediction, speakers)
    places = [[row for row, name in enumerate(speakers) if name == one] for one in dict.fromkeys(speakers)]
    values = []
    for _ in range(3000):
        drawn = [row for one in rng.integers(0, 8, 8) for row in places[one]]
        values.append(concordance(truth[drawn], prediction[drawn]))
    tail = expanded_tail(0.95, 8)
    assert (low, high) == pytest.approx(np.quantile(values, [tail, 1 - tail]), abs=0.02)
    assert low < concordance(truth, prediction) < high


def test_few_and_unknown_speakers() -> None:
    truth, prediction = [1.0, 2.0, 4.0] * 2, [1.5, 2.0, 3.0] * 2
    assert all(math.isnan(end) for end in concordance_interval(truth, prediction, ["a"] * 6))
    low, high = concordance_interval(truth, prediction, ["a"] * 3 + ["b"] * 3)
    assert low == pytest.approx(high) == pytest.approx(concordance(truth, prediction))  # the speakers are alike
    low, high = concordance_interval(truth, prediction, [None] * 6)
    assert low < concordance(truth, prediction) < high
    assert all(math.isnan(end) for end in concordance_interval([0.1] * 3, [0.1] * 3, ["a", "b", "c"]))
    with pytest.raises(GemoclapError, match="6 values have 2 speakers"):
        concordance_interval(truth, prediction, ["a", "b"])
