"""Benchmarks that train or encode run through on a tiny encoder: on the GPU of a machine that has one."""

from __future__ import annotations

import csv
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib import pyplot
from small import crossval, run
from tiny import save_speech_encoder

from gemoclap import Predictor
from gemoclap.corpora.manifest import read_manifest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a benchmark as a module; it is a script, which no package holds."""
    monkeypatch.syspath_prepend(FOLDER)  # what they share
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def call(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
    module.main()


def test_frozen_layers_that_are_kept_give_the_losses_of_those_that_are_not(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    encoder = save_speech_encoder(tmp_path / "wavlm", "wavlm")
    sizes = ("--keep", "2", "--freeze", "1", "--rounds", "2")
    call(benchmark("frozen_layers", monkeypatch), monkeypatch, small_manifest, "--encoder", encoder, *sizes)
    rows = [line.strip("│ ").split() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    differences = [float(row[-1]) for row in rows]  # of "in every step", and of "kept"
    assert len(differences) == 2 and differences[0] == 0 and differences[1] < 1e-3


def test_every_layer_has_a_score(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    encoder = save_speech_encoder(tmp_path / "wavlm", "wavlm")
    module = benchmark("emotion_by_layer", monkeypatch)
    call(module, monkeypatch, small_manifest, "--encoder", encoder, "-o", tmp_path / "layers")
    with open(tmp_path / "layers.csv", newline="") as file:
        assert [row["layer"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    assert (tmp_path / "layers.png").is_file()


def test_every_corpus_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = benchmark("emotion_by_layer", monkeypatch)
    scores = [module.Score(f"corpus {place}", layer, 50, 40, 60) for place in range(8) for layer in (0, 1)]
    pyplot.close("all")
    module.write(scores, tmp_path / "layers", "eight corpora")
    (axes,) = pyplot.gcf().axes
    assert [line.get_label() for line in axes.lines] == [f"corpus {place}" for place in range(8)]
    pyplot.close("all")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_benchmark_finds_what_it_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library renames, a script that nobody runs in a test would miss."""
    monkeypatch.syspath_prepend(FOLDER)  # some take from each other
    benchmark(name, monkeypatch)


def test_differences_are_those_of_the_reports(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The table of benchmarks/differences.py has the difference and the p that the report of the same run has."""
    assert run(*crossval(small_manifest, "emo_clap,ce", tmp_path / "run")) == 0
    (difference,) = json.loads((tmp_path / "run" / "results.json").read_text())["differences"]
    capsys.readouterr()
    call(benchmark("differences", monkeypatch), monkeypatch, tmp_path / "run")
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ run"))
    _, method, value, p, corrected, speakers = [cell.strip() for cell in shown.strip("│").split("│")]
    assert (method, speakers) == ("ce", "4")
    assert float(value) == pytest.approx(100 * difference["uar"]["value"], abs=0.06)
    assert float(p) == pytest.approx(difference["p"], abs=1e-4)


def test_inference_compares_ways_that_do_the_same(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    module = benchmark("inference", monkeypatch)
    ways = module.ways_of(read_manifest(small_manifest)[:2], tmp_path)
    assert float(capsys.readouterr().out.split("a clip of 30 s: ")[1]) < 1e-2
    for way in ways.values():
        way()
        rows = (tmp_path / "rows.csv").read_text().splitlines()
        assert len(rows) == 2 and all(len(row.split(",")) == module.CLASSES for row in rows)
        (tmp_path / "rows.csv").unlink()


def test_conditions_score_every_recording_condition(
    small_manifest: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    module = benchmark("conditions", monkeypatch)
    monkeypatch.setattr(module, "CONDITIONS", dict(list(module.CONDITIONS.items())[:2]))
    monkeypatch.setenv("COLUMNS", "200")
    call(module, monkeypatch, small_manifest, "--model", small_model)
    rows = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    predictor = Predictor.from_pretrained(small_model)
    utterances = read_manifest(small_manifest)
    right = [predictor(row).emotion == row.emotion for row in utterances]
    assert [row[0].strip() for row in rows] == ["as it is", "noise, 20 dB"]
    assert float(rows[0][4]) == pytest.approx(100 * sum(right) / len(right), abs=0.05)
