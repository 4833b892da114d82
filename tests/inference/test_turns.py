"""Turns of speakers as other tools write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sound import write
from speaking import LoudnessPredictor, speech_like

from gemoclap.errors import GemoclapError
from gemoclap.inference.emotion_timeline import emotion_timeline
from gemoclap.inference.turns import Turn, read_turns, remarks_on_turns, seconds_at_once, turns_by_speaker
from gemoclap.reports.timeline_files import write_timeline

RTTM = "SPEAKER call 1 {start} {length} <NA> <NA> {name} <NA> <NA>\n"


def test_rttm_and_tables_say_the_same(tmp_path: Path) -> None:
    rttm, table = tmp_path / "a.rttm", tmp_path / "a.csv"
    rows = [("Ann", 0.5, 2.25), ("Bob", 2.0, 4.0), ("Ann", 7.0, 7.5)]
    lines = [RTTM.format(start=start, length=end - start, name=name) for name, start, end in rows]
    rttm.write_text(";; a comment\nSPKR-INFO call 1 <NA> <NA> <NA> adult_female Ann <NA> <NA>\n\n" + "".join(lines))
    table.write_text("start,end,speaker,text\n" + "".join(f"{start},{end},{name},hm\n" for name, start, end in rows))
    found = read_turns(rttm, "else/where.wav")
    assert [(one.speaker, one.start, one.end) for one in found] == rows
    assert [one.line for one in found] == [4, 5, 6]
    assert [(one.speaker, one.start, one.end, one.line) for one in read_turns(table, "x.wav")] == [
        (*row, line) for row, line in zip(rows, (2, 3, 4), strict=True)
    ]


def test_a_table_of_excel_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffsep=;\nSpeaker ID;Start;End Time;note\nA;0,5;1,25;x\n;;;\nB;2;3,000;\n")
    found = [(turn.speaker, turn.start, turn.end, turn.line) for turn in read_turns(tmp_path / "a.csv", "a.wav")]
    assert found == [("A", 0.5, 1.25, 3), ("B", 2.0, 3.0, 5)]


@pytest.mark.usefixtures("loud_net")
def test_a_channel_without_speech_has_no_turn_in_the_csv_of_a_timeline(tmp_path: Path) -> None:
    """Its row says why. It was read as a turn over the whole recording."""
    path, csv = tmp_path / "call.wav", tmp_path / "call.csv"
    sound = speech_like(30, 3)
    write(path, np.stack([sound, np.zeros_like(sound)], axis=1))
    made = emotion_timeline(LoudnessPredictor(), path, by="channel")  # type: ignore[arg-type]
    write_timeline(csv, made, {})
    assert [lane.name for lane in made.lanes] == ["channel 1", "channel 2"] and "\nchannel 2,0," in csv.read_text()
    found = [(turn.speaker, turn.start, turn.end) for turn in read_turns(csv, path)]
    segments = made.lanes[0].segments
    assert found == [("channel 1", round(one.start, 3), round(one.end, 3)) for one in segments] and len(found) > 1


def test_of_several_recordings_the_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "all.rttm"
    path.write_text("SPEAKER one 1 0 1 <NA> <NA> A <NA> <NA>\nSPEAKER two 1 3 1 <NA> <NA> B <NA> <NA>\n")
    assert [turn.speaker for turn in read_turns(path, "calls/two.wav")] == ["B"]
    with pytest.raises(GemoclapError, match="2 recordings and none is called 'three'"):
        read_turns(path, "three.wav")


def test_turns_of_another_name_are_taken_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "one.rttm"
    path.write_text("SPEAKER one 1 0 1 <NA> <NA> A <NA> <NA>\n")
    assert read_turns(path, "one.wav") and not caplog.text
    assert read_turns(path, "two.wav") and "is about one, and the recording is called two" in caplog.text


@pytest.mark.parametrize(
    ("field", "recording"),
    [
        ("Gespr\u00e4ch_(1)", "Gespr\u00e4ch (1).wav"),  # no field has blanks
        ("Gespr\u00e4ch_(1)", "Gespra\u0308ch (1).wav"),  # as macOS stores the letter
        ("a_'b'_c", 'a "b"  c.wav'),  # as `timeline` writes it
        ("CALL_7", "call_7.wav"),
    ],
)
def test_a_recording_is_known_by_what_rttm_makes_of_its_name(
    field: str, recording: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(f"SPEAKER {field} 1 3 1 <NA> <NA> B <NA> <NA>\n", encoding="utf-8")
    assert [turn.speaker for turn in read_turns(path, recording)] == ["B"] and not caplog.text
    with path.open("a", encoding="utf-8") as file:
        file.write("SPEAKER other 1 0 1 <NA> <NA> A <NA> <NA>\n")
    assert [turn.speaker for turn in read_turns(path, recording)] == ["B"]


def test_a_name_itself_is_preferred_to_one_that_is_like_it(tmp_path: Path) -> None:
    path, row = tmp_path / "a.rttm", "SPEAKER {0} 1 0 1 <NA> <NA> of-{0} <NA> <NA>\n"
    path.write_text(row.format("call") + row.format("Call"))
    assert [turn.speaker for turn in read_turns(path, "Call.wav")] == ["of-Call"]
    with pytest.raises(GemoclapError, match="none is called 'CALL'"):
        read_turns(path, "CALL.wav")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.rttm", "SPEAKER call 1 0 1 <NA> <NA>\n", "a.rttm:1: 7 fields"),
        ("a.rttm", "\nSPEAKER call 1 0 -1 <NA> <NA> A <NA> <NA>\n", "a.rttm:2: duration must be seconds"),
        ("a.rttm", RTTM.format(start="x", length=1, name="A"), "a.rttm:1: start must be seconds"),
        ("a.rttm", RTTM.format(start=1, length=0, name="A"), "a.rttm:1: start 1 s is not before end 1 s"),
        ("a.rttm", RTTM.format(start=1, length="<NA>", name="A"), "a.rttm:1: no end"),
        ("a.rttm", "no turns\n", "has no turns"),
        ("a.csv", "speaker,start,end\n", "has no turns"),
        ("a.csv", "speaker,begin,end\nA,0,1\n", "a.csv:1: has no column 'start'"),
        ("a.csv", "speaker,start,end\nA,0,1\nB,2\n", "a.csv:3: 2 cells"),
        ("a.csv", "speaker,start,end\nA,0,1\n,2,3\n", "a.csv:3: no speaker"),
        ("a.csv", "speaker,start,end\nA,5,3\n", "a.csv:2: start 5 s is not before end 3 s"),
        ("a.csv", "speaker,start,end\nA,nan,3\n", "a.csv:2: no start"),
        ("a.csv", "speaker,start,end\nA,0,inf\n", "a.csv:2: end must be seconds"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GemoclapError, match=said) as caught:
        read_turns(tmp_path / name, "call.wav")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    for name in ("a.rttm", "a.csv"):
        with pytest.raises(GemoclapError, match=name):
            read_turns(tmp_path / name, "call.wav")


def random_turns(seed: int) -> list[Turn]:
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 90, 25)
    return [Turn(str(rng.choice([*"ABC"])), float(start), float(start + rng.integers(1, 9)), 1) for start in starts]


@pytest.mark.parametrize("seed", range(5))
def test_turns_of_a_speaker_are_joined_and_overlap_is_counted(seed: int) -> None:
    turns = random_turns(seed)
    by_second = {
        name: {t for one in turns if one.speaker == name for t in range(int(one.start), int(one.end))} for name in "ABC"
    }
    found = turns_by_speaker(turns)
    for name, own in found.items():
        assert {t for start, end in own for t in range(int(start), int(end))} == by_second[name]
        assert all(end < start for (_, end), (start, _) in zip(own, own[1:], strict=False))
    at_once = sum(sum(t in own for own in by_second.values()) > 1 for t in range(80))
    assert seconds_at_once(found, 80.0) == at_once


def test_remarks() -> None:
    turns = [Turn("A", 0, 5, 1), Turn("B", 4, 11, 2), Turn("A", 12, 13, 3)]
    beyond, at_once = remarks_on_turns(turns, 10.0)
    assert "2 turns end after the end of the recording at 10.00 s" in beyond
    assert "line 2: 1 left out, 1 cut short" in beyond
    assert at_once.startswith("for 1.00 s two or more speakers talk at once")
    assert remarks_on_turns([Turn("A", 0, 5, 1), Turn("B", 5, 10.0004, 2)], 10.0) == []


@pytest.mark.parametrize("suffix", ["csv", "rttm"])
def test_spellings_of_a_speaker_are_one(suffix: str, tmp_path: Path) -> None:
    names = ("Ann", "ann", "ANN", "Bo")
    rows = [f"{name},{place},{place + 1}" for place, name in enumerate(names)]
    lines = [f"SPEAKER x 1 {place} 1 <NA> <NA> {name} <NA> <NA>" for place, name in enumerate(names)]
    path = tmp_path / f"t.{suffix}"
    path.write_text("\n".join(lines if suffix == "rttm" else ["speaker,start,end", *rows]) + "\n")
    assert [turn.speaker for turn in read_turns(path, "x.wav")] == ["Ann", "Ann", "Ann", "Bo"]
