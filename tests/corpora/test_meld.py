"""MELD: the published counts on a look-alike of the whole corpus, and the oddities of its files."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from small import complaint
from trees import plant

from gemoclap.config import DataSettings
from gemoclap.corpora import CORPORA, meld, prepare
from gemoclap.data.folds import make_folds
from gemoclap.errors import GemoclapError
from gemoclap.labels import canonical_emotion, get_vocabulary

HEADER = [
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
    "StartTime", "EndTime",
]  # fmt: skip
# The table of its authors: utterances by emotion, speakers and dialogues of train, dev and test.
PUBLISHED = {
    "anger": (1109, 153, 345), "disgust": (271, 22, 68), "fear": (268, 40, 50), "joy": (1743, 163, 402),
    "neutral": (4710, 470, 1256), "sadness": (683, 111, 208), "surprise": (1205, 150, 281),
}  # fmt: skip
SPEAKERS, DIALOGUES = (260, 47, 100), (1039, 114, 280)
LEADING = ("Chandler", "Joey", "Ross", "Monica", "Phoebe", "Rachel")
FOLDERS = {"train": "train/train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def write_table(path: Path, rows: list[tuple[str, str, str, int, int]]) -> Path:
    """Write a table of (text, speaker, emotion, dialogue, utterance) rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, (text, speaker, emotion, dialogue, utterance) in enumerate(rows, 1):
            writer.writerow(
                [number, text, speaker, emotion, "neutral", dialogue, utterance, 3, 19, "00:14:38,127", "00:14:40,378"]
            )
    return path


def whole_corpus(root: Path) -> Path:
    """Tables with the published numbers of rows, emotions, speakers and dialogues, and the clips of dev."""
    names = []
    for place, (partition, folder) in enumerate(FOLDERS.items()):
        words = [word for word, counts in PUBLISHED.items() for _ in range(counts[place])]
        others = SPEAKERS[place] - len(LEADING)
        rows = []
        for number, word in enumerate(words):
            guest = number // 7 % others
            speaker = f"Guest {guest + 200 * place}" if number % 7 == 6 else LEADING[number % 6]
            rows.append(("Hi.", speaker, word, number % DIALOGUES[place], number // DIALOGUES[place]))
        write_table(root / ("train" if partition == "train" else "") / f"{partition}_sent_emo.csv", rows)
        names += [f"{folder}/dia{row[3]}_utt{row[4]}.mp4" for row in rows if partition == "dev"]
    return plant(root, names)


def test_the_published_counts_are_reproduced(tmp_path: Path) -> None:
    rows = prepare("meld", whole_corpus(tmp_path / "MELD.Raw"))
    for place, partition in enumerate(FOLDERS):
        part = [row for row in rows if row.partition == partition]
        assert Counter(row.emotion for row in part) == {
            canonical_emotion(word): counts[place] for word, counts in PUBLISHED.items()
        }
        assert len({row.speaker for row in part}) == SPEAKERS[place]
        assert len({row.id.split("_")[0] for row in part}) == DIALOGUES[place]
    assert len(rows) == len({row.id for row in rows}) == 13708
    assert {Path(row.path).is_file() for row in rows if row.partition == "dev"} == {True}
    assert Counter(row.gender for row in {row.speaker: row for row in rows}.values())["female"] == 3

    vocabulary = get_vocabulary(CORPORA["meld"].vocabulary)
    folds = make_folds(rows, DataSettings(**meld.FOLDS), vocabulary)
    assert [sum(name in {row.speaker for row in fold.test} for name in LEADING) for fold in folds] == [1] * 6
    published = DataSettings(folds="partitions", allow_speaker_overlap=True)
    (fold,) = make_folds(rows, published, vocabulary)
    assert [len(part) for part in (fold.train, fold.dev, fold.test)] == [9989, 1109, 2610]
    with pytest.raises(GemoclapError, match="speaker.* on both sides"):
        make_folds(rows, DataSettings(folds="partitions"), vocabulary)


def test_clips_of_the_same_name_stay_in_their_partitions(tmp_path: Path) -> None:
    root = plant(
        tmp_path / "train",
        ["train_splits/dia0_utt0.mp4", "dev/audio/dia0_utt0.wav", "MELD_test/dia0_utt0.flac", "dia0_utt0.mp4"],
    )
    for partition in FOLDERS:
        write_table(root / f"{partition}_sent_emo.csv", [(partition, "Ross", "joy", 0, 0)])
    rows = {row.id: row for row in meld.parse(root)}
    assert {name: (row.partition, row.text, Path(row.path).parent.name) for name, row in rows.items()} == {
        "dia0_utt0_train": ("train", "train", "train_splits"),
        "dia0_utt0_dev": ("dev", "dev", "audio"),
        "dia0_utt0_test": ("test", "test", "MELD_test"),
    }


def test_missing_and_doubled_clips(tmp_path: Path) -> None:
    folder = "output_repeated_splits_test"
    names = ["dia1_utt0", "final_videos_testdia1_utt0", "final_videos_testdia1_utt1", "._dia1_utt2"]
    root = plant(tmp_path / "MELD", [f"{folder}/{name}.mp4" for name in names])
    write_table(root / "test_sent_emo.csv", [("Hi.", "Ross", "joy", 1, number) for number in range(3)])
    paths = [Path(row.path).relative_to(root / folder).as_posix() for row in meld.parse(root)]
    assert paths == ["dia1_utt0.mp4", "final_videos_testdia1_utt1.mp4", "dia1_utt2.mp4"]
    assert not (root / folder / paths[2]).exists()


@pytest.mark.parametrize(
    "text", ["you\u2019re \u2013 caf\u00e9", "you\x92re \x96 caf\u00e9", "you\udc92re \udc96 caf\udce9"]
)
def test_quotes_of_windows_are_quotes(tmp_path: Path, text: str) -> None:
    """In UTF-8, as control characters, and as bytes of cp1252."""
    write_table(tmp_path / "dev_sent_emo.csv", [(text, f"{text} the barman", "sadness", 0, 0)])
    (row,) = meld.parse(tmp_path)
    assert row.text == "you\u2019re \u2013 caf\u00e9" and row.speaker == "you\u2019re \u2013 caf\u00e9 the barman"
    assert (row.emotion, row.gender, row.session) == ("sad", None, "3")


def test_faulty_tables_are_named_with_the_line(tmp_path: Path) -> None:
    table = write_table(tmp_path / "train_sent_emo.csv", [("Hi.", "Ross", "joy", 0, 0), ("Hi.", "Ross", "", 0, 1)])
    with pytest.raises(GemoclapError, match=r"train_sent_emo\.csv:3: the row lacks"):
        meld.parse(tmp_path)
    table.write_text(table.read_text().replace("Emotion", "Emotions"))
    with pytest.raises(GemoclapError, match=r"train_sent_emo\.csv: no column 'Emotion'"):
        meld.parse(tmp_path)


def test_tables_in_a_linked_folder_are_found_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write_table(tmp_path / "store" / "dev_sent_emo.csv", [("Hi.", "Ross", "joy", 0, 0)])
    root = tmp_path / "root"
    write_table(root / ".trash" / "train_sent_emo.csv", [("Old.", "Joey", "joy", 0, 0)])
    (root / "linked").symlink_to(tmp_path / "store")
    assert [(row.text, row.partition) for row in prepare("meld", root)] == [("Hi.", "dev")]


def test_a_row_that_is_there_twice_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Otherwise the manifest could not be read."""
    write_table(tmp_path / "train_sent_emo.csv", [("Hi.", "Ross", "joy", 0, 0), ("Hi.", "Joey", "joy", 0, 0)])
    assert "two utterances have the id 'dia0_utt0_train'" in complaint(
        capsys, "prepare", "meld", tmp_path, "-o", tmp_path / "m.jsonl"
    )
    assert not (tmp_path / "m.jsonl").exists()
