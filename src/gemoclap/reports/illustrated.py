"""Writes pages of paragraphs with their pictures, so that a picture that cannot be drawn costs no page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gemoclap.errors import GemoclapError, WriteError
from gemoclap.reports.canvas import FORMATS, matplotlib
from gemoclap.writing import FULL, atomic_write

Picture = tuple[str, Callable[..., object]]
"""A caption, and a function ``draw(path, formats=...)`` that writes the picture."""


def write_page(path: Path, sections: list[str]) -> Path:
    """Write a page of paragraphs and return its path."""
    with atomic_write(path) as file:
        file.write("\n\n".join(sections) + "\n")
    return path


def draw_pictures(folder: Path, pictures: dict[str, Picture], formats: Sequence[str] = FORMATS) -> dict[str, str]:
    """Draw pictures by file name; return a sentence for each that could not be drawn.

    An error of the drawing library must not cost the report of hours of training. It goes on the page instead. Without
    matplotlib no picture is drawn, and one sentence says so.
    """
    try:
        matplotlib("figure")
    except GemoclapError as error:
        print(f"beware: {error}", file=sys.stderr)
        return dict.fromkeys(pictures, f"**There are no pictures:** {error}, and write the report again.")
    failed = {}
    for name, (_, draw) in pictures.items():
        try:
            draw(folder / name, formats=formats)
        except Exception as error:
            if isinstance(error, WriteError) or getattr(error, "errno", None) in FULL:
                raise  # nothing else can be written either
            failed[name] = (
                f"**{name} could not be drawn:** {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
    return failed


def write_illustrated(
    page: Path, sections: list[str], pictures: dict[str, Picture], formats: Sequence[str] = FORMATS
) -> Path:
    """Write a page and then its pictures; return the page's path.

    Each picture is shown by one of the sections. If it cannot be drawn, the page has a sentence about that instead.
    """
    write_page(page, sections)
    failed = draw_pictures(page.parent, pictures, formats)
    if failed:
        kept = [one for one in sections if not any(f"]({name})" in one for name in failed)]
        write_page(page, [*kept, *dict.fromkeys(failed.values())])
    return page
