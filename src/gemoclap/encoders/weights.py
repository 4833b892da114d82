"""Finds the files of a model's weights, in a folder or in the hub's cache, and hashes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from transformers.utils import cached_file

from gemoclap.encoders.hub import expect_hub
from gemoclap.errors import GemoclapError
from gemoclap.files import entry, file_hash, read_json

INDEX = ".index.json"
NAMES = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
"""Names of files of weights. The first one that exists is used. An index lists shards."""
REMEDY = "give a folder with the whole model, or fetch it once where the hub is in reach"


@dataclass(frozen=True)
class WeightFiles:
    """The files with the weights of a model.

    Attributes
    ----------
    files : a single file, or the shards in an index, in the order of their names.
    commit : commit of the repository on the hub, 40 hex digits. None for a folder.
    """

    files: tuple[Path, ...]
    commit: str | None = None

    @property
    def are_pickled(self) -> bool:
        """Whether they are pickles, not safetensors."""
        return self.files[0].suffix == ".bin"

    def hash(self) -> str:
        """Return a hash of their content, 16 hex digits. For a single file it is that of `file_hash`."""
        hashes = [file_hash(path) for path in self.files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def find_weights(name: str) -> WeightFiles:
    """Find the weights of a folder or a hub id. They are downloaded if they are not in the cache of the hub.

    A hub id is looked up once per process. So a run uses a single commit, even if the repository changes.

    Raises
    ------
    GemoclapError : there are no weights, or files in an index are missing.
    OSError : transformers has an error with the hub.
    """
    expect_hub(name)
    return _look_in(name) if Path(name).is_dir() else _of_hub(name)


@lru_cache
def _of_hub(name: str) -> WeightFiles:
    return _look_in(name)


def _look_in(name: str) -> WeightFiles:
    found = next((path for one in NAMES if (path := _locate(name, one)) is not None), None)
    if found is None:
        raise GemoclapError(f"{name}: holds no {NAMES[0]} and no {NAMES[2]}, or the hub is out of reach; {REMEDY}")
    commit = _commit_of(found)
    if not found.name.endswith(INDEX):
        return WeightFiles((found,), commit)
    return WeightFiles(tuple(_locate_shard(name, shard, commit) for shard in _shards(found)), commit)


def _shards(index: Path) -> list[str]:
    """Return the names of the files in an index of weights, all in the same folder."""
    shards = list(entry(read_json(index, REMEDY), "weight_map", dict, index, REMEDY).values())
    for shard in shards:
        if not isinstance(shard, str) or shard != Path(shard).name:
            raise GemoclapError(f"{index}: {shard!r} is not the name of a file beside it; {REMEDY}")
    return sorted(set(shards))


def _locate_shard(name: str, shard: str, commit: str | None) -> Path:
    found = _locate(name, shard, commit)
    if found is None:
        raise GemoclapError(f"{name}: lacks {shard}, which its index of weights names; {REMEDY}")
    return found


def _locate(name: str, filename: str, commit: str | None = None) -> Path | None:
    """Return the local path of a file of a folder or a hub id; None if it does not exist or cannot be downloaded."""
    found = cached_file(name, filename, revision=commit, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None


def _commit_of(path: Path) -> str | None:
    """Return the commit of a file in the hub's cache: ``.../snapshots/COMMIT/FILE``."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None
