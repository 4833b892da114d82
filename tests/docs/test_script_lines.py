"""Every ``python benchmarks/X.py`` and ``python scripts/X.py`` of the pages, and of the scripts themselves, is understood."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import script_parsers
from checked import check
from pages import PAGES, ROOT, Command, commands_of, script_of, spans_of

from gemoclap.errors import GemoclapError

LINE = re.compile(r"^ *(?:[A-Z_]+=\S+ )*(?:taskset -c 0 )?(python (?:benchmarks|scripts)/.*(?:\\\n.*)*)", re.MULTILINE)


def started_in_lines() -> Iterator[Command]:
    """Commands in lines of text; with ``...`` in them, only their options are looked up."""
    for page in PAGES:
        for span in spans_of(page):
            text = " ".join(span.text.split())
            if re.search(r"python (benchmarks|scripts)/", text):
                yield Command(page, span.line, tuple(shlex.split(text)))


def started_in_docstrings() -> Iterator[Command]:
    """Commands at the start of a line, with everything that stands in brackets."""
    for script in script_parsers.SCRIPTS:
        for found in LINE.finditer(script_parsers.docstring_of(script)):
            yield Command(script, 1, tuple(shlex.split(re.sub(r"[][]", "", found[1]), comments=True)))


def problem_of(command: Command) -> str | None:
    found = script_of(command.words)
    if found is None:
        return None
    script, words = found
    try:
        if "..." in words or not words:
            assert script in script_parsers.SCRIPTS, f"no script is called {script}"
            unknown = {word for word in words if word.startswith("--")} - script_parsers.options_of(script)
            assert not unknown, f"{script} has no {unknown}"
        else:
            script_parsers.parse(script, words)
        for option, word in pairwise(words):
            if option == "--command" and "..." not in word:
                check(shlex.split(word)[1:], ("kitchen",))
    except (SystemExit, AssertionError, GemoclapError) as error:
        return f"{command.where}: {' '.join(command.words)}: {error}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_scripts_of_blocks(page: str, tmp_path: Path) -> None:
    problems = [problem for command in commands_of(page, tmp_path) if (problem := problem_of(command))]
    assert not problems, "\n".join(problems)


def test_scripts_in_lines() -> None:
    commands = [*started_in_lines()]
    assert len(commands) > 10
    problems = [problem for command in commands if (problem := problem_of(command))]
    assert not problems, "\n".join(problems)


def test_scripts_of_their_own_docstrings() -> None:
    commands = [*started_in_docstrings()]
    assert len(commands) > 15
    problems = [problem for command in commands if (problem := problem_of(command))]
    assert not problems, "\n".join(problems)


def test_a_stale_option_is_noticed() -> None:
    words = ("python", "benchmarks/adaptation.py", "m.jsonl", "--modle", "default")
    assert problem_of(Command("a page", 1, words)) and problem_of(Command("a page", 1, ("python", "scripts/none.py")))
    assert not problem_of(Command("a page", 1, (*words[:3], "--model", "default")))


def test_make_knows_its_targets(tmp_path: Path) -> None:
    """What the pages give to make: targets that the Makefile has, and variables that it reads."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {*re.findall(r"^(\w+):", makefile, re.MULTILINE)}
    read = {*re.findall(r"\$\((\w+)\)", makefile), *re.findall(r"^ifdef (\w+)", makefile, re.MULTILINE)}
    given = [words[1:] for page in PAGES for _, words in _make(page, tmp_path)]
    assert len(given) > 5
    for words in given:
        for word in words:
            name, is_set, _ = word.partition("=")
            assert name in (read if is_set else targets), word


def _make(page: str, folder: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    for command in commands_of(page, folder):
        if command.words[0] == "make":
            yield command.line, command.words
    for span in spans_of(page):
        if span.text.startswith("make "):
            yield span.line, tuple(span.text.split())
