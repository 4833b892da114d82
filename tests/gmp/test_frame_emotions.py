"""What clusters say of emotion, against loops over frames."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from gemoclap.gmp.frame_emotions import count_emotions, emotion_given_cluster, smooth


def test_frames_are_counted_by_cluster_and_emotion() -> None:
    labels, emotions, counts = np.array([0, 0, 2, 1, 2, 2, 0]), [1, None, 0], [3, 2, 2]
    naive = np.zeros((3, 2), int)
    frame = 0
    for emotion, count in zip(emotions, counts, strict=True):
        for _ in range(count):
            if emotion is not None:
                naive[labels[frame], emotion] += 1
            frame += 1
    found = count_emotions(labels, emotions, counts, 3, 2)
    assert found.tolist() == naive.tolist() == [[1, 2], [0, 0], [1, 1]]


def test_probabilities_are_those_of_a_corpus_with_equally_frequent_emotions() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(1, 50, (6, 3))
    table[:, 2] *= 10  # an emotion ten times as frequent says as much
    found = emotion_given_cluster(table, 0.0)
    shares = table / table.sum(0)
    assert np.allclose(found, shares / shares.sum(1, keepdims=True)) and np.allclose(found.sum(1), 1.0)


@pytest.mark.parametrize("pseudo_count", [0.0, 5.0])
def test_few_frames_say_little_and_none_say_nothing(pseudo_count: float) -> None:
    table = np.array([[0, 0], [1, 0], [999, 0], [0, 1000]])
    found = emotion_given_cluster(table, pseudo_count)
    assert found[0].tolist() == [0.5, 0.5] and np.allclose(found.sum(1), 1.0)
    if pseudo_count:
        assert 0.5 < found[1, 0] < 0.6 < 0.99 < found[2, 0]
        # By hand: one frame of 1000 of both emotions, 5 pseudo-counts.
        assert found[1, 0] == pytest.approx((1 + 2.5) / (1 + 5))
    else:
        assert found[1].tolist() == found[2].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("width", [1, 2, 5, 40])
def test_smoothing_is_the_mean_of_what_is_there(width: int) -> None:
    values = np.random.default_rng(1).random((20, 3))
    found = smooth(values, width)
    for row in range(20):
        first, last = max(0, row - (width - 1) // 2), min(20, row + width // 2 + 1)
        assert np.allclose(found[row], values[first:last].mean(0))
    if width == 5:
        assert np.allclose(found[2:-2], uniform_filter1d(values, 5, axis=0)[2:-2])
