"""Faster dropout on a CPU.

PyTorch draws a double for every element, from a generator that runs in one thread. With WavLM-base this takes about a fifth of
a training step on a CPU. Here an element uses 16 bits of a 64-bit number from the same generator, so runs can be reproduced in
the same way (benchmarks/dropout.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 2**16
"""The probability that an element is dropped is a multiple of one over this number."""


class FastDropout(nn.Dropout):
    """`torch.nn.Dropout`, but fast on a CPU. On other devices it is the dropout of PyTorch."""

    def forward(self, input: Tensor) -> Tensor:
        return fast_dropout(input, self.p) if self.training else input


def make_dropout_fast(model: nn.Module) -> None:
    """Turn every `torch.nn.Dropout` in `model` into a `FastDropout`. It has no parameters, so no names change."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            # The class is swapped, not the module, so that references to the module stay valid.
            module.__class__ = FastDropout


def fast_dropout(values: Tensor, probability: float) -> Tensor:
    """Set each element to zero with `probability`, and divide the others by the share that is kept.

    The probability is rounded to a multiple of 1/65536. The share that is kept follows from the rounded value, so the
    expectation is exact. Random numbers come from torch's global generator of the CPU.
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
