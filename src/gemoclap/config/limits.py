"""The allowed values of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from gemoclap.errors import GemoclapError

Limit = tuple[Callable[[float], bool], str]
POSITIVE: Limit = (lambda value: value > 0, "above 0")
AT_LEAST_0: Limit = (lambda value: value >= 0, "0 or more")
AT_LEAST_1: Limit = (lambda value: value >= 1, "1 or more")
INSIDE_0_1: Limit = (lambda value: 0 < value < 1, "above 0 and below 1")
SHARE: Limit = (lambda value: 0 <= value <= 1, "between 0 and 1")


def check_limits(section: str, settings: Any, **limits: Limit) -> None:
    """Raise a GemoclapError that names the first setting outside its limit, or null where null is not allowed."""
    for one in fields(settings):
        name, value = f"{section}.{one.name}".strip("."), getattr(settings, one.name)
        if value is None:
            if "None" not in str(one.type):
                raise GemoclapError(f"{name} cannot be null; leave it out for its default")
        elif one.name in limits:
            holds, words = limits[one.name]
            if not holds(value):
                raise GemoclapError(f"{name} must be {words}, not {value}")


def check_seeds(name: str, seeds: list[int]) -> None:
    """Raise a GemoclapError if `seeds` is empty, has a negative number or has one twice; the message begins with `name`."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise GemoclapError(f"{name} must be one or more numbers, 0 or more, each once, not {seeds}")
