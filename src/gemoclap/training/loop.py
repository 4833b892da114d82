"""The training loop, for any model that returns a dict of tensors, and any objective that returns named losses."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from gemoclap.config import TrainSettings
from gemoclap.data.targets import Objective
from gemoclap.errors import GemoclapError
from gemoclap.running import running_seconds
from gemoclap.training.distributed import check_equal_lengths, start_accelerator
from gemoclap.training.gradients import Gradients, TrainingBatch
from gemoclap.training.progress import Trackers, TrainingProgress
from gemoclap.training.run import Meter, Run
from gemoclap.wording import counted

Item = TypeVar("Item")


class Batches(Protocol):
    """The batches of this process. `epoch(index, start)` is a pure function, so a resumed epoch yields exactly the rest."""

    def __len__(self) -> int: ...
    def epoch(self, index: int, start: int = 0) -> Iterator[Any]: ...


def run_epochs(
    model: nn.Module,
    objective: Objective,
    batches: Batches,
    settings: TrainSettings,
    output: str | os.PathLike,
    *,
    run_key: str,
    evaluate: Callable[[], dict[str, float]] | None = None,
    label: str = "",
) -> list[dict[str, Any]]:
    """Train `model` in place. If the process is killed, the same call resumes, and ends with the same weights to the last bit.

    Parameters
    ----------
    model : ``model(**batch.inputs) -> dict of tensors``. When the function returns, the model is on the training device, in
        evaluation mode, and has the weights of the selected epoch.
    objective : outputs and targets -> named losses. With several processes and `settings.gather`, these are the outputs
        and targets of the utterances of all processes.
    batches : the part of the training set that this process trains on.
    settings : `learning_rate_at` and `optimizer_for` say what they mean.
    output : folder for ``log.jsonl`` and ``checkpoint/``. They are written after an epoch, but not more often than every
        `run.KEEP_SECONDS` seconds.
    run_key : a hash of everything that determines the run (settings, fold, data). A checkpoint with another key is refused.
    evaluate : scores the current model on the development set. It must return ``"uar"`` if `settings.select` is ``dev``. It is
        called after each epoch on the main process, in evaluation mode and without gradients.
    label : name of the training, for the progress display.

    Returns
    -------
    One row per epoch, as in ``log.jsonl``: epoch (from 1), step (optimiser steps so far), lr, loss and each other named
    loss (means over the batches of the epoch), seconds, utterances_per_second, data_wait_seconds, and dev_* from `evaluate`.
    If `settings.select` is ``dev``, there is also selected, which is true for the epoch whose weights were kept.

    Raises
    ------
    GemoclapError : `output` has another run; a loss is not finite; `evaluate` or a tracker is missing; or there is no batch.
    """
    _check_request(batches, settings, evaluate)
    output = Path(output)
    accelerator = start_accelerator(settings, output)
    check_equal_lengths(len(batches))
    _seed(settings.seed + accelerator.process_index)
    run = Run(model, settings, output, run_key, accelerator, len(batches))
    gradients = Gradients(accelerator, run.wrapped, objective, settings)
    run.resume()
    if run.state.complete:
        run.write_log()
        model.eval()
        return run.state.history

    shown = TrainingProgress(
        label, settings.epochs, len(batches), done=run.state.epoch, enabled=accelerator.is_main_process
    )
    with Trackers(accelerator, label, asdict(settings), run.state.history) as trackers, shown:
        if settings.warmup_epochs > settings.epochs:
            shown.note_once(
                f"the warm-up, train.warmup_epochs {settings.warmup_epochs:g}, is longer than the training, which has "
                f"{counted(settings.epochs, 'epoch')}: the learning rate never reaches its peak"
            )
        for epoch in range(run.state.epoch, settings.epochs):
            model.train()
            rest = _timed(batches.epoch(epoch, run.state.batch), run.meter)
            for index, batch in enumerate(rest, run.state.batch):
                group, steps_now = run.accumulation(index)
                check = partial(
                    _check_finite, epoch=epoch, step=run.state.step, batch=batch, settings=settings, label=label
                )
                losses = gradients.add(batch.to(accelerator.device), 1 / group, steps_now, check)
                run.meter.add(losses, len(batch))
                run.state.batch = index + 1
                if steps_now:
                    run.step()
                    if run.checkpoint_is_due():
                        run.save()
                shown.batch(epoch + 1, index + 1, run.meter.mean("loss"), run.meter.utterances_per_second)
            row = run.close_epoch(evaluate)
            trackers.log(row)
            if run.is_worth_keeping():
                run.save()
                run.write_log()
            shown.epoch(row)
        if run.state.best_epoch is not None:
            shown.note(f"kept epoch {run.state.best_epoch}, development UAR {100 * (run.state.best_uar or 0):.2f}")
    model.eval()
    return run.state.history


def _check_request(batches: Batches, settings: TrainSettings, evaluate: Callable[[], dict[str, float]] | None) -> None:
    if len(batches) == 0:
        raise GemoclapError("the training set has no batch; check the manifest, the vocabulary and train.batch_size")
    if settings.select == "dev" and evaluate is None:
        raise GemoclapError("train.select dev needs a development set; set --data.dev_speakers to 1 or more")


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _check_finite(
    losses: dict[str, float], epoch: int, step: int, batch: TrainingBatch, settings: TrainSettings, label: str
) -> None:
    loss = losses["loss"]
    if math.isfinite(loss):
        return
    ids = ", ".join(batch.ids[:8]) + (f" and {len(batch) - 8} more" if len(batch) > 8 else "")
    raise GemoclapError(
        f"{label + ': ' if label else ''}the loss is {loss} in epoch {epoch + 1}, step {step + 1}, batch of {ids}; "
        f"the last checkpoint is kept; lower --train.lr (now {settings.lr:g}) or set --train.precision no"
    )


def _timed(batches: Iterable[Item], meter: Meter) -> Iterator[Item]:
    """Yield the batches. For each, add to `meter` how long the loop waited for it, and how long it took in total."""
    iterator = iter(batches)
    while True:
        began = running_seconds()
        batch = next(iterator, None)
        meter.data_wait_seconds += running_seconds() - began
        if batch is None:
            return
        yield batch
        meter.seconds += running_seconds() - began
