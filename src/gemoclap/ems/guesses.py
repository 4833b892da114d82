"""Simple guesses of hidden frames, to compare MockingJay's predictions with.

A network that has learned nothing about speech reaches the loss of a constant. Its loss falls at first too, so a plateau there
can look like success.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gemoclap.ems.losses import masked_l1

PARTS = ("static", "delta", "delta_delta")
ALL = "spectral"
"""Name of all parts together, as in `Reconstruction`."""
GUESSES = {"l1_zeros": "zeros", "l1_interpolated": "straight lines between visible frames"}
"""Suffixes of names in the log, with their meaning in words."""


def l1_beside_guesses(outputs: dict[str, Tensor], n_mels: int) -> dict[str, Tensor]:
    """Return the L1 of the model, of zeros and of `interpolated` frames over the same hidden frames, 0-dim each.

    Features have a mean of zero over each clip (`cmvn`), so zeros are the clip's mean.

    Parameters
    ----------
    outputs : of `MockingJayForPretraining`.
    n_mels : dimensions of a part: mel features, their deltas, the deltas of those, and so on.

    Returns
    -------
    ``PART_l1``, ``PART_l1_zeros`` and ``PART_l1_interpolated`` of each part, such as ``static_l1``, and of ``spectral``, all
    parts together.
    """
    target, positions = outputs["target"], outputs["positions"]
    guesses = {
        "l1": outputs["prediction"],
        "l1_zeros": torch.zeros_like(target),
        "l1_interpolated": interpolated(target, outputs["mask"] & ~positions),
    }
    return {
        f"{part}_{name}": masked_l1(guess[..., where], target[..., where], positions)
        for part, where in parts_of(target.shape[-1], n_mels).items()
        for name, guess in guesses.items()
    }


def parts_of(size: int, n_mels: int) -> dict[str, slice]:
    """Return the dimensions of each part in a frame of `size` dimensions, and of `ALL`."""
    orders = range(size // n_mels)
    names = [PARTS[order] if order < len(PARTS) else f"delta_{order}" for order in orders]
    by_order = {name: slice(order * n_mels, (order + 1) * n_mels) for order, name in zip(orders, names, strict=True)}
    return {ALL: slice(None), **by_order}


def interpolated(frames: Tensor, visible: Tensor) -> Tensor:
    """Return frames in which hidden ones lie on a straight line between the nearest visible ones.

    Before the first visible frame and after the last the line is constant; without any visible frame all are zero.

    Parameters
    ----------
    frames, visible : ``(B, F, M)`` and bool ``(B, F)``.
    """
    width = frames.shape[1]
    places = torch.arange(width, device=frames.device).expand_as(visible)
    before = torch.where(visible, places, -1).cummax(1).values
    after = torch.where(visible, places, width).flip(1).cummin(1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after == width, before, after)
    weight = ((places - before) / (after - before).clamp(min=1)).unsqueeze(-1)
    left, right = (_at(frames, one.clamp(0, width - 1)) for one in (before, after))
    return torch.lerp(left, right, weight.to(frames)).masked_fill(~visible.any(1)[:, None, None], 0.0)


def _at(frames: Tensor, places: Tensor) -> Tensor:
    return frames.gather(1, places.unsqueeze(-1).expand_as(frames))


def in_words(scores: Mapping[str, float]) -> str:
    """Return a line with the L1 of the model and of the guesses for each part, from `l1_beside_guesses`."""
    cells = [
        " ".join([part, *(f"{scores[f'{part}_{one}']:.3f}" for one in ("l1", *GUESSES))]) for part in _parts(scores)
    ]
    return f"held-out L1 of hidden frames, then that of {' and of '.join(GUESSES.values())}: {', '.join(cells)}"


def not_beaten(scores: Mapping[str, float]) -> list[str]:
    """Return, in words, the guesses that are as good as the model, and whether in all features or the static ones."""
    found = []
    for guess, words in GUESSES.items():
        parts = [part for part in _parts(scores) if not scores[f"{part}_l1"] < scores[f"{part}_{guess}"]]
        if named := [part for part in parts if part in (ALL, PARTS[0])]:
            found.append(f"{words} ({', '.join(named)})")
    return found


def _parts(scores: Mapping[str, float]) -> list[str]:
    """Return the parts; without deltas there are only static features."""
    parts = [name.removesuffix("_l1_zeros") for name in scores if name.endswith("_l1_zeros")]
    return parts if len(parts) > 2 else [PARTS[0]]
