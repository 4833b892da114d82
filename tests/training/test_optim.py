import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from gemoclap.config import TrainSettings
from gemoclap.errors import GemoclapError
from gemoclap.training.optim import learning_rate_at, optimizer_for, set_learning_rate


def rates(settings: TrainSettings, steps_per_epoch: int) -> list[float]:
    return [learning_rate_at(step, settings, steps_per_epoch) for step in range(settings.epochs * steps_per_epoch)]


def test_cosine_equals_torch_schedulers():
    settings = TrainSettings(epochs=6, lr=3e-3, warmup_epochs=2, schedule="cosine")
    steps_per_epoch, warmup = 5, 10
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=settings.lr)
    schedule = SequentialLR(
        optimizer,
        [
            LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1),
            CosineAnnealingLR(optimizer, T_max=6 * steps_per_epoch - warmup),
        ],
        milestones=[warmup],
    )
    expected = []
    for _ in range(6 * steps_per_epoch):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates(settings, steps_per_epoch) == pytest.approx(expected, rel=1e-9)


def test_fractional_warmup_then_constant():
    settings = TrainSettings(epochs=2, lr=1.0, warmup_epochs=0.5, schedule="constant")
    assert rates(settings, 5) == pytest.approx([1 / 2.5, 2 / 2.5, 1, 1, 1, 1, 1, 1, 1, 1])


def test_no_warmup_starts_at_the_peak_and_cosine_ends_at_zero():
    settings = TrainSettings(epochs=2, lr=1.0, warmup_epochs=0, schedule="cosine")
    assert learning_rate_at(0, settings, 4) == 1.0
    assert learning_rate_at(4, settings, 4) == pytest.approx(0.5)
    assert learning_rate_at(8, settings, 4) == pytest.approx(0.0)


def test_a_warmup_longer_than_the_training_only_rises():
    risen = rates(TrainSettings(epochs=2, lr=1.0, warmup_epochs=5, schedule="cosine"), 3)
    assert risen == pytest.approx([step / 15 for step in range(1, 7)])


def test_plain_adam_without_weight_decay():
    optimizer = optimizer_for(nn.Linear(2, 2), TrainSettings(lr=0.1, weight_decay=0))
    assert type(optimizer) is torch.optim.Adam
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0]


def test_only_matrices_decay_and_the_frozen_are_left_out():
    model = nn.ModuleDict({"linear": nn.Linear(3, 2), "norm": nn.LayerNorm(2), "frozen": nn.Linear(2, 2)})
    model["frozen"].requires_grad_(False)
    model.register_parameter("log_scale", nn.Parameter(torch.tensor(2.0)))
    optimizer = optimizer_for(model, TrainSettings(lr=0.1, weight_decay=0.5))
    assert type(optimizer) is torch.optim.AdamW
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    sum(0 * parameter.sum() for parameter in model.parameters()).backward()  # zero gradients: decay alone moves weights
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name == "linear.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def test_setting_the_rate_reaches_every_group():
    optimizer = optimizer_for(nn.Linear(2, 2), TrainSettings(lr=0.1, weight_decay=0.5))
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_encoders_may_have_a_rate_of_their_own(decay):
    model = nn.ModuleDict({"audio_encoder": nn.ModuleDict({"model": nn.Linear(2, 2)}), "head": nn.Linear(2, 2)})
    optimizer = optimizer_for(model, TrainSettings(lr=0.1, encoder_lr=0.01, weight_decay=decay))
    set_learning_rate(optimizer, 0.05)  # half of the peak
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.005 if "audio_encoder" in name else 0.05)
    decaying = {id(one) for group in optimizer.param_groups if group["weight_decay"] for one in group["params"]}
    assert decaying == {id(one) for one in model.parameters() if decay and one.ndim == 2}


def test_nothing_to_train_is_refused():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(GemoclapError, match="no trainable parameter"):
        optimizer_for(model, TrainSettings())
