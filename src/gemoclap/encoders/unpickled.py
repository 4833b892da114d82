"""Converts weights that exist only as pickles to safetensors in the cache folder.

They are read once with ``torch.load(weights_only=True)``. This reads a pickle, but only builds tensors and plain containers. It
runs no code from the file, and refuses a file that needs code. Later loads read the safetensors.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from gemoclap.encoders.weights import WeightFiles
from gemoclap.errors import GemoclapError, WriteError
from gemoclap.files import cache_home
from gemoclap.writing import reason_of, written_beside


def unpickled_folder(pickled: WeightFiles) -> Path:
    """Return a folder with the same weights in model.safetensors. It is created if needed.

    The folder is in `cache_home`. Its name is a hash of the pickled files, so that other weights have another folder. Other
    processes wait while one of them creates it.

    Raises
    ------
    GemoclapError : a file has more than tensors; it is damaged; or the folder cannot be written.
    """
    folder = cache_home() / "unpickled" / pickled.hash()
    target = folder / "model.safetensors"
    if target.is_file():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not target.is_file():
                _write(pickled, target)
    except (OSError, WriteError) as error:
        raise GemoclapError(
            f"{folder}: the weights of {pickled.files[0]} cannot be kept there ({reason_of(error)}); free space, or name "
            "another folder in $GEMOCLAP_CACHE"
        ) from error
    return folder


def _write(pickled: WeightFiles, target: Path) -> None:
    # They are copied, because tied tensors share memory, and safetensors refuses such tensors.
    tensors = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for path in pickled.files
        for name, tensor in _read(path).items()
    }
    with written_beside(target) as beside:
        save_file(tensors, beside, metadata={"format": "pt"})


def _read(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a pickled state dict by name, on the CPU. They are mapped from the file if its format allows it.

    Raises
    ------
    GemoclapError : the file has more than tensors, or is damaged.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, LookupError) as error:
        raise GemoclapError(
            f"{path}: is damaged, or holds more than tensors, which is never unpickled; give the model with "
            "model.safetensors, or its pytorch_model.bin as torch.save(model.state_dict()) writes it"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise GemoclapError(
            f"{path}: is not one tensor a name; give the model with model.safetensors, or its pytorch_model.bin as "
            "torch.save(model.state_dict()) writes it"
        )
    return found
