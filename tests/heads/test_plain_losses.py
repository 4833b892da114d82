"""Losses of plain heads against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from gemoclap.heads.losses import am_softmax, cross_entropy

N, C = 7, 4


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(N, C, generator=generator, dtype=torch.float64) * 2 - 1, torch.arange(N) % C


def test_am_softmax_is_its_formula() -> None:
    cosines, classes = drawn()
    s, m = 30.0, 0.2
    total = 0.0
    for row, y in zip(cosines.tolist(), classes.tolist(), strict=True):
        target = math.exp(s * (row[y] - m))
        total -= math.log(target / (target + sum(math.exp(s * c) for j, c in enumerate(row) if j != y)))
    assert am_softmax(cosines, classes, s, m).item() == pytest.approx(total / N, rel=1e-12)


def test_without_margin_am_softmax_is_cross_entropy_of_scaled_cosines() -> None:
    cosines, classes = drawn()
    assert torch.equal(am_softmax(cosines, classes, 7.0, 0.0), cross_entropy(7.0 * cosines, classes, -1))


def test_a_margin_asks_for_more() -> None:
    cosines, classes = drawn()
    losses = [am_softmax(cosines, classes, 10.0, margin).item() for margin in (0.0, 0.2, 0.5)]
    assert losses == sorted(losses) and losses[0] < losses[2]


def test_cross_entropy_leaves_the_unknown_out() -> None:
    logits, classes = drawn()
    classes[[1, 4]] = -1
    known = [row for row in range(N) if row not in (1, 4)]
    terms = []
    for row in known:
        values = logits[row].tolist()
        terms.append(math.log(sum(math.exp(value) for value in values)) - values[int(classes[row])])
    assert cross_entropy(logits, classes, -1).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_of_unknown_classes_alone_there_is_nothing_to_learn_but_a_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.full((3,), -1), -1)
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_half_precision_is_widened() -> None:
    cosines, classes = drawn()
    half = cosines.to(torch.bfloat16)
    loss = am_softmax(half, classes, 30.0, 0.2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(am_softmax(half.double(), classes, 30.0, 0.2).item(), rel=1e-5)
