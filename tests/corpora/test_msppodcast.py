"""MSP-Podcast: the published counts of two releases, and its own partitions as a fold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from trees import plant

from gemoclap.config import DataSettings
from gemoclap.corpora import CORPORA, msppodcast, prepare
from gemoclap.data.folds import make_folds
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"


def write_table(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def look_alike(table: Path, letters: dict[str, int], partitions: dict[str, tuple[int, int]]) -> None:
    """Write a table with so many rows of each letter, and so many rows and speakers of each partition."""
    words = [letter for letter, many in letters.items() for _ in range(many)]
    rows, spoken = [], 0
    for partition, (many, speakers) in partitions.items():
        for number in range(many):
            who = f"{spoken + number % speakers}" if partition != "Train" or number % 3 else "Unknown"
            place = len(rows)
            gender = "Female" if place % 2 else "Male"
            rows.append(
                f"MSP-PODCAST_{place // 1000:04d}_{place % 1000:04d}.wav,{words[place]},4.2,3.8,4.0,{who},{gender},{partition}"
            )
        spoken += speakers
    write_table(table, rows)


def test_the_counts_of_release_1_8_are_reproduced(tmp_path: Path) -> None:
    """73,042 clips, by emotion as EmoBox counts them; the old spelling of the table's name."""
    letters = {
        "N": 26009,
        "H": 14285,
        "X": 14199,
        "O": 817,
        "U": 4084,
        "F": 1544,
        "C": 3644,
        "D": 2593,
        "S": 2649,
        "A": 3218,
    }
    partitions = {"Train": (44879, 900), "Validation": (7800, 44), "Test1": (15326, 60), "Test2": (5037, 30)}
    look_alike(tmp_path / "Labels" / "labels_concensus.csv", letters, partitions)
    rows = prepare("msppodcast", tmp_path)
    words = {letter: word for letter, word in msppodcast.EMOTIONS.items()}
    assert Counter(row.emotion for row in rows) == {words[letter]: many for letter, many in letters.items()}
    assert Counter(row.partition for row in rows) == {"train": 44879, "dev": 7800, "test1": 15326, "test2": 5037}
    assert len({row.id for row in rows}) == 73042


@pytest.fixture
def release(tmp_path: Path) -> Path:
    rows = [
        f"MSP-PODCAST_{number:04d}_0001.wav,{letter},2.2,4.0,2.6,{speaker},{gender},{partition}"
        for number, (letter, speaker, gender, partition) in enumerate(
            [
                ("A", "1", "Male", "Train"), ("H", "2.0", "Female", "Train"), ("N", "Unknown", "Unknown", "Train"),
                ("S", "2", "Female", "Train"), ("C", "1", "Male", "Train"), ("X", "1", "Male", "Train"),
                ("A", "3", "Male", "Development"), ("H", "4", "Female", "Test1"), ("S", "5", "Female", "Test2"),
                ("", "Unknown", "", "Test3"),
            ]
        )
    ]  # fmt: skip
    root = tmp_path / "MSP-PODCAST-Publish"
    write_table(root / "Labels" / "labels_consensus.csv", rows)
    plant(
        root,
        ["Audios/MSP-PODCAST_0000_0001.wav", "Audios/MSP-PODCAST_0001_0001.flac", "removed/MSP-PODCAST_0002_0001.wav"],
    )
    (root / "Transcripts").mkdir()
    (root / "Transcripts" / "MSP-PODCAST_0000_0001.txt").write_bytes(b"And so\r\nit is. \xff")
    return root


def test_labels_speakers_texts_and_clips_are_found(release: Path) -> None:
    rows = msppodcast.parse(release)
    assert rows == msppodcast.parse(release.parent) or rows[0].path == msppodcast.parse(release.parent)[0].path
    assert [row.emotion for row in rows] == [
        "angry", "happy", "neutral", "sad", "contemptuous", None, "angry", "happy", "sad", None,
    ]  # fmt: skip
    assert [(row.speaker, row.gender) for row in rows[:3]] == [("1", "male"), ("2", "female"), (None, None)]
    assert (rows[0].valence, rows[0].arousal, rows[0].dominance) == (4.0, 2.2, 2.6)
    assert rows[0].text == "And so it is. \ufffd" and rows[1].text is None
    assert [Path(row.path).relative_to(release).as_posix() for row in rows[:3]] == [
        "Audios/MSP-PODCAST_0000_0001.wav", "Audios/MSP-PODCAST_0001_0001.flac", "Audios/MSP-PODCAST_0002_0001.wav",
    ]  # fmt: skip
    assert not Path(rows[2].path).exists()
    assert (rows[9].partition, rows[9].speaker) == ("test3", None)


def test_each_rater_of_the_detailed_table_has_a_vote(release: Path) -> None:
    """One emotion a rater; raters can write a word of their own, which begins with Other."""
    assert all(row.votes is None for row in msppodcast.parse(release))
    heard = ["Angry", "Angry", "Neutral", "Other-Annoyed", "Contempt", "", "U", "Tired"]
    rows = [f"MSP-PODCAST_0000_0001.wav,{number},{word},3" for number, word in enumerate(heard)]
    header = f"FileName,Worker,{msppodcast.HEARD},EmoAct"
    table = write_table(
        release / "Labels" / "labels_detailed.csv", [*rows, "MSP-PODCAST_0001_0001.wav,1,Fear,3"], header
    )
    first, second, third = msppodcast.parse(release)[:3]
    assert first.votes == {"angry": 2, "neutral": 1, "other": 2, "contemptuous": 1, "surprised": 1}
    assert (second.votes, third.votes) == ({"fearful": 1}, None)
    table.write_text(table.read_text().replace(msppodcast.HEARD, "EmoClass"))
    with pytest.raises(GemoclapError, match=r"labels_detailed\.csv: no column 'EmoClass_Major'"):
        msppodcast.parse(release)


def test_the_default_folds_are_the_corpus_s_partitions(release: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = msppodcast.parse(release)
    vocabulary = get_vocabulary("msppodcast4")
    why = "class 'neutral' is in no part .* left out: 1 utterance of it, 1 of them without a speaker .kept with --data.allow_s"
    with pytest.raises(GemoclapError, match=why):
        make_folds(rows, DataSettings(**CORPORA["msppodcast"].folds), vocabulary)  # the only neutral one is Unknown's
    assert "left out: 1 row without a speaker" in caplog.text
    (fold,) = make_folds(rows, DataSettings(**msppodcast.FOLDS, allow_speaker_overlap=True), vocabulary)
    numbers = [[int(row.id[12:16]) for row in part] for part in (fold.train, fold.dev, fold.test)]
    assert numbers == [[0, 1, 2, 3], [6], [7]]


def test_faulty_tables_are_named_with_the_line(tmp_path: Path) -> None:
    good = "MSP-PODCAST_0000_0001.wav,A,2.2,4.0,2.6,1,Male,Train"
    table = write_table(tmp_path / "labels_consensus.csv", [good, good.replace(",A,", ",Q,")])
    with pytest.raises(GemoclapError, match=r"labels_consensus\.csv:3: EmoClass 'Q' is none of A, S, H"):
        msppodcast.parse(tmp_path)
    write_table(table, [good, f" {good[25:]}"])
    with pytest.raises(GemoclapError, match=r"labels_consensus\.csv:3: the row names no file"):
        msppodcast.parse(tmp_path)
    write_table(table, [good], HEADER.replace("Split_Set", "Split"))
    with pytest.raises(GemoclapError, match="no column 'Split_Set'"):
        msppodcast.parse(tmp_path)


def test_names_in_another_encoding_are_named_with_the_line(tmp_path: Path) -> None:
    head = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    table = tmp_path / "Labels" / "labels_consensus.csv"
    table.parent.mkdir()
    table.write_bytes(head.encode() + b"A_1.wav,H,5,4,3,1,Female,Train\nA_2.wav,H,5,4,3,M\xfcller,Female,Train\n")
    with pytest.raises(GemoclapError, match=r"labels_consensus\.csv:3: the SpkrID is not UTF-8 text"):
        msppodcast.parse(tmp_path)
