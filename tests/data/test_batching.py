"""Properties of batches by number of clips and by budget, on made-up sets and on IEMOCAP's real durations."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from gemoclap.data.batching import (
    balanced_draw,
    count_batches,
    count_budgeted,
    length_bucketed,
    length_budgeted,
    padding_share,
    shuffled,
)
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


def test_batches_of_one_emotion_exchange_with_their_neighbours() -> None:
    """Two classes in turn, in stretches of two buckets: partners far off would cost a quarter of the samples."""
    lengths, emotions = np.geomspace(16000, 224000, 1024).astype(int), np.arange(1024) // 128 % 2
    batches = length_bucketed(lengths, emotions, np.zeros(1024, dtype=int), 8, np.random.default_rng(0))
    assert share_mixed(batches, emotions) == 1.0
    assert padding_share(lengths, batches) < 0.12


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


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [2, 3, 8, 32])
@pytest.mark.parametrize("items", [8, 9, 17, 100, 257])
def test_a_shuffle_has_every_clip_once_in_batches_of_like_size(items: int, batch_size: int, processes: int) -> None:
    batches = shuffled(items, batch_size, np.random.default_rng(0), processes)
    assert sorted(clip for batch in batches for clip in batch) == list(range(items))
    sizes = [len(batch) for batch in batches]
    assert len(batches) == count_batches(items, batch_size, processes)
    assert min(sizes) >= 2 and max(sizes) - min(sizes) <= 1


def test_in_a_shuffle_any_two_clips_meet_as_often() -> None:
    """Two of N clips share one of the batches of n with probability (n - 1) / (N - 1), neighbours or not."""
    met, epochs = np.zeros((24, 24)), 4000
    for epoch in range(epochs):
        for batch in shuffled(24, 4, np.random.default_rng([0, epoch])):
            met[np.ix_(batch, batch)] += 1
    pairs = met[np.triu_indices(24, 1)] / epochs
    # Five standard errors of a share of 3 / 23 over so many epochs.
    np.testing.assert_allclose(pairs, 3 / 23, rtol=0, atol=5 * np.sqrt(3 / 23 * 20 / 23 / epochs))


@needs_iemocap
def test_iemocap_shuffled_is_like_any_other_shuffle() -> None:
    lengths, emotions, _ = iemocap()
    batches = shuffled(len(lengths), 8, np.random.default_rng(0))
    other = np.array_split(np.random.default_rng(1).permutation(len(lengths)), len(batches))
    for measure in (
        lambda batch: lengths[batch].max(),
        lambda batch: lengths[batch].std(),
        lambda batch: len(set(emotions[batch])),
    ):
        one, two = (np.array([measure(batch) for batch in found]) for found in (batches, other))
        assert abs(one.mean() - two.mean()) < 5 * two.std() * np.sqrt(2 / len(two))


class FarthestJitter(np.random.Generator):
    """A generator whose uniform draws are all one end of the range or the other."""

    def uniform(self, low: float, high: float, size: int) -> np.ndarray:  # type: ignore[override]
        return self.choice([low, high], size)


def padded_sizes(lengths: np.ndarray, batches: list[list[int]]) -> np.ndarray:
    return np.array([len(batch) * max(lengths[clip] for clip in batch) for batch in batches])


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("times_longest", [2, 2.9, 3, 10, 1000])
@pytest.mark.parametrize("items", [8, 10, 17, 100, 257])
def test_every_clip_once_within_the_budget(items: int, times_longest: float, processes: int) -> None:
    lengths, emotions, genders = made_up(items, classes=3, seed=items)
    budget = int(times_longest * lengths.max())
    number = count_budgeted(lengths, budget, processes)
    assert number % processes == 0
    for seed in range(3):
        for rng in (np.random.default_rng(seed), FarthestJitter(np.random.PCG64(seed))):
            batches = length_budgeted(lengths, rng.permutation(emotions), genders, budget, rng, processes)
            assert sorted(clip for batch in batches for clip in batch) == list(range(items))
            assert len(batches) == number and min(map(len, batches)) >= 2
            assert padded_sizes(lengths, batches).max() <= budget


@pytest.mark.parametrize("items", [5, 7, 61, 62, 64, 100, 101, 121])
@pytest.mark.parametrize("size", [4, 5, 40])
def test_clips_of_one_length_take_few_batches_and_leave_no_small_one(items: int, size: int) -> None:
    labels = np.arange(items) % 2
    budget = size * 16000 + 15999
    batches = length_budgeted(np.full(items, 16000), labels, labels, budget, np.random.default_rng(0))
    assert len(batches) == -(-items // size)
    assert min(map(len, batches)) >= min(items, size) // 2


def test_chance_in_a_budget_comes_from_the_generator_alone() -> None:
    clips = made_up(200, classes=4, seed=1)
    budget = 3 * int(clips[0].max())
    first, again, other = (length_budgeted(*clips, budget, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    together = [{frozenset(batch) for batch in batches} for batches in (first, other)]
    assert len(together[0] & together[1]) < len(first) / 2


def test_over_the_epochs_no_bucket_keeps_to_itself() -> None:
    lengths = np.geomspace(32000, 64000, 400).astype(int)
    labels = np.arange(400) % 2
    met = np.zeros((400, 400), dtype=bool)
    for epoch in range(10):
        for batch in length_budgeted(lengths, labels, labels, 10**6, np.random.default_rng(epoch)):
            met[np.ix_(batch, batch)] = True
    assert connected_components(met, directed=False)[0] == 1


@pytest.mark.parametrize("minority", [0, 3, 12, 13, 40, 50])
def test_as_many_budgeted_batches_mix_emotions_as_can(minority: int) -> None:
    """All clips fit everywhere, so min(minority, batches) is the best there is."""
    rng = np.random.default_rng(minority)
    emotions = np.zeros(104, dtype=int)
    emotions[:minority] = 1 + np.arange(minority) % 2
    batches = length_budgeted(np.full(104, 16000), emotions, rng.integers(0, 2, 104), 8 * 16000, rng)
    assert len(batches) == 13
    assert sum(len(set(emotions[batch])) > 1 for batch in batches) == min(minority, 13)


def mixing_exchanges(batches: list[list[int]], lengths: np.ndarray, emotions: np.ndarray, budget: int) -> int:
    """Count, by trying all, the exchanges in a budget of two clips after which one batch more is mixed."""

    def mixed(batch: list[int]) -> bool:
        return len({emotions[clip] for clip in batch}) > 1

    found = 0
    for batch in (batch for batch in batches if not mixed(batch)):
        for other in (other for other in batches if other is not batch):
            for mine in range(len(batch)):
                for theirs in range(len(other)):
                    new = [*batch[:mine], other[theirs], *batch[mine + 1 :]]
                    new_other = [*other[:theirs], batch[mine], *other[theirs + 1 :]]
                    fits = padded_sizes(lengths, [new, new_other]).max() <= budget
                    found += fits and mixed(new) and mixed(new_other)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2, 10, 19, 29])  # in the last three, exchanges make others possible
def test_no_exchange_in_the_budget_mixes_another_batch(seed: int) -> None:
    """A class of short clips and one of long: the budget leaves batches with one emotion, but none that could have two."""
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.lognormal(10.8, 0.6, 100).astype(int))
    emotions = np.repeat([0, 1], 50)
    budget = 4 * int(lengths[-1])
    batches = length_budgeted(lengths, emotions, np.zeros(100, dtype=int), budget, np.random.default_rng(seed))
    assert share_mixed(batches, emotions) < 1.0
    assert mixing_exchanges(batches, lengths, emotions, budget) == 0


def test_budgeted_processes_of_one_step_wait_little_for_each_other() -> None:
    lengths, emotions, genders = made_up(960, classes=4, seed=2)
    batches = length_budgeted(lengths, emotions, genders, 4 * int(lengths.max()), np.random.default_rng(0), 4)
    padded = padded_sizes(lengths, batches).reshape(-1, 4)
    assert padded.mean() > 0.95 * padded.max(axis=1).mean()
    longest = np.array([lengths[batch].max() for batch in batches]).reshape(-1, 4)
    assert longest.std(axis=1).mean() < longest.std() / 4


@needs_iemocap
@pytest.mark.parametrize("seconds", [40, 60, 100, 150, 200])
def test_iemocap_in_a_budget_pads_little_and_mixes(seconds: int) -> None:
    lengths, emotions, genders = iemocap()
    budget = seconds * 16000
    for epoch in range(3):
        batches = length_budgeted(lengths, emotions, genders, budget, np.random.default_rng(epoch))
        assert padding_share(lengths, batches) < 0.05
        assert share_mixed(batches, emotions) == 1.0
        padded = padded_sizes(lengths, batches)
        # Two clips of 14 s leave 12 s of 40 unused, and a third does not fit.
        assert padded.max() <= budget and padded.mean() > (0.85 if seconds < 60 else 0.9) * budget


@pytest.mark.parametrize("seconds", [40, 100, 200])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.uniform(1, 14, 5000),
        lambda rng: np.minimum(14, rng.lognormal(1.3, 0.6, 5000)),
        lambda rng: np.where(rng.random(5000) < 0.5, rng.normal(2, 0.3, 5000).clip(1), rng.normal(10, 1, 5000)),
        lambda rng: np.full(5000, 3.0),
        lambda rng: rng.normal(3.7, 0.3, 1440),
    ],
    ids=["uniform", "lognormal", "bimodal", "constant", "read"],
)
def test_made_up_lengths_in_a_budget_pad_little(draw: Callable[..., np.ndarray], seconds: int) -> None:
    rng = np.random.default_rng(seconds)
    lengths = (16000 * draw(rng)).astype(int)
    emotions, genders = rng.integers(0, 4, len(lengths)), rng.integers(0, 2, len(lengths))
    batches = length_budgeted(lengths, emotions, genders, seconds * 16000, rng)
    assert padding_share(lengths, batches) < 0.05
    assert share_mixed(batches, emotions) == 1.0


@pytest.mark.parametrize(
    ("lengths", "budget", "processes", "seconds"),
    [
        ([224000] * 5 + [16000] * 100, 447999, 1, 28),  # two of the longest do not fit
        ([48000] * 101, 130000, 1, 9),  # three would have to, somewhere
        ([16000] * 6, 32000, 2, 3),  # three batches fit, but two processes need two or four
    ],
)
def test_a_budget_without_batches_of_two_is_refused(
    lengths: list[int], budget: int, processes: int, seconds: int
) -> None:
    with pytest.raises(GemoclapError, match="train.batch_seconds") as refusal:
        count_budgeted(lengths, budget, processes)
    says = re.search(r"set --train.batch_seconds to ([\d.]+) or more", str(refusal.value))
    assert says and float(says[1]) == seconds
    assert count_budgeted(lengths, seconds * 16000, processes) % processes == 0


def test_a_budget_cannot_make_up_for_clips_that_are_not_there() -> None:
    with pytest.raises(GemoclapError, match="fewer processes"):
        count_budgeted([16000] * 7, 10**6, processes=4)


def test_epochs_that_draw_different_clips_are_equally_long() -> None:
    lengths, _, genders = made_up(400, classes=3, seed=3)
    emotions = np.random.default_rng(3).choice(3, 400, p=[0.7, 0.2, 0.1])
    drawn = [balanced_draw(emotions, np.random.default_rng(epoch)) for epoch in range(8)]
    bounds = np.max([np.sort(lengths[clips]) for clips in drawn], axis=0)
    budget = 3 * int(lengths.max())
    assert len({count_budgeted(lengths[clips], budget, 2) for clips in drawn}) > 1
    for epoch, clips in enumerate(drawn):
        rng = np.random.default_rng(epoch)
        batches = length_budgeted(lengths[clips], emotions[clips], genders[clips], budget, rng, 2, bounds)
        assert len(batches) == count_budgeted(bounds, budget, 2)
        assert padded_sizes(lengths[clips], batches).max() <= budget


@pytest.mark.parametrize("bounds", [[10, 20, 30], [10, 20, 30, 39]])
def test_bounds_have_to_bound(bounds: list[int]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        length_budgeted([40, 30, 20, 10], [0, 1, 0, 1], [0, 0, 1, 1], 100, np.random.default_rng(0), bounds=bounds)


def test_padding_share_by_hand() -> None:
    # Padded to 4 + 4 and 10: 18 samples, of which 4 + 1 + 10 are sound.
    assert padding_share([4, 1, 10], [[0, 1], [2]]) == pytest.approx(3 / 18)


@pytest.mark.parametrize(
    ("items", "batch_size", "processes", "says"),
    [(100, 1, 1, "batch has two clips or more"), (1, 8, 1, "batch of two"), (7, 8, 4, "fewer processes")],
)
def test_what_cannot_be_batched_is_refused(items: int, batch_size: int, processes: int, says: str) -> None:
    with pytest.raises(GemoclapError, match=says):
        count_batches(items, batch_size, processes)


def test_batches_stay_what_they_were() -> None:
    """Resumed runs, and published figures, depend on every batch. The hash is of version 0.1's first batches."""
    plans: list[list[list[int]]] = []
    for items, classes in ((9, 2), (61, 1), (200, 4), (997, 6)):
        clips = made_up(items, classes, seed=items)
        for processes in (1, 2, 3):
            for size in (2, 5, 32):
                rng = np.random.default_rng([items, processes, size])
                plans += [length_bucketed(*clips, size, rng, processes), shuffled(items, size, rng, processes)]
            for times_longest in (2.5, 9.0):
                budget = int(times_longest * clips[0].max())
                try:
                    plans.append(length_budgeted(*clips, budget, np.random.default_rng(items), processes))
                except GemoclapError:
                    plans.append([])
        plans.append([balanced_draw(clips[1], np.random.default_rng(items)).tolist()])
    digest = hashlib.sha256(json.dumps(plans).encode()).hexdigest()
    assert digest[:16] == "2d8ef08d1baa5b15"
