"""Folds from the partitions that a corpus comes with."""

from __future__ import annotations

import logging

import pytest

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import make_folds
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary

TWO = Vocabulary("two", ("angry", "sad"))


def rows_of(**speakers: str) -> list[Utterance]:
    """Two rows of each speaker's letter, an angry and a sad one: train="ab" has four. A dot is nobody."""
    return [
        Utterance(
            f"{partition}_{who}_{emotion}", "x.wav", speaker=who.strip(".") or None, emotion=emotion, partition=partition
        )
        for partition, letters in speakers.items()
        for who in letters
        for emotion in TWO.emotions
    ]  # fmt: skip


def ids(part: tuple[Utterance, ...]) -> set[str]:
    return {row.id.rsplit("_", 1)[0] for row in part}


def test_each_partition_has_its_place_and_the_rest_is_left_out() -> None:
    rows = [
        *rows_of(train="ab", dev="c", test1="de", test2="f", spare="g"),
        Utterance("x", "x.wav", speaker="h", emotion="sad"),
    ]
    (fold,) = make_folds(rows, DataSettings(folds="partitions", test_partitions=["test2"]), TWO)
    assert (ids(fold.train), ids(fold.dev), ids(fold.test)) == ({"train_a", "train_b"}, {"dev_c"}, {"test2_f"})
    (fold,) = make_folds(rows, DataSettings(folds="partitions"), TWO)
    assert ids(fold.test) == {"test1_d", "test1_e", "test2_f"}
    (fold,) = make_folds(rows, DataSettings(folds="partitions", test_partitions=["spare"]), TWO)
    assert ids(fold.test) == {"spare_g"}


def test_development_speakers_can_be_taken_where_the_corpus_has_none() -> None:
    asked = DataSettings(folds="partitions", dev_speakers=1)
    (fold,) = make_folds(rows_of(train="abc", test="d"), asked, TWO)
    assert len(ids(fold.dev)) == 1 and len(ids(fold.train)) == 2
    with pytest.raises(GemoclapError, match="development part of their own; set --data.dev_speakers 0"):
        make_folds(rows_of(train="abc", dev="e", test="d"), asked, TWO)


def test_rows_without_a_speaker_are_left_out_unless_overlap_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(train="a.", test="b.")
    with caplog.at_level(logging.WARNING):
        (fold,) = make_folds(rows, DataSettings(folds="partitions"), TWO)
    assert (ids(fold.train), ids(fold.test)) == ({"train_a"}, {"test_b"}) and "4 rows without a speaker" in caplog.text
    (fold,) = make_folds(rows, DataSettings(folds="partitions", allow_speaker_overlap=True), TWO)
    assert len(fold.train) == len(fold.test) == 4


@pytest.mark.parametrize(
    ("speakers", "words"),
    [
        (
            {"train": "..", "test": "b"},
            "4 rows of train, and none names a speaker, .* --data.allow_speaker_overlap true",
        ),
        ({"train": "a", "test1": ".", "test2": "."}, "4 rows of test1, test2, and none names a speaker"),
    ],
)
def test_a_part_that_is_empty_for_lack_of_speakers_says_so(speakers: dict[str, str], words: str) -> None:
    with pytest.raises(GemoclapError, match=words):
        make_folds(rows_of(**speakers), DataSettings(folds="partitions"), TWO)
    make_folds(rows_of(**speakers), DataSettings(folds="partitions", allow_speaker_overlap=True), TWO)


def test_a_class_outside_the_parts_is_not_said_to_be_missing() -> None:
    rows = [
        row for row in rows_of(train="a", test="b", other="c") if row.emotion == "angry" or row.partition == "other"
    ]
    with pytest.raises(
        GemoclapError, match="class 'sad' is in no part of the fold; left out: 1 utterance of it; choose"
    ):
        make_folds(rows, DataSettings(folds="partitions"), TWO)


@pytest.mark.parametrize(
    ("speakers", "tested", "words"),
    [
        ({"train": "ab", "test": "a"}, None, "on both sides of the split"),
        ({"test": "a"}, None, "partition 'train'; the manifest has only test"),
        ({"train": "a"}, None, "test part is empty"),
        ({"train": "a", "test1": "b"}, ["tset1"], r"called 'tset1' \(did you mean 'test1'\?\)"),
        ({"train": "a", "test1": "b"}, ["train"], "no partition to test on is called 'train'; partitions"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused(speakers: dict[str, str], tested: list[str] | None, words: str) -> None:
    with pytest.raises(GemoclapError, match=words):
        make_folds(rows_of(**speakers), DataSettings(folds="partitions", test_partitions=tested), TWO)
    with pytest.raises(GemoclapError, match="the manifest has none"):
        make_folds([Utterance("x", "x.wav", speaker="h", emotion="sad")], DataSettings(folds="partitions"), TWO)


def test_rows_of_another_partition_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(train="ab", test1="d", test2="f", spare="gh", extra="i")
    with caplog.at_level(logging.WARNING):
        make_folds(rows, DataSettings(folds="partitions", test_partitions=["Test1"]), TWO)
    said = "left out: 6 rows, because the partition is not train, dev or a test: extra 2, spare 4"
    assert [record.getMessage() for record in caplog.records] == [said]
    caplog.clear()
    make_folds(rows_of(train="ab", dev="c", test1="d", test2="f"), DataSettings(folds="partitions"), TWO)
    assert not caplog.records
