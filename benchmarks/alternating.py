"""Costs of several ways to do the same, measured in turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable
from time import perf_counter, process_time

from rich.console import Console
from rich.table import Table

Cost = tuple[float, float]
"""CPU seconds and seconds."""


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[Cost]]:
    """Return what each way costs in every round; a first round, in which caches fill, does not count."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            cost = measured(way)
            if number:
                costs[name].append(cost)
    return costs


def measured(way: Callable[[], object]) -> Cost:
    """Return the CPU seconds, those of processes that it starts included, and the seconds of a call."""
    begun, busy = perf_counter(), process_time() + _of_children()
    way()
    return process_time() + _of_children() - busy, perf_counter() - begun


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(title: str, costs: dict[str, list[Cost]]) -> None:
    """Print the medians, and the ratio of each round's costs to those of the first way, as their median."""
    table = Table("", "CPU s", "s", "CPU, as a multiple", "time, as a multiple", title=title)
    first = next(iter(costs.values()))
    for name, measured_costs in costs.items():
        medians = [statistics.median(one[part] for one in measured_costs) for part in (0, 1)]
        ratios = [
            statistics.median(one[part] / base[part] for one, base in zip(measured_costs, first, strict=True))
            for part in (0, 1)
        ]
        table.add_row(name, *(f"{value:.2f}" for value in (*medians, *ratios)))
    Console().print(table)
