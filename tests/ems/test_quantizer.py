"""NPC's quantizer: which codes it gives, how often, and how many are in use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gemoclap.ems.pretraining import GroupedQuantizer, code_perplexity


def test_the_quantizer_gives_codes_of_each_group_and_takes_the_best_in_evaluation() -> None:
    torch.manual_seed(0)
    quantizer = GroupedQuantizer(12, groups=3, codes=5, temperature=1.0).eval()
    hidden = torch.randn(2, 7, 12)
    codes, chosen = quantizer(hidden)
    for row in range(2):
        for frame in range(7):
            for group in range(3):
                part = hidden[row, frame, 4 * group : 4 * group + 4]
                scores = quantizer.scores[group].weight @ part + quantizer.scores[group].bias
                best = int(scores.argmax())
                assert chosen[row, frame, group].tolist() == [float(code == best) for code in range(5)]
                expected = quantizer.codebooks[group].weight[:, best]
                torch.testing.assert_close(codes[row, frame, 4 * group : 4 * group + 4], expected)


def test_in_training_codes_are_drawn_as_often_as_their_scores_say_and_pass_a_gradient_on() -> None:
    torch.manual_seed(0)
    quantizer = GroupedQuantizer(4, groups=1, codes=5, temperature=1.0).train()
    hidden = torch.randn(1, 1, 4).expand(1, 20000, 4).clone().requires_grad_()
    codes, chosen = quantizer(hidden)
    assert torch.equal(chosen.sum(-1).round(), torch.ones(1, 20000, 1)) and set(chosen.round().unique().tolist()) == {
        0,
        1,
    }
    probabilities = quantizer.scores[0](hidden[0, 0]).softmax(-1)
    torch.testing.assert_close(chosen.mean((0, 1, 2)), probabilities, atol=0.015, rtol=0)
    codes.square().sum().backward()
    assert (hidden.grad.abs().sum(-1) > 0).all()
    with pytest.raises(ValueError, match="multiple of the number of code groups"):
        GroupedQuantizer(12, groups=5, codes=4, temperature=1.0)


def test_perplexity_counts_codes_in_use() -> None:
    mask = torch.arange(10) < torch.tensor([[8], [8]])
    even = nn.functional.one_hot(torch.arange(10).remainder(4).expand(2, 10), 16).float()
    single = nn.functional.one_hot(torch.full((2, 10), 3), 16).float()
    assert code_perplexity(even.unsqueeze(2), mask).item() == pytest.approx(4.0)
    assert code_perplexity(single.unsqueeze(2), mask).item() == pytest.approx(1.0)
    assert code_perplexity(torch.stack([even, single], dim=2), mask).item() == pytest.approx(2.5)
