"""The frames of a corpus, which can be many times larger than memory, read block by block."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from gemoclap.data.shards import Shards
from gemoclap.errors import GemoclapError
from gemoclap.wording import counted

BLOCK = 16384
"""Rows per block; 50 MB for frames of HuBERT-base."""


class FrameBlocks(Protocol):
    """Frames in a fixed order, which can be read block by block any number of times."""

    @property
    def dim(self) -> int: ...

    def __len__(self) -> int:
        """Return the number of frames."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all frames, ``(n, dim)`` float32 and C-contiguous; the source keeps no reference to them."""

    def where(self, row: int) -> str:
        """Return a description of a frame for an error message."""


class ArrayFrames:
    """The rows of an array ``(N, D)``, in memory or mapped, of any floating type."""

    def __init__(self, array: np.ndarray, block: int = BLOCK) -> None:
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"frames are (N, D) of a floating type, not {array.shape} {array.dtype}")
        self.array, self.block = array, block
        self.dim = array.shape[1]

    def __len__(self) -> int:
        return len(self.array)

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.array), self.block):
            yield np.ascontiguousarray(self.array[start : start + self.block], dtype=np.float32)

    def where(self, row: int) -> str:
        return f"frame {row}"


class ShardFrames:
    """The frames of clips, one clip after the other, from shards of ``(F, D)`` tensors.

    Parameters
    ----------
    shards : has every key.
    keys : clips in the order of their frames.
    block : rows per block.
    names : names of the clips, for errors; by default their keys.

    Raises
    ------
    GemoclapError : a clip is missing or given twice, there is none, or items are not frames ``(F, D)``.
    """

    def __init__(
        self, shards: Shards, keys: Sequence[str], block: int = BLOCK, names: Mapping[str, str] | None = None
    ) -> None:
        missing = [key for key in keys if key not in shards]
        if missing:
            raise GemoclapError(
                f"{shards.folder}: has no frames of {len(missing)} of {counted(len(keys), 'clip')}, "
                f"{missing[0]!r} the first; extract them first"
            )
        if not keys:
            raise GemoclapError(f"{shards.folder}: no clips to take frames from; name at least one")
        key, times = Counter(keys).most_common(1)[0]
        if times > 1:
            raise GemoclapError(f"{shards.folder}: clip {key!r} is named {times} times; name each clip once")
        shape = shards[keys[0]].shape
        if len(shape) != 2:
            raise GemoclapError(
                f"{shards.folder}: holds items of shape {tuple(shape)}, not frames (F, D); name the folder of frames"
            )
        self.shards, self.keys, self.block, self.names = shards, keys, block, names or {}
        self.dim = shape[1]
        self._edges = list(accumulate(map(shards.length, keys), initial=0))

    def __len__(self) -> int:
        return self._edges[-1]

    def blocks(self) -> Iterator[np.ndarray]:
        waiting, filled = self._room(0), 0
        done = 0
        for key in self.keys:
            clip = self.shards[key].float().numpy()
            while len(clip):
                taken = clip[: len(waiting) - filled]
                waiting[filled : filled + len(taken)] = taken
                filled += len(taken)
                clip = clip[len(taken) :]
                if filled == len(waiting):
                    yield waiting
                    done += filled
                    waiting, filled = self._room(done), 0

    def where(self, row: int) -> str:
        clip = bisect_right(self._edges, row) - 1
        key = self.keys[clip]
        return f"{self.shards.folder}: frame {row - self._edges[clip]} of clip {self.names.get(key, key)!r}"

    def _room(self, done: int) -> np.ndarray:
        return np.empty((min(self.block, len(self) - done), self.dim), np.float32)
