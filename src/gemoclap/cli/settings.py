"""Makes the settings of a run from the arguments of a command."""

from __future__ import annotations

from argparse import Namespace

from gemoclap.config import Settings, check_seeds
from gemoclap.errors import GemoclapError


def settings_of(args: Namespace) -> Settings:
    """Return the settings of a training that `options.add_settings` declares."""
    return Settings(args.data, args.model, args.objective, args.gmp, args.train, args.cache)


def seeds_of(args: Namespace) -> list[int] | None:
    """Return the seeds of ``--seeds``, or None without it.

    Raises
    ------
    GemoclapError : a seed is given twice or is below 0, or ``--train.seed`` is given too.
    """
    if args.seeds is None:
        return None
    check_seeds("--seeds", args.seeds)
    if args.train.seed:
        raise GemoclapError("train.seed: --seeds sets the seeds too; leave one of the two out")
    return args.seeds
