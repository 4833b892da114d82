from __future__ import annotations

import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from gemoclap.corpora import iemocap, prepare
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary


def write_labels(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write an EmoEvaluation file in the release's form: header, and for each row a summary and raters' lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [
        f"[6.2901 - 8.2357]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n"
        "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
        for name, emotion in rows
    ]
    path.write_text("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + "\n".join(blocks))


@pytest.fixture
def release(tmp_path: Path, write_clip) -> Path:
    """A made-up release of two dialogues, with what lies about in a real one."""
    root = tmp_path / "IEMOCAP_full_release"
    labels = root / "Session1" / "dialog" / "EmoEvaluation"
    ids = [("F000", "neu"), ("F001", "xxx"), ("M000", "exc"), ("M001", "fru")]
    write_labels(labels / "Ses01F_impro01.txt", [(f"Ses01F_impro01_{turn}", emotion) for turn, emotion in ids])
    write_labels(labels / "._Ses01F_impro01.txt", [("Ses01F_impro01_F009", "ang")])
    for folder in ("Attribute", "Categorical", "Self-evaluation"):
        write_labels(labels / folder / "Ses01F_impro01_e1.txt", [("Ses01F_impro01_F008", "ang")])
    session5 = root / "Session5" / "dialog" / "EmoEvaluation"
    write_labels(session5 / "Ses05M_script01_1b.txt", [("Ses05M_script01_1b_F012", "ang")])
    with (session5 / "Ses05M_script01_1b.txt").open("ab") as file:
        file.write(
            b"C-E1:\tAnger;\t(caf\xe9 \x85 \xff)\n\n[9.1 - 9.9]\tSes05M_script01_1b_M013\tdis\t[1.0, 1.0, 1.0]\n"
        )
    transcripts = root / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt"
    transcripts.parent.mkdir()
    transcripts.write_bytes(
        b"Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        b"Ses01F_impro01_M000 [010.0100-011.3925]:  Caf\xe9: yes.\nM: (laughs)\nSes01F_impro01_M001 [1-2]: \n"
    )
    write_clip(root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / "Ses01F_impro01_F000.wav")
    write_clip(root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / "Ses01F_impro01_M000.flac")
    return root


def test_every_labelled_utterance_is_read_unmerged(release):
    rows = {row.id: row for row in iemocap.parse(release)}
    assert {name: row.emotion for name, row in rows.items()} == {
        "Ses01F_impro01_F000": "neutral",
        "Ses01F_impro01_F001": None,
        "Ses01F_impro01_M000": "excited",
        "Ses01F_impro01_M001": "frustrated",
        "Ses05M_script01_1b_F012": "angry",
        "Ses05M_script01_1b_M013": "disgusted",
    }
    assert {row.session for row in rows.values()} == {"1", "5"}
    assert {row.corpus for row in rows.values()} == {"iemocap"}


JUDGED = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 3.3333, 1.0000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral state; Anger;\t(curious)
C-E4:\tOther;\t(calm; Sadness;)
C-F1:\tSadness;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.01 - 11.39]\tSes01F_impro01_M000\txxx\t[4.0000, 2.0000]
C-E2:\t\t()
[11.50 - 12.39]\tSes01F_impro01_M001\texc\t[4.0000, 2.0000, 5.0000]
C-E1:\tExcited;\t()
C-E10:\tHappiness; Excited; Surprise;\t()
C-M1:\tHappiness;\t()
"""


def test_dimensions_and_the_evaluators_votes_are_read(tmp_path):
    """One vote an evaluator, in parts if several emotions are named; the actors' own judgements are no votes."""
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.parent.mkdir(parents=True)
    path.write_text(JUDGED)
    first, second, third = iemocap.parse(tmp_path)
    assert (first.valence, first.arousal, first.dominance) == (2.5, 3.3333, 1.0)
    assert first.votes == {"neutral": 1.5, "angry": 0.5, "other": 1.0}
    assert (second.valence, second.arousal, second.dominance, second.votes) == (None, None, None, None)
    assert (third.valence, third.arousal, third.dominance) == (4.0, 2.0, 5.0)
    assert third.votes == pytest.approx({"excited": 4 / 3, "happy": 1 / 3, "surprised": 1 / 3})


def test_the_published_example_has_the_means_of_its_lines(shared, tmp_path):
    """Valence, arousal and dominance are in this order, and are the means of the evaluators' lines A-E."""
    example = (shared / "iemocap" / "EmoEvaluation_example.txt").read_text()
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.parent.mkdir(parents=True)
    path.write_text(example)
    for row, block in zip(iemocap.parse(tmp_path), re.split(r"\n(?=\[)", example)[1:], strict=True):
        lines = re.findall(r"A-E\d+:\tval (\d); act (\d); dom +(\d)", block)
        means = [sum(map(int, values)) / len(values) for values in zip(*lines, strict=True)]
        assert lines and [row.valence, row.arousal, row.dominance] == pytest.approx(means)
        assert sum(row.votes.values()) == len(re.findall(r"C-E\d", block))


def test_speaker_and_gender_follow_the_letter_after_the_last_underscore(release):
    rows = {row.id: row for row in iemocap.parse(release)}
    assert (rows["Ses01F_impro01_M000"].speaker, rows["Ses01F_impro01_M000"].gender) == ("Ses01M", "male")
    woman = rows["Ses05M_script01_1b_F012"]
    assert (woman.speaker, woman.gender) == ("Ses05F", "female")


def test_texts_and_audio_are_found_where_they_are(release):
    rows = {row.id: row for row in iemocap.parse(release)}
    assert rows["Ses01F_impro01_F000"].text == "Excuse me."
    assert rows["Ses01F_impro01_M000"].text == "Caf\ufffd: yes."
    assert rows["Ses01F_impro01_M001"].text is None
    assert rows["Ses05M_script01_1b_F012"].text is None
    assert Path(rows["Ses01F_impro01_F000"].path).is_file()
    assert Path(rows["Ses01F_impro01_M000"].path).suffix == ".flac"
    missing = Path(rows["Ses01F_impro01_F001"].path)
    assert missing == release / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav"
    assert not missing.exists()


def test_the_folder_above_the_release_serves_too(release):
    assert iemocap.parse(release.parent) == iemocap.parse(release)


@pytest.mark.parametrize("make", ["nothing", "only dotfiles"])
def test_a_folder_that_is_not_iemocap_is_refused(tmp_path, make):
    if make == "only dotfiles":
        write_labels(tmp_path / "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt", [("Ses01F_impro01_F000", "neu")])
    with pytest.raises(
        GemoclapError, match=r"no Session\*/dialog/EmoEvaluation/\*.txt here; point at IEMOCAP_full_release"
    ):
        prepare("iemocap", tmp_path)


def test_label_files_without_labels_and_with_strange_ids_are_refused(tmp_path):
    labels = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    write_labels(labels, [])
    with pytest.raises(GemoclapError, match="none of 1 label files has a line"):
        iemocap.parse(tmp_path)
    write_labels(labels, [("impro01", "neu")])
    with pytest.raises(GemoclapError, match=r"Ses01F_impro01.txt: 'impro01' is not an id like"):
        iemocap.parse(tmp_path)


def look_alike(root: Path, utterances: list[dict[str, str]], clip: Path) -> Path:
    """Lay out IEMOCAP's folders for all given ids, every wav a link to one clip."""
    dialogues: dict[str, list[tuple[str, str]]] = {}
    for row in utterances:
        dialogues.setdefault(row["utterance_id"].rsplit("_", 1)[0], []).append((row["utterance_id"], row["emotion"]))
    for dialogue, rows in dialogues.items():
        session = root / f"Session{int(dialogue[3:5])}"
        write_labels(session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt", rows)
        wavs = session / "sentences" / "wav" / dialogue
        wavs.mkdir(parents=True)
        for name, _ in rows:
            os.link(clip, wavs / f"{name}.wav")
    return root


def published_counts(readme: Path) -> dict[str, list[str]]:
    """Return session -> cells of the table of IEMOCAP counts: all, ang, hap+exc, sad, neu, by a woman, by a man."""
    lines = readme.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| session | all | ang |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : start + 8]]
    return {row[0]: row[1:] for row in rows}


def test_every_published_count_is_reproduced(shared, tmp_path, write_clip):
    with (shared / "iemocap" / "utterances.tsv").open() as file:
        listed = list(csv.DictReader(file, delimiter="\t"))
    root = look_alike(tmp_path / "release", listed, write_clip(tmp_path / "clip.wav"))
    utterances = prepare("iemocap", root)
    assert {row.id for row in utterances} == {row["utterance_id"] for row in listed}
    assert all(Path(row.path).is_file() for row in utterances)

    vocabulary = get_vocabulary("iemocap4")
    published = published_counts(shared / "corpora" / "README.md")
    assert set(published) == {"1", "2", "3", "4", "5", "all"}
    for session, cells in published.items():
        rows = [row for row in utterances if session in ("all", row.session)]
        emotions = Counter(vocabulary.resolve(row.emotion) for row in rows)
        genders = Counter(row.gender for row in rows)
        happy = str(emotions["happy"])
        if session == "all":
            unmerged = Counter(row.emotion for row in rows)
            happy += f" ({unmerged['happy']}+{unmerged['excited']})"
        counts = [
            len(rows),
            emotions["angry"],
            happy,
            emotions["sad"],
            emotions["neutral"],
            genders["female"],
            genders["male"],
        ]
        assert [str(count) for count in counts] == cells, f"session {session}"
    assert sum(row.id[5] != (row.speaker or "")[-1] for row in utterances) == 2750
    assert len({row.speaker for row in utterances}) == 10
