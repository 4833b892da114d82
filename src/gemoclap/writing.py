"""Writes files whole: after a failure the old file is still there, never half a new one. Errors name the file."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gemoclap.errors import GemoclapError, WriteError

NOT_UTF8 = "surrogateescape"
"""How bytes of a file name that are not UTF-8 are kept in text, so that the same bytes can be written again, as in `os`."""
FULL = (errno.ENOSPC, errno.EDQUOT)
STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
"""Names of files that the process has open. Such a file must not be replaced, even if it is a regular file."""
LOCK, HOLDER = ".lock", ".holder.json"
"""Names of a lock on a folder, and of the file that says who has it. They do not count as contents of the folder."""
LONGEST_BESIDE = 200
"""Bytes of the longest name that a file keeps while it is written, as more is added to it then. Most file systems allow 255."""

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
_PARTIAL = re.compile(r"\..+?\.(?P<process>\d+)(?:-(?P<host>[0-9a-f]{6}))?\.partial")


def as_unicode(text: str) -> str:
    r"""Return text in which bytes that are not UTF-8 are written as ``\xNN``, for formats that must be UTF-8."""
    return text.encode(errors=NOT_UTF8).decode(errors="backslashreplace")


# Where a command may write.


def check_target(
    path: str | os.PathLike, suffixes: Sequence[str] = (), overwrite: bool = False, option: str = "-o"
) -> Path:
    """Return the path of the file that a command will write, after checking that it can be written.

    Call this before the work begins. Pipes and devices such as /dev/null are accepted. One missing folder will be created;
    if more than one is missing, the path is probably misspelt, and an error is raised.

    Parameters
    ----------
    suffixes : allowed endings of the name, in lower case, such as ``(".csv", ".png")``. If empty, any ending is allowed.
    overwrite : whether an existing file may be replaced.
    option : the option that named the file, for the messages.

    Raises
    ------
    GemoclapError : the name has another ending, is that of a folder, a disk or an existing file; its folder is missing; or
        it cannot be written.
    """
    path = Path(path)
    if is_stream(path):
        return path
    if path.is_dir() or os.fspath(path) in ("", "."):
        raise GemoclapError(f"{path}: is a folder; give {option} the name of a file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise GemoclapError(f"{path}: give {option} a name that ends in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise GemoclapError(f"{path}: is there already; add --overwrite to replace it, or give {option} another name")
    folder = _real(path).parent
    if not folder.is_dir() and (folder.exists() or not folder.parent.is_dir()):
        raise GemoclapError(f"{path}: there is no folder {folder}; create it, or correct the path")
    if not os.access(folder if folder.is_dir() else folder.parent, os.W_OK):
        raise GemoclapError(f"{path}: cannot be written, the folder is read-only; give {option} another name")
    return path


def refuse_same_file(target: str | os.PathLike, others: Sequence[str | os.PathLike], option: str = "-o") -> None:
    """Raise a GemoclapError if a command would write to a file that it also reads, or writes for another option."""
    if is_stream(target):
        return
    for other in others:
        if os.path.realpath(target) == os.path.realpath(other):
            raise GemoclapError(f"{target}: {option} names a file that the command is also given; take another name")


def check_folder(path: str | os.PathLike) -> Path:
    """Return the path of a folder that a command will write to, which need not exist yet.

    Raises
    ------
    GemoclapError : it is a file, a pipe or a device, or a link to a folder that does not exist.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise GemoclapError(f"{path}: is a file, not a folder; choose another folder with -o")
    if path.is_symlink() and not path.exists():
        raise GemoclapError(f"{path}: is a link to a folder that does not exist; create it, or choose another with -o")
    return path


def is_stream(path: str | os.PathLike) -> bool:
    """Whether a path is a pipe, a terminal or a device such as /dev/null. These are written to, and never replaced.

    Raises
    ------
    GemoclapError : it is a disk.
    """
    if os.fspath(path) in STREAMS or str(path).startswith(STREAMS[2:]):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    if stat.S_ISBLK(mode):
        raise GemoclapError(f"{path}: is a disk; name a file")
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _real(path: Path) -> Path:
    """Return the file that a link points to. That file is replaced, and the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def require_writable(folder: str | os.PathLike) -> None:
    """Raise a GemoclapError if a folder, or the one in which it will be created, is read-only."""
    there = Path(os.path.abspath(folder))
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        raise GemoclapError(f"{folder}: cannot be written, {there} is read-only; choose another folder with -o")


def refuse_used_folder(folder: str | os.PathLike) -> None:
    """Raise a GemoclapError unless a folder can be written, and is absent or empty apart from the files of running commands."""
    folder = check_folder(folder)
    require_writable(folder)
    # If two commands start in one folder, one can find files that the other is writing.
    if folder.exists() and any(not is_passing(path) for path in folder.iterdir()):
        raise GemoclapError(f"{folder}: holds files of something else; choose another folder with -o")


# Writing.


@contextmanager
def readable_write_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors while `path` is written into one line that names it. This includes the errors of safetensors."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL and (error.errno is None or not _concerns(error.filename, Path(path))):
            raise  # it is about another file, which the error names
        raise _unwritten(path, error.errno, reason_of(error)) from error
    except GemoclapError:
        raise
    except Exception as error:  # safetensors says "(os error 28)" in an error of its own
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise _unwritten(path, int(number[1]), os.strerror(int(number[1]))) from error


def _concerns(filename: Any, path: Path) -> bool:
    """Whether an error is about `path`, a folder above it, or what lies beside or below it."""
    if not isinstance(filename, str | bytes | os.PathLike):
        return filename is None
    named = Path(os.fsdecode(filename))
    return named.parent == path.parent or named in path.parents or path in named.parents


def _unwritten(path: str | os.PathLike, number: int | None, reason: str) -> WriteError:
    if number in FULL:
        return WriteError(f"{path}: cannot be written, the disk is full; free space and run the same command again")
    return WriteError(f"{path}: cannot be written ({reason}); solve that, or choose another place")


def reason_of(error: Exception) -> str:
    """Return the reason of an OSError, or of the OSError that caused a `WriteError`, in a few words."""
    cause = error.__cause__ or error if isinstance(error, WriteError) else error
    return getattr(cause, "strerror", None) or str(cause)


def beside(path: Path) -> Path:
    """Return the name beside `path` that this process writes to before it is renamed to `path`; see `is_partial`."""
    encoded = os.fsencode(path.name)
    name = path.name if len(encoded) <= LONGEST_BESIDE else hashlib.sha256(encoded).hexdigest()[:16]
    return path.with_name(f".{name}.{os.getpid()}-{_HOST}.partial")


@contextmanager
def named_as(path: Path, partial: Path) -> Iterator[None]:
    """Let errors about `partial`, or what lies in it, name `path`, which it becomes and which the user knows."""
    try:
        yield
    except GemoclapError as error:  # of a file in it that was written, which has named it already
        error.args = tuple(_with_name(one, path, partial) for one in error.args)
        error.for_clients = _with_name(error.for_clients, path, partial)
        raise
    except OSError as error:
        if isinstance(error.filename, str | bytes | os.PathLike):
            error.filename = _with_name(os.fsdecode(error.filename), path, partial)
        raise


def _with_name(text: str, path: Path, partial: Path) -> str:
    return text.replace(str(partial), str(path))


@contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a name beside `path` to write to, and rename that to `path` when the block ends without an error.

    Missing folders above `path` are created. A link stays, and the file that it points to is replaced.

    Raises
    ------
    GemoclapError : `path` is a device or a pipe.
    WriteError : it cannot be written; then the files are as they were before.
    """
    path = _real(Path(path))
    if is_stream(path):
        raise GemoclapError(f"{path}: is a device or a pipe; name a file")
    partial = beside(path)
    with readable_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with named_as(path, partial):
                yield partial
            give_usual_mode(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside `path` for writing, and rename it to `path` when the block ends without an error.

    Text is UTF-8, but the name of a file that is not UTF-8 keeps its bytes. Pipes and devices such as /dev/null are
    written to as they are.

    Raises
    ------
    WriteError : `path` cannot be written; what was there before stays.
    """
    encoding, errors = (None, None) if "b" in mode else ("utf-8", NOT_UTF8)
    if is_stream(path):
        with readable_write_errors(path), open(_open_stream(path), mode, encoding=encoding, errors=errors) as file:
            yield file
        return
    with written_beside(path) as partial, partial.open(mode, encoding=encoding, errors=errors) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _open_stream(path: str | os.PathLike) -> int:
    if (number := _open_already(path)) is not None:
        return os.dup(number)
    # Opened without waiting first: a pipe that nobody reads would wait for ever.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise GemoclapError(
                f"{path}: is a pipe that nobody reads; start its reader first, or name a file"
            ) from None
        raise
    os.set_blocking(descriptor, True)
    return descriptor


def _open_already(path: str | os.PathLike) -> int | None:
    """Return the number of a file that the process has open under this name, None for any other name.

    Opened by its name, a file behind ``>> file`` would be written from its beginning, and a socket not at all.
    """
    name = os.fspath(path)
    if name in STREAMS[:2]:
        return 1 + STREAMS.index(name)
    folder, number = os.path.split(name)
    return int(number) if f"{folder}/" in STREAMS[2:] and number.isdecimal() else None


@contextmanager
def folder_written_beside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, and put it in the place of `target` when the block ends without an error.

    Raises
    ------
    WriteError : it cannot be written; what was there before stays.
    """
    target = _real(Path(target))
    partial = beside(target)
    with readable_write_errors(target):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            with named_as(target, partial):
                yield partial
            for path in partial.rglob("*"):
                give_usual_mode(path)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def give_usual_mode(path: Path) -> None:
    """Let a file be read by whoever the umask allows: safetensors and tempfile make theirs for the owner alone."""
    if path.is_file():
        path.chmod(0o666 & ~_umask())


def _umask() -> int:
    # It cannot be asked for without setting it; a file that another thread makes meanwhile is closed to others, not open.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# What a killed process leaves.


def is_partial(path: Path) -> bool:
    """Whether a file or folder is one that some process is just writing, or has left when it was killed."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def is_passing(path: Path) -> bool:
    """Whether a file or folder is there only while a command is at work: partial, or a lock on the folder."""
    return is_partial(path) or path.name in (LOCK, HOLDER)


def sweep(folder: Path, alone: bool = True) -> None:
    """Remove below `folder` what killed processes have left half-written; what a living process is writing stays.

    A folder below that has a lock of its own is left to whoever takes that lock.

    Parameters
    ----------
    alone : whether no other process may be writing there. Otherwise what a process of another machine has begun stays,
        since it cannot be seen from here whether it lives.
    """
    for root, folders, files in os.walk(folder):
        partial = [name for name in (*folders, *files) if is_partial(Path(name))]
        folders[:] = [name for name in folders if name not in partial and not Path(root, name, LOCK).exists()]
        for name in partial:
            if _is_left_behind(name, alone):
                path = Path(root, name)
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.unlink()


def _is_left_behind(name: str, alone: bool) -> bool:
    found = _PARTIAL.fullmatch(name)
    if found is None:  # named by the step of a checkpoint, which all processes of a run write together
        return alone
    if found["host"] not in (None, _HOST):
        return alone
    process = int(found["process"])
    # A process of this number that began before us is dead, as ours has written nothing yet when it looks; in a container
    # every start may have the same one.
    return (alone and process == os.getpid()) or not is_alive(process)


def is_alive(process: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
