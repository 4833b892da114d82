"""Warping against interpolation in Python, and where SpecAugment's stripes may lie."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gemoclap.encoders.spec_augment import draw_factors, hide_stripes, warp

COUNTS = torch.tensor([30, 1, 17, 24])
FRAMES = torch.randn(4, 30, 12, generator=torch.Generator().manual_seed(0))


def naive_warp(frames: np.ndarray, speed: float, tract: float) -> np.ndarray:
    """Resample one clip ``(F, M)``: frame t is read at t * speed, mel bin m at m * tract, each up to its last."""
    count, mels = frames.shape
    length = max(1, round(count / speed))
    warped = np.zeros((length, mels))
    for frame in range(length):
        for mel in range(mels):
            time, place = min(frame * speed, count - 1), min(mel * tract, mels - 1)
            above, right = math.floor(time), math.floor(place)
            below, left = min(above + 1, count - 1), min(right + 1, mels - 1)
            down, across = time - above, place - right
            first = (1 - across) * frames[above, right] + across * frames[above, left]
            second = (1 - across) * frames[below, right] + across * frames[below, left]
            warped[frame, mel] = (1 - down) * first + down * second
    return warped


def test_warp_equals_linear_interpolation_clip_by_clip() -> None:
    speed, tract = torch.tensor([0.81, 1.15, 1.2, 0.93]), torch.tensor([1.1, 0.9, 0.95, 1.05])
    padded = FRAMES.masked_fill(torch.arange(30).view(1, -1, 1) >= COUNTS.view(-1, 1, 1), 1e3)
    warped, lengths = warp(padded, COUNTS, speed, tract)
    for row, count in enumerate(COUNTS.tolist()):
        expected = naive_warp(FRAMES[row, :count].double().numpy(), speed[row].item(), tract[row].item())
        assert lengths[row] == len(expected)
        np.testing.assert_allclose(warped[row, : len(expected)].numpy(), expected, atol=5e-3)
    assert warped.shape == (4, int(lengths.max()), 12)


def test_factors_of_one_change_nothing() -> None:
    ones = torch.ones(4)
    warped, lengths = warp(FRAMES, COUNTS, ones, ones)
    assert torch.equal(lengths, COUNTS)
    for row, count in enumerate(COUNTS):
        torch.testing.assert_close(warped[row, :count], FRAMES[row, :count], atol=1e-4, rtol=0)


def test_speed_shortens_and_a_longer_vocal_tract_moves_down() -> None:
    frames = torch.zeros(1, 40, 21)
    frames[0, 20, 10] = 1.0
    warped, lengths = warp(frames, torch.tensor([40]), torch.tensor([2.0]), torch.tensor([2.0]))
    assert lengths.item() == 20
    assert divmod(int(warped[0].argmax()), 21) == (10, 5)


def test_factors_are_spread_over_their_range() -> None:
    torch.manual_seed(0)
    factors = draw_factors(4000, 0.2, torch.device("cpu"))
    assert 0.8 <= factors.min() < 0.801 and 1.199 < factors.max() <= 1.2
    assert abs(factors.mean() - 1) < 0.01
    assert torch.equal(draw_factors(3, 0.0, torch.device("cpu")), torch.ones(3))


def hidden_of(extent: Tensor, axis: int, stripes: int, share: float, sizes: tuple[int, int] = (40, 40)) -> Tensor:
    """Return where ones were set to zero, ``(B, F, M)`` bool."""
    frames = torch.ones(len(extent), *sizes)
    return hide_stripes(frames, extent, axis, stripes, share) == 0


def test_one_stripe_lies_within_the_extent_and_is_no_wider_than_its_share() -> None:
    torch.manual_seed(0)
    extent = torch.tensor([40, 20, 7, 1] * 500)
    for axis in (1, 2):
        hidden = hidden_of(extent, axis, 1, 0.25)
        along, across = (hidden.any(2), hidden.all(2)) if axis == 1 else (hidden.any(1), hidden.all(1))
        assert torch.equal(along, across)  # a stripe goes all the way through
        assert ((along.long().diff(dim=1) != 0).sum(1) <= 2).all()  # in one piece
        assert not (along & (torch.arange(40) >= extent.unsqueeze(1))).any()
        assert (along.sum(1) <= torch.ceil(0.25 * extent)).all()


def test_stripes_hide_the_share_that_they_should() -> None:
    torch.manual_seed(0)
    extent = torch.full((3000,), 400)
    share = hidden_of(extent, 1, 1, 0.2, (400, 1)).float().mean().item()
    # Width u * 0.2 from start v, cut at the end: mean of min(0.2 u, 1 - v) = 0.1 - 0.2**2 / 6.
    assert abs(share - (0.1 - 0.04 / 6)) < 0.003
    assert not hidden_of(extent[:2], 1, 0, 0.2).any() and not hidden_of(extent[:2], 1, 3, 0.0).any()
