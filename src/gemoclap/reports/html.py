"""Pieces of a web page that is one file: tables, pictures and players inside it, and a style for screen, dark screen and print.

Everything that comes from files is escaped. The page has no script, and its policy forbids the browser to load anything.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemoclap.reports.columns import is_text
from gemoclap.reports.tables import Cells
from gemoclap.writing import as_unicode

STYLE = Path(__file__).with_name("report.css")
POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)

MOST_CHOICES = 10
"""How many parts the style can choose among, without a script."""


BRIEF = 10
"""Most letters in a column of text that needs no more room than its words."""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, to which the table of contents links; `body` is HTML."""

    anchor: str
    title: str
    body: str


def escaped(value: object) -> str:
    """Return text for any place in a page, also within an attribute."""
    return html.escape(as_unicode(str(value)))


def sentence(markdown: str) -> str:
    """Return a sentence of the Markdown report as HTML: code and bold words stay so, of a link only its text is kept."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", escaped(markdown))
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)


def paragraph(markdown: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is its class in the style."""
    name = f' class="{kind}"' if kind else ""
    return f"<p{name}>{sentence(markdown)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """Return a list of sentences."""
    return "<ul>" + "".join(f"<li>{sentence(line)}</li>" for line in lines) + "</ul>"


def table(caption: str, cells: Cells, text_columns: int = 1, raw_columns: Sequence[int] = ()) -> str:
    """Return a table that scrolls sideways where the screen is too narrow.

    Parameters
    ----------
    caption : what the table shows; screen readers say it first.
    cells : header and rows; the first column names the row.
    text_columns : number of columns that name the rows; they are aligned left, and so are other columns of text.
    raw_columns : places of columns whose cells are HTML already.
    """
    header, rows = cells

    def side(place: int) -> str:
        if place not in raw_columns and not is_text(place, rows, text_columns):
            return ""
        is_brief = place and place not in raw_columns and all(len(row[place]) <= BRIEF for row in rows)
        return ' class="text brief"' if is_brief else ' class="text"'

    def cell(place: int, value: str) -> str:
        content = value if place in raw_columns else escaped(value)
        return f'<th scope="row"{side(place)}>{content}</th>' if place == 0 else f"<td{side(place)}>{content}</td>"

    head = "".join(f'<th scope="col"{side(place)}>{escaped(name)}</th>' for place, name in enumerate(header))
    body = "".join(f"<tr>{''.join(cell(place, value) for place, value in enumerate(row))}</tr>\n" for row in rows)
    # A region that scrolls must be reachable by keyboard, and then it needs a name.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}"><table>\n'
        f"<caption><span>{escaped(caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def data_uri(kind: str, content: bytes) -> str:
    """Return bytes as an address that needs no file; `kind` is the media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def figure(svg: bytes, description: str, caption: str) -> str:
    """Return a picture with its caption; `description` is read out where the picture cannot be seen."""
    source = data_uri("image/svg+xml", svg)
    # On a phone a wide picture scrolls sideways, and then it must be reachable by keyboard.
    return (
        f'<figure tabindex="0"><img src="{source}" alt="{escaped(description)}">'
        f"<figcaption>{sentence(caption)}</figcaption></figure>"
    )


def details(summary: str, body: str) -> str:
    """Return a part that is closed until the reader opens it."""
    return f"<details><summary>{escaped(summary)}</summary>{body}</details>"


def choices(name: str, legend: str, parts: Sequence[tuple[str, str]]) -> str:
    """Return parts of which one is shown at a time, chosen by buttons; a single part needs none.

    Parameters
    ----------
    name : a word that no other choice of the page has.
    parts : title and HTML of each, `MOST_CHOICES` at most; the first is shown until another is chosen.
    """
    if len(parts) == 1:
        return parts[0][1]
    inputs = "".join(
        f'<input type="radio" name="{name}" id="{name}-{place}"{" checked" if place == 0 else ""}>'
        f'<label for="{name}-{place}">{escaped(title)}</label>'
        for place, (title, _) in enumerate(parts)
    )
    shown = "".join(f'<div class="choice">{body}</div>' for _, body in parts)
    return f'<fieldset class="choices"><legend>{escaped(legend)}</legend>{inputs}{shown}</fieldset>'


def page(title: str, warnings: Sequence[str], sections: Sequence[Section], made: str) -> str:
    """Return the whole page.

    Parameters
    ----------
    title : the heading, and the title of the browser's tab.
    warnings : sentences in Markdown that stand above everything else.
    sections : the parts, in order.
    made : a sentence at the end of the page.
    """
    contents = "".join(f'<li><a href="#{one.anchor}">{escaped(one.title)}</a></li>' for one in sections)
    parts = "\n".join(
        f'<section id="{one.anchor}" aria-labelledby="{one.anchor}-title">\n'
        f'<h2 id="{one.anchor}-title">{escaped(one.title)}</h2>\n{one.body}\n</section>'
        for one in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header>
<h1>{escaped(title)}</h1>
{"".join(paragraph(warning, "warning") for warning in warnings)}
</header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main id="main">
{parts}
</main>
<footer>{paragraph(made)}</footer>
</body>
</html>
"""
