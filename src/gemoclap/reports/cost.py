"""Prints how long a table will take."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from gemoclap.config import TITLES
from gemoclap.recipes.cost import Cost
from gemoclap.reports.tables import new_table

LEAST_HOURS = 0.01
"""Shorter times are given in minutes."""


def print_costs(costs: Sequence[Cost], batch: str, console: Console) -> None:
    """Print the remaining hours of each cell; `batch` describes the batch and device of a step."""
    methods = list(dict.fromkeys(method for one in costs for method in one.steps))
    grid = new_table("remaining hours of training")
    grid.add_column("audio encoder", overflow="fold")
    for heading in ("seconds per step", *(TITLES[method] for method in methods), "total"):
        grid.add_column(heading, justify="right")
    for one in costs:
        cells = [_hours(one.hours.get(method, 0.0)) for method in methods]
        grid.add_row(escape(one.encoder), f"{one.seconds:.3g}", *cells, _hours(sum(one.hours.values())))
    console.print(grid)
    steps = sum(sum(one.steps.values()) for one in costs)
    hours = sum(sum(one.hours.values()) for one in costs)
    in_all = f"{_minutes(hours)} minutes" if 0 < hours < LEAST_HOURS else f"{_hours(hours)} hours"
    console.print(
        f"{in_all} in total for {steps:,} steps in one process on this machine (estimated from a timed step over {batch}); "
        "several processes, each on its own device, share this time"
    )


def _hours(hours: float) -> str:
    if 0 < hours < LEAST_HOURS:
        return f"{_minutes(hours)} min"
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2f}"


def _minutes(hours: float) -> str:
    return f"{60 * hours:.2g}"
