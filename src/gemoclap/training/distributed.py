"""Devices, precision and processes. Only this module uses the state and the collective operations of accelerate."""

from __future__ import annotations

import itertools
import logging
import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState, is_initialized
from accelerate.tracking import get_available_trackers
from accelerate.utils import GradientAccumulationPlugin, ProjectConfiguration
from torch import Tensor

from gemoclap.config import TrainSettings
from gemoclap.data.targets import Targets
from gemoclap.errors import GemoclapError

logger = logging.getLogger(__name__)
PATIENCE = timedelta(hours=12)
"""How long a process waits for the others before it gives up."""


def process_state() -> PartialState:
    """Return what accelerate knows of this process: `.device`, `.process_index`, `.num_processes`, `.is_main_process`.

    Use this instead of `PartialState()`. Without a GPU, the CPU must be named explicitly. Otherwise each process that
    ``torchrun`` started would believe that it is the only one, and they would overwrite each other's files.
    """
    # The others wait while one process extracts, clusters or saves. For a large corpus, torch's default timeout is too short.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)


def resolve_precision(precision: str, device: torch.device | None = None) -> str:
    """Return ``"no"``, ``"bf16"`` or ``"fp16"`` for a device (default: this process's own).

    ``"auto"`` is bf16 on an accelerator that can compute in it, and float32 elsewhere. A CPU uses float32, unless bf16 is
    given explicitly.

    Raises
    ------
    GemoclapError : the device cannot train in this precision.
    """
    kind = (device or process_state().device).type
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if kind == "cuda" else True
    if precision == "auto":
        return "bf16" if kind != "cpu" and has_bf16 else "no"
    if precision == "fp16" and kind == "cpu":
        raise GemoclapError("train.precision: a CPU cannot train in fp16; set --train.precision no")
    if precision == "bf16" and not has_bf16:
        raise GemoclapError("train.precision: this GPU has no bf16; set --train.precision fp16 or no")
    return precision


@cache
def warn_of_slow_bf16() -> None:
    """Log once if this processor has no instructions for bf16. torch then emulates it, at a small part of float32's speed."""
    # For processors that are not x86, torch does not tell.
    if platform.machine().lower() in ("x86_64", "amd64") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        logger.warning(
            "train.precision: this processor has no bf16, so a step can take many times as long as in float32; "
            "leave out --train.precision bf16"
        )


def start_accelerator(settings: TrainSettings, output: Path) -> Accelerator:
    """Return an `Accelerator` for one training. A process can run several trainings, one after the other.

    Raises
    ------
    GemoclapError : a tracker is not installed, or the device cannot train in `settings.precision`.
    """
    available = {str(tracker) for tracker in get_available_trackers()}
    for name in settings.trackers:
        if name not in available:
            raise GemoclapError(f"train.trackers: {name} is not installed; pip install {name}, or leave it out")
    state = process_state()
    precision = resolve_precision(settings.precision, state.device)
    if precision == "bf16" and state.device.type == "cpu":
        warn_of_slow_bf16()
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # otherwise accelerate keeps the precision of the first training until the process ends
    return Accelerator(
        mixed_precision=precision,
        log_with=list(settings.trackers) or None,
        project_config=ProjectConfiguration(logging_dir=str(output / "tensorboard")),
        # The loop accumulates gradients itself: the last group of an epoch can be shorter, and must have the right weight.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # Layer drop, which wav2vec2, HuBERT and WavLM use by default, leaves other parameters without gradient in each step.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate the rows of all processes, in the order of the processes. Gradients flow back through this.

    Parameters
    ----------
    tensors : each (B_p, ...). All tensors of a process have the same number of rows, B_p. It can differ between processes, as
        in the last batch of an epoch.

    Returns
    -------
    Each tensor as (sum of B_p, ...). With one process, these are the tensors themselves.

    Notes
    -----
    The gradients of the parameters equal those of one process with the whole batch. This is why. Process p has a copy theta_p
    of the parameters. The gathered rows are e = [e_1(theta_1) ... e_P(theta_P)], and t(theta_p) are its own shared outputs
    (prompts, temperatures). From these it computes the loss L_p = L(e, t(theta_p)). The backward pass of this function sums
    over the processes, so theta_p receives

        g_p = (sum_q dL_q/de_p) de_p/dtheta + dL_p/dt dt/dtheta = P dL/de_p de_p/dtheta + dL/dt dt/dtheta,

    since the copies are equal. DistributedDataParallel averages:

        1/P sum_p g_p = sum_p dL/de_p de_p/dtheta + dL/dt dt/dtheta = dL/dtheta.

    If the copies draw different dropout for t, the same average is the gradient of the mean of the L_q.
    On every process, autograd computes the sums of this function before the first average of DDP, because it runs later nodes
    first. So the collective operations have the same order on all processes.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensors
    rows = tensors[0].new_tensor([len(tensors[0])], dtype=torch.int64)
    counts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, rows)
    sizes = [int(count) for count in counts]
    return tuple(_GatherRows.apply(tensor, sizes) for tensor in tensors)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, sizes: list[int]) -> Tensor:  # type: ignore[override]
        ctx.sizes = sizes
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed.split(ctx.sizes)[dist.get_rank()], None


def gather_outputs(
    outputs: Mapping[str, Tensor], row_outputs: Iterable[str], targets: Targets
) -> tuple[dict[str, Tensor], Targets]:
    """Gather the named outputs and the targets of all processes. The other outputs are the same on all processes."""
    names, labels = list(row_outputs), targets.tensors()
    gathered = gather_rows(*(outputs[name] for name in names), *labels.values())
    rows, gathered_labels = gathered[: len(names)], gathered[len(names) :]
    gathered_targets = replace(targets, **dict(zip(labels, gathered_labels, strict=True)))
    return {**outputs, **dict(zip(names, rows, strict=True))}, gathered_targets


def mean_over_processes(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each named number over the processes."""
    state = process_state()
    if state.num_processes == 1:
        return dict(values)
    summed = torch.tensor(list(values.values()), dtype=torch.float64, device=state.device)
    dist.all_reduce(summed)
    return dict(zip(values, (summed / state.num_processes).tolist(), strict=True))


def check_equal_lengths(batches: int) -> None:
    """Raise a GemoclapError unless all processes have the same number of batches. Otherwise one would wait for ever."""
    if not dist.is_initialized():
        return
    (lengths,) = gather_rows(torch.tensor([batches], device=process_state().device))
    if any(first != second for first, second in itertools.pairwise(lengths.tolist())):
        raise GemoclapError(
            f"the processes have unequal numbers of batches {lengths.tolist()}; give each the same number"
        )


def leave_together() -> None:
    """End the process group if there is one. A process that exits without doing this can be aborted."""
    if dist.is_initialized():
        dist.destroy_process_group()
