"""Tables of one's own corpora, as people and their programs write them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from gemoclap.corpora import prepare
from gemoclap.corpora.inspect import inspect
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest


def table_of(folder: Path, *lines: str, delimiter: str = ",") -> Path:
    (folder / "t.csv").write_text("\n".join(line.replace("|", delimiter) for line in lines) + "\n", encoding="utf-8")
    return folder / "t.csv"


WORDS = ["Złość", "złość", " ZŁOŚĆ ", "θυμός", "ΘΥΜΌΣ", "怒り", "がっかり", "very  angry", "Very angry"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_label_is_one_however_its_accents_are_stored(form: str, tmp_path: Path) -> None:
    """macOS writes accents and the marks of Japanese letters apart (NFD): that made two classes of one label."""
    words = [unicodedata.normalize(form if n % 2 else "NFC", word) for n, word in enumerate(WORDS)]
    table = table_of(tmp_path, "path|emotion", *(f"{n}.wav|{word}" for n, word in enumerate(words)))
    found = [row.emotion for row in prepare("csv", table)]
    assert found == ["złość"] * 3 + ["θυμός"] * 2 + ["怒り", "がっかり"] + ["very angry"] * 2


def test_the_labels_of_a_manifest_are_spelt_alike(tmp_path: Path) -> None:
    """In its first spelling, unless one is the word that the package knows; also the words of votes."""
    apart = unicodedata.normalize("NFD", "Żal")
    labels = ["Żal", apart, "żal", "ANGRY", "angry", None, "Joy", "happy"]
    rows = [Utterance(str(n), f"{n}.wav", emotion=label) for n, label in enumerate(labels)]
    rows[5] = Utterance("5", "5.wav", votes={"Angry": 2.0, "angry": 1.0, apart: 1.5})
    write_manifest(rows, tmp_path / "m.jsonl")
    read = read_manifest(tmp_path / "m.jsonl")
    assert [row.emotion for row in read] == ["Żal"] * 3 + ["angry"] * 2 + [None, "Joy", "happy"]
    assert read[5].votes == {"angry": 3.0, "Żal": 1.5}
    kept = read_manifest(tmp_path / "m.jsonl", as_spelt=True)
    assert [row.emotion for row in kept] == labels
    inspection = inspect(kept)
    assert inspection.emotions == {"(none)": 1, "angry": 2, "happy": 1, "Joy": 1, "Żal": 3}
    assert [(fault.row, fault.message) for fault in inspection.faults if fault.kind == "spelling"] == [
        (2, f"label {apart!r} is taken for 'Żal'; spell them alike (they look the same: accents are stored in two ways, "
         "NFC and NFD)"),
        (3, "label 'żal' is taken for 'Żal'; spell them alike"),
        (4, "label 'ANGRY' is taken for 'angry'; spell them alike"),
        (6, "label 'Angry' is taken for 'angry'; spell them alike"),
    ]  # fmt: skip


def test_votes_are_for_the_words_of_labels(tmp_path: Path) -> None:
    """Votes for Anger were for no class where the label Anger had become angry: training took the label without a word."""
    votes = json.dumps({"Anger": 2, "angry": 1, "Sadness ": 1, "Wut": 1}).replace('"', '""')
    (row,) = prepare("csv", table_of(tmp_path, "path|emotion|votes", f'a.wav|Anger|"{votes}"'))
    assert row.emotion == "angry" and row.votes == {"angry": 3.0, "sad": 1.0, "wut": 1.0}
    line = {
        "key": "a",
        "dataset": "mine",
        "wav": "a.wav",
        "emo": "Anger",
        "votes": {"Anger": 3, "Sadness": 1, "wut": 1},
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(line))
    assert prepare("emobox", tmp_path / "mine.jsonl")[0].votes == row.votes


@pytest.mark.parametrize(
    ("word", "partition"),
    [
        ("Train", "train"), ("TRAINING", "train"), ("Validation", "dev"), ("val", "dev"), ("valid", "dev"), ("devel", "dev"),
        ("Development", "dev"), ("dev", "dev"), ("Test", "test"), ("Test1", "test1"), ("spare", "spare"), ("-", None),
    ],
)  # fmt: skip
def test_partitions_have_the_words_of_the_manifest(word: str, partition: str | None, tmp_path: Path) -> None:
    """Rows of 'validation' were neither trained nor developed on, and nothing said so."""
    (row,) = prepare("csv", table_of(tmp_path, "path|split", f"a.wav|{word}"))
    assert row.partition == partition
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "path": "a.wav", "partition": word}))
    assert read_manifest(tmp_path / "m.jsonl")[0].partition == partition
