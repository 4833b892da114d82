"""Ctrl-C while the command line is imported, which takes a second, is one line as it is later."""

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
