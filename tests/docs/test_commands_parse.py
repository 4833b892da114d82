"""Every command of the pages, in blocks and inside lines, means something to the parser of today."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from checked import check
from only_parsed import ONLY_PARSED, OTHER_PAGES, OTHER_PROGRAMS
from pages import (
    NOT_FOR_A_SHELL,
    OTHER_LANGUAGES,
    PAGES,
    ROOT,
    SHELLS,
    Command,
    blocks_of,
    commands_of,
    gemoclap_of,
    text_of,
)

from gemoclap.errors import GemoclapError

NEW_NAMES = {"docs/extending.md": ("kitchen", "lookback", "prompt_ce")}
"""What a page adds to the package before it names it; tests/test_extending.py follows that page."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def problem_of(command: Command, written: Sequence[str] = ()) -> str | None:
    """Return what is wrong with a command of gemoclap; None if nothing is, or if it is none.

    Parameters
    ----------
    written : folders of runs that were written before; each has a config.yaml.
    """
    words = gemoclap_of(command.words)
    if words is None:
        return None
    for folder in written:
        if (file := f"{folder}/config.yaml") in words:
            place = words.index(file)
            words = words[: place - 1] + words[place + 1 :]
    try:
        check(words, NEW_NAMES.get(command.page, ()))
    except SystemExit as left:
        if left.code:
            return f"{command.where}: {' '.join(command.words)}: left with {left.code}"
    except (GemoclapError, AssertionError) as error:
        return f"{command.where}: {' '.join(command.words)}: {error}"
    return None


def test_every_block_is_of_a_known_kind(folder: Path) -> None:
    strange = []
    programs = {"gemoclap", *OTHER_PROGRAMS}
    for page in PAGES:
        for block in blocks_of(page):
            if block.language is not None and block.language not in SHELLS | OTHER_LANGUAGES.keys():
                strange.append(f"{block.where}: nobody says what is done about {block.language!r}")
            if block.language == "yaml" or block.language == "json":
                yaml.safe_load(block.text)
        known = [f"{one.where}: {one.words[0]!r}" for one in commands_of(page, folder) if one.words[0] not in programs]
        strange += [f"{where} is no program, and no kind in NOT_FOR_A_SHELL" for where in known]
    assert not strange, "\n".join(strange)


def test_every_kind_is_of_some_block() -> None:
    for page, start in NOT_FOR_A_SHELL:
        assert any(block.text.lstrip().startswith(start) for block in blocks_of(page)), f"{page}: {start}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_blocks(page: str, folder: Path) -> None:
    problems: list[str | None] = []
    written: list[str] = []
    for command in commands_of(page, folder):
        problems.append(problem_of(command, written))
        written += [word for option, word in pairwise(command.words) if option == "-o"]
    problems = [*filter(None, problems)]
    assert not problems, "\n".join(map(str, problems))


def test_every_page_with_commands_is_walked_or_has_a_reason(folder: Path) -> None:
    """And nothing stands in the tables that the pages no longer have."""
    with_commands = {page for page in PAGES if any(one.words[0] == "gemoclap" for one in commands_of(page, folder))}
    assert with_commands == {*ONLY_PARSED, *OTHER_PAGES}
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert all(f'Walk("{page}"' in tests or f'PAGE = "{page}"' in tests for page in ONLY_PARSED)
    for page, starts in ONLY_PARSED.items():
        commands = [" ".join(command.words) for command in commands_of(page, folder)]
        for start in starts:
            assert any(command.startswith(start) for command in commands), f"{page} no longer has: {start}"
    started = {command.words[0] for page in PAGES for command in commands_of(page, folder)}
    assert started == {"gemoclap", *OTHER_PROGRAMS}


def test_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pattern = re.compile(r"'(?:\.|gemoclap|/src)\[([\w,]+)\]'")
    named = {name for page in PAGES for names in pattern.findall(text_of(page)) for name in names.split(",")}
    assert len(named) > 4 and named <= {*extras}


@pytest.mark.parametrize(
    "words",
    [
        ("gemoclap", "crossval", "m.jsonl", "--methods", "emo_klap", "-o", "RUN"),
        ("gemoclap", "crossval", "m.jsonl", "--train.epoch", "2", "-o", "RUN"),
        ("gemoclap", "crossval", "m.jsonl", "--config", "wisper", "-o", "RUN"),
        ("gemoclap", "export", "-o", "default.onx"),
        ("gemoclap", "sweep", "m.jsonl", "--over", "objective.alfa=0.5,0.7", "-o", "RUN"),
        ("torchrun", "--nproc_per_node", "4", "-m", "gemoclap", "trian", "m.jsonl", "-o", "RUN"),
    ],
)
def test_a_stale_command_is_noticed(words: tuple[str, ...]) -> None:
    assert problem_of(Command("a page", 1, words))
