"""The commands that the program itself names, in help, messages, pages that it writes and docstrings, are commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from pages import ROOT, Span
from spoken import problem_of

SOURCES = sorted((ROOT / "src" / "gemoclap").rglob("*.py"))
FILLED = "X/X"
"""Stands for what an f-string fills in."""
COMMAND = re.compile(
    r"'(gemoclap [^'\n]+)'"  # in a message
    r"|`(gemoclap [^`\n]+)`"  # in a docstring, or a page
    r"|: (gemoclap [^\n:;]+)$"  # at the end: try it with: gemoclap ...
    r"|^ *(gemoclap [^\n]+)$",  # a line of its own
    re.MULTILINE,
)


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string in a module; parts of f-strings are joined."""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else FILLED for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def commands() -> Iterator[Span]:
    for path in SOURCES:
        for line, text in texts(path.read_text(encoding="utf-8")):
            for found in COMMAND.finditer(text):
                command = next(filter(None, found.groups()))
                # A usage may name several, and what can be left out stands in brackets: all of it is looked up.
                for one in re.split(r" \| (?=gemoclap)", command):
                    yield Span(str(path.relative_to(ROOT)), line, one)


def is_a_sentence(command: str) -> bool:
    """Whether the program's name begins a sentence here, such as ``gemoclap computed these clips``."""
    return bool(re.match(r"gemoclap (computed|serves|rounds|are|is|X/X)", command))


def test_every_command_in_the_source_is_one() -> None:
    found = [span for span in commands() if not is_a_sentence(span.text)]
    assert len(found) > 90
    problems = [problem for span in found if (problem := problem_of(bare(span)))]
    assert not problems, "\n".join(problems)


def bare(span: Span) -> Span:
    """Return a command without what the sentence adds, and the marks of a usage: what is in brackets is only spoken of."""
    text = span.text.partition(", with the same options")[0]
    text = re.sub(rf"{FILLED}(?=-)", "", text)  # an option that is filled in, or nothing
    text = re.sub(rf"(?<=gmp ){FILLED}", "...", text)
    text = re.sub(r" \[options\]", " ...", text)
    if "[" in text:
        text = f"{text} ..."
    return Span(span.page, span.line, re.sub(r"[][]|\.\.\. ?(?=\.\.\.)", "", text))


@pytest.mark.parametrize(
    "text",
    [
        "gemoclap predct clip.wav",
        "gemoclap predict clip.wav --modle default",
        "gemoclap timeline call.wav -o call.jpg",
        "gemoclap crossval m.jsonl --methods emo_klap -o RUN",
        "gemoclap gmp clusters ...",
    ],
)
def test_a_stale_command_is_noticed(text: str) -> None:
    assert problem_of(Span("a page", 1, text))
