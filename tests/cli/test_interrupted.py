"""Ctrl-C, or a missing package, while the command line is imported, which takes a second, is one line as it is later."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

import gemoclap.cli


@pytest.mark.parametrize("module", ["gemoclap.cli.commands", "gemoclap.cli.corpora"])
def test_an_interrupted_import(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, path: Sequence[str] | None, target: object = None) -> None:
            if name == module:
                raise KeyboardInterrupt

    parent, _, name = module.rpartition(".")
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(sys.modules[parent], name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert gemoclap.cli.main(["inspect", "m.jsonl"]) == 130
    shown = capsys.readouterr()
    assert shown.err == "gemoclap: interrupted\n" and not shown.out


@pytest.mark.parametrize(("module", "package"), [("gemoclap.cli.commands", "yaml"), ("gemoclap.cli.corpora", "torch")])
def test_an_installation_without_what_commands_need(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As one for `OnnxPredictor` alone: no traceback, and nothing to report."""

    class Absent:
        @staticmethod
        def find_spec(name: str, path: Sequence[str] | None, target: object = None) -> None:
            if name == module:
                raise ModuleNotFoundError(f"No module named '{package}.nn'", name=f"{package}.nn")

    parent, _, name = module.rpartition(".")
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(sys.modules[parent], name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    assert gemoclap.cli.main(["inspect", "m.jsonl"]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith(f"gemoclap: the package {package} is missing, and commands need all") and said.count("\n") == 1
    )
