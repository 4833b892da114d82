"""Commands that write into the folder of a run do so one at a time."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from gemoclap.recipes.holding import holding


def alone(run: Callable[..., int]) -> Callable[..., int]:
    """Let a command hold the folder ``args.output`` before it looks at anything in it; ``args.no_wait``: or give up."""

    @functools.wraps(run)
    def held(args: Namespace, *others: object) -> int:
        with holding(Path(args.output), wait=not args.no_wait):
            return run(args, *others)

    return held
