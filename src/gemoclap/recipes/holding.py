"""One command at a time writes into the folder of a run.

While a command is at work, the folder has two more files: ``.lock``, which the operating system locks and unlocks when the
process ends, however it ends, and ``.holder.json``, which says who that is. Both are gone when the command is done.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import FileLock, Timeout

from gemoclap.errors import GemoclapError
from gemoclap.files import write_json
from gemoclap.recipes.run_folder import CONFIG, FOLDS, has_begun, on_main_process
from gemoclap.writing import HOLDER, LOCK, is_alive, readable_write_errors, sweep

Given = ParamSpec("Given")
Result = TypeVar("Result")

POLL_SECONDS = 0.1
MOMENT = 100
"""How many polls a command waits without a word for one that holds the folder for a moment only."""
LONGEST_COMMAND = 120

_held: set[Path] = set()
"""Folders that this process holds: a recipe may be called by a command that holds the folder already."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder; `brief` is whether for a moment only."""

    host: str
    process: int
    command: str
    since: str
    brief: bool

    @property
    def is_dead(self) -> bool:
        """Whether it was killed: whoever holds the folder now has not yet written its name."""
        return self.host == platform.node() and not is_alive(self.process)

    def __str__(self) -> str:
        return f"'{self.command}' (process {self.process} on {self.host}, since {self.since})"


@contextmanager
def holding(folder: Path, *, brief: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the folder of a run while the block runs; it is made if it is not there, and removed if it stays empty.

    What killed processes have left half-written is removed first. If the block fails before anything is trained, what it
    has written of the run is removed too, so that the next command finds the folder as it was. All processes of one
    distributed run are one holder. A folder that this process holds already is simply used.

    Parameters
    ----------
    brief : whether for a moment only: others wait without a word then. Several commands that share a folder take turns so.
    wait : whether to wait for another command that is at work in the folder; one line on stderr says which it is.

    Raises
    ------
    GemoclapError : another command is at work in the folder, and `wait` is false; the folder is a file, or cannot be
        written.
    """
    real = Path(os.path.realpath(folder))
    if real in _held:
        yield
        return
    hold = _Hold(folder, brief)
    on_main_process(lambda: hold.take(wait))
    _held.add(real)
    try:
        yield
    except BaseException:
        hold.forget_what_never_began()
        raise
    finally:
        _held.discard(real)
        hold.let_go()


def holds_output(recipe: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a recipe hold the folder that its argument `output` names, as `holding` does."""
    signature = inspect.signature(recipe)

    @functools.wraps(recipe)
    def held(*arguments: Given.args, **options: Given.kwargs) -> Result:
        with holding(Path(signature.bind(*arguments, **options).arguments["output"])):
            return recipe(*arguments, **options)

    return held


class _Hold:
    """The lock on a folder, in the main process; in the others nothing."""

    def __init__(self, folder: Path, brief: bool) -> None:
        self.folder, self.brief = folder, brief
        self.lock: FileLock | None = None
        self.made: list[Path] = []
        self.known: set[str] = set()

    def take(self, wait: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise GemoclapError(f"{self.folder}: is a file, not a folder; choose another folder with -o")
        try:
            with readable_write_errors(self.folder):
                self.lock = self._acquired(wait)
                self.known = {name for name in (CONFIG, FOLDS) if (self.folder / name).exists()}
                sweep(self.folder, alone=not self.brief)
                write_json(self.folder / HOLDER, asdict(_ourselves(self.brief)))
        except BaseException:
            self.let_go()
            raise

    def _acquired(self, wait: bool) -> FileLock:
        """Return the lock once it is ours."""
        polls, said = 0, False
        while True:
            self._make_folder()
            lock = FileLock(self.folder / LOCK)
            # The file is not there any more where whoever had it took the empty folder along.
            with suppress(Timeout, FileNotFoundError):
                lock.acquire(timeout=0)
                return lock
            holder = _read_holder(self.folder)
            moment = holder is None or holder.brief or holder.is_dead
            if not said and (not moment or polls >= MOMENT):
                who = f"{self.folder}: is in use by {holder or 'another command'}"
                if not wait:
                    raise GemoclapError(f"{who}; wait until it is done, end it, or choose another folder with -o")
                print(f"{who}; waiting until it is done (Ctrl-C stops waiting)", file=sys.stderr, flush=True)
                said = True
            time.sleep(POLL_SECONDS)
            polls += 1

    def _make_folder(self) -> None:
        missing = []
        path = self.folder
        while not path.exists():
            missing.append(path)
            path = path.parent
        self.folder.mkdir(parents=True, exist_ok=True)
        self.made += [one for one in missing if one not in self.made]

    def forget_what_never_began(self) -> None:
        if self.lock is not None and not self.brief and not has_begun(self.folder):
            for name in {CONFIG, FOLDS} - self.known:
                (self.folder / name).unlink(missing_ok=True)

    def let_go(self) -> None:
        if self.lock is not None:
            # Removed while still locked: who waits for a file that is gone finds that out, and makes a new one.
            for name in (HOLDER, LOCK):
                (self.folder / name).unlink(missing_ok=True)
            self.lock.release()
            self.lock = None
        for path in self.made:
            with suppress(OSError):  # not empty: the run is in it, or another command is
                path.rmdir()


def _ourselves(brief: bool) -> Holder:
    name = Path(sys.argv[0]).name
    words = ["gemoclap" if name == "__main__.py" else name, *sys.argv[1:]]
    command = shlex.join(words) if len(words) > 1 else words[0]
    if len(command) > LONGEST_COMMAND:
        command = command[: LONGEST_COMMAND - 4].rstrip() + " ..."
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return Holder(platform.node(), os.getpid(), " ".join(command.split()), since, brief)


def _read_holder(folder: Path) -> Holder | None:
    """Return who says that it holds a folder; None where nobody has said so yet."""
    try:
        found = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return Holder(
            str(found["host"]), int(found["process"]), str(found["command"]), str(found["since"]), found["brief"]
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
