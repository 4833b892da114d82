"""Style, colours and fonts of all pictures, and how they are saved.

Figures are drawn on their own canvases, without pyplot, so nothing global changes and no display is needed.
"""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
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
"""The first eight follow Okabe and Ito, whose colours people with colour blindness can tell apart. All differ in lightness or
hue."""
FONT = "DejaVu Sans"
"""The font that comes with matplotlib."""
STYLE: Any = {
    "font.family": [FONT],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    # A dollar sign in a label does not begin a formula.
    "text.parse_math": False,
    # Journals accept these fonts.
    "pdf.fonttype": 42,
    # Text in an SVG stays text, because a browser may have letters that no font here has.
    "svg.fonttype": "none",
    # The same picture always gives the same file.
    "svg.hashsalt": "gemoclap",
}
DPI = 150
NOTE_SIZE, LETTERS_PER_INCH = 7.5, 15
"""Font size of a note below a figure, and how many of its letters fit into an inch, with some room."""
MOST_SHOWN = 20
"""How many letters without a font a remark lists."""
FORMATS = ("png", "svg")
"""Default formats of pictures in reports. PDF takes as long as both together, so it is only written on request."""
NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}}


@contextmanager
def drawing() -> Iterator[None]:
    """Use the common style inside the block. `save` must be called inside it too."""
    with matplotlib("").rc_context(STYLE):
        yield


def matplotlib(module: str) -> Any:
    """Return a module of matplotlib, such as ``"figure"``; ``""`` is matplotlib itself.

    Raises
    ------
    GemoclapError : it is not installed; only pictures need it.
    """
    return needed(f"matplotlib.{module}".rstrip("."), "a picture")


def new_figure(width: float, height: float, layout: str) -> Figure:
    """Return an empty figure; width and height are in inches."""
    return matplotlib("figure").Figure(figsize=(width, height), dpi=DPI, layout=layout)


def write_note(figure: Figure, text: str) -> None:
    """Write how to read a figure below it, in lines that are not wider than the figure."""
    letters = int(LETTERS_PER_INCH * figure.get_figwidth())
    figure.supxlabel(textwrap.fill(text, letters, break_on_hyphens=False), fontsize=NOTE_SIZE)


def check_formats(formats: Sequence[str]) -> None:
    """Raise a GemoclapError unless all `formats` are known."""
    unknown = [one for one in formats if one not in NO_DATE]
    if unknown or not formats:
        raise GemoclapError(
            f"--formats: {unknown[0] if unknown else 'none'!r} is no format; known: {', '.join(NO_DATE)}"
        )


def save(figure: Figure, path: str | os.PathLike, formats: Sequence[str] = FORMATS) -> None:
    """Write a figure in each of the `formats`, to `path` with another suffix; a single format is written to `path` itself.

    If the usual font lacks letters, another font of this machine is used. If none has them, PNG and PDF show the Unicode
    numbers of the letters, so that two different words never look the same, and a line on standard error says so.
    """
    texts: list[Any] = [one for one in figure.findobj(matplotlib("text").Text) if one.get_text()]  # type: ignore[attr-defined]
    for one in texts:
        one.set_text(as_unicode(one.get_text()))  # a title may be a file name in any encoding
    families, lacking = fonts_for(_letters(one.get_text() for one in texts))
    _say_lacking(lacking)
    for one in texts:
        one.set_fontfamily(list(families))
    layout = figure.get_layout_engine()
    with warnings.catch_warnings():
        # The SVG keeps letters as text, so a missing glyph does not matter there.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for kind in sorted(formats, key=lambda kind: kind != "svg"):
            if kind != "svg" and lacking:
                for one in texts:
                    one.set_text(_spelled(one.get_text(), lacking))
                _spell_ticks(figure, lacking)
                figure.set_layout_engine(layout)  # numbers are longer than letters
            # A single format goes to the path itself, which may be a device or a pipe.
            target = path if len(formats) == 1 else Path(path).with_suffix(f".{kind}")
            with atomic_write(target, "wb") as file:
                figure.savefig(file, format=kind, dpi=DPI, metadata=NO_DATE[kind])
            if figure.get_layout_engine() is not None:
                figure.set_layout_engine("none")  # the layout of the first file is used for the others


def lacking_remark(words: Iterable[str]) -> str:
    """Return a sentence on letters of `words` that no font of this machine has; empty if there are none, or no matplotlib."""
    try:
        return _remark(fonts_for(_letters(words))[1])
    except GemoclapError:
        return ""


def _remark(lacking: frozenset[str]) -> str:
    if not lacking:
        return ""
    some = "".join(sorted(lacking)[:MOST_SHOWN]) + ("..." if len(lacking) > MOST_SHOWN else "")
    return (
        f"no font of this machine has the letters {some}: PNG and PDF pictures show their Unicode numbers in brackets, and SVG "
        "pictures show the letters; install a font that has them, such as Noto Sans CJK, and repeat the command"
    )


@lru_cache(maxsize=64)  # so that each set of letters is reported only once
def _say_lacking(lacking: frozenset[str]) -> None:
    if lacking:
        print(f"beware: {_remark(lacking)}", file=sys.stderr, flush=True)


def drawn_length(word: str) -> int:
    """Return how many usual letters wide a word is drawn: wide letters count twice, and one that no font has is spelt."""
    _, lacking = fonts_for(_letters([word]))
    return sum(
        len(_spelled(letter, lacking)) if letter in lacking else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in word
    )


def _letters(words: Iterable[str]) -> frozenset[str]:
    return frozenset(letter for word in words for letter in word if letter.isprintable())


@lru_cache(maxsize=64)
def fonts_for(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return names of fonts that together have the letters, the usual font first, and the letters that no font has."""
    fonts = matplotlib("font_manager")
    usual = fonts.findfont(fonts.FontProperties(family=[FONT]))
    lacking = {letter for letter in letters if ord(letter) not in _glyphs(usual)}
    families = [FONT]
    # Regular faces come first: a bold or slanted one is only used if no other has the letter.
    for entry in sorted(
        fonts.fontManager.ttflist, key=lambda one: (str(one.weight) not in ("400", "normal"), one.style != "normal")
    ):
        if not lacking:
            break
        # The "Last Resort" font shows a box for every letter.
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
    except (OSError, RuntimeError):  # the font was removed, or FreeType cannot read it
        return frozenset()


def _spell_ticks(figure: Figure, lacking: frozenset[str]) -> None:
    """Spell the words at ticks. A picture takes them from the axis when it is drawn, so changing their texts is not enough."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            words = [one.get_text() for one in axis.get_ticklabels()]
            if lacking & set("".join(words)):
                axis.set_ticks(axis.get_ticklocs(), [_spelled(word, lacking) for word in words])


def _spelled(text: str, lacking: frozenset[str]) -> str:
    return "".join(f"[{ord(letter):X}]" if letter in lacking else letter for letter in text)
