"""What all pictures have in common: their style, colours, letters and files.

Figures are drawn on their own canvases, without pyplot, so nothing global changes and no display is needed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.writing import as_unicode, atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C7B00",
    "#660000", "#004D00", "#6A3D9A", "#FF0066", "#3333FF", "#55BB00", "#1A1A1A", "#FF99AA",
)  # fmt: skip
"""The first eight follow Okabe and Ito's, which people with colour-blindness can tell apart; all differ in lightness or hue."""
FONT = "DejaVu Sans"
"""Comes with matplotlib, so it is everywhere."""
STYLE: Any = {
    "font.family": [FONT],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    # A label may hold a dollar sign: it is no formula.
    "text.parse_math": False,
    # Fonts that journals take.
    "pdf.fonttype": 42,
    # Words stay words in an SVG: a browser has letters that no font here has.
    "svg.fonttype": "none",
    # Equal pictures are equal files.
    "svg.hashsalt": "gemoclap",
}
DPI = 150
MOST_SHOWN = 20
"""Letters without a font that are named in a sentence."""
FORMATS = ("png", "svg")
"""What reports write; PDF takes as long as both together, so it is written where it is asked for."""
NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of all pictures inside the block; `save` belongs inside it too."""
    with matplotlib("").rc_context(STYLE):
        yield


def matplotlib(module: str) -> Any:
    """Return a module of matplotlib, such as ``"figure"``; ``""`` is matplotlib itself.

    Raises
    ------
    GemoclapError : it is not installed; everything but pictures does without it.
    """
    return needed(f"matplotlib.{module}".rstrip("."), "a picture")


def new_figure(width: float, height: float, layout: str) -> Figure:
    """Return an empty figure of so many inches."""
    return matplotlib("figure").Figure(figsize=(width, height), dpi=DPI, layout=layout)


def check_formats(formats: Sequence[str]) -> None:
    """Raise a GemoclapError unless all `formats` are known."""
    unknown = [one for one in formats if one not in NO_DATE]
    if unknown or not formats:
        raise GemoclapError(
            f"--formats: {unknown[0] if unknown else 'none'!r} is no format; known: {', '.join(NO_DATE)}"
        )


def save(figure: Figure, path: str | os.PathLike, formats: Sequence[str] = FORMATS) -> None:
    """Write a figure in each of the `formats` beside `path`, under its name; one format alone is written to `path` itself.

    Letters that the usual font lacks are taken from another one of this machine. Where none has them, PNG and PDF show their
    numbers in Unicode, so that two words never look alike, and one line on standard error says so.
    """
    texts: list[Any] = [one for one in figure.findobj(matplotlib("text").Text) if one.get_text()]  # type: ignore[attr-defined]
    for one in texts:
        one.set_text(as_unicode(one.get_text()))  # a title may be the name of a file, in any encoding
    families, lacking = fonts_for(_letters(one.get_text() for one in texts))
    _say_lacking(lacking)
    for one in texts:
        one.set_fontfamily(list(families))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # of the SVG, whose words stay words
        for kind in sorted(formats, key=lambda kind: kind != "svg"):
            if kind != "svg" and lacking:
                for one in texts:
                    one.set_text(_spelled(one.get_text(), lacking))
            # One format alone goes where it is told, which may be no file.
            target = path if len(formats) == 1 else Path(path).with_suffix(f".{kind}")
            with atomic_write(target, "wb") as file:
                figure.savefig(file, format=kind, dpi=DPI, metadata=NO_DATE[kind])
            if figure.get_layout_engine() is not None:
                figure.set_layout_engine("none")  # what the first file has found serves the others


def lacking_remark(words: Iterable[str]) -> str:
    """Return a sentence on the letters of `words` that no font of this machine has; empty where it has all.

    Without matplotlib there are no pictures to remark on.
    """
    try:
        return _remark(fonts_for(_letters(words))[1])
    except GemoclapError:
        return ""


def _remark(lacking: frozenset[str]) -> str:
    if not lacking:
        return ""
    some = "".join(sorted(lacking)[:MOST_SHOWN]) + ("..." if len(lacking) > MOST_SHOWN else "")
    return (
        f"no font of this machine has the letters {some}: PNG and PDF pictures show their Unicode numbers in brackets, SVG "
        "ones the letters; install a font that has them, such as Noto Sans CJK, and write the report again"
    )


@lru_cache(maxsize=64)  # each set of letters once a process
def _say_lacking(lacking: frozenset[str]) -> None:
    if lacking:
        print(f"beware: {_remark(lacking)}", file=sys.stderr, flush=True)


def _letters(words: Iterable[str]) -> frozenset[str]:
    return frozenset(letter for word in words for letter in word if letter.isprintable())


@lru_cache(maxsize=64)
def fonts_for(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return names of fonts that have all letters together, the usual one first, and the letters that none has."""
    fonts = matplotlib("font_manager")
    usual = fonts.findfont(fonts.FontProperties(family=[FONT]))
    lacking = {letter for letter in letters if ord(letter) not in _glyphs(usual)}
    families = [FONT]
    # Regular faces first: a bold or a slanted one is taken only where there is no other.
    for entry in sorted(
        fonts.fontManager.ttflist, key=lambda one: (str(one.weight) not in ("400", "normal"), one.style != "normal")
    ):
        if not lacking:
            break
        # The font of last resort has a box for every letter.
        if entry.name in families or entry.name.startswith("Last Resort"):
            continue
        found = {letter for letter in lacking if ord(letter) in _glyphs(entry.fname)}
        if found:
            families.append(entry.name)
            lacking -= found
    return tuple(families), frozenset(lacking)


@lru_cache(maxsize=512)
def _glyphs(path: str) -> frozenset[int]:
    try:
        return frozenset(matplotlib("font_manager").get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that is gone, or that FreeType cannot read
        return frozenset()


def _spelled(text: str, lacking: frozenset[str]) -> str:
    return "".join(f"[{ord(letter):X}]" if letter in lacking else letter for letter in text)
