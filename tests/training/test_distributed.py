"""Two real gloo processes against one process with the whole batch; and the precision of each device."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_standins import finish, gradients, start, train_exact

from gemoclap.config import TrainSettings
from gemoclap.errors import GemoclapError
from gemoclap.training.distributed import (
    gather_rows,
    mean_over_processes,
    resolve_precision,
    start_accelerator,
    warn_of_slow_bf16,
)


def read_log(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def largest_difference(first: dict, second: dict) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_gathered_loss_and_gradients_equal_one_process(tmp_path):
    finish(start(gradients, tmp_path / "two", processes=2))
    finish(start(gradients, tmp_path / "one"))
    whole = load_file(tmp_path / "one" / "gradients-0.safetensors")
    assert {"audio.weight", "text.weight", "audio_log_scale", "text_log_scale"} <= whole.keys()
    assert all(float(gradient.abs().max()) > 1e-4 for gradient in whole.values())
    for process in (0, 1):
        shared = load_file(tmp_path / "two" / f"gradients-{process}.safetensors")
        assert largest_difference(shared, whole) < 1e-12


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_end_with_the_weights_of_one(tmp_path, accumulate):
    settings = {"accumulate": accumulate, "clip_norm": 0.5}
    finish(start(train_exact, tmp_path / "two", processes=2, settings=dict(settings)))
    finish(start(train_exact, tmp_path / "one", settings=dict(settings)))
    whole = load_file(tmp_path / "one" / "final-0.safetensors")
    for process in (0, 1):
        assert largest_difference(load_file(tmp_path / "two" / f"final-{process}.safetensors"), whole) < 1e-9
    for one, two in zip(read_log(tmp_path / "one"), read_log(tmp_path / "two"), strict=True):
        for name in ("epoch", "step", "lr", "loss", "audio_loss", "text_loss"):
            assert two[name] == pytest.approx(one[name], abs=1e-9), name


def test_without_gathering_each_process_has_its_own_smaller_matrix(tmp_path):
    finish(start(train_exact, tmp_path / "apart", processes=2, settings={"gather": False}))
    finish(start(train_exact, tmp_path / "one"))
    apart, one = read_log(tmp_path / "apart")[0], read_log(tmp_path / "one")[0]
    assert abs(apart["loss"] - one["loss"]) > 1e-3
    first, second = (load_file(tmp_path / "apart" / f"final-{process}.safetensors") for process in (0, 1))
    assert largest_difference(first, second) == 0.0


def test_a_layer_that_one_process_skips_keeps_the_copies_equal(tmp_path):
    finish(start(train_exact, tmp_path / "two", processes=2, settings={"layerdrop": True}))
    first, second = (load_file(tmp_path / "two" / f"final-{process}.safetensors") for process in (0, 1))
    assert largest_difference(first, second) == 0.0


def test_alone_nothing_is_gathered():
    rows, labels = torch.randn(3, 2), torch.tensor([1, 2, 0])
    gathered = gather_rows(rows, labels)
    assert gathered[0] is rows and gathered[1] is labels
    assert mean_over_processes({"loss": 2.0}) == {"loss": 2.0}


def test_precision():
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu) == "no"
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("no", torch.device("cuda")) == "no"
    with pytest.raises(GemoclapError, match=r"--train\.precision no"):
        resolve_precision("fp16", cpu)


@pytest.mark.parametrize(
    ("machine", "has_bf16", "precision", "lines"),
    [
        ("x86_64", False, "bf16", 1),
        ("x86_64", True, "bf16", 0),
        ("aarch64", False, "bf16", 0),
        ("x86_64", False, "no", 0),
    ],
)
@pytest.mark.skipif(torch.accelerator.is_available(), reason="trains on the GPU of this machine")
def test_a_processor_without_bf16_is_named_once(machine, has_bf16, precision, lines, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("gemoclap.training.distributed.platform.machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bf16)
    warn_of_slow_bf16.cache_clear()
    with caplog.at_level(logging.WARNING, logger="gemoclap"):
        for _ in range(2):
            start_accelerator(TrainSettings(precision=precision), tmp_path)
    assert caplog.text.count("this processor has no bf16") == lines
