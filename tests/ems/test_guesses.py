"""Guesses of hidden frames against numpy's interpolation and naive loops, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gemoclap.ems.guesses import in_words, interpolated, l1_beside_guesses, not_beaten, parts_of

COUNTS = (30, 17, 5, 24)
N_MELS = 4


def masks_of(share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the valid frames and, of them, the visible ones; the last clip begins and ends with hidden frames."""
    mask = torch.arange(30) < torch.tensor(COUNTS).unsqueeze(1)
    visible = mask & (torch.rand(4, 30, generator=torch.Generator().manual_seed(seed)) > share)
    visible[3, :6] = visible[3, 20:] = False
    visible[:3, 2] = visible[3, 12] = True
    return mask, visible


def outputs_of(orders: int, seed: int = 0) -> dict[str, Tensor]:
    """Return what a model of `ems.pretraining` returns, not a number in the padding."""
    mask, visible = masks_of(0.4, seed)
    target, prediction = torch.randn(2, 4, 30, orders * N_MELS, generator=torch.Generator().manual_seed(seed))
    target = target.masked_fill(~mask.unsqueeze(-1), float("nan"))
    return {"prediction": prediction, "target": target, "positions": mask & ~visible, "mask": mask}


@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_hidden_frames_lie_on_lines_between_visible_ones_as_numpys(share: float) -> None:
    mask, visible = masks_of(share)
    frames = torch.randn(4, 30, 3, generator=torch.Generator().manual_seed(1))
    found = interpolated(frames, visible)
    for row, count in enumerate(COUNTS):
        places = visible[row].nonzero().squeeze(1).numpy()
        for dimension in range(3):
            values = frames[row, places, dimension].numpy()
            expected = np.interp(np.arange(count), places, values)  # level before the first place and after the last
            np.testing.assert_allclose(found[row, :count, dimension].numpy(), expected, atol=1e-5)
    assert torch.equal(found[visible], frames[visible])


def test_a_line_is_found_again_and_a_clip_without_a_visible_frame_is_zero() -> None:
    _, visible = masks_of(0.6)
    visible[:3, 0] = visible[:3, 29] = True
    line = torch.arange(30.0).reshape(1, 30, 1) * torch.tensor([1.0, -2.0]) + 3
    found = interpolated(line.expand(4, 30, 2), visible)
    torch.testing.assert_close(found[:3], line.expand(3, 30, 2))
    assert not interpolated(line, torch.zeros(1, 30, dtype=torch.bool)).any()


@pytest.mark.parametrize(("orders", "parts"), [(1, ["static"]), (3, ["static", "delta", "delta_delta"])])
def test_each_part_is_compared_over_the_same_frames_as_a_naive_loop_does(orders: int, parts: list[str]) -> None:
    outputs = outputs_of(orders)
    found = l1_beside_guesses(outputs, N_MELS)
    visible = outputs["mask"] & ~outputs["positions"]
    lines = interpolated(outputs["target"], visible)
    guesses = {"l1": outputs["prediction"], "l1_zeros": torch.zeros_like(lines), "l1_interpolated": lines}
    assert set(found) == {f"{part}_{name}" for part in ["spectral", *parts] for name in guesses}
    for name, guess in guesses.items():
        errors = {part: [] for part in parts}  # type: dict[str, list[float]]
        for row, frame in outputs["positions"].nonzero().tolist():
            for dimension in range(orders * N_MELS):
                error = abs(guess[row, frame, dimension].item() - outputs["target"][row, frame, dimension].item())
                errors[parts[dimension // N_MELS]].append(error)
        for part in parts:
            assert found[f"{part}_{name}"].item() == pytest.approx(np.mean(errors[part]), rel=1e-5)
        assert found[f"spectral_{name}"].item() == pytest.approx(np.mean(sum(errors.values(), [])), rel=1e-5)


def test_higher_orders_have_names_too() -> None:
    assert list(parts_of(5 * 80, 80)) == ["spectral", "static", "delta", "delta_delta", "delta_3", "delta_4"]


def scores_of(static: float, spectral: float, orders: int = 3) -> dict[str, float]:
    names = [*parts_of(orders, 1)]
    guesses = {
        f"{name}_{kind}": value for name in names for kind, value in (("l1_zeros", 0.8), ("l1_interpolated", 0.5))
    }
    return {**{f"{name}_l1": 0.9 for name in names}, **guesses, "static_l1": static, "spectral_l1": spectral}


def test_what_is_not_beaten_is_named() -> None:
    lines = "straight lines between visible frames"
    assert not_beaten(scores_of(0.4, 0.4)) == []
    assert not_beaten(scores_of(0.6, 0.4)) == [f"{lines} (static)"]
    assert not_beaten(scores_of(0.4, 0.8)) == ["zeros (spectral)", f"{lines} (spectral)"]
    assert not_beaten(scores_of(0.5, 0.9)) == ["zeros (spectral)", f"{lines} (spectral, static)"]
    assert not_beaten(scores_of(float("nan"), 0.4)) == ["zeros (static)", f"{lines} (static)"]
    assert not_beaten(scores_of(0.6, 0.6, orders=1)) == [f"{lines} (static)"]  # static mels are all there is


def test_every_part_is_told_once() -> None:
    line = in_words(scores_of(0.6, 0.7))
    assert "spectral 0.700 0.800 0.500, static 0.600 0.800 0.500, delta 0.900" in line and "\n" not in line
    assert "spectral" not in in_words(scores_of(0.6, 0.6, orders=1))
