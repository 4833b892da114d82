"""A report as parts with titles, which is written as Markdown and as a web page, so that both say the same."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gemoclap
from gemoclap.reports import html
from gemoclap.reports.illustrated import Picture, draw_pictures, write_illustrated
from gemoclap.reports.tables import Cells, markdown_table
from gemoclap.writing import atomic_write


@dataclass(frozen=True)
class Bullets:
    """A list of sentences in Markdown."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table. Its caption, which screen readers say first, is a paragraph above it in Markdown; the cells are plain text."""

    caption: str
    cells: Cells
    text_columns: int = 1


@dataclass(frozen=True)
class Drawing:
    """A picture by its file name; `description` is read out where it cannot be seen."""

    name: str
    description: str


Content = str | Bullets | Grid | Drawing
"""Part of a report; a string is a paragraph in Markdown."""


@dataclass(frozen=True)
class Chapter:
    """A part of a report with a title."""

    title: str
    content: tuple[Content, ...]

    @property
    def anchor(self) -> str:
        """Name of the part in links."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes
    ----------
    warnings : sentences in Markdown that come before everything else.
    parts : in order.
    files : a sentence on the files beside the page, with links; only the Markdown has it.
    """

    title: str
    warnings: tuple[str, ...]
    parts: tuple[Chapter, ...]
    files: str = ""


def write_document(document: Document, stem: Path, pictures: Mapping[str, Picture] | None = None) -> Path:
    """Write the report as Markdown and as a web page of one file, and its pictures; return the path of the Markdown.

    Parameters
    ----------
    stem : path of the files without their suffix.
    pictures : the pictures of the document's `Drawing`s, by file name.

    Raises
    ------
    GemoclapError : a file cannot be written.
    """
    drawn = dict(pictures or {})
    text = as_html(document, drawn)
    page = write_illustrated(stem.with_name(f"{stem.name}.md"), as_markdown(document, drawn), drawn)
    with atomic_write(stem.with_name(f"{stem.name}.html")) as file:
        file.write(text)
    return page


def as_markdown(document: Document, pictures: Mapping[str, Picture] | None = None) -> list[str]:
    """Return the paragraphs of the report in Markdown."""
    paragraphs = [f"# {document.title}", *document.warnings]
    for part in document.parts:
        paragraphs.append(f"## {part.title}")
        for one in part.content:
            paragraphs += _markdown(one, pictures or {})
    return [*paragraphs, document.files] if document.files else paragraphs


def _markdown(one: Content, pictures: Mapping[str, Picture]) -> list[str]:
    if isinstance(one, str):
        return [one]
    if isinstance(one, Bullets):
        return ["\n".join(f"- {line}" for line in one.lines)]
    if isinstance(one, Grid):
        grid = markdown_table(*one.cells, text_columns=one.text_columns)
        return [one.caption, grid]
    return [f"![{pictures[one.name][0]}]({one.name})"]


def as_html(document: Document, pictures: Mapping[str, Picture] | None = None) -> str:
    """Return the report as a web page that needs no other file."""
    drawn = Pictures(pictures or {})
    sections = [
        html.Section(part.anchor, part.title, "\n".join(_html(one, drawn) for one in part.content))
        for part in document.parts
    ]
    return html.page(document.title, document.warnings, sections, f"Written by gemoclap {gemoclap.__version__}.")


def _html(one: Content, pictures: Pictures) -> str:
    if isinstance(one, str):
        return html.paragraph(one)
    if isinstance(one, Bullets):
        return html.bullets(one.lines)
    if isinstance(one, Grid):
        return html.table(one.caption, one.cells, one.text_columns)
    return pictures.figure(one.name, one.description)


class Pictures:
    """Draws the pictures of a report when they are asked for, and makes figures of a web page of them."""

    def __init__(self, pictures: Mapping[str, Picture]) -> None:
        self.pictures = pictures

    def figure(self, name: str, description: str, caption: str | None = None) -> str:
        """Return a figure, or a sentence if it could not be drawn; nothing if there is no such picture."""
        if name not in self.pictures:
            return ""
        own_caption, draw = self.pictures[name]
        with tempfile.TemporaryDirectory() as folder:
            failed = draw_pictures(Path(folder), {name: (own_caption, draw)}, ("svg",))
            if failed:
                return html.paragraph(failed[name])
            # A single format is written to the path itself.
            content = (Path(folder) / name).read_bytes()
            return html.figure(content, description, own_caption if caption is None else caption)
