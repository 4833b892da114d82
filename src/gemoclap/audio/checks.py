"""Refuses paths that are not regular files, impossible formats, and samples that cannot be sound."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gemoclap.errors import GemoclapError

SAMPLE_RATE = 16000
"""Sample rate of every waveform in this project, in Hz."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Range of sample rates of files, in Hz. With a lower rate a small file would grow to gigabytes; sound is not recorded with a
higher one."""

MOST_CHANNELS = 256
"""Largest number of channels of a file."""

LOUDEST = 65_536.0
"""Largest magnitude of a sample; full scale is 1. It is twice the range of 16-bit integers, which some programs write as floats
without dividing them. A larger sample would round all others to zero, and powers would overflow."""

CANCELLED = 0.02
"""Channels are said to cancel each other if the power of their mean is below this share of its value for unrelated channels,
which is the mean power of a channel divided by the number of channels. For stereo this is 20 dB below the channels [C]."""


def regular_file(path: str | os.PathLike) -> Path:
    """Return the path if it is a regular file, which can be opened without waiting for another program.

    Raises
    ------
    GemoclapError : it is no path, is missing, a folder, a pipe or another special file, or cannot be accessed.
    """
    if not isinstance(path, str | os.PathLike):  # in Python, samples are given to what only reads files
        raise GemoclapError(f"the name of an audio file must be a text or a path, not {type(path).__name__}")
    name = os.fspath(path)
    if name == "-":
        raise GemoclapError("-: sound is not read from standard input; save it to a file and name that")
    if not name:
        raise GemoclapError("the name of an audio file is empty; give one")
    path = Path(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if "://" in name:
            raise GemoclapError(f"{name}: is an address, not a file; download it, and name the file") from None
        what = "is a link to a file that is not there" if path.is_symlink() else "no such audio file"
        raise GemoclapError(f"{path}: {what}; check the name (paths in a manifest start from its own folder)") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise GemoclapError(f"{str(path)!r}: is not a file name ({error}); correct it") from None
    if stat.S_ISDIR(mode):
        raise GemoclapError(f"{path}: is a folder, not an audio file; name a file in it")
    if stat.S_ISFIFO(mode):
        raise GemoclapError(f"{path}: is a pipe, not an audio file; save the sound to a file and name that")
    if not stat.S_ISREG(mode):
        raise GemoclapError(f"{path}: is a device or socket, not an audio file; name a file")
    return path


def unreadable(path: str | os.PathLike, error: OSError) -> GemoclapError:
    """Return the error for a file that the system does not let us read."""
    return GemoclapError(f"{path}: cannot be read ({error.strerror or error}); change its permissions or copy it again")


def cut_off(path: str | os.PathLike) -> GemoclapError:
    """Return the error for a file that is shorter than its header says."""
    return GemoclapError(f"{path}: the audio is shorter than its header says, the file is cut off; copy it again")


def ends_early(path: str | os.PathLike, seconds: float, promised: float) -> GemoclapError:
    """Return the error for a file that could not be decoded up to the length in its header."""
    return GemoclapError(
        f"{path}: the audio ends after {seconds:.2f} s of {promised:.2f} s, the file is cut off or damaged; copy it again"
    )


@contextmanager
def named_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn every error in the block into a GemoclapError that names the file."""
    try:
        yield
    except GemoclapError:
        raise
    except MemoryError as error:
        raise GemoclapError(f"{path}: needs more memory than there is; cut it into shorter files") from error
    except OSError as error:
        raise unreadable(path, error) from error
    # Audio libraries raise their own errors, ValueError, TypeError, RuntimeError and others. Their messages are often
    # misleading ("does not exist" for a text file called .mp3), so they are only shown in the traceback.
    except Exception as error:
        raise GemoclapError(
            f"{path}: cannot be decoded, it is damaged or not audio; copy it again, or convert it to wav"
        ) from error


def check_form(path: str | os.PathLike, sample_rate: int, channels: int) -> None:
    """Raise a GemoclapError if a file's sample rate or number of channels is impossible for sound."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise GemoclapError(
            f"{path}: its header says {sample_rate} samples a second, but only {LOWEST_RATE} to {HIGHEST_RATE} can be read; "
            "write the file again with the true rate"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise GemoclapError(f"{path}: has {channels} channels, but only 1 to {MOST_CHANNELS} can be read; keep fewer")


def as_float(samples: np.ndarray, what: str) -> np.ndarray:
    """Return samples as float32, full scale at 1. `what` is their name in error messages.

    Raises
    ------
    GemoclapError : they are neither floats nor signed PCM, or cannot be sound (`check_samples`).
    """
    if samples.dtype.kind == "i" and samples.dtype.itemsize == 8 and len(samples):
        # No recording has 64 bits. It is what numpy makes of whole numbers, so their full scale is not known.
        raise GemoclapError(
            f"{what} has samples of {samples.dtype}, whose full scale is not known; convert them to int16 or int32, or divide "
            "them by their full scale, such as 32768"
        )
    if samples.dtype.kind == "i":
        samples = samples / -float(np.iinfo(samples.dtype).min)
    if samples.dtype.kind != "f" and len(samples):
        raise GemoclapError(f"{what} must hold float or signed PCM samples, not {samples.dtype}")
    check_samples(samples, f"the {what.split()[-1]}")
    return samples.astype(np.float32)


def check_samples(samples: np.ndarray, name: str | os.PathLike) -> None:
    """Raise a GemoclapError if samples are NaN, infinite or far beyond full scale.

    Parameters
    ----------
    samples : floats of any shape, full scale at 1.
    name : the file; the error begins with it.
    """
    if not samples.size:
        return
    peak = max(float(samples.max()), -float(samples.min()))
    if not np.isfinite(peak):
        raise GemoclapError(f"{name}: has NaN or infinite samples; write the file again or leave it out")
    if peak > LOUDEST:
        raise GemoclapError(
            f"{name}: has a sample of {peak:.3g} where 1 is full scale; write the file again with samples from -1 to 1, or "
            "leave it out"
        )


class ChannelPower:
    """Sums up the power of channels and of their mean, block by block, to find out whether channels cancel each other."""

    def __init__(self) -> None:
        self._samples, self._channels = 0, 1
        self._sums = np.zeros((2, 1))  # sums of samples and of their squares, for each channel
        self._mixed_sums = np.zeros((2, 1))

    def add(self, block: np.ndarray, mixed: np.ndarray) -> None:
        """Add a block ``(T, channels)`` and its mean over channels ``(T,)``."""
        self._channels = block.shape[1]
        if self._channels == 1:
            return
        self._samples += len(block)
        self._sums = self._sums + _sums(block)
        self._mixed_sums = self._mixed_sums + _sums(mixed[:, None])

    @property
    def cancel(self) -> bool:
        """Whether the mean has almost none of the power of the channels; a constant offset does not count as power."""
        if not self._samples or self._channels == 1:
            return False
        single, mixed = (
            (sums[1] - np.square(sums[0]) / self._samples).sum() for sums in (self._sums, self._mixed_sums)
        )
        rounding = 1e-9 * self._sums[1].sum()
        return bool(single > rounding and mixed < CANCELLED * single / self._channels**2)


def _sums(block: np.ndarray) -> np.ndarray:
    """Return sums and sums of squares of channels, ``(2, channels)``."""
    return np.stack([block.sum(axis=0, dtype=np.float64), np.square(block, dtype=np.float64).sum(axis=0)])
