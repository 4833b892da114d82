"""Measures how long a training step takes on this machine."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from gemoclap.config import TrainSettings
from gemoclap.data.targets import Objective
from gemoclap.training.distributed import start_accelerator
from gemoclap.training.gradients import Gradients, TrainingBatch
from gemoclap.training.run import Run

STEPS = 3
"""Number of times the step is timed; the median is used."""


def seconds_a_step(
    model: nn.Module, objective: Objective, warm_up: TrainingBatch, timed: TrainingBatch, settings: TrainSettings
) -> float:
    """Return how many seconds a training step with the batch `timed` takes: forward pass, backward pass and optimiser.

    One step with the batch `warm_up` comes first, which is not timed. It allocates memory and compiles, and it shows whether
    that batch fits into memory. The weights of the model change.

    Parameters
    ----------
    model, objective, settings : as `training.loop.run_epochs` takes them.
    """
    # There can be more steps here than a short schedule has, and a cosine is not defined beyond its end.
    quiet = replace(settings, trackers=[], schedule="constant")
    accelerator = start_accelerator(quiet, Path())
    run = Run(model.train(), quiet, Path(), "", accelerator, batches=1)
    gradients = Gradients(accelerator, run.wrapped, objective, quiet)

    def step(batch: TrainingBatch) -> float:
        began = perf_counter()
        gradients.add(batch.to(accelerator.device), 1.0, True, lambda losses: None)
        run.step()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return perf_counter() - began

    step(warm_up)
    return statistics.median(step(timed) for _ in range(STEPS))
