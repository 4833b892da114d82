"""How the docstrings of gemoclap are read for the site of the documentation (mkdocs.yml).

Their sections look like NumPy's, but an entry has its text after the colon, where NumPy has the type: the types are in the
signature. So sections become lists in Markdown. `Examples` stays, for the parser to read.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

SECTIONS = ("Parameters", "Attributes", "Raises", "Returns", "Yields", "Notes")
ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*) : (.*)")
MARK = re.compile(r"\[(?=[PSC][];])")
"""The marks of docs/methods.md, such as [P] and [P; S], which Markdown would read as links where two follow each other."""


class Sections(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = in_markdown(obj.docstring.value)


def in_markdown(docstring: str) -> str:
    """Return the docstring with a bold title in place of a section's underlined one, and a list of the section's entries."""
    lines = MARK.sub(r"\\[", inspect.cleandoc(docstring)).splitlines()
    result: list[str] = []
    listed = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        entry = ENTRY.fullmatch(line)
        if re.fullmatch("-+", following):
            listed = line in SECTIONS
            result.append(f"**{line}**" if listed else line)
        elif listed and re.fullmatch("-+", line):
            result.append("")
        elif listed and entry:
            result.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            result.append(line)
    return "\n".join(result)
