"""The state of one training: its position and its optimiser steps, with saving and loading."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from gemoclap.config import TrainSettings
from gemoclap.errors import GemoclapError
from gemoclap.training.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    Tensors,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    random_state,
    read_checkpoint,
    set_random_state,
    weights_of,
    write_checkpoint,
)
from gemoclap.training.distributed import mean_over_processes
from gemoclap.training.optim import learning_rate_at, learning_rate_of, optimizer_for, set_learning_rate
from gemoclap.writing import atomic_write

KEEP_SECONDS = 10.0
"""Shortest time between two checkpoints in seconds. A process that is killed loses at most this much work. With very short
epochs, a checkpoint after each of them would take as long as the training."""


@dataclass
class Meter:
    """Sums over the batches of the current epoch in this process."""

    sums: dict[str, float] = field(default_factory=dict)
    batches: int = 0
    utterances: int = 0
    seconds: float = 0.0
    data_wait_seconds: float = 0.0

    def add(self, losses: Mapping[str, float], utterances: int) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss
        self.batches += 1
        self.utterances += utterances

    def mean(self, name: str) -> float:
        return self.sums[name] / self.batches

    @property
    def utterances_per_second(self) -> float:
        return self.utterances / self.seconds if self.seconds > 0 else 0.0

    def row(self, processes: int) -> dict[str, float]:
        """Return the means of the epoch over all processes."""
        means = {name: self.mean(name) for name in ("loss", *(name for name in self.sums if name != "loss"))}
        seconds = {"seconds": self.seconds, "utterances_per_second": self.utterances_per_second}
        row = mean_over_processes({**means, **seconds, "data_wait_seconds": self.data_wait_seconds})
        row["utterances_per_second"] *= processes
        return row


@dataclass
class State:
    """Position of a run. It is the same on all processes."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches of the current epoch whose gradients are in the weights
    step: int = 0  # optimiser steps done
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None  # from 1, as in the history
    best_uar: float | None = None
    complete: bool = False


class _Forward(nn.Module):
    """Wraps the model for accelerate, which changes the `forward` of the module that it prepares.

    The `forward` of the model itself must not change: it is used for evaluation and in the next training.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return self.model(**inputs)


class Run:
    """Model, optimiser and state of one training. It can be saved and loaded."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        output: Path,
        run_key: str,
        accelerator: Accelerator,
        batches: int,
    ) -> None:
        self.model, self.settings, self.output, self.run_key = model, settings, output, run_key
        self.accelerator, self.batches = accelerator, batches
        self.steps_per_epoch = math.ceil(batches / settings.accumulate)
        model.to(accelerator.device)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer_for(model, settings)
        self.wrapped, self.prepared_optimizer = accelerator.prepare(_Forward(model), self.optimizer)
        self.state, self.meter = State(), Meter()
        self.best: Tensors = {}
        self._kept_at = perf_counter()

    def accumulation(self, index: int) -> tuple[int, bool]:
        """Return how many batches are in the optimiser step of batch `index`, and whether this batch is the last of them.

        The last step of an epoch can have fewer batches. Its gradients are averaged over these.
        """
        first = index - index % self.settings.accumulate
        group = min(self.settings.accumulate, self.batches - first)
        return group, index == first + group - 1

    def step(self) -> None:
        """Clip the gradients, set the learning rate, and take an optimiser step."""
        if self.settings.clip_norm is not None:
            # The clipping of accelerate is slow: in every step it searches all modules of both encoders for sharded ones.
            self.accelerator.unscale_gradients(self.prepared_optimizer)
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        set_learning_rate(self.optimizer, learning_rate_at(self.state.step, self.settings, self.steps_per_epoch))
        self.prepared_optimizer.step()
        self.prepared_optimizer.zero_grad()
        self.state.step += 1

    def checkpoint_is_due(self) -> bool:
        """Whether to save a checkpoint within the epoch. The one at the end of the epoch is saved elsewhere."""
        every = self.settings.checkpoint_steps
        return every is not None and self.state.step % every == 0 and self.state.batch < self.batches

    def close_epoch(self, evaluate: Callable[[], dict[str, float]] | None) -> dict[str, Any]:
        """Add the row of the epoch to the history and return it. Keep the weights of the best epoch. Finish after the last."""
        state, settings = self.state, self.settings
        row: dict[str, Any] = {"epoch": state.epoch + 1, "step": state.step, "lr": learning_rate_of(self.optimizer)}
        row |= self.meter.row(self.accelerator.num_processes)
        if evaluate is not None:
            row |= self._development_scores(evaluate)
        state.history.append(row)
        state.epoch, state.batch, self.meter = state.epoch + 1, 0, Meter()
        if settings.select == "dev" and (state.best_uar is None or row["dev_uar"] > state.best_uar):
            state.best_epoch, state.best_uar, self.best = row["epoch"], row["dev_uar"], weights_of(self.model)
        if state.epoch == settings.epochs:
            state.complete = True
            if settings.select == "dev":
                load_weights(self.model, self.best)
                for earlier in state.history:
                    earlier["selected"] = earlier["epoch"] == state.best_epoch
        return row

    def _development_scores(self, evaluate: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Evaluate on the main process and send the result to all, so that they agree on the best epoch."""
        scores: list[dict[str, float]] = [{}]
        if self.accelerator.is_main_process:
            self.model.eval()
            with torch.no_grad():
                scores = [{f"dev_{name}": float(score) for name, score in evaluate().items()}]
        broadcast_object_list(scores)
        if self.settings.select == "dev" and not math.isfinite(scores[0].get("dev_uar", math.nan)):
            raise GemoclapError("train.select dev: the development set has no UAR; check its labels, or select last")
        return scores[0]

    def is_worth_keeping(self) -> bool:
        """Whether to save a checkpoint after an epoch: if enough time has passed, or the training is complete."""
        worth = [self.state.complete or perf_counter() - self._kept_at >= KEEP_SECONDS]
        broadcast_object_list(
            worth
        )  # the main process decides, because clocks differ, and all processes must do the same
        return worth[0]

    def save(self) -> None:
        """Write a checkpoint. That of a complete run has only weights and history.

        Raises
        ------
        GemoclapError : a weight is not finite. The previous checkpoint stays then.
        """
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not torch.isfinite(parameter).all():
                raise GemoclapError(
                    f"{self.output}: weight {name} is not finite after step {self.state.step}; the last checkpoint is "
                    f"kept; lower --train.lr (now {self.settings.lr:g}), set --train.clip_norm or --train.precision no"
                )
        tensors = {"model": weights_of(self.model)}
        if not self.state.complete:
            tensors |= {"optimizer": optimizer_tensors(self.optimizer), "best": self.best}
        scaler = self.accelerator.scaler
        self._kept_at = perf_counter()
        write_checkpoint(
            self.output / CHECKPOINT,
            self.run_key,
            self.state.step,
            tensors=tensors,
            state={"run": asdict(self.state), "scaler": None if scaler is None else scaler.state_dict()},
            process={"random": random_state(), "meter": asdict(self.meter)},
        )

    def resume(self) -> None:
        """Go back to the newest checkpoint of this run, if there is one."""
        checkpoint = read_checkpoint(self.output / CHECKPOINT, self.run_key)
        if checkpoint is None:
            return
        try:
            self._restore(checkpoint)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            folder = self.output / CHECKPOINT
            raise GemoclapError(f"{folder}: damaged checkpoint ({error}); delete it to start again") from error

    def _restore(self, checkpoint: Checkpoint) -> None:
        load_weights(self.model, checkpoint.tensors["model"])
        self.state = State(**checkpoint.state["run"])
        if self.state.complete:
            return
        load_optimizer(self.optimizer, checkpoint.tensors["optimizer"])
        self.best = checkpoint.tensors.get("best", {})
        self.meter = Meter(**checkpoint.process["meter"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.state["scaler"])
        set_random_state(checkpoint.process["random"])

    def write_log(self) -> None:
        """Write ``log.jsonl`` again, with the whole history, so that a resumed run repeats no row."""
        if self.accelerator.is_main_process:
            with atomic_write(self.output / "log.jsonl") as file:
                file.writelines(json.dumps(row) + "\n" for row in self.state.history)
