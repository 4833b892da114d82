"""Reads single values in the tables of others: unknown values, numbers and times."""

from __future__ import annotations

import math
import re
from typing import Any

from gemoclap.errors import GemoclapError

MISSING = frozenset({"", "nan", "none", "na", "n/a", "#n/a", "<na>", "nat", "null", "nil", "unknown", "-", "--"})
"""Words for unknown values, in lower case."""

PARTITIONS = {
    "training": "train",
    "validation": "dev", "valid": "dev", "val": "dev", "development": "dev", "devel": "dev",
    "testing": "test",
}  # fmt: skip
"""Other words for the partitions of a manifest, in lower case."""

_CLOCK = re.compile(r"(?:(?P<days>-?\d+) days?,? *)?(?P<sign>[+-]?)(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d(?:\.\d*)?)")
"""Times as pandas and audformat write them, ``0 days 00:00:01.25``, and as ``str`` of a timedelta in Python."""
_DAYS = re.compile(r"(?P<days>-?\d+) days?")
_ISO = re.compile(r"P(?:(?P<days>\d+)D)?T?(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d*)?)S)?")
"""Durations as in ISO 8601, ``P0DT0H0M1.25S``."""
_UNIT = re.compile(r"(?P<number>\d+(?:\.\d*)?) *(?P<unit>ms|s|sec|seconds?|min|h)")
_UNITS = {"ms": 0.001, "min": 60.0, "h": 3600.0}


def known(value: Any) -> str | None:
    """Return a value as text without blanks around it, or None if it stands for an unknown value."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return None
    text = str(value).strip()
    return None if text.casefold() in MISSING else text


def name(value: Any) -> str | None:
    """Return the result of `known`. A float such as ``3.0``, which pandas writes for 3, becomes a whole number."""
    text = known(value)
    whole = re.fullmatch(r"([+-]?\d+)\.0+", text) if text else None
    return whole[1] if whole else text


def partition(value: Any) -> str | None:
    """Return the result of `known` in lower case, and ``train``, ``dev`` or ``test`` for another word for it."""
    text = known(value)
    return text and PARTITIONS.get(text.lower(), text.lower())


def seconds(value: Any, field: str, where: str) -> float | None:
    """Return a time in seconds, or None if it is unknown.

    Parameters
    ----------
    value : a number of seconds, also as text; a time as in pandas, audformat or ISO 8601; ``1.5 s``; or a timedelta.
    field, where : they are named in the error message.

    Raises
    ------
    GemoclapError : the value is none of these, is negative, or is infinite.
    """
    if isinstance(value, bool):
        raise _no_seconds(value, field, where)
    try:
        found = value.total_seconds() if hasattr(value, "total_seconds") else _number(value)
    except (ValueError, OverflowError):
        raise _no_seconds(value, field, where) from None
    if found is None or math.isnan(found):
        return None
    if not 0 <= found < math.inf:
        raise _no_seconds(value, field, where)
    return found


def number(value: Any, field: str, where: str) -> float | None:
    """Return a finite number, or None if it is unknown.

    Parameters
    ----------
    value : a number, or text of one.
    field, where : for the error message.

    Raises
    ------
    GemoclapError : the value is neither, or is not finite.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        if known(value) is None:
            return None
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = math.inf
        if math.isfinite(found):
            return found
    elif value is None:
        return None
    raise GemoclapError(f"{where}: {field} must be a finite number or null, not {_shown(value)}")


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(value)
    text = known(value)
    if text is None:
        return None
    if clock := _CLOCK.fullmatch(text) or _DAYS.fullmatch(text) or _ISO.fullmatch(text):
        part = {unit: float(number or 0) for unit, number in clock.groupdict("0").items() if unit != "sign"}
        if any(clock.groupdict().values()):
            sign = -1 if clock.groupdict().get("sign") == "-" else 1
            time = part.get("h", 0.0) * 3600 + part.get("m", 0.0) * 60 + part.get("s", 0.0)
            return part["days"] * 86400 + sign * time
    if unit := _UNIT.fullmatch(text):
        return float(unit["number"]) * _UNITS.get(unit["unit"], 1.0)
    return float(text)


def _no_seconds(value: Any, field: str, where: str) -> GemoclapError:
    return GemoclapError(f"{where}: {field} must be seconds, not {_shown(value)} (0 or more, finite)")


def _shown(value: Any) -> str:
    return repr(value) if len(str(value)[:50]) < 50 else f"{str(value)[:40]}..."
