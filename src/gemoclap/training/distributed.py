"""Devices, precision and processes. Only this module uses accelerate's state and collective operations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState, is_initialized
from accelerate.tracking import get_available_trackers
from accelerate.utils import GradientAccumulationPlugin, ProjectConfiguration
from torch import Tensor

from gemoclap.config import TrainSettings
from gemoclap.errors import GemoclapError

PATIENCE = timedelta(hours=12)
"""How long processes wait for each other before they give up."""


def process_state() -> PartialState:
    """Return accelerate's view of this process: `.device`, `.process_index`, `.num_processes`, `.is_main_process`.

    Use this instead of `PartialState()`. Without a GPU the CPU must be given explicitly; otherwise processes started by
    ``torchrun`` would each assume that they are alone, and overwrite each other's files.
    """
    # One process extracts, clusters or saves while the others wait; on a large corpus this exceeds torch's default timeout.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)


def resolve_precision(precision: str, device: torch.device | None = None) -> str:
    """Return ``"no"``, ``"bf16"`` or ``"fp16"`` for a device (default: this process's own).

    ``"auto"`` is bf16 on an accelerator that computes in it and float32 elsewhere; a CPU uses float32 unless bf16
    is given explicitly.

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


def start_accelerator(settings: TrainSettings, output: Path) -> Accelerator:
    """Return an `Accelerator` for one training; several trainings may follow one another in a process.

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
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # accelerate would keep the first training's precision until the process ends
    return Accelerator(
        mixed_precision=precision,
        log_with=list(settings.trackers) or None,
        project_config=ProjectConfiguration(logging_dir=str(output / "tensorboard")),
        # The loop accumulates gradients itself, to weight the last, shorter group of an epoch correctly.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # LayerDrop, on by default in wav2vec2, HuBERT and WavLM, leaves other parameters without gradient at each step.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate the rows of all processes, in the order of the processes, with gradient.

    Parameters
    ----------
    tensors : each (B_p, ...), B_p the same for all tensors of a process. Processes may differ in B_p, as in the last
        batch of an epoch.

    Returns
    -------
    Each tensor as (sum of B_p, ...); the tensors themselves if there is one process.

    Notes
    -----
    Why the parameters' gradients equal those of one process with the whole batch: process p holds a copy theta_p of
    the parameters and computes, from the gathered rows e = [e_1(theta_1) ... e_P(theta_P)] and its own shared outputs
    t(theta_p) (prompts, temperatures), the loss L_p = L(e, t(theta_p)). The backward pass of this gathering sums over
    the processes, so theta_p receives

        g_p = (sum_q dL_q/de_p) de_p/dtheta + dL_p/dt dt/dtheta = P dL/de_p de_p/dtheta + dL/dt dt/dtheta,

    the copies being equal. DistributedDataParallel averages:

        1/P sum_p g_p = sum_p dL/de_p de_p/dtheta + dL/dt dt/dtheta = dL/dtheta.

    Where the copies draw different dropout for t, the same average is the gradient of the mean of the L_q.
    Autograd runs later nodes first, so these sums are all done before the first of DDP's on every process: the
    collectives cannot meet in different orders.
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
    outputs: Mapping[str, Tensor], row_outputs: Iterable[str], labels: Sequence[Tensor]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Gather the named outputs and the labels of all processes; the other outputs are equal on all processes."""
    names = list(row_outputs)
    gathered = gather_rows(*(outputs[name] for name in names), *labels)
    return {**outputs, **dict(zip(names, gathered, strict=False))}, list(gathered[len(names) :])


def mean_over_processes(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each named number over the processes."""
    state = process_state()
    if state.num_processes == 1:
        return dict(values)
    summed = torch.tensor(list(values.values()), dtype=torch.float64, device=state.device)
    dist.all_reduce(summed)
    return dict(zip(values, (summed / state.num_processes).tolist(), strict=True))


def check_equal_lengths(batches: int) -> None:
    """Raise unless all processes have the same number of batches; otherwise one would wait for the others for ever."""
    if not dist.is_initialized():
        return
    (lengths,) = gather_rows(torch.tensor([batches], device=process_state().device))
    if any(first != second for first, second in itertools.pairwise(lengths.tolist())):
        raise GemoclapError(f"the processes have unequal numbers of batches {lengths.tolist()}; give each as many")


def leave_together() -> None:
    """End the process group if there is one; a process that exits without this can be aborted."""
    if dist.is_initialized():
        dist.destroy_process_group()
