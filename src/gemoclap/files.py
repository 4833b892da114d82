"""Writing that leaves the old file or the whole new one, never a half; reading with errors for people."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gemoclap.errors import GemoclapError


def read_text(path: str | os.PathLike) -> str:
    """Return the text of a file, a byte order mark left out.

    Raises
    ------
    GemoclapError : it is not UTF-8, or cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise GemoclapError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise GemoclapError(f"{path}: cannot be read ({error.strerror})") from None


def cache_home(named: str | os.PathLike | None = None) -> Path:
    """Return the folder of the caches on disk, which need not be there yet.

    It is the one that is `named`, or else $GEMOCLAP_CACHE, or else gemoclap in the user's own cache folder.
    """
    named = named or os.environ.get("GEMOCLAP_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gemoclap"


@contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a name beside `path` to write to, and rename that to `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside `path` for writing, and rename it to `path` when the block ends without an error."""
    with written_beside(path) as beside, beside.open(mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Write `data` as indented JSON through `atomic_write`."""
    with atomic_write(path) as file:
        json.dump(data, file, indent=2, ensure_ascii=False)
        file.write("\n")


def file_hash(path: str | os.PathLike) -> str:
    """Return 16 hex digits of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
