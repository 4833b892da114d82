"""Makes sure that only one command at a time writes to the folder of a run.

While a command runs, the folder has two more files. The operating system locks ``.lock``, and unlocks it when the process
ends for any reason. ``.holder.json`` says which command has the lock. Both files are removed when the command is finished.
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
from gemoclap.wording import shortened
from gemoclap.writing import HOLDER, LOCK, check_folder, is_alive, readable_write_errors, sweep

Given = ParamSpec("Given")
Result = TypeVar("Result")

POLL_SECONDS = 0.1
MOMENT = 100
"""How often a command that waits for a brief one looks again before it prints a line."""
LONGEST_COMMAND = 120

_held: set[Path] = set()
"""Folders that this process has locked. A recipe can be called by a command that has locked the folder already."""


@dataclass(frozen=True)
class Holder:
    """The process that has locked a folder. `brief` says whether it needs the lock for a moment only."""

    host: str
    process: int
    command: str
    since: str
    brief: bool

    @property
    def is_dead(self) -> bool:
        """Whether this process was killed. Then the process that has the lock now has not written its own name yet."""
        return self.host == platform.node() and not is_alive(self.process)

    def __str__(self) -> str:
        return f"'{self.command}' (process {self.process} on {self.host}, since {self.since})"


@contextmanager
def holding(folder: Path, *, brief: bool = False, wait: bool = True) -> Iterator[None]:
    """Lock the folder of a run while the block runs. It is created if needed, and removed if it stays empty.

    Half-written files of killed processes are removed first. If the block fails before anything is trained, its own files are
    removed too, so that the next command finds the folder as it was. All processes of one distributed run share the lock. If
    this process has locked the folder already, nothing is locked again.

    Parameters
    ----------
    brief : whether the lock is needed for a moment only. Others then wait without a message. Commands that share a folder take
        turns in this way.
    wait : whether to wait for another command that uses the folder. One line on standard error says which command it is.

    Raises
    ------
    GemoclapError : another command is using the folder, and `wait` is false; the folder is a file, or cannot be
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
    """Decorate a recipe so that it locks the folder in its argument `output`, as `holding` does."""
    signature = inspect.signature(recipe)

    @functools.wraps(recipe)
    def held(*arguments: Given.args, **options: Given.kwargs) -> Result:
        with holding(Path(signature.bind(*arguments, **options).arguments["output"])):
            return recipe(*arguments, **options)

    return held


class _Hold:
    """The lock on a folder. Only the main process has it; in the others this does nothing."""

    def __init__(self, folder: Path, brief: bool) -> None:
        self.folder, self.brief = folder, brief
        self.lock: FileLock | None = None
        self.made: list[Path] = []
        self.known: set[str] = set()

    def take(self, wait: bool) -> None:
        check_folder(self.folder)
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
        """Wait for the lock and return it."""
        polls, said = 0, False
        while True:
            self._make_folder()
            lock = FileLock(self.folder / LOCK)
            # The file is gone if the previous holder removed the empty folder.
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
            # Removed while it is still locked. A process that waits for the lock notices this, and creates a new file.
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
    command = shortened(shlex.join(words) if len(words) > 1 else words[0], LONGEST_COMMAND)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return Holder(platform.node(), os.getpid(), " ".join(command.split()), since, brief)


def _read_holder(folder: Path) -> Holder | None:
    """Return the process that is recorded as the holder of a folder; None if none is recorded yet."""
    try:
        found = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return Holder(
            str(found["host"]), int(found["process"]), str(found["command"]), str(found["since"]), found["brief"]
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
