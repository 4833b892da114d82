"""What stands as code inside a line of text: whole commands, options, and names of settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest
import script_parsers
import yaml
from checked import parse, parser
from pages import PAGES, Span, spans_of
from spoken import options_of, problem_of

from gemoclap.cli.commands import COMMANDS
from gemoclap.errors import GemoclapError

MESSAGES = {
    "gemoclap needs Python 3.11 or newer",
    "gemoclap: command not found",
    "gemoclap is ..., but ... where the command runs",
}
"""Spans that begin with the name of the program and are what somebody sees."""

SECTIONS = ("data", "model", "objective", "gmp", "train", "cache", "ranking", "head", "probe", "finetune")
SETTING = re.compile(rf"((?:{'|'.join(SECTIONS)})(?:\.[a-z]\w*)+)(:.*)?")
OTHERS_OPTIONS = {"--nproc_per_node", "--no-deps"}
"""Options of torchrun and pip, which stand without the program's name."""
WRONG = {"--labels a b"}
"""What a page says not to write."""
FILES = (".py", ".md", ".safetensors")


def spans(page: str) -> Iterator[Span]:
    """Yield the code in lines of a page, with N for a number filled in; of a message that names a command, the command."""
    for span in spans_of(page):
        text = " ".join("2" if word == "N" else word for word in span.text.split())
        quoted = re.search(r"'(gemoclap [^']+)'", text)
        yield Span(span.page, span.line, quoted[1] if quoted else text)


@cache
def settings() -> set[str]:
    return {name for command in COMMANDS for name in parser(command).settings()}


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_lines(page: str) -> None:
    problems = [
        problem
        for span in spans(page)
        if span.text.startswith("gemoclap ") or re.match(r"(torchrun|accelerate) .*-m gemoclap", span.text)
        if span.text not in MESSAGES
        if (problem := problem_of(span))
    ]
    assert not problems, "\n".join(problems)


BESIDE = {"model.standardize": ("--config", "whisper")}
"""Settings of which some values need others beside them: a frozen encoder."""


def accepts(name: str, words: list[str]) -> bool:
    """Whether a command has all these options, with these values; what else it wants, it gets."""
    if not {word.partition("=")[0] for word in words if word.startswith("--")} <= options_of(name):
        return False
    lacking = [
        action for action in parser(name)._actions if action.required and not {*action.option_strings} & {*words}
    ]
    places = ["m.jsonl" for action in lacking if not action.option_strings]
    value = {"over": "train.lr=1,2"}
    others = [
        part
        for action in lacking
        if action.option_strings
        for part in (action.option_strings[0], value.get(action.dest, "x"))
    ]
    try:
        parse(name, [*places, *words, *others])
    except (GemoclapError, SystemExit):
        return False
    return True


@pytest.mark.parametrize("page", PAGES)
def test_options_in_lines(page: str) -> None:
    """Every option that stands alone is one of some command; with values, that command takes them."""
    problems = []
    known = {option for name in COMMANDS for option in options_of(name)}
    of_scripts = {option for script in script_parsers.SCRIPTS for option in script_parsers.options_of(script)}
    for span in spans(page):
        if not span.text.startswith("--") or span.text in WRONG:
            continue
        words = shlex.split(span.text)
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        if not {*options} & known and {*options} <= OTHERS_OPTIONS | of_scripts:
            continue
        unknown = [option for option in options if option not in known]
        if unknown:
            problems.append(f"{span.where}: {span.text}: no command has {unknown[0]}")
        elif len(words) > len(options) and "..." not in words and not any(accepts(name, words) for name in COMMANDS):
            problems.append(f"{span.where}: {span.text}: no command takes these values")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", PAGES)
def test_settings_in_lines(page: str) -> None:
    """Every name of a setting is one, and its value is a value of it."""
    known = settings()
    groups = {name.rpartition(".")[0] for name in known}
    problems = []
    for span in spans(page):
        found = SETTING.fullmatch(span.text)
        if not found or "..." in span.text or found[1].endswith(FILES):
            continue
        if found[1] not in known | groups:
            problems.append(f"{span.where}: no setting is called {found[1]}")
        elif found[2]:
            value = yaml.safe_load(found[2][1:])
            words = [f"--{found[1]}", str(value), *BESIDE.get(found[1], ())]
            if not any(accepts(name, words) for name in COMMANDS if found[1] in parser(name).settings()):
                problems.append(f"{span.where}: {found[1]} does not take {value!r}")
    assert not problems, "\n".join(problems)


def test_the_pages_have_commands_in_lines() -> None:
    found = [span.text for page in PAGES for span in spans(page)]
    assert sum(text.startswith("gemoclap ") for text in found) > 60
    assert sum(text.startswith("--") for text in found) > 100
    assert sum(bool(SETTING.fullmatch(text)) for text in found) > 30
