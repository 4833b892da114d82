"""Makes the settings of a run from the arguments of a command, and says which of them have no effect."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from gemoclap.config import DataSettings, Settings, check_seeds, idle_folds, idle_settings
from gemoclap.errors import GemoclapError
from gemoclap.recipes.run_folder import say


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


def say_idle(settings: Settings, methods: Sequence[str]) -> None:
    """Print a line with the settings that have no effect on any of the methods, if there are some."""
    if idle := idle_settings(settings, methods):
        say(f"{', '.join(idle)}: no effect on {', '.join(methods)}")


def say_idle_folds(data: DataSettings, command: str) -> None:
    """Print a line with the settings of folds, if there are some, for a command that trains on all speakers."""
    if idle := idle_folds(data):
        say(
            f"{', '.join(idle)}: no effect on {command}, which makes no folds: all speakers of the manifest are trained on, "
            "except development speakers (--data.dev_speakers)"
        )
