"""TESS, SAVEE, EMOVO and ESD: the published counts on look-alikes of the whole corpora, and what lies about in real ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from trees import plant

from gemoclap.config import DataSettings
from gemoclap.corpora import CORPORA, emovo, esd, prepare, savee, tess
from gemoclap.data.folds import make_folds
from gemoclap.labels import EMOTIONS, get_vocabulary

SEVEN = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")


def tess_names() -> list[str]:
    """2,800 names in folders as they are spelt in the corpus, one file misspelt."""
    folders = {
        "angry": ("OAF_angry", "YAF_angry"), "disgust": ("OAF_disgust", "YAF_disgust"), "fear": ("OAF_Fear", "YAF_fear"),
        "happy": ("OAF_happy", "YAF_happy"), "neutral": ("OAF_neutral", "YAF_neutral"),
        "ps": ("OAF_Pleasant_surprise", "YAF_pleasant_surprised"), "sad": ("OAF_Sad", "YAF_sad"),
    }  # fmt: skip
    words = ["bite", "back", *(f"{a}{b}{c}" for a, b, c in product("bcdfghjklm", "aeiou", "nprt"))][:200]
    names = [
        f"{place}/{place[:3]}_{word}_{one}.wav" for one, places in folders.items() for place in places for word in words
    ]
    return ["OAF_neutral/OA_bite_neutral.wav" if "OAF_bite_neutral" in name else name for name in names]


def savee_names() -> list[str]:
    letters = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    return [
        f"{who}/{letter}{n:02d}.wav"
        for who in ("DC", "JE", "JK", "KL")
        for letter, many in letters.items()
        for n in range(1, many + 1)
    ]


def emovo_names() -> list[str]:
    sentences = ["b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2"]
    emotions = ["dis", "gio", "neu", "pau", "rab", "sor", "tri"]
    return [
        f"{who.upper()}/{one}-{who}-{said}.wav"
        for one, who, said in product(emotions, ("f1", "f2", "f3", "m1", "m2", "m3"), sentences)
    ]


def esd_names(partitions: bool = True) -> list[str]:
    """35,000 names: per speaker and emotion 20 for evaluation, 30 for testing, 300 for training."""
    names = []
    for speaker, (place, emotion) in product(range(1, 21), enumerate(["Neutral", "Angry", "Happy", "Sad", "Surprise"])):
        for number in range(1, 351):
            part = ("evaluation/" if number <= 20 else "test/" if number <= 50 else "train/") if partitions else ""
            names.append(f"{speaker:04d}/{emotion}/{part}{speaker:04d}_{place * 350 + number:06d}.wav")
    return names


NAMES = {"tess": tess_names, "savee": savee_names, "emovo": emovo_names}
# As in the papers, and in EmoBox's table of corpora.
COUNTS = {
    "tess": dict.fromkeys(SEVEN, 400),
    "savee": dict.fromkeys(SEVEN, 60) | {"neutral": 120},
    "emovo": dict.fromkeys(SEVEN, 84),
}
WOMEN_AND_MEN = {"tess": (2, 0), "savee": (0, 4), "emovo": (3, 3)}
FOLDS = {"tess": 2, "savee": 4, "emovo": 6}


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_corpus_has_its_published_counts_and_folds_without_shared_speakers(tmp_path: Path, name: str) -> None:
    names = NAMES[name]()
    assert len(set(names)) == sum(COUNTS[name].values())
    rows = prepare(name, plant(tmp_path / "root", names))
    assert Counter(row.emotion for row in rows) == COUNTS[name]
    assert len({row.id for row in rows}) == len(rows) and {row.corpus for row in rows} == {name}
    assert {Path(row.path) for row in rows} == {tmp_path / "root" / one for one in names}
    genders = Counter(gender for _, gender in {(row.speaker, row.gender) for row in rows})
    assert (genders["female"], genders["male"]) == WOMEN_AND_MEN[name]

    vocabulary = get_vocabulary(CORPORA[name].vocabulary)
    folds = make_folds(rows, DataSettings(**CORPORA[name].folds), vocabulary)
    assert len(folds) == FOLDS[name] and sum(len(fold.test) for fold in folds) == len(rows)


def test_esd_has_its_published_counts() -> None:
    """From the paths alone, as 35,000 files take seconds to make."""
    rows = [row for name in esd_names() if (row := esd.describe(Path(name).stem, name))]
    assert Counter(row.emotion for row in rows) == dict.fromkeys(
        ("angry", "happy", "neutral", "sad", "surprised"), 7000
    )
    assert Counter(row.partition for row in rows) == {"dev": 2000, "test": 3000, "train": 30000}
    assert Counter(row.language for row in rows) == {"zh": 17500, "en": 17500}
    speakers = Counter((row.language, row.gender) for row in {row.speaker: row for row in rows}.values())
    assert speakers == dict.fromkeys(product(("zh", "en"), ("female", "male")), 5)
    folds = make_folds(rows[::50], DataSettings(**esd.FOLDS), get_vocabulary("esd5"))
    assert [len(fold.test) for fold in folds] == [140] * 5


def test_the_emotion_of_esd_s_folders_and_of_its_numbers_is_the_same(tmp_path: Path) -> None:
    names = [name for name in esd_names(partitions=False) if name.startswith("0011/")]
    rows = {row.id: row for row in esd.parse(plant(tmp_path / "root", names))}
    assert len(rows) == 1750
    assert all(esd.describe(name, f"{name}.wav") == replace(row, path=f"{name}.wav") for name, row in rows.items())


def test_tess_goes_by_the_names_of_the_files(tmp_path: Path) -> None:
    names = [
        "OAF_neutral/OA_bite_neutral.wav",
        "YAF_pleasant_surprised/YAF_bite_ps.wav",
        "wrong/OAF_bite_Fear.flac",
        "OAF_bite.wav",
    ]
    rows = {row.id: row for row in tess.parse(plant(tmp_path / "root", names))}
    assert list(rows) == ["OAF_bite_Fear", "OA_bite_neutral", "YAF_bite_ps"]
    assert [(row.speaker, row.emotion) for row in rows.values()] == [
        ("OAF", "fearful"),
        ("OAF", "neutral"),
        ("YAF", "surprised"),
    ]
    assert {row.text for row in rows.values()} == {"Say the word bite"}


def test_a_tess_that_was_packed_twice_is_read_once(tmp_path: Path) -> None:
    names = ["OAF_angry/OAF_back_angry.wav", "TESS/OAF_angry/OAF_back_angry.wav"]
    (row,) = tess.parse(plant(tmp_path / "root", names))
    assert row.path == str(tmp_path / "root" / names[0])


@pytest.mark.parametrize(
    "name", ["{who}/{clip}.wav", "AudioData/{who}/{clip}.wav", "ALL/{who}_{clip}.wav", "{who}{clip}.flac"]
)
def test_savee_is_the_same_in_each_layout(tmp_path: Path, name: str) -> None:
    clips = list(product(("DC", "KL"), ("a01", "sa01", "su15", "n30")))
    root = plant(tmp_path / "root", [name.format(who=who, clip=clip) for who, clip in clips])
    plant(root, ["Info/a.wav", "DC_x01.wav"])
    rows = savee.parse(root)
    assert [row.id for row in rows] == sorted(f"{who}_{clip}" for who, clip in clips)
    assert {row.id[3:]: row.emotion for row in rows} == {
        "a01": "angry",
        "sa01": "sad",
        "su15": "surprised",
        "n30": "neutral",
    }
    assert {(row.id[:2], row.speaker) for row in rows} == {("DC", "DC"), ("KL", "KL")}


def test_one_speaker_of_savee_can_be_read_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plant(tmp_path / "root", ["DC/a01.wav"]) / "DC")
    assert [row.id for row in savee.parse(".")] == ["DC_a01"]


def test_emovo_reads_names_in_upper_case_too(tmp_path: Path) -> None:
    rows = emovo.parse(plant(tmp_path / "root", ["F1/rab-f1-b1.wav", "M3/TRI-M3-D2.WAV", "F1/rab-f4-b1.wav"]))
    assert [(row.speaker, row.gender, row.emotion) for row in rows] == [
        ("m3", "male", "sad"),
        ("f1", "female", "angry"),
    ]
    assert rows[0].text == "Porti con te quella cosa?" and len(set(emovo.SENTENCES.values())) == 14


def test_esd_has_partitions_where_the_folders_say_so(tmp_path: Path) -> None:
    numbers = {20: "evaluation", 21: "test", 350: "train"}
    names = [f"0011/Neutral/{part}/0011_{number:06d}.wav" for number, part in numbers.items()]
    with_parts = esd.parse(plant(tmp_path / "with", names))
    assert [row.partition for row in with_parts] == ["dev", "test", "train"]
    # A folder above that happens to be called like a partition says nothing.
    without = esd.parse(plant(tmp_path / "test", ["0011/Angry/0011_000351.wav", "0002/0002_001051.wav"]))
    assert [(row.id, row.emotion, row.partition) for row in without] == [
        ("0002_001051", "sad", None), ("0011_000351", "angry", None),
    ]  # fmt: skip
    assert [(row.language, row.gender) for row in without] == [("zh", "female"), ("en", "male")]


MANDARIN, ENGLISH = (
    "0001_000001\t打远一看，它们的确很是美丽，\t中立",
    "0016_000001\tThe nine the eggs, I’ll keep.\tNeutral",
)


@pytest.mark.parametrize(
    ("speaker", "line", "encoding"),
    [
        ("0001", MANDARIN, "gb2312"), ("0001", MANDARIN, "utf-16"), ("0001", MANDARIN, "utf-8"),
        ("0001", MANDARIN, "utf-8-sig"), ("0001", MANDARIN, "utf-16-le"), ("0001", MANDARIN, "utf-16-be"),
        ("0016", ENGLISH, "cp1252"), ("0016", ENGLISH, "utf-16"), ("0016", ENGLISH, "utf-8"),
    ],
)  # fmt: skip
def test_esd_s_texts_are_read_in_each_encoding(tmp_path: Path, speaker: str, line: str, encoding: str) -> None:
    root = plant(tmp_path / "root", [f"{speaker}/Neutral/{line[:11]}.wav", f"{speaker}/Neutral/{speaker}_000002.wav"])
    (root / speaker / f"{speaker}.txt").write_bytes(f"{line}\r\n\r\n".encode(encoding))
    first, second = esd.parse(root)
    assert (first.text, second.text) == (line.split("\t")[1], None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0015_000137 Let the glass globe be.\tNeutral", "Let the glass globe be."),
        ("0015_000137\tLet the glass globe be.", "Let the glass globe be."),
        ("0015_000137\tLet the glass globe be. Neutral\t", "Let the glass globe be."),
        ("0015_000137\tI am sad\tSad", "I am sad"),
        ("0015_000137\t", None),
        ("0015_000137", None),
    ],
)
def test_esd_s_uneven_lines_are_read(tmp_path: Path, line: str, text: str | None) -> None:
    root = plant(tmp_path / "root", ["0015/Neutral/0015_000137.wav"])
    (root / "0015" / "0015.txt").write_text(line)
    assert [row.text for row in esd.parse(root)] == [text]


def test_the_tables_of_emotions_use_the_project_s_words() -> None:
    for table in (tess.EMOTIONS.values(), savee.EMOTIONS.values(), emovo.EMOTIONS.values(), esd.EMOTIONS):
        assert set(table) <= set(EMOTIONS)


def test_emobox_s_folds_of_esd_test_each_speaker_once() -> None:
    lists = esd.FOLDS["test_speakers"]
    assert sorted(speaker for fold in lists for speaker in fold) == [f"{number:04d}" for number in range(1, 21)]


def test_esd_s_texts_in_linked_folders_are_read(tmp_path: Path) -> None:
    """Clips in linked folders are found, so their tables must be found too."""
    store = plant(tmp_path / "store", ["0016/Neutral/0016_000001.wav"])
    (store / "0016" / "0016.txt").write_text(f"{ENGLISH}\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "0016").symlink_to(store / "0016")
    [row] = esd.parse(tmp_path / "root")
    assert row.text == ENGLISH.split("\t")[1]
