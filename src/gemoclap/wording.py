"""Numbers with their nouns, times, values of settings, and texts that must be short, for messages and pages."""

from __future__ import annotations

import json
from typing import Any


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: ``"1 clip"``, ``"2 clips"``, ``"1,000 clips"``.

    Parameters
    ----------
    one, several : the noun for one thing, and for several; an s is added to `one` if `several` is not given.

    Examples
    --------
    >>> counted(1, "pass", "passes"), counted(0, "speaker")
    ('1 pass', '0 speakers')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def roughly(seconds: float) -> str:
    """Return a duration that is a guess, in whole minutes.

    Examples
    --------
    >>> roughly(20), roughly(100)
    ('less than a minute', 'about 2 min')
    """
    return "less than a minute" if seconds < 60 else f"about {seconds / 60:.0f} min"


def clock(seconds: float) -> str:
    """Return a time in a recording.

    Examples
    --------
    >>> clock(187.46), clock(59.97), clock(3787.5)
    ('3:07.5', '1:00.0', '1:03:07.5')
    """
    tenths = round(10 * seconds)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{minutes:02d}:{tenths % 600 / 10:04.1f}" if hours else f"{minutes}:{tenths % 600 / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def shortened(text: str, letters: int) -> str:
    """Return a text of `letters` letters at most; dots stand in place of the rest.

    Examples
    --------
    >>> shortened("twelve angry men", 9)
    'twelve...'
    """
    return text if len(text) <= letters else f"{text[: letters - 3].rstrip()}..."


def shortened_inside(text: str, letters: int) -> str:
    """Return a text of about so many letters at most, with dots in its middle: names often differ at their end alone."""
    return text if len(text) <= letters else f"{text[: letters // 2]}...{text[-(letters // 2) :]}"


def spelt(value: Any) -> str:
    """Return the value of a setting in one spelling, which the command line takes too.

    Examples
    --------
    >>> spelt([2, 3]), spelt(0.001), spelt(True), spelt("last")
    ('[2, 3]', '0.001', 'true', 'last')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
