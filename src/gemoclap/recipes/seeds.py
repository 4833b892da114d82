"""Summarises the same training with several seeds: the score of each seed, and the mean with its interval."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.stats

from gemoclap.files import write_json
from gemoclap.metrics import without_nan
from gemoclap.writing import atomic_write

FIGURES = ("war", "uar")


@dataclass(frozen=True)
class OverSeeds:
    """A score for each seed, with their mean, their sample standard deviation, and the 95 % interval of the mean.

    The interval shows how much the mean would change with other seeds and the same speakers. The intervals of a report are
    about other speakers. With one seed the standard deviation is NaN. With fewer than three seeds the interval is NaN: with
    two it would extend over 12.7 standard errors on either side.
    """

    values: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether there are enough seeds for an interval."""
        return not math.isnan(self.low)


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Return mean, standard deviation s and, for n of 3 or more, Student's interval ``mean -+ t(0.975, n - 1) s / sqrt(n)``."""
    n, mean = len(values), float(np.mean(values))
    sd = float(np.std(values, ddof=1)) if n > 1 else math.nan
    if n < 3:
        return OverSeeds(tuple(values), mean, sd, math.nan, math.nan)
    half = float(scipy.stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return OverSeeds(tuple(values), mean, sd, mean - half, mean + half)


def write_over_seeds(folder: Path, seeds: Sequence[int], summary: Mapping[str, Mapping[str, OverSeeds]]) -> None:
    """Write seeds.json and seeds.csv: each of `FIGURES`, from 0 to 1, for every method, by seed and as a mean.

    Undefined values are null in JSON and empty in CSV.
    """
    methods = {
        method: {figure: without_nan(asdict(one)) for figure, one in figures.items()}
        for method, figures in summary.items()
    }
    data = {"interval": "95 %, Student's t over seeds", "seeds": list(seeds), "methods": methods}
    write_json(folder / "seeds.json", data)
    columns = [f"{figure}{what}" for figure in FIGURES for what in ("", "_sd", "_low", "_high")]
    with atomic_write(folder / "seeds.csv") as file:
        writer = csv.DictWriter(file, ["method", "seed", *columns], lineterminator="\n")
        writer.writeheader()
        for method, figures in methods.items():
            for place, seed in enumerate(seeds):
                values = {figure: one["values"][place] for figure, one in figures.items()}
                writer.writerow({"method": method, "seed": seed, **values})
            means = {figure: one["mean"] for figure, one in figures.items()}
            spread = {
                f"{figure}_{what}": one[what] for figure, one in figures.items() for what in ("sd", "low", "high")
            }
            writer.writerow({"method": method, "seed": "mean", **means, **spread})
