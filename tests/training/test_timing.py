"""A training step, timed: what is measured is the step, and nothing before it."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from training_standins import ContrastiveObjective, TinyModel

from gemoclap.config import TrainSettings
from gemoclap.data.dataset import Batch
from gemoclap.data.targets import Targets
from gemoclap.training.timing import STEPS, seconds_a_step


class Slow(TinyModel):
    """Takes 0.3 s for the first batch and then 0.05 s for every one; keeps the sizes of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        time.sleep(0.05 if self.sizes else 0.3)
        self.sizes.append(len(waveforms))
        return super().forward(waveforms, lengths)


def batch(size: int) -> Batch:
    inputs = {"waveforms": torch.randn(size, 32), "lengths": torch.full((size,), 32)}
    targets = Targets(torch.arange(size) % 3, torch.zeros(size, dtype=torch.long))
    return Batch(inputs, targets, tuple(map(str, range(size))))


def test_the_step_is_timed_after_a_warm_up() -> None:
    model = Slow()
    before = model.audio.weight.clone()
    seconds = seconds_a_step(model, ContrastiveObjective(), batch(6), batch(3), TrainSettings(precision="no"))
    assert model.sizes == [6] + [3] * STEPS
    assert 0.05 <= seconds < 0.3
    assert not torch.equal(model.audio.weight, before)


def test_chunks_run_twice_in_a_step() -> None:
    model = Slow()
    settings = TrainSettings(precision="no", chunk_size=2)
    seconds = seconds_a_step(model, ContrastiveObjective(), batch(2), batch(4), settings)
    assert model.sizes == [2] + [2, 2, 2, 2] * STEPS
    assert seconds >= 4 * 0.05


def test_more_steps_are_timed_than_the_training_has() -> None:
    """One epoch, all of it warm-up: the cosine behind it has no step to come down over."""
    model = Slow()
    settings = TrainSettings(precision="no", epochs=1, warmup_epochs=1, schedule="cosine")
    assert seconds_a_step(model, ContrastiveObjective(), batch(2), batch(2), settings) >= 0.05
    assert all(parameter.isfinite().all() for parameter in model.parameters())
