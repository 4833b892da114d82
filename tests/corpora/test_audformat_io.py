from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import audformat
import pandas as pd
import pytest
import yaml

from gemoclap.corpora import export, prepare
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError

ROWS = [
    Utterance("a", "clips/a.wav", None, None, "mine", "1", "ann", "female", "happy", "Guten Tag, du", "de"),
    Utterance("b", "clips/b.wav", None, None, "mine", "2", "bob", "male", "excited", None, "en"),
    Utterance("c", "clips/c.wav", None, None, "mine", None, None, None, None, None, None),
]


@pytest.mark.parametrize("cut", [False, True])
def test_what_is_exported_is_read_back(tmp_path, cut):
    rows = [replace(row, path=str(tmp_path / row.path)) for row in ROWS]
    if cut:
        rows += [replace(rows[0], id="a2", start=0.5, end=1.25), replace(rows[1], id="b2", start=0.5)]
    export("audformat", rows, tmp_path)
    assert prepare("audformat", tmp_path) == rows
    assert prepare("audformat", tmp_path / "db.yaml") == rows


def test_audformat_itself_reads_the_export(tmp_path):
    export("audformat", [replace(row, path=str(tmp_path / row.path)) for row in ROWS], tmp_path)
    database = audformat.Database.load(str(tmp_path))
    assert database.is_portable
    assert sorted(database.languages) == ["deu", "eng"]
    frame = database.get("emotion", ["speaker", "gender"])
    assert list(frame.index) == ["clips/a.wav", "clips/b.wav", "clips/c.wav"]
    assert frame["emotion"].tolist()[:2] == ["happy", "excited"]
    assert frame["gender"].tolist()[:2] == ["female", "male"]
    assert frame["emotion"].isna().tolist() == [False, False, True]


def test_a_database_in_audeering_s_way_is_read(tmp_path):
    """Gender inside the speaker's labels, transcriptions by code, two tables that agree, German alone."""
    database = audformat.Database("emodb", languages=["deu"])
    database.schemes["emotion"] = audformat.Scheme(labels=["anger", "happiness"])
    database.schemes["speaker"] = audformat.Scheme("int", labels={3: {"gender": "male"}, 8: {"gender": "female"}})
    database.schemes["transcription"] = audformat.Scheme("str", labels={"a01": "Der Lappen"})
    files = audformat.filewise_index(["wav/03a01Fa.wav", "wav/08a01Wa.wav"])
    for table_id, rows in (("emotion", files), ("emotion.test", files[:1])):
        database[table_id] = audformat.Table(rows)
        database[table_id]["emotion"] = audformat.Column(scheme_id="emotion")
        database[table_id]["emotion"].set(["happiness", "anger"][: len(rows)])
    database["files"] = audformat.Table(files)
    for column, values in (("speaker", [3, 8]), ("transcription", ["a01", "a01"])):
        database["files"][column] = audformat.Column(scheme_id=column)
        database["files"][column].set(values)
    database.save(str(tmp_path))
    happy, angry = prepare("audformat", tmp_path, tmp_path / "audio")
    assert happy == Utterance(
        "wav/03a01Fa", str(tmp_path / "audio/wav/03a01Fa.wav"), None, None, "emodb", None, "3", "male", "happy",
        "Der Lappen", "de",
    )  # fmt: skip
    assert (angry.speaker, angry.gender, angry.emotion) == ("8", "female", "angry")


def test_an_export_overwrites_nothing(tmp_path):
    export("audformat", ROWS[:1], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(GemoclapError, match=r"db.yaml: is there already"):
        export("audformat", ROWS, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert sorted(before) == ["db.utterances.csv", "db.yaml"]
    with pytest.raises(GemoclapError, match="nothing to write"):
        export("audformat", [], tmp_path / "empty")


def test_what_could_run_code_is_refused(tmp_path):
    export("audformat", ROWS, tmp_path)
    marker = tmp_path / "ran"
    header = tmp_path / "db.yaml"
    good = header.read_text()
    header.write_text(f'{good}meta: !!python/object/apply:os.mkdir ["{marker}"]\n')
    with pytest.raises(GemoclapError, match="not a readable audformat database"):
        prepare("audformat", tmp_path)
    header.write_text(good)
    (tmp_path / "db.utterances.pkl").write_bytes(pickle.dumps(pd.DataFrame()))
    with pytest.raises(GemoclapError, match=r"db.utterances.pkl: reading a pickle can run code"):
        prepare("audformat", tmp_path)
    assert not marker.exists()


def test_databases_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(GemoclapError, match=r"no db.yaml here"):
        prepare("audformat", tmp_path)
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(GemoclapError, match="not a readable audformat database") as caught:
        prepare("audformat", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_database_without_emotion_or_with_two_opinions_is_refused(tmp_path):
    database = audformat.Database("mine")
    for table_id, label in (("gold", "anger"), ("raters", "joy")):
        database[table_id] = audformat.Table(audformat.filewise_index(["a.wav"]))
        database[table_id]["mood"] = audformat.Column()
        database[table_id]["mood"].set([label])
    database.save(str(tmp_path / "none"))
    with pytest.raises(GemoclapError, match="no labels for a scheme 'emotion'"):
        prepare("audformat", tmp_path / "none")
    for table_id, label in (("gold", "anger"), ("raters", "joy")):
        database[table_id]["emotion"] = audformat.Column()
        database[table_id]["emotion"].set([label])
    database.save(str(tmp_path / "two"))
    with pytest.raises(GemoclapError, match="its tables contradict each other") as caught:
        prepare("audformat", Path(tmp_path / "two"))
    assert "\n" not in str(caught.value)


class Runs:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("table", ["sub/t", "../t", "/t", "..", "a b", "t\nu"])
def test_a_table_s_name_leads_to_no_pickle(tmp_path, table):
    marker, root = tmp_path / "ran", tmp_path / "d"
    for folder in (root / "db.sub", root / "db..", tmp_path / "db."):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "t.pkl").write_bytes(pickle.dumps(Runs(marker)))
    columns = {"emotion": {"scheme_id": "emotion"}}
    header = {
        "name": "x", "source": "s", "usage": "unrestricted", "languages": ["deu"],
        "schemes": {"emotion": {"dtype": "str"}}, "tables": {table: {"type": "filewise", "columns": columns}},
    }  # fmt: skip
    (root / "db.yaml").write_text(yaml.safe_dump(header))
    with pytest.raises(GemoclapError, match="may lead out of the folder") as caught:
        prepare("audformat", root)
    assert not marker.exists() and "\n" not in str(caught.value)
    misc = header | {
        "tables": {"t": {"type": "filewise", "columns": columns}},
        "misc_tables": {table: {"levels": ["a"]}},
    }
    (root / "db.yaml").write_text(yaml.safe_dump(misc))
    (root / "db.t.csv").write_text("file,emotion\na.wav,anger\n")
    with pytest.raises(GemoclapError, match="may lead out of the folder"):
        prepare("audformat", root)
    assert not marker.exists()


def test_the_loader_of_audformat_is_never_called(tmp_path, monkeypatch):
    export("audformat", [replace(row, path=str(tmp_path / row.path)) for row in ROWS], tmp_path)
    for owner, method in ((audformat.Database, "load"), (audformat.Table, "load"), (pd, "read_pickle")):
        monkeypatch.setattr(owner, method, lambda *_, **__: pytest.fail("loaded"))
    assert [row.id for row in prepare("audformat", tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_segments_labels_in_misc_tables_and_gaps(tmp_path, form, caplog):
    """Speakers by file, emotions by stretch, gender in a table of speakers, times and gaps in audformat's own spelling."""
    database = audformat.Database("mine", languages=["deu"])
    speakers = audformat.MiscTable(pd.Index([3, 8], name="speaker"))
    database["people"] = speakers
    database.schemes["gender"] = audformat.Scheme(labels=["male", "female"])
    speakers["gender"] = audformat.Column(scheme_id="gender")
    speakers["gender"].set(["male", "female"])
    database.schemes["speaker"] = audformat.Scheme("int", labels="people")
    database.schemes["emotion"] = audformat.Scheme("str")
    database.schemes["arousal"] = audformat.Scheme("float")
    database.schemes["liking"] = audformat.Scheme("float")
    database["files"] = audformat.Table(audformat.filewise_index(["a.wav", "b.wav"]))
    database["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    database["files"]["speaker"].set([3, 8])
    index = audformat.segmented_index(["a.wav", "a.wav", "b.wav"], ["0s", "1.25s", "0s"], ["1.25s", "2s", pd.NaT])
    database["labels"] = audformat.Table(index)
    judged = {"arousal": [0.5, None, 0.1], "rater 1": [0.7, None, 0.1], "liking": [0.3, None, 0.2]}
    for column, values in ({"emotion": ["anger", None, "joy"]} | judged).items():
        scheme = "arousal" if column == "rater 1" else column
        database["labels"][column] = audformat.Column(scheme_id=scheme)
        database["labels"][column].set(values)
    database.save(str(tmp_path), storage_format=form)
    rows = prepare("audformat", tmp_path)
    assert [(row.id, row.start, row.end, row.speaker, row.gender, row.emotion) for row in rows] == [
        ("a#0-1.25", 0.0, 1.25, "3", "male", "angry"),
        ("a#1.25-2", 1.25, 2.0, "3", "male", None),
        ("b", None, None, "8", "female", "happy"),
    ]
    assert [row.arousal for row in rows] == [0.5, None, 0.1]
    assert "columns that were not used: rater 1, liking" in caplog.text


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("name: a\nname: b\n", "'name' is there twice"),
        ("name: a\ntables: " + "[" * 100_000, "nested too deeply"),
        ("name: a\nmeta: " + "9" * 5000, "thousands of digits"),
        ("- a\n", "no 'name'"),
    ],
)
def test_headers_that_are_none_are_one_line(tmp_path, header, says):
    (tmp_path / "db.yaml").write_text(header)
    with pytest.raises(GemoclapError, match=f"not a readable audformat database.*{says}") as caught:
        prepare("audformat", tmp_path)
    assert "\n" not in str(caught.value)
