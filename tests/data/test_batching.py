"""Properties of length-bucketed batches, on made-up sets and on IEMOCAP's real durations."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gemoclap.data.batching import balanced_draw, count_batches, length_bucketed, padding_share
from gemoclap.errors import GemoclapError

SHARED = Path(__file__).parents[2].parent / "shared"
IEMOCAP = SHARED / "iemocap" / "utterances.tsv"
needs_iemocap = pytest.mark.skipif(not IEMOCAP.is_file(), reason=f"IEMOCAP's public durations are not at {IEMOCAP}")

Clips = tuple[np.ndarray, np.ndarray, np.ndarray]


def made_up(items: int, classes: int, seed: int) -> Clips:
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(10.8, 0.6, items).astype(int) + 1
    # Classes that go with length, as in real corpora, make mixing hard.
    emotions = np.clip(np.argsort(np.argsort(lengths)) * classes // items + rng.integers(-1, 2, items), 0, classes - 1)
    return lengths, emotions, rng.integers(0, 2, items)


def iemocap(max_seconds: float = 14.0) -> Clips:
    with IEMOCAP.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lengths = np.array([round(min(max_seconds, float(row["duration_s"])) * 16000) for row in rows])
    emotions = np.array([["ang", "hap", "neu", "sad"].index(row["emotion"].replace("exc", "hap")) for row in rows])
    genders = np.array([int(row["utterance_id"].rsplit("_", 1)[1][0] == "M") for row in rows])
    return lengths, emotions, genders


def share_mixed(batches: list[list[int]], labels: np.ndarray) -> float:
    return float(np.mean([len(set(labels[batch])) > 1 for batch in batches]))


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [2, 3, 8, 32])
@pytest.mark.parametrize("items", [8, 9, 17, 100, 257])
def test_every_clip_once_in_batches_of_like_size(items: int, batch_size: int, processes: int) -> None:
    clips = made_up(items, classes=3, seed=items)
    batches = length_bucketed(*clips, batch_size, np.random.default_rng(0), processes)
    assert sorted(clip for batch in batches for clip in batch) == list(range(items))
    sizes = [len(batch) for batch in batches]
    assert len(batches) % processes == 0 and len(batches) == count_batches(items, batch_size, processes)
    assert min(sizes) >= 2 and max(sizes) - min(sizes) <= 1
    assert max(sizes) <= (batch_size if batch_size > 3 else 4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("minority", [0, 3, 12, 13, 40, 50])
def test_as_many_batches_mix_emotions_as_can(minority: int, seed: int) -> None:
    """Each mixed batch needs a clip outside the largest class, so min(minority, batches) is the best there is."""
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.integers(8000, 200000, 100))
    emotions = np.zeros(100, dtype=int)
    # The longest clips are the other classes': length alone would put them together.
    emotions[100 - minority :] = 1 + np.arange(minority) % 2
    batches = length_bucketed(lengths, emotions, rng.integers(0, 2, 100), 8, rng)
    assert len(batches) == 13
    assert sum(len(set(emotions[batch])) > 1 for batch in batches) == min(minority, 13)


def test_classes_apart_in_length_still_meet() -> None:
    lengths = np.concatenate([np.full(64, 16000), np.full(64, 64000)])
    emotions = np.repeat([0, 1], 64)
    batches = length_bucketed(lengths, emotions, np.zeros(128, dtype=int), 8, np.random.default_rng(0))
    assert share_mixed(batches, emotions) == 1.0


def test_chance_comes_from_the_generator_alone() -> None:
    clips = made_up(200, classes=4, seed=1)
    first, again, other = (length_bucketed(*clips, 8, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    together = [{frozenset(batch) for batch in batches} for batches in (first, other)]
    assert len(together[0] & together[1]) < len(first) / 2


def test_processes_of_one_step_get_clips_of_like_length() -> None:
    lengths, emotions, genders = made_up(960, classes=4, seed=2)
    batches = length_bucketed(lengths, emotions, genders, 8, np.random.default_rng(0), processes=4)
    longest = np.array([lengths[batch].max() for batch in batches]).reshape(-1, 4)
    within, over_all = longest.std(axis=1).mean(), longest.std()
    assert within < over_all / 4


@needs_iemocap
@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_iemocap_pads_little_and_mixes(batch_size: int) -> None:
    lengths, emotions, genders = iemocap()
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(lengths))
    at_random = [list(shuffled[first : first + batch_size]) for first in range(0, len(lengths), batch_size)]
    assert padding_share(lengths, at_random) > 0.5
    for epoch in range(3):
        batches = length_bucketed(lengths, emotions, genders, batch_size, np.random.default_rng(epoch))
        assert padding_share(lengths, batches) < 0.05
        assert share_mixed(batches, emotions) == 1.0
        assert share_mixed(batches, genders) >= min(share_mixed(at_random, genders), 0.995)


def test_padding_share_by_hand() -> None:
    # Padded to 4 + 4 and 10: 18 samples, of which 4 + 1 + 10 are sound.
    assert padding_share([4, 1, 10], [[0, 1], [2]]) == pytest.approx(3 / 18)


@pytest.mark.parametrize(
    ("items", "batch_size", "processes", "says"),
    [(100, 1, 1, "train.batch_size"), (1, 8, 1, "batch of two"), (7, 8, 4, "fewer processes")],
)
def test_what_cannot_be_batched_is_refused(items: int, batch_size: int, processes: int, says: str) -> None:
    with pytest.raises(GemoclapError, match=says):
        count_batches(items, batch_size, processes)


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
