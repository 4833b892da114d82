"""MPEG audio (mp3): frames are counted, because the header with their number is optional and may be wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gemoclap.audio.headers import TAG_BYTES, Header, read_at, size_of

_BITRATES = {
    # (first version of the standard?, layer) -> kbit/s by index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Bits of the version in the header -> Hz: MPEG 1, 2 and 2.5."""

BUFFER = 2**18
"""Number of bytes to read at a time while searching for frames."""

LONGEST = 4096
"""An upper bound of the size of a frame and the header after it, in bytes."""

FARTHEST = 2**16
"""Largest number of bytes before the first frame."""

SLACK_FRAMES = 4
"""The number of frames in a header may differ from the counted number by this much: about a tenth of a second."""


@dataclass(frozen=True)
class Frame:
    """The header of one frame; `kind` is the same for all frames of a file."""

    kind: tuple[int, int, int]
    length: int
    samples: int
    side_info: int


def parse_frame(head: bytes) -> Frame | None:
    """Return the contents of the four bytes of a frame's header; None if they are not one, or the bit rate is free."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    rate, bits = _RATES[version][rate_index], 1000 * _BITRATES[version == 3, layer][index]
    if layer == 1:
        return Frame((version, layer, rate), (12 * bits // rate + padding) * 4, 384, 0)
    samples = 1152 if layer == 2 or version == 3 else 576
    is_mono = head[3] >> 6 == 3
    side_info = (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)
    return Frame((version, layer, rate), samples // 8 * bits // rate + padding, samples, side_info)


def mpeg_header(file: BinaryIO, begin: int) -> Header | None:
    """Count the frames of an MPEG file and compare them with what its Xing, Info or VBRI header says.

    For a file without Xing or Info header, libsndfile estimates the length from the first frames, and reads no further. For
    such a file, and for one with more frames than its header says (several files joined), the result has a `claim` that is
    large enough for libsndfile to read to the end.

    Returns
    -------
    None if there are no consecutive frames near `begin`.
    """
    places = _frames(file, begin)
    start, first = next(places, (0, None))
    if first is None:
        return None
    count, end, longest = 1, start + first.length, first.length
    for place, other in places:
        count, end, longest = count + 1, place + other.length, max(longest, other.length)
    if start > begin and count < 3:
        return None  # this can be chance
    name, declared = _declared_frames(file, start, first)
    sound = count - 1 if name in (b"Xing", b"Info") else count  # libmpg123 decodes a VBRI header as a frame of silence
    if declared is not None and declared - count > SLACK_FRAMES:
        return Header("mpeg", "cut off")
    if name in (b"Xing", b"Info") and declared is not None and sound - declared <= SLACK_FRAMES:
        # libmpg123 would warn about the size if there are many bytes after the sound.
        has_tail = size_of(file) - end > (end - start) / 100
        return Header("mpeg", "declared", begin=0 if start == begin else start, end=end if has_tail else None)
    skipped = first.length if name in (b"Xing", b"Info") else 0
    claim = (count + 1) * (longest + 8) + TAG_BYTES
    return Header("mpeg", "counted", begin=start + skipped, end=end, claim=claim, samples=sound * first.samples)


def _frames(file: BinaryIO, begin: int) -> Iterator[tuple[int, Frame]]:
    """Yield the position and header of each complete frame; bytes between frames are skipped."""
    size, position, expected, kind = size_of(file), begin, -1, None
    buffer, at = read_at(file, begin, BUFFER), begin
    while position + 4 <= size and (kind is not None or position <= begin + FARTHEST):
        if position + LONGEST > at + len(buffer) < size:
            buffer, at = read_at(file, position, BUFFER), position
            if not buffer:  # the file has become shorter
                return
        place = position - at
        frame = parse_frame(buffer[place : place + 4])
        is_one = frame is not None and kind in (None, frame.kind)
        if frame is None or not is_one or not (position == expected or _is_followed(buffer, place, frame)):
            found = buffer.find(b"\xff", place + 1)
            position = at + (found if found >= 0 else len(buffer))
            continue
        kind = frame.kind
        if position + frame.length <= size:
            yield position, frame
        position = expected = position + frame.length


def _is_followed(buffer: bytes, place: int, frame: Frame) -> bool:
    """Whether a frame is followed by another, a tag or the end of the file; otherwise its four bytes may be chance."""
    head = buffer[place + frame.length : place + frame.length + 8]
    following = parse_frame(head)
    is_next = following is not None and following.kind == frame.kind
    return is_next or len(head) < 4 or head[:3] in (b"TAG", b"ID3", b"APE", b"LYR")


def _declared_frames(file: BinaryIO, start: int, frame: Frame) -> tuple[bytes, int | None]:
    """Return the name of the header in the first frame, and the number of frames it declares (None if it does not).

    The name is empty if the first frame is sound.
    """
    head = read_at(file, start, min(frame.length, 200))
    for offset in (4 + frame.side_info, 6 + frame.side_info):  # there may be a check sum of two bytes before it
        name = head[offset : offset + 4]
        if name in (b"Xing", b"Info"):
            flags, count = struct.unpack(">II", head[offset + 4 : offset + 12].ljust(8, b"\0"))
            return name, count if flags & 1 else None
    if head[36:40] == b"VBRI":
        return b"VBRI", int.from_bytes(head[50:54], "big")
    return b"", None
