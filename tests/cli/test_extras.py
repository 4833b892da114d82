"""Packages that an installation may lack: what does without them, and what is said where one is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sound
from small import SMALL, complaint, run

from gemoclap.corpora.manifest import read_manifest

EXTRAS = (
    "tensorboard",
    "audformat",
    "opensmile",
    "faiss",
    "matplotlib",
    "pandas",
    "pyarrow",
    "peft",
    "av",
    "onnx",
    "onnxruntime",
    "wandb",
    "mlflow",
    "fastapi",
    "uvicorn",
    "websockets",
    "multipart",
    "python_multipart",
    "prometheus_client",
    "ray",
)
"""Modules of the optional packages of pyproject.toml."""


def test_predicting_does_without_every_optional_package(
    small_model: Path, small_manifest: Path, tmp_path: Path
) -> None:
    """Prepare, inspect, predict and evaluate in a process in which none of them can be imported."""
    (tmp_path / "list.csv").write_text(f"path,emotion\n{read_manifest(small_manifest)[0].path},angry\n")
    clip = read_manifest(small_manifest)[0].path
    commands = [
        ["prepare", "csv", str(tmp_path / "list.csv"), "-o", str(tmp_path / "m.jsonl")],
        ["inspect", str(small_manifest)],
        ["predict", clip, "--model", str(small_model), "-o", str(tmp_path / "out.csv")],
        ["timeline", clip, "--model", str(small_model), "-o", str(tmp_path / "time.vtt")],
        ["evaluate", str(small_manifest), "--model", str(small_model), "-o", str(tmp_path / "scores")],
    ]
    code = (
        "import json, sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"  # None: importing it is an ImportError
        "from gemoclap.cli import main\n"
        "for command in json.loads(sys.argv[1]):\n    status = main(command)\n    assert status == 0, (command, status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    assert "beware: a picture needs the package matplotlib: pip install matplotlib" in done.stderr
    page = (tmp_path / "scores" / "report.md").read_text(encoding="utf-8")
    assert page.count("**There are no pictures:** a picture needs the package matplotlib") == 1 and ".png)" not in page
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["n"] == 32
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("lacking", "package", "command"),
    [
        ("opensmile", "opensmile", ["crossval", "--methods", "ce,egemaps_svm"]),
        ("faiss", "faiss-cpu", ["crossval", "--methods", "gmp_tl", "--gmp.scales", "2"]),
        ("audformat", "audformat", ["convert", "audformat"]),
        ("pandas", "pandas", ["convert", "audformat"]),
        ("peft", "peft", ["crossval", "--methods", "ce", "--model.lora_rank", "2"]),
        ("pyarrow", "pyarrow", ["predict"]),
    ],
)
def test_what_is_needed_is_named_before_the_work(
    lacking: str, package: str, command: list[str], small_manifest: Path, small_model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, lacking, None)  # type: ignore[arg-type]
    name, *options = command
    more = {"crossval": [*SMALL], "predict": ["--model", str(small_model)]}.get(name, [])
    target = tmp_path / ("out.parquet" if name == "predict" else "out")
    said = complaint(capsys, name, small_manifest, *options, *more, "-o", target)
    assert f"needs the package {package}: pip install {package}\n" in said
    assert not list(tmp_path.rglob("predictions.csv")) and not target.is_file()


def test_a_report_of_many_pictures_says_once_that_there_are_none(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The report of a whole training is there without matplotlib, and has its pictures once that is installed."""
    given = ("crossval", small_manifest, *SMALL, "--methods", "ce", "-o", tmp_path / "run")
    with monkeypatch.context() as without:
        for module in ("matplotlib", "matplotlib.figure", "matplotlib.font_manager"):
            without.setitem(sys.modules, module, None)  # type: ignore[arg-type]
        assert run(*given) == 0
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert page.count("There are no pictures") == 1 and "](comparison.png)" not in page and "UAR" in page
    assert run("report", tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "There are no pictures" not in page and "](comparison.png)" in page


def test_m4a_names_the_package_that_reads_it(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # type: ignore[arg-type]
    sound.write(tmp_path / "tone.wav", np.zeros(1600, dtype=np.float32))
    (tmp_path / "tone.m4a").write_bytes(bytes(4) + b"ftypM4A " + bytes(400))
    run("predict", tmp_path / "tone.m4a", "--model", small_model)
    assert "pip install av" in capsys.readouterr().err
