"""The manifest: what is written comes back, and every fault is named with its line."""

from __future__ import annotations

import json
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
