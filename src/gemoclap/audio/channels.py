"""Reads the channels of a file separately, block by block, at the file's own sample rate."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from gemoclap.audio.checks import check_samples, named_errors, regular_file
from gemoclap.audio.decoders import Decoder, open_audio
from gemoclap.errors import GemoclapError


@dataclass
class Channels:
    """An open file; made by `open_channels`.

    Attributes
    ----------
    path : path of the file.
    sample_rate, channels : sample rate in Hz and number of channels of the file.
    samples : samples per channel, or None if only decoding can tell.
    """

    path: str
    decoder: Decoder

    def __post_init__(self) -> None:
        self.sample_rate, self.channels = self.decoder.sample_rate, self.decoder.channels
        self.samples = self.decoder.samples

    def blocks(self) -> Generator[np.ndarray]:
        """Yield the samples in blocks, float32 ``(T, channels)``, T > 0, full scale at 1.

        Raises
        ------
        GemoclapError : there are no samples; some are NaN, infinite or far beyond full scale; or the file is damaged.
        """
        count = 0
        with named_errors(self.path):
            for block in self.decoder.blocks(0):
                check_samples(block, self.path)
                count += len(block)
                yield block
        if not count:
            raise GemoclapError(f"{self.path}: has no samples; record or copy it again, or leave it out")


@contextmanager
def open_channels(path: str | os.PathLike) -> Iterator[Channels]:
    """Open a file of any length to read its channels separately, with memory that does not grow with its length.

    Raises
    ------
    GemoclapError : the file is missing, a folder, a pipe, not audio, or cut off.
    """
    file = regular_file(path)
    with ExitStack() as stack:
        with named_errors(file):  # only while it is opened, because later errors need not come from the file
            decoder = stack.enter_context(open_audio(file))
        yield Channels(str(file), decoder)
