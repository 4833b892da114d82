"""From the file of a request to a file of ours."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from gemoclap.serving.decoding import Upload
from gemoclap.serving.limits import Refused

NAMELESS = "the file"
LONGEST_SHOWN = 100
"""Largest number of letters of a client's file name in a message."""


@contextmanager
def kept(file: BinaryIO, name: str | None, folder: Path) -> Iterator[Upload]:
    """Move an upload to `folder` under a name that we choose, and delete it afterwards.

    Parameters
    ----------
    name : that the client gave; it is shown in messages, and nothing else is done with it.

    Raises
    ------
    Refused : the disk is full.
    """
    path = folder / secrets.token_hex(16)
    try:
        try:
            with path.open("xb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
            file.close()  # what came in lies on the disk too, without a name
        except OSError as error:
            raise Refused(
                503, "no_space", "the server has no space for the file; try again in a moment", retry_after=30
            ) from error
        yield Upload(path, shown_name(name))
    finally:
        path.unlink(missing_ok=True)


def shown_name(name: str | None) -> str:
    """Return what a message calls a file: the last part of its name, printable and short."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    clean = "".join(one for one in last if one.isprintable())
    return clean[-LONGEST_SHOWN:].strip() or NAMELESS
