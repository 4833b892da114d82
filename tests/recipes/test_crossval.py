"""A cross-validation that is killed, gone on with, added to; finished folds are never done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.numpy import load_file
from small import complaint, contents, crossval, log_of, run

from gemoclap.corpora.manifest import read_manifest
from gemoclap.predictions import read_predictions

OPTIONS = ("--train.epochs", "3", "--train.batch_size", "4", "--train.checkpoint_steps", "1")
TIMINGS = {"seconds", "utterances_per_second", "data_wait_seconds"}


def command(manifest: Path, output: Path, *options: str) -> list[str]:
    return crossval(manifest, "emo_clap", output, *OPTIONS, *options)


def steps_of(folder: Path) -> int:
    return max((int(path.name[5:]) for path in folder.glob("checkpoint/step-*")), default=0)


def kill_in_the_second_fold(arguments: list[str], output: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "gemoclap", *arguments], env=environment)
    patience = time.monotonic() + 120
    while steps_of(output / "emo_clap" / "fold_2") < 3:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < patience
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread, as the process that is killed does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(*command(small_manifest, output)) == 0
    return output


def test_killed_and_gone_on_with_it_ends_in_the_same_bits(whole: Path, small_manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    kill_in_the_second_fold(command(small_manifest, output), output)
    first, second = output / "emo_clap" / "fold_1", output / "emo_clap" / "fold_2"
    finished = contents(first)
    assert "predictions.csv" in finished and not (second / "predictions.csv").exists()
    assert run(*command(small_manifest, output)) == 0
    assert contents(first) == finished
    for fold in ("fold_1", "fold_2"):
        ours, theirs = output / "emo_clap" / fold, whole / "emo_clap" / fold
        for name in ("predictions.csv", "model/model.safetensors", "model/README.md"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), f"{fold}/{name}"
        rows, expected = (
            [{k: v for k, v in row.items() if k not in TIMINGS} for row in log_of(x)] for x in (ours, theirs)
        )
        assert rows == expected
        assert not (ours / "checkpoint").exists()
    assert (
        json.loads((output / "results.json").read_text())["methods"]
        == json.loads((whole / "results.json").read_text())["methods"]
    )


def test_a_finished_run_trains_nothing_and_writes_the_report_again(whole: Path, small_manifest: Path) -> None:
    (whole / "report.md").unlink()
    before = contents(whole / "emo_clap")
    assert run(*command(small_manifest, whole)) == 0
    assert contents(whole / "emo_clap") == before and (whole / "report.md").is_file()


def test_a_method_is_added_later(whole: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(whole / "emo_clap")
    assert run(*command(small_manifest, whole, "--methods", "egemaps_svm")) == 0
    assert contents(whole / "emo_clap") == before
    assert yaml.safe_load((whole / "config.yaml").read_text())["methods"] == ["emo_clap", "egemaps_svm"]
    shown = capsys.readouterr().out
    assert "Emo-CLAP" in shown and "eGeMAPS + SVM" in shown
    tested = [
        one
        for fold in ("fold_1", "fold_2")
        for one in read_predictions(whole / "egemaps_svm" / fold / "predictions.csv").ids
    ]
    assert sorted(tested) == sorted(row.id for row in read_manifest(small_manifest))


def test_other_settings_are_refused(whole: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(whole)
    for option, value in (("--train.seed", "1"), ("--data.n_folds", "4"), ("--model.projection_dim", "8")):
        assert f"its {option[2:]} differs" in complaint(capsys, *command(small_manifest, whole, option, value))
    assert contents(whole) == before


def test_folds_are_written_down_as_they_were_used(whole: Path, small_manifest: Path) -> None:
    plan = json.loads((whole / "folds.json").read_text())
    speaker = {row.id: row.speaker for row in read_manifest(small_manifest)}
    assert plan["speaker_overlap"] is False and plan["vocabulary"]["emotions"] == ["angry", "happy", "neutral", "sad"]
    for fold in plan["folds"]:
        assert sorted(fold["train"] + fold["test"]) == sorted(speaker)
        assert not {speaker[one] for one in fold["train"]} & {speaker[one] for one in fold["test"]}
        table = read_predictions(whole / "emo_clap" / fold["name"] / "predictions.csv")
        assert list(table.ids) == fold["test"]
        assert f"hash `{fold['hash']}`" in (whole / "emo_clap" / fold["name"] / "model" / "README.md").read_text()


def test_folds_begin_from_the_same_weights_and_end_apart(whole: Path) -> None:
    """A fold does not go on from the fold before: every parameter that trained has moved elsewhere."""
    first, second = (
        load_file(whole / "emo_clap" / fold / "model" / "model.safetensors") for fold in ("fold_1", "fold_2")
    )
    weights = [name for name in first if name.endswith("weight") and first[name].ndim > 1]
    assert weights and not any((first[name] == second[name]).all() for name in weights)
