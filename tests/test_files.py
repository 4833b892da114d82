"""Reading files of others, and pipes in their place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from small import complaint, run

from gemoclap import files
from gemoclap.errors import GemoclapError
from gemoclap.files import read_bytes, read_text


@pytest.mark.parametrize("command", [["inspect"], ["prepare", "csv"], ["compare"]])
def test_a_pipe_without_a_writer_is_named_and_not_waited_for(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WRITER_SECONDS", 0.0)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert f"{pipe}: is a pipe that nothing is written to" in complaint(capsys, *command, pipe)


def test_a_pipe_is_read_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than the buffer of a pipe, so that the writer is still at work when the reading begins."""
    pipe, rows = tmp_path / "pipe", [f"a{number}.wav,happy" for number in range(20_000)]
    os.mkfifo(pipe)
    text = "\n".join(["path,emotion", *rows]) + "\n"
    monkeypatch.setattr(files, "WRITER_SECONDS", 60.0)  # of a busy machine
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert run("prepare", "csv", pipe, "-o", tmp_path / "m.jsonl") == 0
    writer.join()
    assert "20,000 utterances, 0 speakers" in capsys.readouterr().out


def test_line_ends_and_marks_are_those_of_text(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(tmp_path / "t") == "a\nb\nc\n" and read_bytes(tmp_path / "t")[3:] == b"a\r\nb\rc\n"
    for path, message in ((tmp_path, "cannot be read"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(GemoclapError, match=message):
            read_text(path)
