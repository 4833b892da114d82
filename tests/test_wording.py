"""Numbers with their nouns."""

from __future__ import annotations

import re
from pathlib import Path

from gemoclap.wording import counted

SOURCE = Path(__file__).parents[1] / "src" / "gemoclap"


def test_one_thing_and_several() -> None:
    assert [counted(number, "clip") for number in (0, 1, 2, 12345)] == ["0 clips", "1 clip", "2 clips", "12,345 clips"]
    assert [counted(number, "class", "classes") for number in (1, 3)] == ["1 class", "3 classes"]


def test_no_message_puts_a_length_before_a_plural() -> None:
    """``f"{len(rows)} rows"`` would say "1 rows". In errors about two numbers that differ, one of them is not 1."""
    nouns = "rows|clips|recordings|speakers|utterances|frames|trainings"
    plural = re.compile(rf"^(?!.*raise).*\{{len\([^{{}}]*\)(?::,)?\}} (?:{nouns})\b.*", re.MULTILINE)
    found = [
        f"{path.relative_to(SOURCE)}: {match[0].strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for match in plural.finditer(path.read_text(encoding="utf-8"))
    ]
    several = ("data/balance.py", "predictions.py")  # two speakers or more; a shape that is not that of the rows
    assert [one for one in found if not one.startswith(several)] == []
