"""Makes sure that only one command at a time writes to the folder of a run."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from gemoclap.recipes.holding import holding


def alone(run: Callable[..., int]) -> Callable[..., int]:
    """Lock the folder ``args.output`` before a command reads anything in it; with ``args.no_wait`` it does not wait."""

    @functools.wraps(run)
    def held(args: Namespace, *others: object) -> int:
        with holding(Path(args.output), wait=not args.no_wait):
            return run(args, *others)

    return held
