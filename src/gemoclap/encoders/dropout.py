"""Dropout on a CPU without waiting for its random numbers.

PyTorch draws a double for every element from a generator that runs in one thread: with WavLM-base about a fifth of a
training step on a CPU. Here an element takes 16 bits of a 64-bit draw from the same generator, so runs are as
reproducible as before. (benchmarks/dropout.py)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 2**16
"""An element is dropped with a probability that is a multiple of one over this."""


class FastDropout(nn.Dropout):
    """`torch.nn.Dropout`, fast on a CPU; elsewhere it is PyTorch's own."""

    def forward(self, input: Tensor) -> Tensor:
        return fast_dropout(input, self.p) if self.training else input


def make_dropout_fast(model: nn.Module) -> None:
    """Turn every `torch.nn.Dropout` in `model` into a `FastDropout`; it has no parameters, so no name changes."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            # Not a new module, so that what refers to the old one goes on doing so.
            module.__class__ = FastDropout


def fast_dropout(values: Tensor, probability: float) -> Tensor:
    """Set each element to zero with `probability`, and divide the others by the share that is kept.

    The probability is rounded to a multiple of 1/65536, the share that is kept is the rounded one's, so the expectation
    is exact. Random numbers come from torch's global generator of the CPU.
    """
    dropped = round(probability * LEVELS)
    if values.device.type != "cpu" or dropped == LEVELS:
        return nn.functional.dropout(values, probability)
    if dropped == 0:
        return values
    factors = _draw(values.shape, dropped).to(values.dtype).mul_(LEVELS / (LEVELS - dropped))
    return values * factors


def _draw(shape: torch.Size, dropped: int) -> Tensor:
    """Return a bool tensor in which each element is False with probability `dropped` / 65536."""
    words = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    return (words.view(torch.int16)[: shape.numel()] >= dropped - LEVELS // 2).view(shape)
