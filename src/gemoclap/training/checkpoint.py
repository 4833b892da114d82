"""Writes the full state of a training to disk. Whenever the process is killed, a checkpoint is complete or not there.

    checkpoint/step-00000120/
      state.json               run key, number of processes, position, history, gradient scaler
      model.safetensors        trainable parameters and buffers (frozen parameters do not change)
      optimizer.safetensors    Adam's moments and step counts; left out once the training is complete
      best.safetensors         weights of the best epoch so far, when the epoch is chosen on the development set
      process-0.json           random states and running sums, one file per process

A checkpoint is written into a hidden folder, which then gets its final name in one step. Older checkpoints are removed after
that. So the newest folder with a final name is always complete. Nothing is unpickled.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gemoclap.errors import GemoclapError, WriteError
from gemoclap.files import parse_json, write_json
from gemoclap.training.distributed import process_state
from gemoclap.writing import give_usual_mode, named_as, readable_write_errors

CHECKPOINT = "checkpoint"
"""Name of the folder of checkpoints in that of a training."""
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that `read_checkpoint` has read.

    Attributes
    ----------
    tensors : name of a file without suffix (``"model"``, ``"optimizer"``, ``"best"``) -> name -> tensor on the CPU.
    state : the data that all processes share.
    process : the data of this process.
    """

    tensors: dict[str, Tensors]
    state: dict[str, Any]
    process: dict[str, Any]


def write_checkpoint(
    folder: Path,
    run_key: str,
    step: int,
    *,
    tensors: Mapping[str, Tensors],
    state: Mapping[str, Any],
    process: Mapping[str, Any],
) -> None:
    """Write a checkpoint and remove the older ones. Every process must call this.

    Parameters
    ----------
    folder : folder of the checkpoints of the run.
    run_key : identifies the run. Only a run with the same key can read the checkpoint.
    step : number of optimiser steps so far. It must be larger than in the checkpoint before.
    tensors : groups of tensors by the name of their file without suffix. Those of the main process are written. An empty group
        has no file.
    state : data for JSON. Those of the main process are written.
    process : data of this process, for JSON.

    Raises
    ------
    WriteError : the disk is full, or the folder cannot be written. The checkpoint before stays then.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".{final.name}.partial"
    try:
        with readable_write_errors(folder), named_as(final, partial):
            _write(partial, final, run_key, tensors, state, process)
    except WriteError:
        shutil.rmtree(
            partial, ignore_errors=True
        )  # a part of a checkpoint is of no use, and takes space on a full disk
        raise


def _write(
    partial: Path,
    final: Path,
    run_key: str,
    tensors: Mapping[str, Tensors],
    state: Mapping[str, Any],
    process: Mapping[str, Any],
) -> None:
    here = process_state()
    if here.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    here.wait_for_everyone()
    write_json(partial / f"process-{here.process_index}.json", process)
    if here.is_main_process:
        for name, group in tensors.items():
            if group:
                save_file(group, partial / f"{name}.safetensors")
        write_json(partial / "state.json", {"run_key": run_key, "processes": here.num_processes, **state})
    here.wait_for_everyone()
    if here.is_main_process:
        _publish(partial, final)


def _publish(partial: Path, final: Path) -> None:
    """Give a checkpoint that was written its final name."""
    for path in (*partial.iterdir(), partial):
        give_usual_mode(path)
        _flush_to_disk(path)
    partial.rename(final)
    _flush_to_disk(final.parent)
    _remove_others(final)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_others(newest: Path) -> None:
    """Remove older checkpoints, and unfinished ones of killed processes."""
    for pattern in ("step-*", ".step-*.partial"):
        for path in newest.parent.glob(pattern):
            if path != newest:
                shutil.rmtree(path)


def read_checkpoint(folder: Path, run_key: str) -> Checkpoint | None:
    """Return the newest checkpoint in `folder`, or None if there is none. Remove unfinished ones of killed processes.

    Raises
    ------
    GemoclapError : it belongs to another run, was written by another number of processes, or cannot be read.
    """
    newest = max(folder.glob("step-*"), default=None)
    if newest is None:
        return None
    here = process_state()
    try:
        state = parse_json((newest / "state.json").read_text(encoding="utf-8"))
        if state.pop("run_key") != run_key:
            raise GemoclapError(f"{folder.parent}: holds another run; choose another output folder or delete it")
        if (processes := state.pop("processes")) != here.num_processes:
            raise GemoclapError(
                f"{newest}: was written by {processes} processes, this run has {here.num_processes}; start as many as before"
            )
        process = parse_json((newest / f"process-{here.process_index}.json").read_text(encoding="utf-8"))
        tensors = {path.stem: load_file(path) for path in newest.glob("*.safetensors")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise GemoclapError(f"{newest}: damaged checkpoint ({error}); delete {folder} to start again") from error
    if here.is_main_process:
        _remove_others(newest)
    return Checkpoint(tensors, state, process)


def weights_of(model: nn.Module) -> Tensors:
    """Return copies of the trainable parameters and of all buffers, on the CPU, by name."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in _weights(model).items()}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the result of `weights_of` into a model of the same structure.

    Raises
    ------
    GemoclapError : names or shapes differ.
    """
    own = _weights(model)
    differing = sorted(own.keys() ^ weights.keys()) or [name for name in own if own[name].shape != weights[name].shape]
    if differing:
        raise GemoclapError(f"the checkpoint does not fit the model (at {differing[0]!r}); use another output folder")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def _weights(model: nn.Module) -> Tensors:
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {**trainable, **dict(model.named_buffers())}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the state of an optimiser as ``"INDEX.NAME"`` -> tensor. INDEX is that of its state dict.

    Parameters that never had a gradient have no state, so they are not in the result.
    """
    return {
        f"{index}.{name}": tensor.detach().cpu().contiguous()
        for index, entries in optimizer.state_dict()["state"].items()
        for name, tensor in entries.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the result of `optimizer_tensors`. The hyper-parameters of the optimiser do not change."""
    state: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def random_state() -> dict[str, Any]:
    """Return the state of the global generators of Python, NumPy and torch (CPU and the GPU of this process), for JSON."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [algorithm, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "torch": _to_hex(torch.get_rng_state()),
        "cuda": _to_hex(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the result of `random_state`, which may have been written to JSON and read again."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(_from_hex(state["torch"]))
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_hex(state["cuda"]))


def _to_hex(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _from_hex(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
