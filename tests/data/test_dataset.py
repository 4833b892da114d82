"""From files on disk to batches of tensors."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from gemoclap.config import AudioSettings, TrainSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore, pad_waveforms
from gemoclap.data.batching import length_bucketed, length_budgeted, padding_share
from gemoclap.data.dataset import TrainBatches, collate, eval_batches
from gemoclap.data.targets import classes_by_corpus
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary

VOCABULARY = Vocabulary("three", ("angry", "happy", "sad"), {"excited": "happy"})
LABELS = ("angry", "excited", "happy", "sad")


def corpus(folder: Path, items: int = 26) -> list[Utterance]:
    """Write noise of 0.05 to 0.3 s in 16-bit, so that samples are exact, and return its rows."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(items):
        path = folder / f"clip{number}.wav"
        samples = rng.integers(-9000, 9000, int(rng.integers(800, 4800))).astype(np.int16)
        soundfile.write(path, samples, 16000)
        gender = ("female", "male", None)[number % 3]
        rows.append(Utterance(f"clip{number}", str(path), gender=gender, emotion=LABELS[number % 4]))
    return rows


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    return corpus(tmp_path)


@pytest.fixture
def store() -> AudioStore:
    return AudioStore(AudioSettings())


def same(one, two) -> bool:
    def tensors(batch) -> dict[str, torch.Tensor]:
        return {**batch.inputs, **batch.targets.tensors()}

    pairs = tensors(one), tensors(two)
    equal = all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])
    return one.ids == two.ids and pairs[0].keys() == pairs[1].keys() and equal


def test_collate_pads_with_zeros_and_indexes_labels(tmp_path: Path) -> None:
    rows = [
        Utterance("a", "a.wav", gender="male", emotion="excited"),
        Utterance("b", "b.wav", gender="female", emotion="sad"),
        Utterance("c", "c.wav", emotion="bored"),
        Utterance("d", "d.wav", gender="other"),
    ]
    waveforms = [np.full(length, 0.5, dtype=np.float32) for length in (3, 5, 1, 4)]

    class Made:
        at_hand = is_exact = True

        def lengths(self, utterances):
            raise AssertionError("collating needs the inputs alone")

        def inputs(self, utterances):
            assert [row.id for row in utterances] == ["a", "b", "c", "d"]
            padded, lengths = pad_waveforms(waveforms)
            return {"waveforms": padded, "lengths": lengths}

    batch = collate(rows, Made(), VOCABULARY)
    assert len(batch) == 4 and batch.ids == ("a", "b", "c", "d")
    assert batch.inputs["waveforms"].shape == (4, 5) and batch.inputs["waveforms"].dtype == torch.float32
    for row, length in zip(batch.inputs["waveforms"], (3, 5, 1, 4), strict=True):
        assert torch.all(row[:length] == 0.5) and torch.all(row[length:] == 0)
    assert batch.inputs["lengths"].tolist() == [3, 5, 1, 4]
    assert batch.targets.emotions.tolist() == [1, 2, -1, -1]
    assert batch.targets.genders.tolist() == [1, 0, -1, -1]
    assert same(batch.to("cpu"), batch)


def test_the_chunks_of_a_batch_are_its_rows_padded_to_their_own_longest(
    rows: list[Utterance], store: AudioStore
) -> None:
    batch = collate(rows[:7], store, VOCABULARY)
    chunks = batch.split(3)
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    for number, chunk in enumerate(chunks):
        assert same(chunk, collate(rows[:7][3 * number : 3 * number + 3], store, VOCABULARY))
    assert same(batch.split(100)[0], batch)


def test_eval_batches_hold_every_utterance_once_shortest_first(rows: list[Utterance], store: AudioStore) -> None:
    batches = list(eval_batches(rows, store, VOCABULARY, batch_size=4))
    assert sorted(name for batch in batches for name in batch.ids) == sorted(row.id for row in rows)
    assert [len(batch) for batch in batches] == [4] * 6 + [2]
    lengths = torch.cat([batch.inputs["lengths"] for batch in batches])
    assert torch.equal(lengths, lengths.sort().values)
    for batch in batches:
        for name, waveform, length in zip(batch.ids, batch.inputs["waveforms"], batch.inputs["lengths"], strict=True):
            path = next(row.path for row in rows if row.id == name)
            expected, _ = soundfile.read(path, dtype="float32")
            np.testing.assert_array_equal(waveform[:length].numpy(), expected)


def test_an_epoch_covers_training_and_leaves_strange_labels_out(rows: list[Utterance], store: AudioStore) -> None:
    stranger = Utterance("stranger", rows[0].path, emotion="bored")
    batches = TrainBatches([*rows, stranger], store, VOCABULARY, TrainSettings(batch_size=4))
    epoch = list(batches.epoch(0))
    assert len(epoch) == len(batches) == 7
    assert sorted(name for batch in epoch for name in batch.ids) == sorted(row.id for row in rows)
    assert min(int(batch.targets.emotions.min()) for batch in epoch) == 0


def test_epochs_are_pure_functions_of_seed_and_index(rows: list[Utterance], store: AudioStore) -> None:
    def batches(seed: int) -> TrainBatches:
        return TrainBatches(rows, store, VOCABULARY, TrainSettings(batch_size=4, seed=seed))

    ids = [batch.ids for batch in batches(0).epoch(3)]
    assert [batch.ids for batch in batches(0).epoch(3)] == ids
    assert [batch.ids for batch in batches(0).epoch(4)] != ids
    assert [batch.ids for batch in batches(1).epoch(3)] != ids


def test_resuming_within_an_epoch_yields_exactly_the_rest(rows: list[Utterance], store: AudioStore) -> None:
    batches = TrainBatches(rows, store, VOCABULARY, TrainSettings(batch_size=4))
    whole = list(batches.epoch(2))
    for start in range(len(whole) + 1):
        rest = list(batches.epoch(2, start))
        assert len(rest) == len(whole) - start
        assert all(same(one, two) for one, two in zip(rest, whole[start:], strict=True))


def test_processes_share_an_epoch(rows: list[Utterance], store: AudioStore) -> None:
    settings = TrainSettings(batch_size=4)
    parts = [TrainBatches(rows, store, VOCABULARY, settings, process, 3) for process in range(3)]
    assert {len(part) for part in parts} == {3}
    ids = [name for part in parts for batch in part.epoch(0) for name in batch.ids]
    assert sorted(ids) == sorted(row.id for row in rows)


def test_an_abandoned_epoch_leaves_no_thread(rows: list[Utterance], store: AudioStore) -> None:
    before = threading.active_count()
    epoch = TrainBatches(rows, store, VOCABULARY, TrainSettings(batch_size=4)).epoch(0)
    next(epoch)
    assert threading.active_count() == before + 1
    epoch.close()
    assert threading.active_count() == before


def test_a_clip_that_went_bad_is_named_in_the_middle_of_an_epoch(rows: list[Utterance]) -> None:
    class Failing(AudioStore):
        loaded = False

        def __call__(self, utterance: Utterance) -> np.ndarray:
            if self.loaded and utterance.id == "clip5":
                raise GemoclapError("clip5.wav: gone")
            return super().__call__(utterance)

    store = Failing(AudioSettings())
    batches = TrainBatches(rows, store, VOCABULARY, TrainSettings(batch_size=4))
    store.loaded = True
    with pytest.raises(GemoclapError, match="clip5"):
        list(batches.epoch(0))


@pytest.mark.parametrize(
    ("emotions", "says"),
    [
        (("angry", "happy", "sad", "bored"), "class 'bored' has no training utterance"),
        (("angry",), "all training .*'angry'"),
    ],
)
def test_too_few_classes_are_refused(
    rows: list[Utterance], store: AudioStore, emotions: tuple[str, ...], says: str
) -> None:
    with pytest.raises(GemoclapError, match=says) as caught:
        TrainBatches(rows, store, Vocabulary("v", emotions), TrainSettings())
    assert "--data." in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_batches_by_seconds_stay_within_them_and_are_as_many_in_every_epoch(
    rows: list[Utterance], store: AudioStore, balance: bool, processes: int
) -> None:
    uneven = [row for row in rows if row.emotion != "sad"] + [row for row in rows if row.emotion == "sad"][:2]
    settings = TrainSettings(batch_seconds=0.9, balance=balance, epochs=6)
    everyone = [TrainBatches(uneven, store, VOCABULARY, settings, p, processes) for p in range(processes)]
    for epoch in range(6):
        seen: list[str] = []
        for batches in everyone:
            made = list(batches.epoch(epoch))
            assert len(made) == len(batches) == len(everyone[0])
            assert all(batch.inputs["waveforms"].numel() <= 0.9 * 16000 and len(batch) > 1 for batch in made)
            seen += [name for batch in made for name in batch.ids]
        assert len(seen) == len(uneven) and (balance or len(set(seen)) == len(uneven))


BATCHINGS: tuple[Any, ...] = ("dealt", "bucketed", "shuffled")


def lengths_and_labels(rows: list[Utterance], store: AudioStore) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    emotions = np.array([VOCABULARY.index(row.emotion) for row in rows])
    genders = np.array([{"female": 0, "male": 1, None: -1}[row.gender] for row in rows])
    return store.lengths(rows), emotions, genders


@pytest.mark.parametrize("batching", BATCHINGS)
@pytest.mark.parametrize("balance", [False, True])
def test_whoever_rides_together_processes_share_an_epoch_that_a_seed_decides(
    rows: list[Utterance], store: AudioStore, batching: Any, balance: bool
) -> None:
    settings = TrainSettings(batch_size=4, batching=batching, balance=balance)
    parts = [TrainBatches(rows, store, VOCABULARY, settings, process, 3) for process in range(3)]
    for epoch in range(3):
        plans = [part.plan(epoch) for part in parts]
        assert plans == [part.plan(epoch) for part in parts]
        assert {len(plan) for plan in plans} == {len(part) for part in parts} == {3}
        seen = [place for plan in plans for batch in plan for place in batch]
        assert len(seen) == len(rows) and (balance or sorted(seen) == list(range(len(rows))))
        if balance:
            drawn = np.bincount([VOCABULARY.index(rows[place].emotion) or 0 for place in seen])
            assert drawn.max() - drawn.min() <= 1
    assert parts[0].plan(0) != parts[0].plan(1)
    other = TrainBatches(rows, store, VOCABULARY, replace(settings, seed=1), 0, 3)
    assert other.plan(0) != parts[0].plan(0)


def test_dealt_is_by_lengths_and_labels_with_the_generator_of_seed_and_epoch(
    rows: list[Utterance], store: AudioStore
) -> None:
    clips = lengths_and_labels(rows, store)
    for epoch in range(3):
        by_number, by_seconds = TrainSettings(batch_size=4, seed=7), TrainSettings(batch_seconds=0.9, seed=7)
        found = [TrainBatches(rows, store, VOCABULARY, one).plan(epoch) for one in (by_number, by_seconds)]
        assert found[0] == length_bucketed(*clips, 4, np.random.default_rng([7, epoch]))
        assert found[1] == length_budgeted(*clips, 14400, np.random.default_rng([7, epoch]))


@pytest.mark.parametrize("limit", [{"batch_size": 4}, {"batch_seconds": 0.9}])
def test_bucketed_goes_by_length_alone(rows: list[Utterance], store: AudioStore, limit: dict[str, Any]) -> None:
    """With other labels on the same clips the batches stay, which they do not where labels are dealt."""
    relabelled = [replace(row, emotion=LABELS[place // 7], gender="male") for place, row in enumerate(rows)]

    def plans(batching: Any) -> list[list[list[int]]]:
        settings = TrainSettings(batching=batching, **limit)
        return [TrainBatches(some, store, VOCABULARY, settings).plan(0) for some in (rows, relabelled)]

    one, other = plans("bucketed")
    assert one == other
    one, other = plans("dealt")
    assert one != other


def test_shuffled_goes_by_nothing(rows: list[Utterance], store: AudioStore) -> None:
    """The same batches for as many clips of other lengths and labels."""
    strangers = [replace(row, emotion=LABELS[place // 7]) for place, row in enumerate(reversed(rows))]
    settings = TrainSettings(batch_size=4, batching="shuffled")
    one, other = (TrainBatches(some, store, VOCABULARY, settings).plan(0) for some in (rows, strangers))
    assert one == other


def test_like_lengths_pad_less_than_a_shuffle(rows: list[Utterance], store: AudioStore) -> None:
    many = [replace(row, id=f"{row.id}-{time}") for time in range(12) for row in rows]  # more than a bucket
    lengths, shares = store.lengths(many), []
    for batching in BATCHINGS:
        batches = TrainBatches(many, store, VOCABULARY, TrainSettings(batch_size=4, batching=batching))
        shares.append([padding_share(lengths, batches.plan(epoch)) for epoch in range(5)])
    dealt, bucketed, shuffled = shares
    assert max(bucketed) < min(shuffled) and max(dealt) < min(shuffled)


def test_classes_that_a_corpus_lacks_are_named_for_each_of_its_utterances() -> None:
    vocabulary = Vocabulary("four", ("angry", "happy", "neutral", "sad"))
    words = [("one", "angry"), ("one", "sad"), ("two", "angry"), ("two", "happy"), ("two", "neutral"), ("two", "sad")]
    rows = [Utterance(str(n), f"{n}.wav", corpus=corpus, emotion=word) for n, (corpus, word) in enumerate(words)]
    found = classes_by_corpus(rows, vocabulary)
    assert found is not None
    assert found.tolist() == [[True, False, False, True]] * 2 + [[True] * 4] * 4
    assert classes_by_corpus(rows[2:], vocabulary) is None


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("seconds", [None, 0.9])
def test_corpora_are_drawn_evenly_if_asked_for(
    rows: list[Utterance], store: AudioStore, balance: bool, seconds: float | None
) -> None:
    several = [replace(row, corpus="small" if place % 5 == 0 else "large") for place, row in enumerate(rows)]
    settings = TrainSettings(batch_size=4, batch_seconds=seconds, balance=balance, balance_corpora=True)
    batches = TrainBatches(several, store, VOCABULARY, settings)
    for epoch in range(3):
        drawn = [several[place] for batch in batches.plan(epoch) for place in batch]
        counts = [sum(row.corpus == name for row in drawn) for name in ("small", "large")]
        assert len(drawn) == len(rows) and abs(counts[0] - counts[1]) <= 1
        large = [VOCABULARY.resolve(row.emotion) for row in drawn if row.corpus == "large"]
        assert not balance or max(map(large.count, set(large))) - min(map(large.count, set(large))) <= 1
        assert len(list(batches.epoch(epoch))) == len(batches)
    # One corpus alone is drawn as without the setting.
    alone = TrainBatches(rows, store, VOCABULARY, settings)
    assert alone.plan(0) == TrainBatches(rows, store, VOCABULARY, replace(settings, balance_corpora=False)).plan(0)
