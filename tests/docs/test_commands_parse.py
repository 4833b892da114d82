"""Every command of the pages, in blocks and inside lines, means something to the parser of today."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from checked import check
from pages import (
    NOT_FOR_A_SHELL,
    OTHER_LANGUAGES,
    PAGES,
    PROGRAMS,
    SHELLS,
    Command,
    blocks_of,
    commands_of,
    gemoclap_of,
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
    for page in PAGES:
        for block in blocks_of(page):
            if block.language is not None and block.language not in SHELLS | OTHER_LANGUAGES.keys():
                strange.append(f"{block.where}: nobody says what is done about {block.language!r}")
            if block.language == "yaml" or block.language == "json":
                yaml.safe_load(block.text)
        known = [f"{one.where}: {one.words[0]!r}" for one in commands_of(page, folder) if one.words[0] not in PROGRAMS]
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
