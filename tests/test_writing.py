"""What a command writes: whole or not at all, never in the place of a device, and named where it cannot be written."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gemoclap.errors import GemoclapError, WriteError
from gemoclap.files import write_json
from gemoclap.writing import (
    atomic_write,
    beside,
    check_target,
    folder_written_beside,
    is_partial,
    is_passing,
    readable_write_errors,
    sweep,
    written_beside,
)

DEAD = 2**22 + 1
"""No process has this number: Linux goes no higher than 2**22."""


def raise_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Targets.


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_written_to_and_stays_one(device: str) -> None:
    assert check_target(device, (".csv",)) == Path(device)
    before = os.stat(device)
    with atomic_write(device) as file:
        file.write("a,b\n")
    assert os.stat(device).st_rdev == before.st_rdev and stat.S_ISCHR(os.stat(device).st_mode)
    with pytest.raises(GemoclapError, match=f"{device}: is a device or a pipe"), written_beside(device):
        pass


def test_a_pipe_gets_what_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "out.csv"
    os.mkfifo(pipe)
    with pytest.raises(GemoclapError, match=r"out\.csv: is a pipe that nobody reads"), atomic_write(pipe):
        pass
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(check_target(pipe, (".csv",))) as file:
        file.write("a,b\n")
    assert os.read(reader, 100) == b"a,b\n"
    assert stat.S_ISFIFO(os.stat(pipe).st_mode) and os.listdir(tmp_path) == ["out.csv"]
    os.close(reader)


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_what_is_open_already_is_written_to_where_it_stands(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("before\n")
    with path.open("a") as open_file:  # as the shell does for ``>> rows.csv``
        with atomic_write(f"{folder}/{open_file.fileno()}") as file:
            file.write("after\n")
        open_file.write("last\n")
    assert path.read_text() == "before\nafter\nlast\n"


def test_a_socket_that_is_open_already_is_written_to() -> None:
    near, far = socket.socketpair()
    with near, far:
        with atomic_write(f"/dev/fd/{near.fileno()}") as file:
            file.write("a,b\n")
        assert far.recv(100) == b"a,b\n"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("far/real.csv")
    with pytest.raises(GemoclapError, match="link.csv: is there already; add --overwrite"):
        check_target(tmp_path / "link.csv")
    with atomic_write(check_target(tmp_path / "link.csv", overwrite=True)) as file:
        file.write("new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "far" / "real.csv").read_text() == "new"


def test_one_missing_folder_is_made_and_not_two(tmp_path: Path) -> None:
    with atomic_write(check_target(tmp_path / "new" / "x.csv")) as file:
        file.write("here")
    assert (tmp_path / "new" / "x.csv").read_text() == "here"
    with pytest.raises(GemoclapError, match=r"x\.csv: there is no folder .*/no/such; create it"):
        check_target(tmp_path / "no" / "such" / "x.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(GemoclapError, match="there is no folder .*/file; create it"):
        check_target(tmp_path / "file" / "x.csv")
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]


def test_targets_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match="is a folder; give -o the name of a file"):
        check_target(tmp_path)
    with pytest.raises(GemoclapError, match=r"x\.parquet: give -o a name that ends in \.csv or \.jsonl"):
        check_target(tmp_path / "x.parquet", (".csv", ".jsonl"))
    assert check_target(tmp_path / "X.CSV", (".csv",)).name == "X.CSV"


# Modes, errors, leftovers.


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_gives(umask: int, mode: int, tmp_path: Path) -> None:
    """safetensors makes its own for the owner alone."""
    before = os.umask(umask)
    try:
        with written_beside(tmp_path / "one.safetensors") as partial:
            save_file({"a": torch.zeros(2)}, partial)
        with folder_written_beside(tmp_path / "model") as folder:
            save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    finally:
        os.umask(before)
    for path in (tmp_path / "one.safetensors", tmp_path / "model" / "model.safetensors"):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


def test_a_full_disk_is_named_with_the_file_and_what_was_there_stays(tmp_path: Path, monkeypatch) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with (
        monkeypatch.context() as patch,
        pytest.raises(GemoclapError, match=r"a\.json: .* the disk is full; free space"),
    ):
        patch.setattr(os, "fsync", raise_full)
        write_json(tmp_path / "a.json", {"new": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "old": 1\n}\n' and os.listdir(tmp_path) == ["a.json"]


def test_safetensors_own_error_of_a_full_disk_is_read(tmp_path: Path) -> None:
    """Against the real library: its error for a missing folder has the same form, with another number."""
    target = tmp_path / "m.safetensors"
    missing = pytest.raises(GemoclapError, match=r"m\.safetensors: cannot be written \(No such file or directory\)")
    with missing, readable_write_errors(target):
        save_file({"a": torch.zeros(2)}, tmp_path / "gone" / "m.safetensors")
    with pytest.raises(GemoclapError, match=r"m\.safetensors: .* the disk is full"), readable_write_errors(target):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_an_error_of_another_file_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(tmp_path / "out" / "x.csv"):
        (tmp_path / "in" / "elsewhere").read_text()
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("letter", ["a", "\N{CYRILLIC SMALL LETTER ZHE}", "\N{GRINNING FACE}"])
def test_a_name_may_be_as_long_as_the_file_system_allows(letter: str, tmp_path: Path) -> None:
    one, other = (tmp_path / f"{letter * (254 // len(letter.encode()))}{end}" for end in "xy")
    for path in (one, other):
        assert len(os.fsencode(path.name)) > 250
    with atomic_write(one) as first, atomic_write(other) as second:
        first.write("1")
        second.write("2")
        assert all(is_partial(path) for path in tmp_path.iterdir())
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {one: "1", other: "2"}


def fail_with(number: int, place: Path) -> None:
    raise OSError(number, os.strerror(number), str(place))


@pytest.mark.parametrize(
    "fail",
    [
        lambda folder: raise_full(),
        lambda folder: fail_with(errno.EFBIG, folder / "in" / "a.json"),
        lambda folder: write_json(folder / "in" / "a.json", {}),  # on a full disk
        lambda folder: (folder / "none" / "x").write_text(""),
    ],
)
def test_an_error_names_the_folder_that_was_given(fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the one beside it, which is gone when somebody looks for it."""
    monkeypatch.setattr(os, "fsync", raise_full)
    with pytest.raises(WriteError) as found, folder_written_beside(tmp_path / "scores") as folder:
        fail(folder)
    assert str(found.value).startswith(str(tmp_path / "scores")) and ".partial" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with folder_written_beside(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(GemoclapError, match=r"model: .* the disk is full"), folder_written_beside(target) as folder:
        (folder / "b").write_text("2")
        raise_full()
    assert os.listdir(tmp_path) == ["model"] and os.listdir(target) == ["a"]


def leave(folder: Path, process: int) -> list[Path]:
    """Leave what a process that was killed between writing and renaming leaves, by both names there have been."""
    (folder / "fold_1" / f".model.{process}.partial").mkdir(parents=True)
    (folder / "fold_1" / f".model.{process}.partial" / "model.safetensors").write_text("gigabytes")
    (folder / f".folds.json.{process}.partial").write_text("[")
    ours = folder / beside(Path("config.yaml")).name.replace(f".{os.getpid()}-", f".{process}-")
    ours.write_text("data:")
    return [folder / "fold_1" / f".model.{process}.partial", folder / f".folds.json.{process}.partial", ours]


@pytest.mark.parametrize("alone", [True, False])
def test_what_a_killed_process_left_is_swept_and_no_more(alone: bool, tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "fold_1.partial").write_text("mine")
    living = leave(tmp_path / "living", os.getppid())
    dead = leave(tmp_path / "dead", DEAD)
    assert all(map(is_passing, [*living, *dead]))
    sweep(tmp_path, alone=alone)
    assert all(path.exists() for path in living) and not any(path.exists() for path in dead)
    assert (tmp_path / ".hidden").exists() and (tmp_path / "fold_1.partial").exists()


def test_what_another_machine_may_be_writing_stays_unless_nobody_can_be(tmp_path: Path) -> None:
    theirs = tmp_path / f".folds.json.{DEAD}-000000.partial"
    theirs.write_text("[")
    sweep(tmp_path, alone=False)
    assert theirs.exists()
    sweep(tmp_path)
    assert not theirs.exists()
