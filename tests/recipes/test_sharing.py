"""Work shared by file locks: everything is done, once, by whoever comes first, and taken over from those who are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from gemoclap.recipes.sharing import share

NAMES = ("a b", "c", "d", "e", "f")


def work(folder: Path, name: str) -> str:
    """A job that finds its own result, and takes a while where there is none; return who did it."""
    done = folder / f"done {name}"
    if not done.exists():
        time.sleep(0.1)
        with open(folder / f"began {name}", "a") as file:
            file.write(f"{os.getpid()}\n")
        done.write_text(str(os.getpid()))
    return done.read_text()


def share_all(folder: Path, names: tuple[str, ...] = NAMES) -> list[str]:
    (folder / f"here {os.getpid()}").touch()
    until = time.monotonic() + 120
    while len([*folder.glob("here *")]) < 2 and time.monotonic() < until:  # a busy machine starts one much later
        time.sleep(0.01)
    return share({name: partial(work, folder, name) for name in names}, folder, lambda what: None)


def test_one_process_does_all_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    jobs = {name: partial(str.upper, name) for name in NAMES}
    assert share(jobs, tmp_path, said.append) == [name.upper() for name in NAMES]
    assert said == [f"{number} of 5: {name}" for number, name in enumerate(NAMES, 1)]


def test_two_processes_do_everything_once_and_both_have_all_results(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, other = pool.map(share_all, [tmp_path] * 2, chunksize=1)
    assert one == other and len(one) == len(NAMES)
    for name in NAMES:
        assert len((tmp_path / f"began {name}").read_text().split()) == 1, name
    assert len(set(one)) == 2, "one process did everything"


def hold_a_while(folder: Path) -> None:
    with FileLock(folder / "locks" / "a_b.lock"):
        (folder / "held").touch()
        time.sleep(60)


def test_the_job_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    process = multiprocessing.get_context("spawn").Process(target=hold_a_while, args=(tmp_path,), daemon=True)
    process.start()
    patience = time.monotonic() + 60
    while not (tmp_path / "held").exists():
        assert time.monotonic() < patience
        time.sleep(0.02)
    said: list[str] = []

    def say(what: str) -> None:
        said.append(what)
        if what.startswith("waiting"):
            os.kill(process.pid or 0, signal.SIGKILL)

    results = share({name: partial(work, tmp_path, name) for name in ("a b", "c")}, tmp_path, say)
    assert results == [str(os.getpid())] * 2
    assert said == ["2 of 2: c", "waiting for another process: a b", "1 of 2: a b"]
    process.join()


def test_a_job_that_fails_lets_go(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        share({"a": fail}, tmp_path, lambda what: None)
    assert share({"a": lambda: 1}, tmp_path, lambda what: None) == [1]
