"""Pooling against NumPy over each clip's own frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gemoclap.encoders.pooling import POOLINGS, masked_mean, masked_mean_std, pooled_dim

COUNTS = [7, 1, 4]
FRAMES = torch.randn(3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(7) < torch.tensor(COUNTS).unsqueeze(1)


def test_mean_and_deviation_over_the_valid_frames() -> None:
    mean, both = masked_mean(FRAMES, MASK).numpy(), masked_mean_std(FRAMES, MASK).numpy()
    for row, count in enumerate(COUNTS):
        frames = FRAMES[row, :count].numpy()
        np.testing.assert_allclose(mean[row], frames.mean(0), atol=1e-12)
        np.testing.assert_allclose(both[row], [*frames.mean(0), *np.sqrt(frames.var(0) + 1e-5)], atol=1e-12)


@pytest.mark.parametrize("name", POOLINGS)
def test_what_lies_in_the_padding_does_not_matter(name: str) -> None:
    pooled = POOLINGS[name](FRAMES, MASK)
    filled = FRAMES.masked_fill(~MASK.unsqueeze(-1), 1e6)
    torch.testing.assert_close(POOLINGS[name](filled, MASK), pooled, rtol=0, atol=1e-9)
    assert pooled.shape == (3, pooled_dim(name, 5))


@pytest.mark.parametrize("name", POOLINGS)
def test_frames_all_alike_have_a_finite_gradient(name: str) -> None:
    frames = torch.ones(2, 3, 4, requires_grad=True)
    POOLINGS[name](frames, torch.tensor([[True] * 3, [True, False, False]])).sum().backward()
    assert torch.isfinite(frames.grad).all() and (frames.grad[1, 1:] == 0).all()
