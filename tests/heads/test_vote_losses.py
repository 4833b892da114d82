"""Raters' votes as targets of the cross-entropy, against a loop and against torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import one_hot

from gemoclap.config import ObjectiveSettings
from gemoclap.data.targets import Targets
from gemoclap.heads.losses import soft_cross_entropy
from gemoclap.heads.objectives import OBJECTIVES

LOGITS = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SHARES = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5], [0, 0, 1], [0.9, 0, 0.1]], dtype=torch.float64)
ALLOWED = torch.tensor([[True, True, True]] * 3 + [[True, False, True]] * 2)


@pytest.mark.parametrize("allowed", [None, ALLOWED])
def test_the_loss_is_that_of_the_definition(allowed: torch.Tensor | None) -> None:
    total = 0.0
    for place, (row, shares) in enumerate(zip(LOGITS.tolist(), SHARES.tolist(), strict=True)):
        used = [label for label in range(3) if allowed is None or allowed[place, label]]
        log_sum = math.log(sum(math.exp(row[label]) for label in used))
        total -= sum(shares[label] * (row[label] - log_sum) for label in used)
    logits = LOGITS.clone().requires_grad_()
    loss = soft_cross_entropy(logits, SHARES, allowed)
    assert loss.item() == pytest.approx(total / 5, abs=1e-12)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    if allowed is None:
        assert loss.item() == pytest.approx(float(torch.nn.functional.cross_entropy(LOGITS, SHARES)), abs=1e-12)


@pytest.mark.parametrize("method", ["ce", "multi_task"])
@pytest.mark.parametrize("classes", [None, ALLOWED])
def test_unanimous_votes_are_the_labels(method: str, classes: torch.Tensor | None) -> None:
    emotions, genders = torch.tensor([0, 1, 2, 0, 2]), torch.tensor([0, 1, 1, -1, 0])
    outputs = {"logits": LOGITS, "gender_logits": LOGITS[:, :2]}
    objective = OBJECTIVES[method](ObjectiveSettings())
    by_votes = objective(outputs, Targets(emotions, genders, classes, one_hot(emotions, 3).double()))
    by_labels = objective(outputs, Targets(emotions, genders, classes))
    assert {name: float(one) for name, one in by_votes.items()} == pytest.approx(
        {name: float(one) for name, one in by_labels.items()}, abs=1e-12
    )
