"""The process that decodes what clients have sent. It has no model, no secret, and can be killed at any moment.

It reads a job as a line of JSON from standard input. For each it writes frames to standard output: a line of JSON, and
behind it as many bytes as its "bytes" says. The last frame of a job has "done" or "error". It ends when its input does, and
so with the server. Nothing is pickled: a decoder that a hostile file has taken over can send wrong numbers, but no code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gemoclap.audio import SAMPLE_RATE, Channels, Recording, open_channels, part_edges
from gemoclap.audio.checks import check_samples
from gemoclap.audio.clipping import Clipping
from gemoclap.audio.containers import read_header
from gemoclap.audio.decoders import open_audio
from gemoclap.audio.reading import resample_blocks
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError

Frame = tuple[dict[str, Any], bytes]


class NotAudio(Exception):
    """The file is none that can be decoded."""


class TooLong(Exception):
    """The file has more seconds than are taken."""


class NoChannel(GemoclapError):
    """The file has fewer channels than the number that a client asks for."""


class Bounded(Recording):
    """A recording that may have no more than so many seconds.

    Parameters
    ----------
    path : of the file.
    seconds : that it may have.
    """

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(path)
        self._seconds = seconds

    def blocks(self) -> Generator[np.ndarray]:
        yield from bounded(super().blocks(), self._seconds * SAMPLE_RATE)


def one_channel(path: str, channel: int, seconds: float) -> Recording:
    """Return one channel of a file at 16 kHz, `channel` counted from 1.

    Raises
    ------
    TooLong, GemoclapError : it has too many seconds, no such channel, or cannot be read.
    """
    with open_channels(path) as file:
        check_channel(file, channel)
        clipping = Clipping()

        def blocks() -> Iterator[np.ndarray]:
            for block in bounded(file.blocks(), seconds * file.sample_rate):
                clipping.add(block[:, channel - 1 : channel])
                yield block[:, channel - 1]

        found = np.concatenate(list(resample_blocks(blocks(), file.sample_rate)))
    check_samples(found, path)
    recording = Recording(found)
    recording.clipped = clipping.share  # resampling has rounded its flat tops off
    return recording


def check_channel(file: Channels, channel: int) -> None:
    """Raise a NoChannel where a file has no such channel."""
    if channel > file.channels:
        has = "one channel" if file.channels == 1 else f"{file.channels} channels"
        raise NoChannel(f"channel {channel} is asked for, but {file.path} has {has}; give another one")


def bounded(blocks: Generator[np.ndarray], most: float) -> Generator[np.ndarray]:
    """Yield blocks, and raise a TooLong once they have more than `most` samples."""
    count = 0
    with closing(blocks):
        for block in blocks:
            count += len(block)
            if count > most:
                raise TooLong
            yield block


def clip(
    path: str,
    seconds: float,
    channel: int | None,
    trim_silence_db: float | None,
    max_seconds: float | None,
    longest_seconds: float,
) -> Iterator[Frame]:
    """Yield what is known of a recording, with the edges of `audio.part_edges` as int64, then the parts, float32 ``(T,)``."""
    recording = Bounded(path, seconds) if channel is None else one_channel(path, channel, seconds)
    settings = AudioSettings(max_seconds=max_seconds, trim_silence_db=trim_silence_db)
    edges = part_edges(recording, settings, longest_seconds)
    facts = {
        "samples": recording.samples,
        "peak": recording.peak,
        "channels_cancel": recording.channels_cancel,
        "clipped": recording.clipped,
    }
    yield facts, np.array(edges, "<i8").tobytes()  # there may be more of them than a line can hold
    for piece in recording.pieces(edges):
        yield {}, piece.astype("<f4").tobytes()


def channels(path: str, seconds: float, channel: int | None) -> Iterator[Frame]:
    """Yield the form of a file, then its samples, float32 ``(T, channels)``, a block a frame."""
    with open_channels(path) as file:
        if channel is not None:
            check_channel(file, channel)
        count = file.channels if channel is None else 1
        yield {"sample_rate": file.sample_rate, "channels": count, "samples": file.samples}, b""
        for block in bounded(file.blocks(), seconds * file.sample_rate):
            kept = block if channel is None else block[:, channel - 1 : channel]
            yield {}, np.ascontiguousarray(kept, "<f4").tobytes()


def look_at(path: str, seconds: float) -> None:
    """Find out by the header whether a file is audio of no more than `seconds`.

    Raises
    ------
    NotAudio, TooLong, GemoclapError : it is not; it is longer; it is empty, cut off or damaged.
    """
    with Path(path).open("rb") as file:
        needs_av = read_header(file).container == "av"
    if needs_av and find_spec("av") is None:
        raise NotAudio
    try:
        with open_audio(Path(path)) as decoder:
            samples, rate = decoder.samples, decoder.sample_rate
    except (GemoclapError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a library for audio raises of what it does not know
        raise NotAudio from error
    if samples is not None and samples > seconds * rate:
        raise TooLong


JOBS: dict[str, Callable[..., Iterator[Frame]]] = {"clip": clip, "channels": channels}


def frames(job: dict[str, Any]) -> Iterator[Frame]:
    """Yield what answers a job; the last frame says that it is done, or what is wrong."""
    try:
        limit_cpu(job.pop("cpu_seconds"))
        what = JOBS[job.pop("what")]
        look_at(job["path"], job["seconds"])
        yield from what(**job)
        yield {"done": True}, b""
    except NotAudio:
        yield {"error": "not_audio"}, b""
    except TooLong:
        yield {"error": "too_long"}, b""
    except MemoryError:
        yield {"error": f"{job['path']}: needs more memory than a decoder may have; send a shorter recording"}, b""
    except NoChannel as error:
        yield {"error": str(error), "is_option": True}, b""
    except GemoclapError as error:
        yield {"error": str(error)}, b""


def limit_memory(most: int) -> None:
    """Let allocations fail beyond `most` bytes, and write no core, where the system can do that."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_cpu(seconds: float) -> None:
    """Let the system end this process when it has used so many more seconds of a core, even if nobody is left to do it."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer jobs until there are no more."""
    for line in jobs:
        for header, data in frames(json.loads(line)):
            answers.write(json.dumps(header | {"bytes": len(data)}).encode() + b"\n" + data)
        answers.flush()


def main() -> None:
    """Answer on a descriptor of our own: what a library prints must not get between."""
    # Whoever stops the server may signal its whole group; what was taken is still decoded, and the input ends then.
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    limit_memory(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
