"""Smoothing and merging against double loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gemoclap.inference.envelope import COLUMNS, Envelope
from gemoclap.inference.smoothing import owned, segments, smoothed, summed_up


@pytest.mark.parametrize("reach", [0.0, 0.4, 2.0, 50.0])
@pytest.mark.parametrize("missing", [[], [0, 7, 8, 39]])
def test_smoothing_is_a_weighted_mean_of_the_windows_with_an_answer(reach: float, missing: list[int]) -> None:
    rng = np.random.default_rng(0)
    middles, table = np.sort(rng.uniform(0, 30, 40)), rng.dirichlet(np.ones(3), 40)
    table[missing] = np.nan
    found = smoothed(middles, table, reach)
    assert np.isnan(found[missing]).all()
    for place in set(range(40)) - {*missing}:
        weights = {
            row: max(0.0, 1 - abs(other - middles[place]) / reach) if reach else float(row == place)
            for row, other in enumerate(middles)
            if row not in missing
        }
        for column in range(3):
            total = sum(weight * table[row, column] for row, weight in weights.items())
            assert found[place, column] == pytest.approx(total / sum(weights.values()), abs=1e-12)
    np.testing.assert_allclose(np.delete(found, missing, axis=0).sum(axis=1), 1)


def test_segments_by_hand() -> None:
    labels = ("a", "b")
    speech = [(0.0, 7.0), (10.0, 11.0), (20.0, 20.1), (30.0, 34.0)]
    windows = [(0.0, 4.0), (1.0, 5.0), (2.0, 6.0), (3.0, 7.0), (10.0, 11.0), (30.0, 34.0)]
    table = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7], [0.1, 0.9]])
    found = segments(labels, speech, windows, table)
    assert [(one.start, one.end, one.emotion) for one in found] == [
        (0.0, 3.5, "a"),
        (3.5, 7.0, "b"),
        (10.0, 11.0, "b"),
        (30.0, 34.0, "b"),
    ]
    # The first window owns 2.5 s, the second 1 s.
    assert found[0].probabilities == pytest.approx({"a": (2.5 * 0.9 + 0.7) / 3.5, "b": (2.5 * 0.1 + 0.3) / 3.5})
    assert found[0].confidence == pytest.approx((2.5 * 0.9 + 0.7) / 3.5)
    assert found[2].confidence == pytest.approx(0.7)
    assert segments(labels, [], [], np.zeros((0, 2))) == []
    unsure = segments(labels, speech, windows, table, threshold=0.71)
    assert [(one.start, one.end, one.emotion) for one in unsure] == [
        (0.0, 2.5, "a"),
        (2.5, 3.5, "unknown"),
        (3.5, 4.5, "b"),
        (4.5, 7.0, "unknown"),
        (10.0, 11.0, "unknown"),
        (30.0, 34.0, "b"),
    ]
    assert [round(one.confidence, 6) for one in unsure] == [0.9, 0.7, 0.8, 0.6, 0.7, 0.9]


def test_windows_without_an_answer_are_segments_of_their_own() -> None:
    labels, speech = ("a", "b"), [(0.0, 7.0), (10.0, 11.0)]
    windows = [(0.0, 4.0), (1.0, 5.0), (2.0, 6.0), (3.0, 7.0), (10.0, 11.0)]
    table = np.array([[0.9, 0.1], [np.nan] * 2, [np.nan] * 2, [0.9, 0.1], [np.nan] * 2])
    found = segments(labels, speech, windows, table, 0.0, [None, "x", "x", None, "y"])
    assert [(one.start, one.end, one.emotion, one.error) for one in found] == [
        (0.0, 2.5, "a", None),
        (2.5, 4.5, "unknown", "x"),
        (4.5, 7.0, "a", None),
        (10.0, 11.0, "unknown", "y"),
    ]
    bars = summed_up(labels, owned(speech, windows), table, 5.0)
    assert [(bar.start, bar.emotion) for bar in bars] == [(0.0, "a"), (5.0, "a")]
    assert bars[0].probabilities == pytest.approx({"a": 0.9, "b": 0.1})


def test_every_moment_belongs_to_the_nearest_window_and_bars_are_means_over_moments() -> None:
    rng = np.random.default_rng(1)
    speech = [(0.0, 9.0), (12.5, 14.0), (31.0, 47.0)]
    windows = [
        (start, min(start + 4, end)) for begin, end in speech for start in np.arange(begin, max(begin + 0.1, end - 3.5))
    ]
    table = rng.dirichlet(np.ones(3), len(windows))
    own = owned(speech, windows)
    moments = np.arange(0.005, 50, 0.01)
    nearest = {}
    for moment in moments:
        for begin, end in speech:
            if begin < moment < end:
                inside = [n for n, window in enumerate(windows) if begin <= window[0] < end]
                nearest[moment] = min(inside, key=lambda n: abs(sum(windows[n]) / 2 - moment))
    for moment, number in nearest.items():
        assert own[number][0] - 1e-9 <= moment <= own[number][1] + 1e-9
    bars = summed_up(("a", "b", "c"), own, table, 10.0)
    assert [(bar.start, bar.end) for bar in bars] == [(0, 10), (10, 20), (30, 40), (40, 50)]
    for bar in bars:
        mean = np.mean([table[number] for moment, number in nearest.items() if bar.start < moment < bar.end], axis=0)
        assert list(bar.probabilities.values()) == pytest.approx(mean.tolist(), abs=2e-3)
        assert bar.confidence == max(bar.probabilities.values()) == bar.probabilities[bar.emotion]
    assert summed_up(("a",), [], np.zeros((0, 1)), 10.0) == []


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 1000, 300_000, 700_001])
def test_an_outline_holds_all_samples(samples: int) -> None:
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(samples).astype(np.float32)
    envelope, place = Envelope(8000), 0
    while place < samples:
        length = int(rng.integers(0, 60_000))
        envelope.add(sound[place : place + length])
        place += length
    times, low, high = envelope.outline()
    assert len(times) == len(low) == len(high) <= 2 * COLUMNS + 1
    if samples:
        assert (low.min(), high.max()) == (sound.min(), sound.max())
        assert envelope.peak == pytest.approx(np.abs(sound).max())
        assert times[0] > 0 and times[-1] < samples / 8000
    width = times[1] - times[0] if len(times) > 1 else 1.0
    for time, least, largest in list(zip(times, low, high, strict=True))[:: max(1, len(times) // 50)][:-1]:
        own = sound[round((time - width / 2) * 8000) : round((time + width / 2) * 8000)]
        assert (least, largest) == (own.min(), own.max())
