"""The temperature against scipy's optimiser, calibration error against a naive loop, and answers that never change."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from gemoclap.errors import GemoclapError
from gemoclap.metrics.calibration import SHARPEST, apply_temperature, class_numbers, confidence_of, fit_temperature


def made_up(temperature: float, n: int = 3000, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities that are right at `temperature`, the truth drawn from them, and their logits."""
    rng = np.random.default_rng(int(10 * temperature))
    logits = 2 * rng.standard_normal((n, classes))
    right = scipy.special.softmax(logits / temperature, axis=1)
    truth = (right.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return scipy.special.softmax(logits, axis=1), truth, logits


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_is_that_of_scipys_optimiser(temperature: float) -> None:
    probabilities, truth, logits = made_up(temperature)

    def loss(log_temperature: float) -> float:
        logs = scipy.special.log_softmax(logits / math.exp(log_temperature), axis=1)
        return -logs[np.arange(len(truth)), truth].mean()

    best = math.exp(scipy.optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)
    fitted = fit_temperature(probabilities, truth)
    assert fitted == pytest.approx(best, rel=1e-3)
    assert fitted == pytest.approx(temperature, rel=0.1)


def test_the_answers_never_change_and_the_error_falls() -> None:
    probabilities, truth, _ = made_up(0.3)
    sharpened = apply_temperature(probabilities, fit_temperature(probabilities, truth))
    assert (sharpened.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(sharpened.sum(axis=1), 1)
    before, after = confidence_of(probabilities, truth), confidence_of(sharpened, truth)
    assert after.ece < 0.2 * before.ece and after.nll < before.nll and after.brier < before.brier


def test_the_ceiling_of_the_contrastive_target_is_lifted() -> None:
    """Every answer right, every confidence e / (e + 3): what the softmax target of four classes ends at."""
    top = math.e / (math.e + 3)
    probabilities = np.full((40, 4), (1 - top) / 3)
    truth = np.arange(40) % 4
    probabilities[np.arange(40), truth] = top
    assert confidence_of(probabilities, truth).ece == pytest.approx(1 - top)
    sharpened = apply_temperature(probabilities, fit_temperature(probabilities, truth))
    assert confidence_of(sharpened, truth).ece < 1e-6


@pytest.mark.parametrize("bins", [15, 4])
def test_calibration_error_equals_a_naive_loop(bins: int) -> None:
    probabilities, truth, _ = made_up(2.5, n=400)
    found = confidence_of(probabilities, truth, bins)
    error = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [row for row in range(400) if low < probabilities[row].max() <= high]
        assert found.sizes[index] == len(inside)
        if inside:
            confidence = sum(probabilities[row].max() for row in inside) / len(inside)
            right = sum(probabilities[row].argmax() == truth[row] for row in inside) / len(inside)
            error += len(inside) / 400 * abs(confidence - right)
    assert found.ece == pytest.approx(error)
    brier = sum(sum((probabilities[row, k] - (truth[row] == k)) ** 2 for k in range(4)) for row in range(400)) / 400
    assert found.brier == pytest.approx(brier)
    assert found.nll == pytest.approx(-np.mean([math.log(probabilities[row, truth[row]]) for row in range(400)]))


def test_what_has_no_best_temperature_ends_at_the_bounds() -> None:
    sure, zeros = np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(sure, np.array([0, 1])) == pytest.approx(1 / SHARPEST, rel=1e-6)
    assert fit_temperature(sure, np.array([1, 0])) == pytest.approx(SHARPEST, rel=1e-6)
    assert np.isfinite(apply_temperature(zeros, 0.01)).all() and np.isfinite(confidence_of(zeros, np.array([1, 0])).nll)


def test_nothing_to_fit_on_is_said() -> None:
    for probabilities in (np.zeros((0, 2)), np.array([[np.nan, np.nan]])):
        with pytest.raises(GemoclapError, match="there are none"):
            fit_temperature(probabilities, np.zeros(len(probabilities), int))
    assert class_numbers(["b", "a"], ("a", "b")).tolist() == [1, 0]
