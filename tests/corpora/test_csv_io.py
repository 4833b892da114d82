from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from gemoclap.cli import main
from gemoclap.corpora import export, prepare
from gemoclap.corpora.manifest import Utterance, read_manifest
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
        ("", "is empty; name a table"),
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


MISSING = ["nan", "NaN", "None", "NA", "N/A", "null", "unknown", "-", "", " ", "NaT", "<NA>"]


@pytest.mark.parametrize("word", MISSING)
def test_missing_values_are_not_known_in_every_field(tmp_path, word):
    fields = ["id", "start", "end", "corpus", "session", "speaker", "gender", "emotion", "text", "language"]
    (tmp_path / "t.csv").write_text(",".join(["path", *fields]) + "\na.wav" + f",{word}" * len(fields) + "\n")
    assert prepare("csv", tmp_path / "t.csv") == [Utterance("a", str(tmp_path / "a.wav"))]


def test_what_pandas_writes_is_read(tmp_path):
    """Floats where a column of numbers has gaps, times as Timedelta prints them, and its own index as first column."""
    frame = pd.DataFrame(
        {
            "file": ["a.wav", "a.wav", "b.wav"],
            "start": pd.to_timedelta([0, 1.25, None], unit="s"),
            "end": pd.to_timedelta([1.25, 90061.5, None], unit="s"),
            "speaker": [3, None, 12],
            "emotion": ["anger", None, "joy"],
            "arousal": [0.5, 0.2, None],
        }
    )
    frame.to_csv(tmp_path / "t.csv")
    rows = prepare("csv", tmp_path / "t.csv")
    assert [(row.start, row.end) for row in rows] == [(0.0, 1.25), (1.25, 90061.5), (None, None)]
    assert [row.speaker for row in rows] == ["3", None, "12"]
    assert [row.emotion for row in rows] == ["angry", None, "happy"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0 days 00:00:01.25", 1.25),
        ("00:00:01.25", 1.25),
        ("01:02:03", 3723.0),
        ("1 day, 0:00:02", 86402.0),
        ("P0DT0H1M1.5S", 61.5),
        ("1.5 s", 1.5),
        ("250ms", 0.25),
        ("1e1", 10.0),
    ],
)
def test_times_are_seconds_however_they_are_written(tmp_path, text, seconds):
    (tmp_path / "t.tsv").write_text(f"file\tstart\na.wav\t{text}\n")
    assert prepare("csv", tmp_path / "t.tsv")[0].start == seconds


@pytest.mark.parametrize("text", ["inf", "-inf", "Infinity", "-1", "-1 days +23:59:59", "1:2", "9" * 400, "P", "true"])
def test_times_that_are_none_are_named_with_their_line(tmp_path, text):
    (tmp_path / "t.tsv").write_text(f"file\tend\na.wav\t1\nb.wav\t{text}\n")
    with pytest.raises(GemoclapError, match=r"t.tsv:3: end must be seconds"):
        prepare("csv", tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,text,emotion\na.wav,ok,sad\nb.wav,well, i see,anger\n", r"t.csv:3: 4 cells where the header names 3"),
        ("path,text,emotion\na.wav,ok,sad\nb.wav,well\n", r"t.csv:3: 2 cells where the header names 3"),
        ('path,text,emotion\na.wav,"oh no,sad\nb.wav,fine,joy\nc.wav,ok",joy\n', r"t.csv:2: a quote is opened here.*4"),
        ('path,text,emotion\na.wav,"oh no,sad\nb.wav,"fine",joy\n', r"t.csv:2: .*quote"),
        ('path,text,emotion\na.wav,ok,sad\nb.wav,"oh no,sad\n', r"t.csv:3: .*quote left open"),
        ("path,text\na.wav,ok\nb.wav," + "x" * 140_000 + "\n", r"t.csv:3: a cell is longer than 131,072"),
        ("path,text\n\na.wav,o\0k\n", r"t.csv:3: holds a NUL"),
        ("path,emotion\n.,sad\n", r"t.csv:2: '.' is a folder"),
        ("path,emotion\na/..,sad\n", r"t.csv:2: 'a/..' is a folder"),
        ("path,emotion\nwav/,sad\n", r"t.csv:2: 'wav/' is a folder"),
        ("path,text,text\na.wav,a,b\n", r"t.csv:1: column 'text' is there twice"),
    ],
)
def test_rows_out_of_shape_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(GemoclapError, match=message) as caught:
        prepare("csv", tmp_path / "t.csv")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_columns_that_were_not_used_are_named(tmp_path, caplog):
    (tmp_path / "t.csv").write_text(",path,filename,Label,EmoAct,MOS\n0,a.wav,x,sad,3,4\n")
    (row,) = prepare("csv", tmp_path / "t.csv")
    assert (row.emotion, row.arousal) == ("sad", 3.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 't.csv'}: columns that were not used: filename, MOS"
    ]


def test_a_file_name_that_is_not_utf8_goes_out_and_comes_back(tmp_path):
    name = os.fsdecode(b"\xc9\xfa\xc6\xf8-1.wav")
    (tmp_path / name).touch()
    rows = [Utterance(name, str(tmp_path / name), text="für")]
    export("csv", rows, tmp_path / "out.csv")
    assert b"\xc9\xfa\xc6\xf8-1.wav" in (tmp_path / "out.csv").read_bytes()
    assert prepare("csv", tmp_path / "out.csv") == rows
    (tmp_path / "latin.csv").write_bytes("path,text\na.wav,für\n".encode("latin-1"))
    with pytest.raises(GemoclapError, match=r"latin.csv:2: the text is not UTF-8"):
        prepare("csv", tmp_path / "latin.csv")
    (tmp_path / "gone.csv").write_bytes("path\nfür.wav\n".encode("latin-1"))
    with pytest.raises(GemoclapError, match=r"gone.csv:2: the path is not UTF-8"):
        prepare("csv", tmp_path / "gone.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_utf_16_is_read(encoding: str, tmp_path: Path) -> None:
    """Excel writes "Unicode text" so, with a mark before the first column."""
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "t.txt").write_bytes(f"{mark}path\tspeaker\temotion\na.wav\tMüller\t快乐\n".encode(encoding))
    [row] = prepare("csv", tmp_path / "t.txt")
    assert (row.path, row.speaker, row.emotion) == (str(tmp_path / "a.wav"), "Müller", "快乐")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv: is empty"), (b"\n \n", "t.csv: is empty"), (b"path,emotion\n", "t.csv: has column names and no rows"),
        (b"\xff\xfep\0a\0t\0h\0\n", "t.csv: begins as UTF-16 text"),
    ],
)  # fmt: skip
def test_a_table_without_rows_says_so(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(GemoclapError, match=message):
        prepare("csv", tmp_path / "t.csv")


def test_rows_without_a_corpus_get_the_one_that_is_named(tmp_path, capsys):
    table = tmp_path / "calls.csv"
    table.write_text("path,emotion,speaker,corpus\na.wav,angry,1,\nb.wav,sad,1,agents\n")
    assert main(["prepare", "csv", str(table), "--corpus", "calls", "-o", str(tmp_path / "m.jsonl")]) == 0
    rows = read_manifest(tmp_path / "m.jsonl")
    assert [(row.corpus, row.speaker) for row in rows] == [("calls", "1"), ("agents", "1")]
    assert "2 utterances, 2 speakers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["csv", "--corpus", "my/calls"], "give one without '/'"),
        (["csv", "--corpus", "none"], "'none' is no name"),
        (["ravdess", "--corpus", "calls"], "--corpus is for emobox, s3prl, audformat, csv"),
    ],
)
def test_a_name_that_is_none_or_has_no_effect_is_refused(tmp_path, capsys, words, says):
    table = tmp_path / "calls.csv"
    table.write_text("path,emotion,speaker\na.wav,angry,1\n")
    name, *options = words
    assert main(["prepare", name, str(table), *options, "-o", str(tmp_path / "m.jsonl")]) == 2
    assert says in capsys.readouterr().err
