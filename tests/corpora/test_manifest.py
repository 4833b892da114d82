"""The manifest: what is written comes back, and every fault is named with its line."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.errors import GemoclapError

ROW = {"id": "a", "path": "a.wav"}


def test_rows_come_back_with_paths_that_move_with_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "corpus" / "wav" / "ä.wav", tmp_path / "elsewhere" / "b.wav"
    rows = [
        Utterance("a", str(inside), emotion="happy", gender="female", speaker="1", text="Zażółć", language="pl"),
        Utterance("b", str(outside), start=0.5, end=1.25, corpus="c", session="1"),
    ]
    write_manifest(rows, tmp_path / "corpus" / "m.jsonl")
    assert read_manifest(tmp_path / "corpus" / "m.jsonl") == rows
    (tmp_path / "corpus").rename(tmp_path / "moved")
    first, second = read_manifest(tmp_path / "moved" / "m.jsonl")
    assert first.path == str(tmp_path / "moved" / "wav" / "ä.wav") and second.path == str(outside)


JUDGED = {"partition": "test1", "valence": 3.5, "arousal": 1.0, "dominance": -0.25, "votes": {"angry": 1.5, "sad": 2.0}}


def test_fields_that_few_corpora_have_are_written_where_they_are_known(tmp_path: Path) -> None:
    rows = [Utterance("a", str(tmp_path / "a.wav"), **JUDGED), Utterance("b", str(tmp_path / "b.wav"))]
    write_manifest(rows, tmp_path / "m.jsonl")
    assert read_manifest(tmp_path / "m.jsonl") == rows
    with_all, without = map(json.loads, (tmp_path / "m.jsonl").read_text().splitlines())
    assert JUDGED.items() <= with_all.items() and not JUDGED.keys() & without.keys()
    assert len({*rows, *rows}) == 2  # rows with votes have a hash


def test_numbers_and_votes_may_be_text_or_unknown(tmp_path: Path) -> None:
    more = {"valence": "3.5", "arousal": "nan", "dominance": None, "votes": {"angry": 2, "sad": 0}}
    (row,) = read_manifest(write_rows(tmp_path / "m.jsonl", ROW | more))
    assert (row.valence, row.arousal, row.dominance, row.votes) == (3.5, None, None, {"angry": 2.0})
    (row,) = read_manifest(write_rows(tmp_path / "m.jsonl", ROW | {"votes": "N/A", "valence": float("nan")}))
    assert row.votes is row.valence is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"valence": "high"}, ["'valence'", "finite number", "'high'"]),
        ({"arousal": float("inf")}, ["'arousal'", "finite number", "inf"]),
        ({"dominance": True}, ["'dominance'", "finite number", "True"]),
        ({"valence": [3]}, ["'valence'", "finite number"]),
        ({"votes": ["angry"]}, ["votes must be like", "angry"]),
        ({"votes": 3}, ["votes must be like"]),
        ({"votes": {}}, ["not all 0"]),
        ({"votes": {"angry": 0}}, ["not all 0"]),
        ({"votes": {"angry": -1, "sad": 2}}, ["0 or more"]),
        ({"votes": {"angry": None, "sad": 2}}, ["0 or more"]),
        ({"votes": {"angry": "two"}}, ["votes for 'angry'", "'two'"]),
        ({"partition": 1}, ["'partition'", "string"]),
    ],
)
def test_faulty_judgements_are_named_with_their_line(tmp_path: Path, fields: dict, words: list[str]) -> None:
    with pytest.raises(GemoclapError) as caught:
        read_manifest(write_rows(tmp_path / "m.jsonl", ROW, ROW | {"id": "b"} | fields))
    assert all(word in str(caught.value) for word in ("m.jsonl:2", *words)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", ["m.jsonl:2", "not a line of JSON"]),
        ("[1]", ["m.jsonl:2", "JSON object"]),
        ({"path": "a.wav"}, ["m.jsonl:2", "'id'"]),
        ({"id": "b", "path": 3}, ["m.jsonl:2", "'path'"]),
        ({"id": "b", "path": "b.wav", "emotoin": "sad"}, ["m.jsonl:2", "'emotoin'", "emotion"]),
        ({"id": "b", "path": "b.wav", "start": "1"}, ["m.jsonl:2", "'start'", "seconds"]),
        ({"id": "b", "path": "b.wav", "speaker": 3}, ["m.jsonl:2", "'speaker'", "string"]),
        ({"id": "b", "path": "b.wav", "gender": "Male"}, ["m.jsonl:2", "female or male", "'Male'"]),
        (ROW, ["m.jsonl:2", "line 1"]),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, row: object, words: list[str]) -> None:
    line = row if isinstance(row, str) else json.dumps(row)
    (tmp_path / "m.jsonl").write_text(f"{json.dumps(ROW)}\n{line}\n")
    with pytest.raises(GemoclapError) as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_no_file_no_rows_and_no_utf8_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "latin.jsonl").write_bytes('{"id": "ä", "path": "a.wav"}\n'.encode("latin-1"))
    for name, word in (("none.jsonl", "no such manifest"), ("empty.jsonl", "no rows"), ("latin.jsonl", "UTF-8")):
        with pytest.raises(GemoclapError, match=rf"{name}.*{word}"):
            read_manifest(tmp_path / name)


def test_nothing_is_written_when_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match="nothing to write"):
        write_manifest([], tmp_path / "m.jsonl")
    assert not list(tmp_path.iterdir())


def write_rows(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "None", "NA", "N/A", "null", "Unknown", "-", "", "  ", None, float("nan")]
)
def test_what_is_not_known_may_be_spelt_in_many_ways(tmp_path: Path, word: object) -> None:
    fields = ("start", "end", "corpus", "session", "speaker", "gender", "emotion", "text", "language")
    manifest = write_rows(tmp_path / "m.jsonl", ROW | dict.fromkeys(fields, word))
    assert read_manifest(manifest) == [Utterance("a", str(tmp_path / "a.wav"))]


def test_numbers_from_pandas_are_the_numbers(tmp_path: Path) -> None:
    (row,) = read_manifest(write_rows(tmp_path / "m.jsonl", ROW | {"speaker": "3.0", "session": "2.00", "text": "3.0"}))
    assert (row.speaker, row.session, row.text) == ("3", "2", "3.0")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "b", "path": "b.wav", "start": true}', ["'start'", "True"]),
        ('{"id": "b", "path": "b.wav", "end": Infinity}', ["'end'", "inf"]),
        ('{"id": "b", "path": "b.wav", "end": 1e999}', ["'end'", "inf"]),
        ('{"id": "b", "path": "b.wav", "start": -0.5}', ["'start'", "-0.5"]),
        ('{"id": "b", "path": "b.wav", "start": [1]}', ["'start'", "seconds"]),
        ('{"id": "b", "path": "b.wav", "start": ' + "9" * 5000 + "}", ["thousands of digits"]),
        ('{"id": "b", "path": "b.wav", "start": ' + "9" * 400 + "}", ["'start'", "999..."]),
        ('{"id": "b", "path": "b.wav", "text": ' + "[" * 100_000 + "]" * 100_000 + "}", ["nested too deeply"]),
        ('{"id": "b", "path": "b.wav", "speaker": "1", "speaker": "2"}', ["'speaker' is there twice"]),
        ('{"id": "b", "path": "b\\u0000.wav"}', ["'path'", "NUL"]),
        ('{"id": "b", "path": "b.wav", "text": "\\ud83d"}', ["'text'", "half"]),
    ],
)  # fmt: skip
def test_what_is_no_number_and_no_text_is_named_with_its_line(tmp_path: Path, line: str, words: list[str]) -> None:
    (tmp_path / "m.jsonl").write_text(f"{json.dumps(ROW)}\n{line}\n")
    with pytest.raises(GemoclapError) as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert all(word in str(caught.value) for word in ("m.jsonl:2", *words))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_file_names_that_are_not_utf8_come_back_whole(tmp_path: Path) -> None:
    """In the encodings of Windows in China and in the West; the manifest itself is valid UTF-8."""
    names = [b"\xc9\xfa\xc6\xf8-1.wav", b"f\xfcr.wav", "für.wav".encode()]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).touch()
    rows = [Utterance(os.fsdecode(name), str(tmp_path / os.fsdecode(name)), text="für") for name in names]
    write_manifest(rows, tmp_path / "m.jsonl")
    assert "für" in (tmp_path / "m.jsonl").read_bytes().decode("utf-8")
    read = read_manifest(tmp_path / "m.jsonl")
    assert read == rows and [os.path.basename(os.fsencode(row.path)) for row in read] == names
    assert all(Path(row.path).is_file() for row in read)


def test_a_name_that_the_disk_spells_with_other_characters_is_found(tmp_path: Path) -> None:
    """The folder in one form, the file in the other, and the manifest in either: as archives made on macOS are."""
    composed, apart = unicodedata.normalize("NFC", "ärger"), unicodedata.normalize("NFD", "ärger")
    assert composed != apart
    (tmp_path / composed).mkdir()
    (tmp_path / composed / f"{apart}.wav").touch()
    spellings = [f"{one}/{two}.wav" for one in (composed, apart) for two in (composed, apart)]
    rows = [{"id": str(number), "path": path} for number, path in enumerate(spellings)]
    rows.append({"id": "gone", "path": f"{composed}/{apart}2.wav"})
    *found, gone = read_manifest(write_rows(tmp_path / "m.jsonl", *rows))
    assert [row.path for row in found] == [str(tmp_path / composed / f"{apart}.wav")] * 4
    assert gone.path == str(tmp_path / rows[-1]["path"])


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    """In a store of links, such as a hub's cache or git-annex, the name behind the link says nothing."""
    for folder in ("corpus", "blobs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "blobs" / "f00d1").touch()
    (tmp_path / "corpus" / "03a01Fa.wav").symlink_to("../blobs/f00d1")
    (tmp_path / "linked").symlink_to("corpus")
    for folder in ("corpus", "linked"):  # inside, and by a link to the folder itself
        write_manifest([Utterance("a", str(tmp_path / folder / "03a01Fa.wav"))], tmp_path / "corpus" / "m.jsonl")
        assert json.loads((tmp_path / "corpus" / "m.jsonl").read_text())["path"] == "03a01Fa.wav"
    write_manifest([Utterance("a", str(tmp_path / "linked" / "03a01Fa.wav"))], tmp_path / "m.jsonl")
    assert json.loads((tmp_path / "m.jsonl").read_text())["path"] == "linked/03a01Fa.wav"


def test_names_that_differ_in_case_and_blanks_are_one_person(tmp_path: Path) -> None:
    rows = [ROW | {"id": f"{n}", "corpus": c, "speaker": s} for n, (c, s) in enumerate(
        [("IEMOCAP", "Ses05F"), ("iemocap", "ses05f "), ("emodb", "SES05F"), ("iemocap", "Ses05M")])]  # fmt: skip
    manifest = write_rows(tmp_path / "m.jsonl", *rows)
    assert [(row.corpus, row.speaker) for row in read_manifest(manifest)] == [
        ("IEMOCAP", "Ses05F"), ("IEMOCAP", "Ses05F"), ("emodb", "SES05F"), ("IEMOCAP", "Ses05M"),
    ]  # fmt: skip
    assert [row.speaker for row in read_manifest(manifest, as_spelt=True)] == ["Ses05F", "ses05f ", "SES05F", "Ses05M"]


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match="is a folder, not a manifest") as caught:
        read_manifest(tmp_path)
    assert "prepare CORPUS" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("call.WAV", "is a recording, not a manifest"),
        ("call.m4a", "is a recording, not a manifest"),
        ("call.flac", "is a recording, not a manifest"),
        ("list.csv", "is a table, not a manifest.*prepare csv"),
    ],
)
def test_other_files_are_called_what_they_are(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"RIFF\xff\xfe")
    with pytest.raises(GemoclapError, match=words):
        read_manifest(tmp_path / name)
