"""MPEG audio (mp3): its frames are counted, since a header with their number is optional and may be wrong."""

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
"""Bytes read at once while frames are looked for."""

LONGEST = 4096
"""More bytes than any frame and the header behind it have."""

FARTHEST = 2**16
"""Bytes that may lie in front of the first frame."""

SLACK_FRAMES = 4
"""Frames by which a count in a header may differ from the frames that are there: about a tenth of a second."""


@dataclass(frozen=True)
class Frame:
    """The header of one frame: `kind` is what all frames of a file share."""

    kind: tuple[int, int, int]
    length: int
    samples: int
    side_info: int


def parse_frame(head: bytes) -> Frame | None:
    """Return what the four bytes of a frame's header say, or None where they are none (or of free bit rate)."""
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

    libsndfile estimates the length of a file without Xing or Info header from its first frames, and reads no further.
    Such a file, and one that holds more frames than its header knows of (several files joined), gets a `claim` that is
    large enough for the estimate to reach the end.

    Returns
    -------
    None where frames do not follow each other near `begin`.
    """
    places = _frames(file, begin)
    start, first = next(places, (0, None))
    if first is None:
        return None
    count, end, longest = 1, start + first.length, first.length
    for place, other in places:
        count, end, longest = count + 1, place + other.length, max(longest, other.length)
    if start > begin and count < 3:
        return None  # chance
    name, told = _told_frames(file, start, first)
    sound = count - 1 if name in (b"Xing", b"Info") else count  # libmpg123 takes a VBRI header for a frame of silence
    if told is not None and told - count > SLACK_FRAMES:
        return Header("mpeg", "cut off")
    if name in (b"Xing", b"Info") and told is not None and sound - told <= SLACK_FRAMES:
        # What lies behind the sound counts in libmpg123's warnings about sizes.
        far_behind = size_of(file) - end > (end - start) / 100
        return Header("mpeg", "declared", begin=0 if start == begin else start, end=end if far_behind else None)
    skipped = first.length if name in (b"Xing", b"Info") else 0
    claim = (count + 1) * (longest + 8) + TAG_BYTES
    return Header("mpeg", "counted", begin=start + skipped, end=end, claim=claim, samples=sound * first.samples)


def _frames(file: BinaryIO, begin: int) -> Iterator[tuple[int, Frame]]:
    """Yield where each whole frame begins, and its header; what lies between frames is passed over."""
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
        if frame is None or not is_one or not (position == expected or _goes_on(buffer, place, frame)):
            found = buffer.find(b"\xff", place + 1)
            position = at + (found if found >= 0 else len(buffer))
            continue
        kind = frame.kind
        if position + frame.length <= size:
            yield position, frame
        position = expected = position + frame.length


def _goes_on(buffer: bytes, place: int, frame: Frame) -> bool:
    """Say whether another frame, a tag or the end of the file follows a frame: four bytes alone may be chance."""
    head = buffer[place + frame.length : place + frame.length + 8]
    following = parse_frame(head)
    is_next = following is not None and following.kind == frame.kind
    return is_next or len(head) < 4 or head[:3] in (b"TAG", b"ID3", b"APE", b"LYR")


def _told_frames(file: BinaryIO, start: int, frame: Frame) -> tuple[bytes, int | None]:
    """Return the name of the header in the first frame, and how many frames behind it that speaks of, None if it does not.

    The name is empty where the first frame is one of sound.
    """
    head = read_at(file, start, min(frame.length, 200))
    for offset in (4 + frame.side_info, 6 + frame.side_info):  # two bytes of a check sum may stand between
        name = head[offset : offset + 4]
        if name in (b"Xing", b"Info"):
            flags, count = struct.unpack(">II", head[offset + 4 : offset + 12].ljust(8, b"\0"))
            return name, count if flags & 1 else None
    if head[36:40] == b"VBRI":
        return b"VBRI", int.from_bytes(head[50:54], "big")
    return b"", None
