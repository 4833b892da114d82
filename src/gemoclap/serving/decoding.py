"""Decoders: processes that turn a file of a client into samples, and that are ended when they take too long.

A file that makes a decoder crash, hang or fill its memory takes one of these processes with it. The next file gets a new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from gemoclap.audio import Channels, Recording
from gemoclap.audio.decoders import Certainty
from gemoclap.config import AudioSettings
from gemoclap.serving.limits import Limits, Refused, busy, too_long, unusable, unusable_file

API_KEY = "GEMOCLAP_API_KEY"
"""Name of the environment variable that holds the key; decoders do not get it."""
COMMAND = (sys.executable, "-P", "-m", "gemoclap.serving.decode_worker")
"""What a decoder runs; -P: no module is taken from the current folder."""
LONGEST_LINE, LARGEST_FRAME = 2**16, 2**28
"""Bytes: of a header, and of what follows it. A decoder that sends more has been taken over."""


@dataclass(frozen=True)
class Upload:
    """A file of a client.

    Attributes
    ----------
    path : where it lies; nothing of it comes from the client.
    name : what messages call it.
    """

    path: Path
    name: str


class DecodedClip(Recording):
    """A recording that another process decodes, part by part; its parts can be gone through once.

    Attributes
    ----------
    edges : samples at which the parts begin and end.
    """

    def __init__(self, name: str, frames: Iterator[tuple[dict[str, Any], bytes]]) -> None:
        super().__init__(np.zeros(1, np.float32))
        facts, edges = next(frames)
        self.name, self._frames = name, frames
        self.edges = np.frombuffer(edges, "<i8").tolist()
        self.peak, self.channels_cancel = float(facts["peak"]), bool(facts["channels_cancel"])
        self.clipped = float(facts["clipped"])
        self._samples = int(facts["samples"])

    def pieces(self, edges: Sequence[int]) -> Generator[np.ndarray]:
        """Yield the samples between neighbouring `edges`, which are those of this object."""
        for _, data in self._frames:
            yield _floats(data)


class Decoded:
    """A file that another process decodes, in the form of an `audio.decoders.Decoder`; it can be gone through once.

    Parameters
    ----------
    frames : what the process sends.
    """

    certainty: Certainty = "estimated"

    def __init__(self, frames: Iterator[tuple[dict[str, Any], bytes]]) -> None:
        self._frames = frames
        form, _ = next(frames)
        self.sample_rate, self.channels = int(form["sample_rate"]), int(form["channels"])
        self.samples = None if form["samples"] is None else int(form["samples"])

    def blocks(self, first: int) -> Generator[np.ndarray]:
        """Yield the samples in blocks, float32 ``(T, channels)``; `first` must be 0."""
        assert first == 0
        for _, data in self._frames:
            yield _floats(data).reshape(-1, self.channels)


class Decoders:
    """A number of decoders, each started when it is first needed.

    Parameters
    ----------
    count : how many there are at most.
    limits : of files, time and memory.

    Attributes
    ----------
    lost : how many had to be replaced.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        self._limits = limits
        self._free: SimpleQueue[_Decoder | None] = SimpleQueue()
        self._all: list[_Decoder] = []
        self._lock = threading.Lock()
        self.lost = 0
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def clip(
        self, upload: Upload, settings: AudioSettings, longest_seconds: float, channel: int | None = None
    ) -> Iterator[DecodedClip]:
        """Open a file to read the parts that `audio.part_edges` cuts it into.

        Parameters
        ----------
        channel : from 1; None mixes all.

        Raises
        ------
        Refused : here, and while the parts are read: it is no audio, damaged, too long, took too long, or ended the decoder;
            no decoder was free in time.
        """
        about = {"channel": channel, **asdict(settings), "longest_seconds": longest_seconds}
        with self._frames(upload, {"what": "clip", **about}) as frames:
            yield DecodedClip(upload.name, frames)

    @contextmanager
    def channels(self, upload: Upload, channel: int | None = None) -> Iterator[Channels]:
        """Open a file to read its channels apart, or one of them; raises as `clip`, and while the blocks are read."""
        with self._frames(upload, {"what": "channels", "channel": channel}) as frames:
            yield Channels(upload.name, Decoded(frames))

    def warm_up(self) -> None:
        """Start a decoder, so that the first client need not wait for it."""
        decoder = self._free.get()
        self._free.put(decoder or self._started())

    def close(self) -> None:
        """End all decoders."""
        for decoder in self._all:
            decoder.kill()

    @contextmanager
    def _frames(self, upload: Upload, job: dict[str, Any]) -> Iterator[Iterator[tuple[dict[str, Any], bytes]]]:
        """Yield the frames that a decoder answers with; one that has not finished afterwards is ended."""
        try:
            decoder = self._free.get(timeout=self._limits.answer_seconds)
        except Empty:
            raise busy() from None
        try:
            if decoder and not decoder.is_free:  # it has ended since its last job
                self._forget(decoder)
                decoder = None
            decoder = decoder or self._started()
            with closing(decoder.frames(upload, job)) as frames:
                yield frames
        finally:
            if decoder and not decoder.is_free:
                self._forget(decoder)
                decoder = None
            self._free.put(decoder)

    def _started(self) -> _Decoder:
        decoder = _Decoder(self._limits)
        with self._lock:
            self._all.append(decoder)
        return decoder

    def _forget(self, decoder: _Decoder) -> None:
        decoder.kill()
        with self._lock:
            self._all.remove(decoder)
            self.lost += 1


class _Decoder:
    """One process of `serving.decode_worker`.

    Attributes
    ----------
    is_free : whether it lives, has finished its last job, and did so in time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        hidden = {name: value for name, value in os.environ.items() if name != API_KEY}
        self._process = subprocess.Popen(
            [*COMMAND, str(limits.decoder_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=hidden | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server alone
        )
        self._was_ended = False
        self._is_working = False

    @property
    def is_free(self) -> bool:
        return not self._is_working and not self._was_ended and self._process.poll() is None

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe and pipe.close()

    def frames(self, upload: Upload, job: dict[str, Any]) -> Generator[tuple[dict[str, Any], bytes]]:
        """Yield what the process answers, header and bytes, until the job is done.

        Only the time in which the server waits is counted, not that in which the process waits for the server.
        """
        seconds = self._limits.decode_seconds
        about = {"path": str(upload.path), "seconds": self._limits.seconds, "cpu_seconds": seconds}
        self._is_working = True
        with suppress(OSError):  # it has ended: reading says so
            assert self._process.stdin
            self._process.stdin.write(json.dumps(job | about).encode() + b"\n")
            self._process.stdin.flush()
        left = seconds
        while True:
            began = time.monotonic()
            with self._ended_after(left):
                header, data = self._frame(upload)
            left = max(0.0, left - (time.monotonic() - began))
            if "done" in header:
                self._is_working = False
                return
            if "error" in header:
                self._is_working = False
                raise self._refusal(header, upload)
            yield header, data

    def _frame(self, upload: Upload) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdout
        line = self._process.stdout.readline(LONGEST_LINE)
        try:
            header = json.loads(line)
            size = int(header["bytes"])
            data = self._process.stdout.read(size) if 0 <= size <= LARGEST_FRAME else b""
            if len(data) == size:
                return header, data
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        if self._was_ended:
            raise unusable_file(
                f"{upload.name}: could not be decoded within {self._limits.decode_seconds:g} s; convert it to WAV or FLAC"
            )
        raise unusable_file(
            f"{upload.name}: the decoder broke down on it; it is damaged: convert it to WAV or record it again"
        )

    @contextmanager
    def _ended_after(self, seconds: float) -> Iterator[None]:
        """End the process if the block takes longer."""

        def end() -> None:
            self._was_ended = True
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _refusal(self, header: dict[str, Any], upload: Upload) -> Refused:
        error = str(header["error"])
        if error == "too_long":
            return too_long(self._limits)
        if error == "not_audio":
            return Refused(
                415,
                "not_audio",
                f"{upload.name}: is not audio that this server reads; send WAV, FLAC, MP3, Ogg or Opus",
            )
        refused = unusable if header.get("is_option") else unusable_file
        return refused(error.replace(str(upload.path), upload.name))


def _floats(data: bytes) -> np.ndarray:
    """Return float32 ``(T,)`` that can be written to."""
    return np.frombuffer(data, "<f4").astype(np.float32)
