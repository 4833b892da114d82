"""Simulates how often 95 % intervals over speakers contain the true UAR, on synthetic corpora with a known UAR.

    python benchmarks/interval_coverage.py

Speakers differ in difficulty, overall and for each class. For each synthetic corpus two intervals are computed from the same
resamples: plain percentiles, and Hesterberg's expanded percentiles, which reports use. The same is repeated with several seeds,
each of which changes a method's recalls a little; there, resampling speakers and seeds is compared with resampling speakers
only.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from gemoclap.metrics import expanded_tail
from gemoclap.metrics.scores import STATISTICS

CLASSES, EACH = 4, 12
"""Classes, and utterances of each class a speaker."""
EASE = np.array([1.6, 0.9, 0.5, 0.2])
"""Log-odds of being right, by class."""
OF_SPEAKERS, OF_BOTH = 0.6, 0.6
"""Standard deviation of the log-odds between speakers, and between classes of a speaker."""


def simulate(
    rng: np.random.Generator, corpora: int, speakers: int, seeds: int = 1, of_seeds: float = 0.0
) -> np.ndarray:
    """Return confusion matrices (corpora, K, S, C, C); mistakes go to the other classes alike."""
    ease = EASE + OF_SPEAKERS * rng.standard_normal((corpora, 1, speakers, 1))
    ease = ease + OF_BOTH * rng.standard_normal((corpora, 1, speakers, CLASSES))
    ease = ease + of_seeds * rng.standard_normal((corpora, seeds, 1, CLASSES))
    right = 1 / (1 + np.exp(-ease))
    chances = np.repeat(((1 - right) / (CLASSES - 1))[..., None], CLASSES, axis=-1)
    chances[..., np.arange(CLASSES), np.arange(CLASSES)] = right
    return rng.multinomial(EACH, chances)


def true_figures(rng: np.random.Generator, of_seeds: float = 0.0) -> dict[str, float]:
    """Return the figures of a corpus so large that they do not move."""
    many = simulate(rng, 1, 2000, 200 if of_seeds else 1, of_seeds)[0].sum(axis=1)
    return {name: float(figure(many).mean()) for name, figure in STATISTICS.items()}


def resampled(confusion: np.ndarray, samples: int, rng: np.random.Generator, draw_seeds: bool) -> dict[str, np.ndarray]:
    """Return (samples,) of each figure for one corpus (K, S, C, C)."""
    seeds, speakers = confusion.shape[:2]
    draws = rng.multinomial(speakers, np.full(speakers, 1 / speakers), samples)
    sums = np.tensordot(draws.astype(float), confusion.astype(float), ([1], [1]))  # (samples, K, C, C)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), samples) if draw_seeds else np.ones((samples, seeds))
    return {name: (figure(sums) * weights).sum(axis=1) / seeds for name, figure in STATISTICS.items()}


def coverage(
    speakers: int, corpora: int, samples: int, seeds: int = 1, of_seeds: float = 0.0, draw_seeds: bool = False
) -> dict[str, tuple[float, float]]:
    """Return of each figure how often the percentile and the expanded interval cover the true one, in percent."""
    rng = np.random.default_rng(0)
    true = true_figures(rng, of_seeds)
    tails = {"percentile": 0.025, "expanded": expanded_tail(0.95, speakers)}
    covered = {(name, kind): 0 for name in true for kind in tails}
    for confusion in simulate(rng, corpora, speakers, seeds, of_seeds):
        for name, values in resampled(confusion, samples, rng, draw_seeds).items():
            for kind, tail in tails.items():
                low, high = np.quantile(values, [tail, 1 - tail])
                covered[name, kind] += low <= true[name] <= high
    return {name: tuple(100 * covered[name, kind] / corpora for kind in tails) for name in true}  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    names = {"war": "WAR", "uar": "UAR", "macro_f1": "macro F1"}
    table = Table("speakers", *(f"{name}, {kind}" for name in names.values() for kind in ("percentile", "expanded")))
    for speakers in (5, 9, 10, 24):
        found = coverage(speakers, options.corpora, options.samples)
        table.add_row(str(speakers), *(f"{one:.1f}" for name in names for one in found[name]))
    console = Console(width=110)
    console.print(f"Coverage in percent, {options.corpora} made-up corpora, {options.samples} resamples")
    console.print(table)
    table = Table("speakers", "seeds", "sd of seeds", "speakers drawn", "speakers and seeds drawn")
    for speakers, seeds, of_seeds in (
        (10, 3, 0.1),
        (10, 5, 0.1),
        (10, 3, 0.4),
        (10, 5, 0.4),
        (24, 3, 0.1),
        (24, 3, 0.4),
    ):
        rows = [coverage(speakers, options.corpora, options.samples, seeds, of_seeds, both) for both in (False, True)]
        table.add_row(str(speakers), str(seeds), str(of_seeds), *(f"{one['uar'][1]:.1f}" for one in rows))
    console.print("Mean UAR over seeds, expanded interval; the standard deviation is of log-odds")
    console.print(table)


if __name__ == "__main__":
    main()
