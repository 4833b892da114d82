"""What the header of an audio file says of its length, and whether that is to be believed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

TAG_BYTES = 128
"""Of the tag that may end an MPEG file (ID3v1)."""

Standing = Literal["declared", "counted", "unknown", "unfinished", "cut off", "chained", "estimated"]


@dataclass(frozen=True)
class Header:
    """What a file's own structure says of its length.

    Attributes
    ----------
    container : a short name: wav, rf64, w64, iff, au, caf, nist, flac, ogg, mpeg, av (for PyAV), other.
    standing : what the length is.

        - declared: the header gives it, and the file is that long. A codec may still break off inside.
        - counted: the parts of the file were counted.
        - unknown: the header leaves it open, so the samples have to be counted.
        - unfinished: the writer never filled it in; the sound goes on to the end of the file.
        - cut off: the file ends before its header says.
        - chained: several recordings lie one behind the other in the file.
        - estimated: nothing here checks this container; the length is what the decoder makes of it.
    samples : a channel, where this was counted here and the decoder's own number is not to be used.
    begin, end, patches, claim : how the file has to be seen so that a decoder reads all of its sound and nothing else: from
        which byte to which, with which other bytes in places, and how many bytes it pretends to have (`Mended`).
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
        """Whether a decoder must see other bytes than the file has."""
        return bool(self.begin or self.end is not None or self.patches)


class Mended(io.RawIOBase):
    """A file as its header should have been, for reading.

    Where more bytes are claimed than there are, reading ends where the sound does, but the last 128 bytes of the claim are
    zeros: libmpg123 looks there for a tag.

    Parameters
    ----------
    file : the real one, at any position.
    header : which of its bytes are seen, and what stands in place of others.
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
        except OSError:  # libsndfile calls this, and cannot pass an error on: a short read is noticed afterwards
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
    """Return up to `count` bytes from `position` on; fewer at the end of the file."""
    file.seek(position)
    return file.read(count)
