"""The line of a report that lists versions, machine, date and duration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"gemoclap": "gemoclap", "torch": "torch", "transformers": "transformers", "python": "Python"}


def made_line(made: Mapping[str, Any]) -> list[str]:
    """Return one line, or an empty list if the runs do not have this information.

    Parameters
    ----------
    made : from `recipes.made.read_made` or `recipes.made.made_with`: name -> a value, or a list of values.
    """
    if not made:
        return []
    parts = [f"{name} {_words(made[key])}" for key, name in NAMES.items() if made.get(key)]
    parts += [_words(made[key]) for key in ("host", "device") if made.get(key)]
    parts += [f"{key} {_words(made[key])}" for key in ("threads", "processes") if made.get(key)]
    if made.get("date"):
        parts.append(" to ".join(_each(made["date"])))
    if made.get("seconds"):
        parts.append(f"{duration(made['seconds'])} of computing")
    return [f"- Made with: {'; '.join(parts)}"]


def duration(seconds: float) -> str:
    """Return ``"2 h 5 min"``, ``"5 min 3 s"`` or ``"3 s"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _words(value: Any) -> str:
    return " and ".join(_each(value))


def _each(value: Any) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
