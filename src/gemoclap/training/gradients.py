"""Computes losses and gradients of a batch: of the whole batch at once, or chunk by chunk if it does not fit into memory.

A contrastive loss depends on all utterances of a batch, so the gradients of parts cannot simply be added. GradCache (Gao et
al., arXiv 2101.06983) has three steps. First, the encoders run over each chunk without storing activations. Second, the
gradient of the loss of the whole batch is computed for the embeddings. Third, each chunk runs again with the same dropout, and
passes its rows of this gradient on to the parameters. This needs the memory of one chunk, and gives the gradients of the whole
batch. The price is a second forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, Self

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gemoclap.config import TrainSettings
from gemoclap.data.targets import Losses, Objective, Targets
from gemoclap.errors import GemoclapError
from gemoclap.training.checkpoint import random_state, set_random_state
from gemoclap.training.distributed import gather_outputs


class TrainingBatch(Protocol):
    """A batch as training needs it: model inputs by name, the targets of B utterances, and B ids."""

    @property
    def inputs(self) -> dict[str, Tensor]: ...
    @property
    def targets(self) -> Targets: ...
    @property
    def ids(self) -> tuple[str, ...]: ...
    def to(self, device: torch.device) -> Self: ...
    def split(self, rows: int) -> Sequence[Self]: ...
    def __len__(self) -> int: ...


class Gradients:
    """Adds the gradients of a batch to the parameters of a model that accelerate has prepared.

    Parameters
    ----------
    wrapped : the prepared model, ``wrapped(**batch.inputs) -> dict of tensors``.
    objective : outputs and targets -> named losses.
    settings : only `chunk_size` and `gather` are used.

    Raises
    ------
    GemoclapError : `chunk_size` is set and the model has batch norm, which needs statistics of the whole batch.
    """

    def __init__(
        self, accelerator: Accelerator, wrapped: nn.Module, objective: Objective, settings: TrainSettings
    ) -> None:
        self.accelerator, self.wrapped, self.objective, self.settings = accelerator, wrapped, objective, settings
        if settings.chunk_size and any(_is_trained_batch_norm(module) for module in wrapped.modules()):
            raise GemoclapError(
                "train.chunk_size: the model has batch norm, which needs the batch in one piece; leave it null"
            )

    def add(
        self, batch: TrainingBatch, share: float, syncs: bool, check: Callable[[dict[str, float]], None]
    ) -> dict[str, float]:
        """Add the gradients of ``share * loss`` and return all losses.

        Parameters
        ----------
        share : weight of this batch in the optimiser step.
        syncs : whether the gradients are averaged over processes now, including those of earlier batches of the step.
        check : called with the losses before any gradient is added. It can raise an error.
        """
        chunks = batch.split(self.settings.chunk_size) if self.settings.chunk_size else [batch]
        if len(chunks) > 1:
            return self._add_in_chunks(batch, chunks, share, syncs, check)
        with self._syncing(syncs):
            losses = self._losses(self.wrapped(**batch.inputs), batch)
            values = _numbers(losses)
            check(values)
            self.accelerator.backward(share * losses["loss"])
        return values

    def _add_in_chunks(
        self,
        batch: TrainingBatch,
        chunks: Sequence[TrainingBatch],
        share: float,
        syncs: bool,
        check: Callable[[dict[str, float]], None],
    ) -> dict[str, float]:
        outputs, states = self._outputs_without_graph(chunks)
        losses = self._losses(outputs, batch)
        values = _numbers(losses)
        check(values)
        (share * losses["loss"]).backward()
        first = 0
        for place, (chunk, state) in enumerate(zip(chunks, states, strict=True)):
            is_last = place == len(chunks) - 1
            set_random_state(state)
            with self._syncing(syncs and is_last):
                again = self.wrapped(**chunk.inputs)
                terms = [
                    (again[name] * _rows(gradient, first, len(chunk), name in self.objective.row_outputs)).sum()
                    for name, gradient in _gradients_of(outputs).items()
                    # All utterances share prompts and temperatures. Those of the last chunk are used.
                    if name in self.objective.row_outputs or is_last
                ]
                self.accelerator.backward(torch.stack(terms).sum())
            first += len(chunk)
        return values

    def _outputs_without_graph(self, chunks: Sequence[TrainingBatch]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        """Return the outputs of all chunks together, as leaves that need a gradient, and the random state before each chunk."""
        parts, states = [], []
        with torch.no_grad():
            for chunk in chunks:
                states.append(random_state())
                parts.append(self.wrapped(**chunk.inputs))
        rows = {name: torch.cat([part[name] for part in parts]) for name in self.objective.row_outputs}
        outputs = {name: rows.get(name, output).detach().requires_grad_() for name, output in parts[-1].items()}
        return outputs, states

    def _losses(self, outputs: dict[str, Tensor], batch: TrainingBatch) -> Losses:
        targets = batch.targets
        if self.settings.gather:
            outputs, targets = gather_outputs(outputs, self.objective.row_outputs, targets)
        return self.objective(outputs, targets)

    def _syncing(self, syncs: bool) -> Any:
        return nullcontext() if syncs else self.accelerator.no_sync(self.wrapped)


def _is_trained_batch_norm(module: nn.Module) -> bool:
    parameters = list(module.parameters(recurse=False))
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and any(one.requires_grad for one in parameters)


def _numbers(losses: Losses) -> dict[str, float]:
    """Copy all losses from the device at once. Each single copy would wait for the device."""
    return dict(zip(losses, torch.stack([loss.detach() for loss in losses.values()]).tolist(), strict=True))


def _gradients_of(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: output.grad for name, output in outputs.items() if output.grad is not None}


def _rows(gradient: Tensor, first: int, count: int, has_rows: bool) -> Tensor:
    return gradient[first : first + count] if has_rows else gradient
