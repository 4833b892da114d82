import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gemoclap.errors import GemoclapError
from gemoclap.training.checkpoint import (
    load_optimizer,
    load_weights,
    optimizer_tensors,
    random_state,
    read_checkpoint,
    set_random_state,
    weights_of,
    write_checkpoint,
)


def draw() -> list[float]:
    return [
        random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), *torch.rand(2).tolist(),
        *torch.randn(3).tolist(),
    ]  # fmt: skip


def test_random_state_survives_json():
    draw()  # leaves a spare Gaussian in Python's and NumPy's generators
    state = json.loads(json.dumps(random_state()))
    expected = draw()
    draw()
    set_random_state(state)
    assert draw() == expected


def save(folder, step=1, key="key", **tensors):
    write_checkpoint(folder, key, step, tensors=tensors, state={"step": step}, process={"of": "process"})


def test_round_trip_and_only_the_newest_stays(tmp_path):
    folder = tmp_path / "checkpoint"
    weights = {"a": torch.randn(3, 2), "b": torch.tensor(4, dtype=torch.int64), "c": torch.randn(2).bfloat16()}
    save(folder, 9, model={"a": torch.zeros(1)}, best={"a": torch.zeros(1)})
    save(folder, 10, model=weights, best={})
    assert [path.name for path in folder.iterdir()] == ["step-00000010"]
    found = read_checkpoint(folder, "key")
    assert found.state == {"step": 10} and found.process == {"of": "process"} and found.tensors.keys() == {"model"}
    assert all(torch.equal(found.tensors["model"][name], weights[name]) for name in weights)
    assert all(found.tensors["model"][name].dtype == weights[name].dtype for name in weights)


def test_no_checkpoint(tmp_path):
    assert read_checkpoint(tmp_path / "checkpoint", "key") is None


def test_another_run_is_refused(tmp_path):
    save(tmp_path / "checkpoint", model={"a": torch.zeros(1)})
    with pytest.raises(GemoclapError, match="holds another run; choose another output folder or delete it") as error:
        read_checkpoint(tmp_path / "checkpoint", "other")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "process-0.json"])
def test_damage_is_named(tmp_path, name):
    save(tmp_path / "checkpoint", model={"a": torch.zeros(1)})
    (tmp_path / "checkpoint" / "step-00000001" / name).write_bytes(b"\x05rubbish")
    with pytest.raises(GemoclapError, match=r"step-00000001: damaged checkpoint .* delete .* to start again"):
        read_checkpoint(tmp_path / "checkpoint", "key")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.never_used = nn.Linear(2, 2)
        self.tied = self.linear


def test_weights_are_the_trainable_and_the_buffers():
    model = Small()
    weights = weights_of(model)
    assert weights.keys() == {
        "linear.weight", "linear.bias", "norm.weight", "norm.bias", "never_used.weight", "never_used.bias",
        "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    }  # fmt: skip
    with torch.no_grad():
        model.linear.weight.add_(1)
        model.norm.running_mean.add_(1)
    assert not torch.equal(weights["linear.weight"], model.linear.weight)
    load_weights(model, weights)
    assert torch.equal(weights["linear.weight"], model.linear.weight)
    assert torch.equal(weights["norm.running_mean"], model.norm.running_mean)


def test_weights_of_another_model_are_refused():
    model, weights = Small(), weights_of(Small())
    with pytest.raises(GemoclapError, match=r"'linear\.weight'"):
        load_weights(model, {**weights, "linear.weight": torch.zeros(3, 2)})
    del weights["norm.bias"]
    with pytest.raises(GemoclapError, match=r"'norm\.bias'"):
        load_weights(model, weights)


def test_optimizer_goes_on_as_if_nothing_had_happened(tmp_path):
    def advance(model, optimizer, steps):
        for step in range(steps):
            optimizer.zero_grad()
            model.linear(torch.tensor([[1.0, step + 1.0]])).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    advance(model, optimizer, 3)
    save(tmp_path, 3, model=weights_of(model), optimizer=optimizer_tensors(optimizer))
    advance(model, optimizer, 3)

    found = read_checkpoint(tmp_path, "key")
    again = Small()
    resumed = torch.optim.Adam([p for p in again.parameters() if p.requires_grad], lr=0.1)
    load_weights(again, found.tensors["model"])
    load_optimizer(resumed, found.tensors["optimizer"])
    advance(again, resumed, 3)
    assert torch.equal(again.linear.weight, model.linear.weight)
    stored = load_file(next(tmp_path.glob("step-*")) / "optimizer.safetensors")
    assert len(stored) == 2 * 3, "weight and bias of the one used layer, three tensors each"
