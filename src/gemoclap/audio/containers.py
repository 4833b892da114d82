"""Finds the container of a file, and checks the length in its header.

The length in a header can be wrong. The file may be cut off. The writer may have died before the length was known, or may have
written to a pipe. Some headers do not give a length at all. libsndfile reads what is there and does not report any of this.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gemoclap.audio.headers import Header, read_at, size_of
from gemoclap.audio.mpeg import mpeg_header

SLACK_SECONDS = 0.1
"""A file may be this much shorter than its header says, and a row's `end` may lie this far beyond the end of the file:
headers and annotations are rounded, and lossy codecs pad."""

SLACK_BYTES = 800
"""The same in bytes, for files whose sample rate is not read: a tenth of a second of telephone speech."""

TAIL_BYTES = 2**20
"""If the length was never filled in, chunks after the sound are searched in this many bytes at the end of the file."""

SMALLEST_FLAC_FRAME = 10
"""Smallest size of a FLAC frame in bytes: header, one constant value, check sum."""

MOST_CHUNKS = 10_000
"""Largest number of chunks to look at; a file full of zeros would have millions of empty ones."""

W64_ID_END = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
"""End of all chunk ids of Sony's W64 except the first. Before it, an id has four letters as in wav."""

SNDFILE_CODECS = (1, 2, 3, 6, 7, 0x11, 0x31, 0x38, 0x40, 0x55, 0xFFFE)
"""Format tags of the codecs in wav files that libsndfile decodes. Telephone systems also write others, such as G.729."""

LARGEST_PAGE = 27 + 255 + 255 * 255
"""Size of the largest Ogg page in bytes."""

TAIL_CHUNKS = (
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"PEAK", b"fact", b"iXML", b"_PMX", b"JUNK", b"junk", b"afsp", b"smpl",
    b"inst", b"acid", b"cart", b"axml", b"chna", b"PAD ", b"FLLR", b"DISP", b"MARK", b"INST", b"COMT", b"NAME", b"AUTH",
    b"(c) ", b"ANNO", b"APPL", b"FVER", b"plst", b"note", b"adtl", b"ltxt", b"levl", b"umid", b"MIDI", b"AESD", b"LGWV",
)  # fmt: skip
"""Chunks that programs write after the sound."""


def read_header(file: BinaryIO) -> Header:
    """Return what a file's header says of its length, and whether it can be trusted. All containers that are read are known.

    Parameters
    ----------
    file : a real file, open for reading in binary mode; its position is changed.
    """
    begin = _after_id3(file)
    magic = read_at(file, begin, 12)
    for starts, look in _KNOWN:
        if magic.startswith(starts):
            return look(file, begin, magic)
    if magic[4:8] == b"ftyp" or magic[:2] in (b"\xff\xf1", b"\xff\xf0", b"\xff\xf8", b"\xff\xf9"):
        return Header("av", "estimated")
    return mpeg_header(file, begin) or Header("other", "estimated")


def _after_id3(file: BinaryIO) -> int:
    """Return the position after the ID3 tags; some programs put them before files of any format."""
    begin = 0
    while (head := read_at(file, begin, 10))[:3] == b"ID3" and len(head) == 10:
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        begin += 10 + length + (10 if head[5] & 0x10 else 0)
    return begin


@dataclass(frozen=True)
class _Chunk:
    """A chunk: its name, the position and value of its length, and the position of its payload."""

    name: bytes
    length_at: int
    length: int
    payload: int


def _chunks(file: BinaryIO, position: int, form: str, overhead: int = 0, pad: int = 2) -> Iterator[_Chunk]:
    """Walk through the chunks from `position` to the end of the file.

    Parameters
    ----------
    form : `struct` format of name and length.
    overhead : number of bytes before the payload that are included in the length.
    pad : lengths are rounded up to a multiple of this.
    """
    size, head = size_of(file), struct.calcsize(form)
    for _ in range(MOST_CHUNKS):
        if position + head > size:
            return
        name, length = struct.unpack(form, read_at(file, position, head))
        length -= overhead
        payload = position + head
        yield _Chunk(name, payload - struct.calcsize(form[0] + form[-1]), length, payload)
        if length < 0:
            return
        position = payload + math.ceil(length / pad) * pad


@dataclass(frozen=True)
class _Sound:
    """The position of the samples in a file, and what the header says of them.

    Attributes
    ----------
    container : as in `Header`.
    begin : position of the first byte.
    promised : number of bytes according to the header.
    is_open : whether that number is a placeholder, left by a writer that could not fill it in later.
    patch : end of the samples -> bytes that correct the header.
    slack : number of bytes that may be missing.
    form : `struct` format of chunks after the samples; empty if the container has none there.
    """

    container: str
    begin: int
    promised: int
    is_open: bool
    patch: Callable[[int], dict[int, bytes]]
    slack: float = SLACK_BYTES
    form: str = ""


def _judged(file: BinaryIO, sound: _Sound) -> Header:
    size = size_of(file)
    there = size - sound.begin
    if sound.is_open and sound.promised != there and there > 0:
        end = _end_of_sound(file, sound.begin, sound.form) if sound.form else size
        return Header(sound.container, "unfinished", end=end, patches=sound.patch(end))
    if sound.promised - there > sound.slack:
        return Header(sound.container, "cut off")
    if sound.promised > there:
        return Header(sound.container, "declared", patches=sound.patch(size))
    return Header(sound.container, "declared")


def _is_open(length: int, bits: int) -> bool:
    """Whether a length is a placeholder: one of the largest possible numbers."""
    if bits == 64:
        return not 0 <= length < 2**62
    return length >= 0xFFFFF000 or 0x7FFFF000 <= length <= 0x80000000


def _end_of_sound(file: BinaryIO, begin: int, form: str) -> int:
    """Return the end of sound of unknown length: the end of the file, or the start of the chunks that fill its rest."""
    size = size_of(file)
    first = max(begin, size - TAIL_BYTES)
    tail = read_at(file, first, size - first)
    places = sorted({place for name in TAIL_CHUNKS for place in _all_places(tail, name)})
    return next((first + place for place in places if _fill_up(file, first + place, form)), size)


def _all_places(text: bytes, part: bytes) -> Iterator[int]:
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + 1)


def _fill_up(file: BinaryIO, position: int, form: str) -> bool:
    """Whether there are only chunks from `position` to the end of the file."""
    size, last = size_of(file), position
    for chunk in _chunks(file, position, form):
        if chunk.name not in TAIL_CHUNKS or chunk.payload + chunk.length > size:
            return False
        last = chunk.payload + chunk.length
    return last in (size, size - 1)


def _packed(form: str, number: int) -> bytes:
    """Pack a length into 32 bits; one that does not fit becomes the largest number."""
    return struct.pack(form, max(0, min(number, 0xFFFFFFFF)))


def _wav(file: BinaryIO, begin: int, magic: bytes) -> Header:
    """Read RIFF, RIFX and RF64; in RF64, the chunk ds64 has the lengths in 64 bits."""
    order = ">" if magic[:4] == b"RIFX" else "<"
    chunks: dict[bytes, _Chunk] = {}
    for chunk in _chunks(file, begin + 12, f"{order}4sI"):
        chunks.setdefault(chunk.name, chunk)
        if chunk.name == b"data":
            break
    container = "rf64" if magic[:4] in (b"RF64", b"BW64") else "wav"
    if b"data" not in chunks:
        return Header(container, "declared")
    data, wide = chunks[b"data"], chunks.get(b"ds64")
    outer, promised, bits = _number(file, begin + 4, f"{order}I"), data.length, 32
    if wide is not None and promised == 0xFFFFFFFF:
        outer, promised, bits = _number(file, wide.payload, "<Q"), _number(file, wide.payload + 8, "<Q"), 64
    slack = (
        _number(file, chunks[b"fmt "].payload + 8, f"{order}I") * SLACK_SECONDS if b"fmt " in chunks else SLACK_BYTES
    )

    def patch(end: int) -> dict[int, bytes]:
        if wide is None:
            lengths = {begin + 4: end - begin - 8, data.length_at: end - data.payload}
            return {at: _packed(f"{order}I", length) for at, length in lengths.items()}
        # 32 bits of ones mean that ds64 has the length.
        return {wide.payload: struct.pack("<QQ", end - begin - 8, end - data.payload), data.length_at: b"\xff" * 4}

    is_empty = promised == 0 and not _fits(file, begin, outer)
    is_open = _is_open(promised, bits) or is_empty
    if b"fmt " in chunks and _number(file, chunks[b"fmt "].payload, f"{order}H") not in SNDFILE_CODECS:
        container = "av"
    return _judged(file, _Sound(container, data.payload, promised, is_open, patch, slack, f"{order}4sI"))


def _number(file: BinaryIO, position: int, form: str) -> int:
    """Return a number from a header; bytes beyond the end of the file count as 0."""
    (number,) = struct.unpack(form, read_at(file, position, struct.calcsize(form)).ljust(struct.calcsize(form), b"\0"))
    return int(number)


def _fits(file: BinaryIO, begin: int, outer: int) -> bool:
    """Say whether the length of the whole is right, so that a length of 0 inside means that there is no sound."""
    return abs(begin + 8 + outer - size_of(file)) <= 1


def _w64(file: BinaryIO, begin: int, magic: bytes) -> Header:
    slack: float = SLACK_BYTES
    for chunk in _chunks(file, begin + 40, "<16sQ", overhead=24, pad=8):
        if chunk.name == b"fmt " + W64_ID_END:
            slack = _number(file, chunk.payload + 8, "<I") * SLACK_SECONDS
        if chunk.name == b"data" + W64_ID_END:
            return _w64_data(file, begin, chunk, slack)
    return Header("w64", "declared")


def _w64_data(file: BinaryIO, begin: int, data: _Chunk, slack: float) -> Header:
    def patch(end: int) -> dict[int, bytes]:
        return {
            begin + 16: struct.pack("<Q", end - begin),
            data.length_at: struct.pack("<Q", end - data.payload + 24),
        }

    outer = _number(file, begin + 16, "<Q")
    is_empty = data.length <= 0 and abs(begin + outer - size_of(file)) > 8
    return _judged(file, _Sound("w64", data.payload, data.length, _is_open(data.length, 64) or is_empty, patch, slack))


def _iff(file: BinaryIO, begin: int, magic: bytes) -> Header:
    """AIFF, AIFF-C and Amiga's 8SVX: the sound is in SSND or BODY."""
    data = next((chunk for chunk in _chunks(file, begin + 12, ">4sI") if chunk.name in (b"SSND", b"BODY")), None)
    if data is None:
        return Header("iff", "declared")
    head = 8 if data.name == b"SSND" else 0  # offset and block size stand before the samples

    def patch(end: int) -> dict[int, bytes]:
        return {begin + 4: _packed(">I", end - begin - 8), data.length_at: _packed(">I", end - data.payload)}

    is_empty = data.length <= head and not _fits(file, begin, _number(file, begin + 4, ">I"))
    is_open = _is_open(data.length, 32) or is_empty
    return _judged(file, _Sound("iff", data.payload + head, data.length - head, is_open, patch, form=">4sI"))


def _au(file: BinaryIO, begin: int, magic: bytes) -> Header:
    form = ">I" if magic[:1] == b"." else "<I"
    offset, promised = _number(file, begin + 4, form), _number(file, begin + 8, form)

    def patch(end: int) -> dict[int, bytes]:
        return {begin + 8: _packed(form, end - begin - offset)}

    return _judged(file, _Sound("au", begin + offset, promised, promised == 0 or _is_open(promised, 32), patch))


def _caf(file: BinaryIO, begin: int, magic: bytes) -> Header:
    data = next((chunk for chunk in _chunks(file, begin + 8, ">4sq", pad=1) if chunk.name == b"data"), None)
    if data is None:
        return Header("caf", "declared")

    def patch(end: int) -> dict[int, bytes]:
        return {data.length_at: struct.pack(">q", end - data.payload)}

    # A length of 4 is that of the edit count alone; only the last chunk may leave its length open.
    is_open = data.length < 0 or data.length == 0
    return _judged(file, _Sound("caf", data.payload, data.length, is_open, patch))


def _nist(file: BinaryIO, begin: int, magic: bytes) -> Header:
    """NIST SPHERE, whose header is text; libsndfile does not look at its sample_count."""
    size = size_of(file)
    lines = read_at(file, begin, 1024).decode("latin-1").splitlines()
    fields = {parts[0]: parts[2] for parts in map(str.split, lines) if len(parts) == 3}
    numbers = {name: int(value) for name, value in fields.items() if value.lstrip("-").isdigit() and len(value) < 16}
    payload = begin + (int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() and len(lines[1]) < 12 else 1024)
    count, width = numbers.get("sample_count", 0), numbers.get("sample_n_bytes", 0)
    if "shorten" in fields.get("sample_coding", "") or width <= 0:
        return Header("nist", "estimated")
    if count <= 0:
        return Header("nist", "unfinished")
    promised, there = count * width * max(1, numbers.get("channel_count", 1)), size - payload
    if promised - there > SLACK_BYTES:
        return Header("nist", "cut off")
    return Header("nist", "declared", end=payload + promised if promised < there else None)


def _flac(file: BinaryIO, begin: int, magic: bytes) -> Header:
    info = read_at(file, begin, 26).ljust(26, b"\0")
    samples, block = (info[21] & 0x0F) << 32 | int.from_bytes(info[22:26], "big"), int.from_bytes(info[10:12], "big")
    if not samples:
        return Header("flac", "unknown")
    most = (size_of(file) - begin) // SMALLEST_FLAC_FRAME * block
    return Header("flac", "cut off" if samples > most else "declared")


def _ogg(file: BinaryIO, begin: int, magic: bytes) -> Header:
    """Read page by page, because libsndfile only reads the first of several recordings, and does not report a cut-off page."""
    position, size, began = begin, size_of(file), True
    flags = 0
    while position < size:
        head = read_at(file, position, 27 + 255)
        if head[:4] != b"OggS":  # something else between or after the pages, such as a tag
            found = read_at(file, position, 2 * LARGEST_PAGE).find(b"OggS")
            if found < 0:
                break
            position += found
            continue
        segments = head[26] if len(head) > 26 else 255
        flags = head[5] if len(head) > 5 else 0
        if flags & 2 and not began:
            return Header("ogg", "chained")
        began = began and bool(flags & 2)
        position += 27 + segments + sum(head[27 : 27 + segments])
        if len(head) < 27 + segments or position > size:
            return Header("ogg", "cut off")
    return Header("ogg", "declared" if flags & 4 else "unfinished")


def _other_library(file: BinaryIO, begin: int, magic: bytes) -> Header:
    return Header("av", "estimated")


_KNOWN: tuple[tuple[tuple[bytes, ...], Callable[[BinaryIO, int, bytes], Header]], ...] = (
    ((b"RIFF", b"RIFX", b"RF64", b"BW64"), _wav),
    ((b"riff",), _w64),
    ((b"FORM",), _iff),
    ((b".snd", b"dns."), _au),
    ((b"caff",), _caf),
    ((b"NIST_1A",), _nist),
    ((b"fLaC",), _flac),
    ((b"OggS",), _ogg),
    ((b"\x1aE\xdf\xa3", b"0&\xb2u", b"#!AMR"), _other_library),  # Matroska and WebM, ASF, the AMR of mobile phones
)
