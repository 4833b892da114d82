from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from gemoclap.corpora import prepare
from gemoclap.corpora.inspect import KINDS, Fault, inspect
from gemoclap.corpora.inspect_text import render
from gemoclap.corpora.manifest import Utterance
from gemoclap.labels import get_vocabulary


def in_text(inspection, limit=10) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(render(inspection, limit))
    return capture.get()


@pytest.fixture
def clean(tmp_path, write_clip) -> list[Utterance]:
    """Four sound rows: 0.5, 1.0, 1.5 and 3.0 s, two speakers, one label unmerged, one row unlabelled."""
    speakers = [("ann", "female", "happy"), ("ann", "female", "excited"), ("bob", "male", "sad"), ("bob", "male", None)]
    lengths, rates = (0.5, 1.0, 1.5, 3.0), (16000, 8000, 48000, 16000)
    rows = []
    for number, ((speaker, gender, emotion), seconds, rate) in enumerate(zip(speakers, lengths, rates, strict=True)):
        path = write_clip(tmp_path / f"{number}.wav", number, seconds, rate)
        rows.append(Utterance(str(number), str(path), None, None, "mine", "1", speaker, gender, emotion))
    return rows


def test_counts_and_durations(clean):
    found = inspect(clean, get_vocabulary("iemocap4"))
    assert found.faults == []
    assert found.rows == 4
    assert found.emotions == {"(none)": 1, "excited": 1, "happy": 1, "sad": 1}
    assert found.emotion_gender["excited"] == {"female": 1}
    assert (found.speakers, found.genders) == ({"ann": 2, "bob": 2}, {"female": 2, "male": 2})
    assert found.sessions == {"1": 4}
    assert found.sample_rates == {8000: 1, 16000: 2, 48000: 1}
    assert found.channels == {1: 4}
    assert found.hours == pytest.approx(6.0 / 3600, rel=1e-3)
    assert found.duration == pytest.approx({"min": 0.5, "mean": 1.5, "median": 1.25, "max": 3.0}, rel=1e-3)
    assert json.loads(json.dumps(found.to_dict()))["rows"] == 4
    text = in_text(found)
    assert "4 utterances" in text
    assert "no faults" in text


def broken_audio(folder: Path, good: Path) -> dict[str, str]:
    """Write one file of each kind of trouble; return its name -> kind of fault."""
    noise = np.random.default_rng(9).standard_normal(16000).astype(np.float32) * 0.1
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(folder / "nan.wav", np.where(np.arange(16000) == 700, np.nan, noise), 16000, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.where(np.arange(16000) == 15999, np.inf, noise), 16000, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "cut.flac", noise, 16000)
    for name, whole in (("cut.flac", folder / "cut.flac"), ("cut.wav", good)):
        data = whole.read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "text.wav").write_text("This is no sound at all.\n" * 20)
    (folder / "zero.wav").touch()
    audio = dict.fromkeys(("empty.wav", "nan.wav", "inf.wav", "cut.flac", "cut.wav", "text.wav", "zero.wav"), "audio")
    return audio | {"silent.wav": "silent", "gone.wav": "missing"}


def test_every_kind_of_bad_audio_is_found_in_its_row(tmp_path, clean):
    kinds = broken_audio(tmp_path, Path(clean[3].path))
    bad = [replace(clean[0], id=name, path=str(tmp_path / name)) for name in kinds]
    rows = [clean[0], *bad, clean[1]]
    found = inspect(rows)
    assert [(fault.row, fault.id, fault.kind) for fault in found.faults] == [
        (row, name, kind) for row, (name, kind) in enumerate(kinds.items(), 2)
    ]
    assert all(str(tmp_path / fault.id) in fault.message and "\n" not in fault.message for fault in found.faults)
    assert sum(found.sample_rates.values()) == 3  # the two good ones and the silent one
    text = in_text(found)
    assert "audio unusable: 7" in text
    assert "row 10 (gone.wav)" in text


def test_spans(clean):
    whole = clean[3]
    spans = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.5, 3.5), (-0.5, 1.0), (4.0, None), (None, 3.05), (2.0, None)]
    rows = [replace(whole, id=str(n), start=start, end=end) for n, (start, end) in enumerate(spans)]
    found = inspect(rows)
    assert [(fault.row, fault.kind) for fault in found.faults] == [(row, "span") for row in (2, 3, 4, 5, 6)]
    assert found.duration["min"] == pytest.approx(1.0)


def test_duplicates_are_found_whether_bytes_or_only_samples_are_equal(tmp_path, clean):
    shutil.copy(clean[0].path, tmp_path / "copy.wav")
    samples, rate = soundfile.read(clean[0].path, dtype="int16")
    soundfile.write(tmp_path / "converted.flac", samples, rate)
    rows = [
        *clean[:2],
        replace(clean[2], id="copy", path=str(tmp_path / "copy.wav")),
        replace(clean[2], id="converted", path=str(tmp_path / "converted.flac")),
        replace(clean[3], id="first half", start=0.0, end=1.5),
        replace(clean[3], id="second half", start=1.5, end=3.0),
        replace(clean[3], id="again", start=1.5),
    ]
    found = [fault for fault in inspect(rows).faults if fault.kind == "duplicate"]
    assert [(fault.row, fault.id) for fault in found] == [(3, "copy"), (4, "converted"), (7, "again")]
    assert "byte-identical to row 1 (0)" in found[0].message
    assert "the same audio as row 1 (0)" in found[1].message
    assert "the same stretch of the same file as row 6 (second half)" in found[2].message


def test_silent_clips_are_not_duplicates_of_each_other(tmp_path, clean):
    for name in ("one.wav", "two.wav"):
        soundfile.write(tmp_path / name, np.zeros(8000), 16000)
    rows = [replace(clean[0], id=name, path=str(tmp_path / name)) for name in ("one.wav", "two.wav")]
    assert [(fault.row, fault.kind) for fault in inspect(rows).faults] == [(1, "silent"), (2, "silent")]


def test_labels_outside_the_set(clean):
    rows = [replace(clean[0], emotion="hapy"), clean[1], replace(clean[2], emotion="frustrated"), clean[3]]
    (fault,) = inspect(rows).faults
    assert (fault.row, fault.kind) == (1, "label")
    assert "did you mean 'happy'" in fault.message
    found = inspect(rows, get_vocabulary("iemocap4")).faults
    assert [(fault.row, fault.kind) for fault in found] == [(1, "label"), (3, "label")]
    assert "'frustrated' is outside iemocap4 (angry, happy, neutral, sad)" in found[1].message


def test_dimensions_votes_and_partitions_are_shown_where_there_are_some(clean):
    assert not any(word in in_text(inspect(clean)) for word in ("valence", "votes", "partitions"))
    rows = [replace(row, valence=1.0 + number, partition="train") for number, row in enumerate(clean[:2])] + clean[2:]
    rows[3] = replace(rows[3], votes={"sad": 2, "gloomy": 1})
    found = inspect(rows)
    assert found.dimensions == {"valence": {"rows": 2, "min": 1.0, "mean": 1.5, "max": 2.0}}
    assert (found.votes, found.partitions) == (1, {"(none)": 2, "train": 2})
    assert [(fault.row, fault.kind) for fault in found.faults] == [(4, "label")]
    assert "votes: 'gloomy' is not a word for an emotion" in found.faults[0].message
    text = in_text(found)
    assert "valence: 2 rows, min 1.00, mean 1.50, max 2.00" in text and "votes: 1 row" in text
    assert "partitions: (none): 2, train: 2" in text


def test_speakers_and_genders(clean):
    rows = [
        clean[0],
        replace(clean[1], gender="male"),
        replace(clean[2], speaker=None),
        replace(clean[3], gender="m"),
    ]
    found = inspect(rows).faults
    assert [(fault.row, fault.kind) for fault in found] == [(2, "gender"), (3, "speaker"), (4, "gender")]
    assert found[0].message == "speaker 'ann' is male here and female in row 1; correct one of them"
    unknown = [replace(row, gender=None) for row in clean]
    assert inspect(unknown).faults == []


def test_one_name_in_two_corpora_is_two_speakers(clean):
    rows = [clean[0], replace(clean[2], corpus="theirs", speaker="ann")]
    assert inspect(rows).faults == []


def test_progress_is_reported_row_by_row(clean):
    calls: list[tuple[int, int]] = []
    inspect(clean, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_fault_that_many_rows_share_is_one_line(clean):
    labels = ("angst", "wut") * 8
    rows = [replace(clean[0], id=str(n), speaker=str(n), emotion=label) for n, label in enumerate(labels, 2)]
    found = inspect([replace(clean[0], id="neutral", emotion="neutral"), *rows])
    label_faults = [fault for fault in found.faults if fault.kind == "label"]
    assert len(label_faults) == 16 and "did you mean" not in label_faults[0].message
    text = in_text(replace(found, faults=label_faults))
    assert "label outside the set: 16; rename them" in text and text.count("contemptuous") == 1
    assert "  8 rows, first row 2 (2): label 'angst' is not" in text
    assert "  8 rows, first row 3 (3): label 'wut' is not" in text and "more" not in text
    assert in_text(replace(found, faults=label_faults), limit=None).count("label 'angst'") == 8


def test_speakers_are_listed_in_the_order_of_their_numbers(clean):
    rows = [replace(clean[0], id=str(n), speaker=str(n)) for n in (10, 9, 1, 2, 1001)]
    found = inspect([*rows, replace(rows[0], id="again")])
    assert list(found.speakers) == ["1", "2", "9", "10", "1001"]
    assert "speakers: 1: 1, 2: 1, 9: 1, 10: 2, 1001: 1" in in_text(found)


def test_long_lists_of_faults_are_cut_in_print_alone(tmp_path, clean):
    rows = [replace(clean[0], id=f"[bold]{n}", path=str(tmp_path / f"gone{n}.wav")) for n in range(13)]
    found = inspect(rows)
    assert len(found.faults) == 13
    assert {fault.kind for fault in found.faults} <= set(KINDS)
    text = in_text(found)
    assert "audio file missing: 13" in text
    assert "... and 3 more" in text
    assert "([bold]9)" in text
    assert "more" not in in_text(found, limit=None)
    assert isinstance(found.faults[0], Fault)


def test_the_real_duplicate_is_found(shared):
    actor = [row for row in prepare("ravdess", shared / "corpora/ravdess") if row.speaker == "07"]
    (fault,) = inspect(actor, get_vocabulary("ravdess8")).faults
    assert (fault.id, fault.kind) == ("03-01-03-01-02-02-07", "duplicate")
    assert "byte-identical" in fault.message
    assert "03-01-03-01-02-01-07" in fault.message


def test_nearly_equal_names_of_speakers_are_pointed_out(clean):
    """Case and blanks make one person; marks, accents and leading zeros may be one; other corpora and numbers are not."""
    names = ["Ses05F", "ses05f ", "spk_1", "spk-01", "spk 11", "Zoë", "Zoe", "1", "01", "11"]
    rows = [replace(clean[n % 4], id=str(n), speaker=name, gender=None, start=0.02 * n) for n, name in enumerate(names)]
    rows.append(replace(clean[0], id="other", speaker="SES05F", corpus="theirs", start=0.3))
    found = [fault for fault in inspect(rows).faults if fault.kind == "spelling"]
    assert [(fault.row, fault.message) for fault in found] == [
        (2, "speaker 'ses05f ' is taken for 'Ses05F' of row 1; spell them alike"),
        (4, "speaker 'spk-01' is another person than 'spk_1' of row 3; if they are one, spell them alike"),
        (7, "speaker 'Zoe' is another person than 'Zoë' of row 6; if they are one, spell them alike"),
        (9, "speaker '01' is another person than '1' of row 8; if they are one, spell them alike"),
    ]


def test_speakers_of_several_corpora_have_their_corpus_in_front(clean):
    rows = [clean[0], replace(clean[1], corpus="theirs"), replace(clean[2], speaker=None)]
    assert inspect(rows).speakers == {"(none)": 1, "mine/ann": 1, "theirs/ann": 1}
    assert "2 speakers" in in_text(inspect(rows))
