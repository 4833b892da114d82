"""The length in the header of an audio file, and whether it can be trusted."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

TAG_BYTES = 128
"""Size of the tag that an MPEG file may end with (ID3v1)."""

Standing = Literal["declared", "counted", "unknown", "unfinished", "cut off", "chained", "estimated"]


@dataclass(frozen=True)
class Header:
    """The length of a file according to its structure.

    Attributes
    ----------
    container : a short name: wav, rf64, w64, iff, au, caf, nist, flac, ogg, mpeg, av (for PyAV), other.
    standing : what kind of value the length is.

        - declared: the header gives it, and the file is that long. A codec may still break off inside.
        - counted: the parts of the file were counted.
        - unknown: the header does not give it, so the samples have to be counted.
        - unfinished: the writer never filled it in; the sound continues to the end of the file.
        - cut off: the file is shorter than its header says.
        - chained: the file contains several recordings, one after the other.
        - estimated: this container is not checked here; the length comes from the decoder.
    samples : samples per channel, if they were counted here; then the decoder's own number is not used.
    begin, end, patches, claim : how to present the file to a decoder (`Mended`), so that it reads all of the sound and nothing
        else: first byte, end, bytes to replace (position -> new bytes), and the number of bytes to report as its size.
    """

    container: str
    standing: Standing
    samples: int | None = None
    begin: int = 0
    end: int | None = None
    patches: Mapping[int, bytes] = field(default_factory=dict)
    claim: int | None = None

    @property
    def is_mended(self) -> bool:
        """Whether a decoder must be given bytes that differ from those of the file."""
        return bool(self.begin or self.end is not None or self.patches)


class Mended(io.RawIOBase):
    """A file for reading whose header is corrected.

    If more bytes are claimed than there are, reading ends where the sound ends. The last 128 bytes of the claimed size are
    zeros, because libmpg123 looks for a tag there.

    Parameters
    ----------
    file : the real file, at any position.
    header : says which bytes are shown and which are replaced.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file, self._header, self._position = file, header, 0
        self._size = (size_of(file) if header.end is None else header.end) - header.begin
        self._claim = self._size if header.claim is None else max(header.claim, self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._claim}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # the types of buffers differ between versions
        view = memoryview(buffer).cast("B")
        data = self._bytes(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _bytes(self, count: int) -> bytes:
        if self._size <= self._position and self._claim - TAG_BYTES <= self._position < self._claim:
            return bytes(min(count, self._claim - self._position))
        at = self._header.begin + self._position
        try:
            data = bytearray(read_at(self._file, at, max(0, min(count, self._size - self._position))))
        except OSError:  # libsndfile calls this and cannot pass on an error; it notices the missing bytes afterwards
            return b""
        for place, patch in self._header.patches.items():
            first, last = max(place, at), min(place + len(patch), at + len(data))
            if first < last:
                data[first - at : last - at] = patch[first - place : last - place]
        return bytes(data)


def size_of(file: BinaryIO) -> int:
    """Return the number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Return `count` bytes starting at `position`, or fewer at the end of the file."""
    file.seek(position)
    return file.read(count)
