"""The scripts of benchmarks/ and scripts/: their own parsers, without what they do."""

from __future__ import annotations

import ast
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import NoReturn
from unittest.mock import patch

from pages import ROOT

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("benchmarks", "scripts")
    for path in (ROOT / folder).glob("*.py")
    if "def main(" in path.read_text(encoding="utf-8")
)
"""Those that can be started."""


class Parsed(Exception):
    """Ends a script where it has read its arguments."""


@contextmanager
def arguments(words: Sequence[str]) -> Iterator[None]:
    """Let a script find these arguments, and stop as soon as it has read them."""

    original = ArgumentParser.parse_args

    def stop(self: ArgumentParser, args: Sequence[str] | None = None, namespace: Namespace | None = None) -> NoReturn:
        original(self, args, namespace)
        raise Parsed({option for action in self._actions for option in action.option_strings})

    with patch.object(ArgumentParser, "parse_args", stop), patch.object(sys, "argv", ["script", *words]):
        yield


@cache
def module_of(script: str) -> ModuleType:
    folder = ROOT / script.partition("/")[0]
    name = f"started_{script.removesuffix('.py').replace('/', '_')}"
    spec = spec_from_file_location(name, ROOT / script)
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.path.insert(0, str(folder))  # what they share
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
        del sys.modules[name]
    return module


def takes_arguments(script: str) -> bool:
    return ".parse_args(" in (ROOT / script).read_text(encoding="utf-8")


def parse(script: str, words: Sequence[str]) -> set[str]:
    """Let a script parse its arguments, and return the options that it knows.

    Raises
    ------
    SystemExit : the script refuses them.
    AssertionError : there is no such script, or it takes none.
    """
    assert script in SCRIPTS, f"no script is called {script}"
    if not takes_arguments(script):
        assert not words, f"{script} takes no arguments"
        return set()
    with arguments(words):
        try:
            module_of(script).main()
        except Parsed as parsed:
            return parsed.args[0]
    raise AssertionError(f"{script}: does not read its arguments first")


def options_of(script: str) -> set[str]:
    """Return the options of a script, whatever else it needs."""
    found: set[str] = set()
    if takes_arguments(script):
        with patch.object(ArgumentParser, "error", lambda self, message: None), suppress(SystemExit):
            found = parse(script, [])
    return found


def docstring_of(script: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / script).read_text(encoding="utf-8"))) or ""
