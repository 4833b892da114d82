"""The pages of the documentation as lists of blocks, and what a shell makes of those that are for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
BASH = shutil.which("bash")

SHELLS = {"bash", "sh"}
OTHER_LANGUAGES = {
    "python": "test_snippets.py runs or compiles them",
    "diff": "test_extending.py makes the changes",
    "js": "test_serving_docs.py runs it",
    "html": "test_walk_pages.py runs its script",
    "ini": "test_serving_docs.py reads it",
    "nginx": "needs nginx",
    "yaml": "test_commands_parse.py parses it",
    "json": "test_commands_parse.py parses it",
}
"""Languages of fenced blocks -> what is done about them."""

NOT_FOR_A_SHELL = {
    ("README.md", "src/gemoclap/"): "the tree of the repository; test_imports.py compares it",
    ("docs/architecture.md", "errors, extras,"): "the floors of the package; test_imports.py compares them",
    ("docs/citing.md", "@"): "BibTeX; test_docs.py compares it",
    ("docs/export.md", "default.onnx: "): "output; test_walk_pages.py compares it",
    ("docs/quickstart.md", "demo/synthetic/wav/"): "output; test_walk_quickstart.py compares it",
    ("docs/search.md", "1  0.14  "): "output; test_walk_pages.py compares it",
    ("docs/scaling.md", "core hours = "): "a formula",
    ("docs/extending.md", "<!-- table: "): "comments of a page, which scripts/results.py reads",
    ("docs/corpora.md", "IEMOCAP_full_release/"): "a tree; test_corpora_page.py makes it",
    ("docs/corpora.md", "ROOT/"): "a tree; test_corpora_page.py makes it",
    ("docs/corpora.md", "MELD.Raw/"): "a tree; test_corpora_page.py makes it",
}
"""Page and first words of an indented block that is not for a shell -> what it is."""


@dataclass(frozen=True)
class Block:
    """A block of code, or the part of an indented one between blank lines.

    Attributes
    ----------
    line : number of its first line on the page, from 1.
    language : of a fenced block; None for an indented one.
    """

    page: str
    line: int
    language: str | None
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        return self.language in SHELLS if self.language is not None else self.kind is None

    @property
    def kind(self) -> str | None:
        """What an indented block is that is not for a shell."""
        return next(
            (
                kind
                for (page, start), kind in NOT_FOR_A_SHELL.items()
                if page == self.page and self.text.lstrip().startswith(start)
            ),
            None,
        )


@dataclass(frozen=True)
class Command:
    """A command as a shell would start it: variables, loops and lines that go on are taken apart."""

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Span:
    """Code inside a line of text, such as a command or the name of an option."""

    page: str
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def _tokens(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text_of(page))


@cache
def blocks_of(page: str) -> tuple[Block, ...]:
    """Return the blocks of code of a page in their order."""
    return tuple(_blocks(page))


def _blocks(page: str) -> Iterator[Block]:
    for token in _tokens(page):
        if token.type == "fence":
            assert token.map
            yield Block(page, token.map[0] + 2, token.info.strip(), token.content)
        elif token.type == "code_block":
            assert token.map
            lines = list(enumerate(token.content.splitlines(), token.map[0] + 1))
            while lines:
                part = list(takewhile(lambda line: line[1].strip(), lines))
                if part:
                    yield Block(page, part[0][0], None, "".join(f"{text}\n" for _, text in part))
                lines = lines[len(part) + 1 :]


@cache
def spans_of(page: str) -> tuple[Span, ...]:
    """Return the code inside lines of text of a page."""
    return tuple(
        Span(page, token.map[0] + 1, child.content)
        for token in _tokens(page)
        if token.type == "inline" and token.map
        for child in token.children or ()
        if child.type == "code_inline"
    )


RECORDER = """
command_not_found_handle() { started "${BASH_LINENO[0]}" "$@"; }
source() { started "${BASH_LINENO[0]}" source "$@"; }
started() { printf '%s\\0' "$@" $'\\1' >&7; if [ "$2" = cat ]; then printf %s "$3"; fi; }
"""
"""Writes every command that a script would start, in place of starting it: its line and its words. The contents of a file
that ``cat`` would print are the file's name."""

BEFORE = len(RECORDER.splitlines())


def recorded(page: str, lines: dict[int, str], folder: Path) -> list[Command]:
    """Return what bash would start if these lines (number -> text) were a script.

    Nothing is started: no program is found, and a function writes the words that each would get. So variables, loops, quotes
    and comments mean what they mean to bash. What another command would print is empty.
    """
    assert BASH, "bash is needed to read the commands of the pages"
    script = RECORDER + "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1)) + "\n"
    listed = folder / "listed"
    # Slurm's own variables, which a script may use under set -u.
    slurm = {f"SLURM_{name}": "1" for name in ("JOB_ID", "JOB_NUM_NODES", "JOB_NODELIST", "CPUS_PER_TASK")}
    done = subprocess.run(
        [BASH, "--norc", "-c", f'exec 7>"$0"; PATH=/nowhere; {script}', str(listed)],
        cwd=folder,
        env={**slurm, "HOME": str(folder), "LC_ALL": "C.UTF-8", **_locale()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 and not done.stderr, f"{page}: bash cannot read it: {done.stderr}"
    entries = listed.read_text(encoding="utf-8").split("\1\0")[:-1]
    found = [entry.rstrip("\0").split("\0") for entry in entries]
    return [Command(page, int(number) - BEFORE, tuple(words)) for number, *words in found]


def _locale() -> dict[str, str]:
    return {"LANG": os.environ["LANG"]} if "LANG" in os.environ else {}


@cache
def commands_of(page: str, folder: Path) -> tuple[Command, ...]:
    """Return all commands in the blocks of a page; a variable that one block sets, later ones have."""
    lines: dict[int, str] = {}
    for block in blocks_of(page):
        if not block.is_shell:
            continue
        lines |= dict(enumerate(block.text.splitlines(), block.line))
        if block.language is not None:  # a script of its own, whose settings end with it
            lines[block.line - 1] = "("
            lines[block.line + len(block.text.splitlines())] = ")"
    return tuple(recorded(page, lines, folder))


def gemoclap_of(words: tuple[str, ...]) -> list[str] | None:
    """Return the arguments of gemoclap in a command, also behind torchrun, accelerate, srun and others; None without it."""
    for place, word in enumerate(words):
        if word == "gemoclap" and (place == 0 or words[place - 1] in ("-m", "--")):
            return [*words[place + 1 :]]
    return None


def script_of(words: tuple[str, ...]) -> tuple[str, list[str]] | None:
    """Return a script of this repository in a command, and its arguments; None without one."""
    for place, word in enumerate(words):
        if re.fullmatch(r"(benchmarks|scripts)/\w+\.py", word) and place and words[place - 1].startswith("python"):
            return word, [*words[place + 1 :]]
    return None
