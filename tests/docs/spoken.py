"""Commands that a text speaks of: whole ones, which are parsed, and parts of some, of which every word is looked up."""

from __future__ import annotations

import shlex
from functools import cache

from checked import check, name_of, parser
from pages import Span

from gemoclap.cli.commands import COMMANDS
from gemoclap.errors import GemoclapError


def words_of(span: Span) -> list[str]:
    words = shlex.split(span.text, comments=True)
    if words[0] in ("torchrun", "accelerate"):
        return words[words.index("-m") + 1 :]
    return words


@cache
def options_of(name: str) -> set[str]:
    found = {option for action in parser(name)._actions for option in action.option_strings}
    return found | {"--help-all"}


def problem_of(span: Span) -> str | None:
    """Return what is wrong with a span that begins with ``gemoclap``.

    A command with nothing behind it, or with ``...`` or COMMAND in it, is spoken of, not shown: its name and options are
    looked up. Any other is parsed.
    """
    words = words_of(span)[1:]
    if words[0].startswith("-") and span.page == "docs/serving.md":  # the image of this name, which starts the server
        words = ["serve", *words]
    if words[0].startswith("-"):
        return None if words in (["--help"], ["--version"]) else f"{span.where}: {span.text}: no such option"
    if words[0] == "COMMAND":
        words = ["crossval", *words[1:], "..."]
    name = name_of(words)
    group = {command for command in COMMANDS if command.startswith(f"{name} ")}
    if name not in COMMANDS:
        return (
            None
            if group and words[1:] in ([], ["..."])
            else f"{span.where}: {span.text}: no command is called {name!r}"
        )
    behind = words[len(name.split()) :]
    if not behind or "..." in behind or behind[-1] in ("--help", "--help-all", "-o") or _is_spoken_of(name, behind):
        unknown = [word for word in behind if word.startswith("-") and word not in options_of(name)]
        return f"{span.where}: {span.text}: has no option {unknown[0]}" if unknown else None
    if "-o" not in behind and any(
        action.required and "-o" in action.option_strings for action in parser(name)._actions
    ):
        words = [*words, "-o", "RUN"]
    try:
        check(words)
    except (GemoclapError, AssertionError, SystemExit) as error:
        return f"{span.where}: {span.text}: {error}"
    return None


def _is_spoken_of(name: str, behind: list[str]) -> bool:
    """Whether only options are given of a command that also wants files: ``gemoclap timeline --hop 4``."""
    lacking = [action for action in parser(name)._actions if action.required]
    return bool(lacking) and behind[0].startswith("-") or name in ("prepare", "papers") and len(behind) == 1
