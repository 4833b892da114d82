from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gemoclap.corpora import export, prepare
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError

ROWS = [
    Utterance("a", "clips/a.wav", None, None, "mine", "1", "ann", "female", "happy", 'Say "hi", or not', "en"),
    Utterance("b#1", "clips/b.wav", 0.25, 1.5, "mine", None, "bob", "male", "fearful", "zwei\nZeilen", "de"),
    Utterance("c", "clips/c.wav"),
]


def test_what_is_exported_is_read_back(tmp_path):
    rows = [replace(row, path=str(tmp_path / row.path)) for row in ROWS]
    export("csv", rows, tmp_path / "out.csv")
    assert prepare("csv", tmp_path / "out.csv") == rows
    assert "\nc,clips/c.wav," in (tmp_path / "out.csv").read_text()


def test_an_export_overwrites_nothing(tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(GemoclapError, match="is there already"):
        export("csv", ROWS, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t")])
def test_other_toolkits_columns_are_understood(tmp_path, name, delimiter):
    lines = [
        ["File", "Label", "Sex", "Speaker_ID", "start_time", "end_time", "MOS"],
        ["sub/a.wav", "Anger", "F", "ann", "", "", "3"],
        ["sub/a.wav", "joy", "M", "bob", "1", "2.5", "3"],
        ["/far/b.wav", "", "", "", "", "", ""],
    ]
    (tmp_path / name).write_text("\ufeff" + "".join(delimiter.join(line) + "\n" for line in lines), encoding="utf-8")
    whole, part, other = prepare("csv", tmp_path / name, tmp_path / "audio")
    assert whole == Utterance(
        "sub/a", str(tmp_path / "audio/sub/a.wav"), speaker="ann", gender="female", emotion="angry"
    )
    assert (part.id, part.start, part.end, part.gender, part.emotion) == ("sub/a#1-2.5", 1.0, 2.5, "male", "happy")
    assert (other.path, other.speaker, other.gender, other.emotion) == ("/far/b.wav", None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path or file or filename among none"),
        ("name,label\na,happy\n", "no column path or file or filename among name, label"),
        ("path,label\na.wav,happy\n,sad\n", r"t.csv:3: the row names no audio file"),
        ("path,gender\na.wav,x\n", r"t.csv:2: gender must be female or male \(or f, m\), not 'x'"),
        ("path,start\na.wav,soon\n", r"t.csv:2: start must be seconds, not 'soon'"),
        ("id,path\n1,a.wav\n1,b.wav\n", r"t.csv:3: id '1' is already on line 2"),
    ],
)
def test_bad_tables_are_refused_with_their_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(GemoclapError, match=message):
        prepare("csv", tmp_path / "t.csv")


def test_audio_is_never_guessed_by_its_stem(tmp_path, write_clip):
    write_clip(tmp_path / "bob" / "001.wav")
    (tmp_path / "t.csv").write_text("path\nann/001.wav\n")
    assert prepare("csv", tmp_path / "t.csv")[0].path == str(tmp_path / "ann" / "001.wav")


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(GemoclapError, match="no such file"):
        prepare("csv", Path(tmp_path / "none.csv"))
