"""Stores tensors on disk under keys that are made from content. They are mapped into memory, and shared by runs and processes.

A folder has shards. A shard is a safetensors file that never changes. Its ``data`` is the concatenation of its items along
their first dimension. Its metadata has their ``keys`` and ``lengths`` as JSON lists. There is no other index, so several
processes can write to a folder at the same time. Unfinished files of killed processes (``.*.partial``) are ignored.
"""

from __future__ import annotations

import json
import threading
import uuid
import warnings
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gemoclap.errors import WriteError
from gemoclap.writing import atomic_write, reason_of

SHARD_BYTES = 256 * 2**20
"""Number of bytes that a writer collects before it writes a shard. Writing takes up to four times as much memory."""


class Shards:
    """A folder of tensors. A key is made from the content that the tensor was computed from, so no entry can be outdated.

    All items of a folder have the same dtype and, except for the first dimension, the same shape: audio ``(T,)`` int16, frames
    ``(F, C)``, a mean for each layer ``(L, D)``. Items are added, but never changed. Several threads can use an object, and
    several processes a folder. If two processes add the same key at the same time, both shards stay, and one of them is read.

    A damaged shard is skipped. A warning names its file, and its keys count as missing.

    Parameters
    ----------
    folder : created when the first item is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[
            str, tuple[Any, int, int]
        ] = {}  # the mapped data of a shard, and the position of an item in it
        self._form: tuple[torch.dtype, torch.Size] | None = None
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Tensor:
        """Return a copy of an item. The rest of its shard is not read from disk.

        Raises
        ------
        KeyError : it is not there.
        """
        data, start, stop = self._places[key]
        # The map is private, but can be written to. Without a copy, a caller who changes the item would change it for others.
        return data[start:stop].clone()

    def length(self, key: str) -> int:
        """Return the size of the first dimension of an item, without reading the item."""
        _, start, stop = self._places[key]
        return stop - start

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the `keys` that no process has written yet, in the same order, each once."""
        self.refresh()
        return [key for key in dict.fromkeys(keys) if key not in self]

    def refresh(self) -> None:
        """Look for shards that other processes have written in the meantime."""
        with self._lock:
            for path in sorted(self.folder.glob("*.safetensors")):
                if path.name not in self._seen:
                    self._open(path)

    def add(self, items: Mapping[str, Tensor]) -> None:
        """Write one shard with the `items` that are not stored yet.

        Raises
        ------
        WriteError : the folder cannot be written, or the disk is full. Then nothing of the shard is left.
        ValueError : dtype or shape differs from that of the other items.
        """
        new = {key: items[key].detach().cpu() for key in self.missing(items)}
        if not new:
            return
        self._check_form(new)
        # The name is random and does not depend on the keys, so that two processes never write to the same temporary file.
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        try:
            with atomic_write(path, "wb") as file:
                file.write(_serialized(new))
        except WriteError as error:
            raise WriteError(
                f"{self.folder}: a shard cannot be written ({reason_of(error)}); free space there or name another folder"
            ) from error
        self.refresh()

    def writer(self, shard_bytes: int = SHARD_BYTES) -> ShardWriter:
        """Return a writer for a long piece of work: ``with shards.writer() as kept: kept[key] = tensor``."""
        return ShardWriter(self, shard_bytes)

    def _open(self, path: Path) -> None:
        """Add the items of a shard to the index, or skip it with a warning."""
        self._seen.add(path.name)
        try:
            shard = safe_open(path, "pt")
            data, metadata = shard.get_slice("data"), shard.metadata()
            keys, lengths = json.loads(metadata["keys"]), json.loads(metadata["lengths"])
            edges = list(accumulate(lengths, initial=0))
            if edges[-1] != data.get_shape()[0]:
                raise ValueError("its items are not as long as its data")
            places = {key: (data, *edge) for key, edge in zip(keys, pairwise(edges), strict=True)}
            form = _form(data[:0])
        except FileNotFoundError:
            return  # it was deleted after the folder was listed
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            warnings.warn(
                f"{path}: damaged shard ({error}), left out; delete it, what it held is made again", stacklevel=2
            )
            return
        self._form = self._form or form
        for key, place in places.items():
            self._places.setdefault(key, place)

    def _check_form(self, items: Mapping[str, Tensor]) -> None:
        # torch.cat would convert to the widest dtype without a message.
        forms = {_form(tensor) for tensor in items.values()} | ({self._form} if self._form else set())
        if len(forms) > 1:
            found = " and ".join(sorted(f"{dtype} (N, *{list(shape)})" for dtype, shape in forms))
            raise ValueError(f"{self.folder}: items of one folder have one dtype and trailing shape, not {found}")


def _form(items: Tensor) -> tuple[torch.dtype, torch.Size]:
    return items.dtype, items.shape[1:]


def _serialized(items: Mapping[str, Tensor]) -> bytes:
    metadata = {
        "keys": json.dumps(list(items)),
        "lengths": json.dumps([len(tensor) for tensor in items.values()]),
    }
    return save({"data": torch.cat(list(items.values()))}, metadata)


class ShardWriter:
    """Collects items, and writes a shard when it has enough.

    As a context manager it writes the rest at the end, also after an exception. So interrupted work can continue with the
    keys that are `Shards.missing`. Only one thread can use a writer.

    Parameters
    ----------
    shards : the folder that the items are added to.
    shard_bytes : a shard is written when its items have so many bytes.
    """

    def __init__(self, shards: Shards, shard_bytes: int = SHARD_BYTES) -> None:
        self.shards = shards
        self.shard_bytes = shard_bytes
        self._waiting: dict[str, Tensor] = {}
        self._bytes = 0

    def __setitem__(self, key: str, tensor: Tensor) -> None:
        """Collect a copy of an item. Raises the errors of `Shards.add`."""
        # It is a copy, because a view would keep the whole batch in memory.
        self._waiting[key] = tensor.detach().to("cpu", copy=True)
        self._bytes += tensor.nbytes
        if self._bytes >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the collected items. Raises the errors of `Shards.add`."""
        # The list is cleared first. After a failure, the end of the block must not write the same items again.
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        self.shards.add(waiting)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
