"""A small run through the command line: a made corpus, settings that train in a second, and what a command says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gemoclap.cli import main
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest

SMALL = (
    "--model.audio_options", '{"hidden_size": 16, "num_hidden_layers": 1, "stem_channels": 4}',
    "--model.projection_dim", "16", "--train.epochs", "1", "--data.folds", "kfold", "--data.n_folds", "2",
)  # fmt: skip


def crossval(manifest: Path, methods: str, output: Path, *options: str) -> list[str]:
    """Return the arguments of a small cross-validation."""
    return ["crossval", "--data.manifest", str(manifest), *SMALL, "--methods", methods, "-o", str(output), *options]


def run(*arguments: str | Path) -> int:
    """Return the exit code of a command."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as left:
        return int(left.code or 0)


def complaint(capsys: pytest.CaptureFixture, *arguments: str | Path, status: int = 2) -> str:
    """Return the one line on standard error that a command leaves with `status` after."""
    capsys.readouterr()
    assert run(*arguments) == status
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1, shown.err
    assert "Traceback" not in shown.err and shown.err.startswith("gemoclap: ")
    return shown.err


def counting(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[Any]:
    """Return the first argument of every later call of a module's function, which does what it did."""
    calls: list[Any] = []
    function = getattr(module, name)

    def counted(first: Any, *others: Any, **options: Any) -> Any:
        calls.append(first)
        return function(first, *others, **options)

    monkeypatch.setattr(module, name, counted)
    return calls


def changed(manifest: Path, target: Path, keep: int | None = None, **fields: object) -> Path:
    """Write the first `keep` rows of a manifest with other values in some fields; a callable is given the row."""
    rows = read_manifest(manifest)[:keep]

    def value(row: Utterance, new: object) -> object:
        return new(row) if callable(new) else new

    write_manifest(
        [replace(row, **{name: value(row, new) for name, new in fields.items()}) for row in rows],  # type: ignore[arg-type]
        target,
    )
    return target


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Return relative path -> hash and modification time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def log_of(folder: Path) -> list[dict]:
    """Return the rows of log.jsonl."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
