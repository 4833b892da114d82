"""Fast dropout: what is kept, how often, and what it does to gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gemoclap.encoders.dropout import LEVELS, FastDropout, fast_dropout, make_dropout_fast


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_elements_are_dropped_as_often_as_asked_for(probability: float) -> None:
    torch.manual_seed(0)
    count = 400_001
    values = torch.full((count,), 2.0)
    out = fast_dropout(values, probability)
    kept = out != 0
    assert torch.unique(out[kept]).numel() == 1
    assert out[kept][0].item() == pytest.approx(2.0 / (1 - probability), rel=2 / LEVELS / (1 - probability))
    deviation = math.sqrt(count * probability * (1 - probability))
    assert abs(int((~kept).sum()) - count * probability) < 5 * deviation
    # Four neighbours come from one draw of the generator: they must know nothing of each other.
    for step in (1, 2, 3, 4):
        both = int((~kept[:-step] & ~kept[step:]).sum())
        expected = (count - step) * probability**2
        assert abs(both - expected) < 5 * math.sqrt(expected)


def test_the_gradient_is_that_of_the_same_mask() -> None:
    torch.manual_seed(0)
    values = torch.randn(7, 13, requires_grad=True)
    out = fast_dropout(values, 0.3)
    weights = torch.randn_like(values)
    (out * weights).sum().backward()
    scale = LEVELS / (LEVELS - round(0.3 * LEVELS))
    mask = torch.where(out == 0, 0.0, scale)
    torch.testing.assert_close(out, values * mask)
    torch.testing.assert_close(values.grad, weights * mask)


def test_the_generator_decides() -> None:
    values = torch.ones(1001)
    torch.manual_seed(5)
    first, second = fast_dropout(values, 0.5), fast_dropout(values, 0.5)
    torch.manual_seed(5)
    assert torch.equal(fast_dropout(values, 0.5), first) and torch.equal(fast_dropout(values, 0.5), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 1.0), (1e-7, 1.0), (1.0, 0.0)])
def test_nothing_and_everything(probability: float, expected: float) -> None:
    assert torch.equal(fast_dropout(torch.ones(4000), probability), torch.full((4000,), expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_precision_stay(dtype: torch.dtype) -> None:
    for shape in ((), (0,), (3,), (2, 3, 5)):
        out = fast_dropout(torch.ones(shape, dtype=dtype), 0.5)
        assert out.shape == shape and out.dtype == dtype


def test_a_model_keeps_its_names_and_is_quiet_in_evaluation() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.4), nn.Sequential(nn.Dropout(0.2)))
    names = list(model.state_dict())
    make_dropout_fast(model)
    make_dropout_fast(model)
    found = [module for module in model.modules() if isinstance(module, FastDropout)]
    assert [module.p for module in found] == [0.4, 0.2] and list(model.state_dict()) == names
    values = torch.randn(5, 3)
    assert torch.equal(model.eval()(values), model[0](values))
    assert (model.train()(values) == 0).any()
