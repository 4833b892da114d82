"""The loss of valence, arousal and dominance against the metric, and with unknown values."""

from __future__ import annotations

import pytest
import torch

from gemoclap.heads.losses import concordance_loss
from gemoclap.metrics.concordance import concordance

NAN = float("nan")


def test_it_is_one_minus_the_metric_of_the_known_values() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(12, 3, dtype=torch.float64, generator=generator)
    values = (0.4 * wanted + torch.randn(12, 3, dtype=torch.float64, generator=generator)).requires_grad_()
    wanted[::3, 0] = NAN
    wanted[1:, 2] = NAN  # one known value: no correlation, so the column has no part
    loss = concordance_loss(values, wanted)
    known = ~wanted[:, 0].isnan()
    each = [
        concordance(wanted[known, 0].numpy(), values.detach()[known, 0].numpy()),
        concordance(wanted[:, 1].numpy(), values.detach()[:, 1].numpy()),
    ]
    assert loss.item() == pytest.approx(1 - sum(each) / 2, abs=1e-12)
    loss.backward()
    assert torch.isfinite(values.grad).all() and not values.grad[~known, 0].any() and not values.grad[:, 2].any()


def test_right_equal_and_unknown_values() -> None:
    wanted = torch.tensor([[1.0], [2.0], [4.0]])
    assert concordance_loss(wanted, wanted).item() == pytest.approx(0, abs=1e-6)
    values = torch.full((3, 1), 2.0, requires_grad=True)
    for target in (torch.full((3, 1), 2.0), torch.full((3, 1), NAN)):  # all alike; nothing known
        loss = concordance_loss(values, target)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(values.grad).all()
