"""From the arguments of a command to the settings of a run."""

from __future__ import annotations

from argparse import Namespace

from gemoclap.config import Settings, check_seeds
from gemoclap.errors import GemoclapError


def settings_of(args: Namespace) -> Settings:
    """Return the settings of a training, as `options.add_settings` declares them."""
    return Settings(args.data, args.model, args.objective, args.gmp, args.train, args.cache)


def seeds_of(args: Namespace) -> list[int] | None:
    """Return what ``--seeds`` names, or None without it.

    Raises
    ------
    GemoclapError : a seed twice or below 0, or ``--train.seed`` beside them.
    """
    if args.seeds is None:
        return None
    check_seeds("--seeds", args.seeds)
    if args.train.seed:
        raise GemoclapError("train.seed: --seeds names them; leave one of the two out")
    return args.seeds
