"""Dropout on a CPU, forward and backward: PyTorch's and this project's, alternating.

python benchmarks/dropout.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from gemoclap.encoders.dropout import fast_dropout

SHAPES = {"hidden states": (8, 250, 768), "feed-forward": (8, 250, 3072), "attention weights": (8, 12, 250, 250)}
REPETITIONS = 7


def seconds(dropout: Callable[[Tensor, float], Tensor], values: Tensor) -> float:
    began = time.perf_counter()
    dropout(values, 0.1).sum().backward()
    return time.perf_counter() - began


def main() -> None:
    table = Table("what", "shape", "PyTorch, ms", "ours, ms", "ratio", title=f"{torch.get_num_threads()} threads")
    for what, shape in SHAPES.items():
        values = torch.randn(shape, requires_grad=True)
        times = [(seconds(functional.dropout, values), seconds(fast_dropout, values)) for _ in range(REPETITIONS)]
        plain, ours = (1e3 * median(column) for column in zip(*times, strict=True))
        table.add_row(what, str(shape), f"{plain:.1f}", f"{ours:.1f}", f"{plain / ours:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
