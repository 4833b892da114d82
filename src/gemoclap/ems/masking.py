"""Which frames are hidden during self-supervised pre-training: at random, or where the emotion is most intense.

All functions work on padded batches, without a loop over clips. Random numbers come from torch's global CPU generator, or
from a given one, on every device, so that a seed hides the same frames everywhere. The number of random numbers depends only on
the shapes, so masking by intensity and masking at random leave the generator in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.spec_augment import covered_by_spans


@dataclass(frozen=True)
class SpanRule:
    """MockingJay's rule [S].

    Attributes
    ----------
    span : W, frames per span.
    share : share of a clip's T frames that ``K = round(share T / W)`` spans would hide if they did not overlap.
    zeroed, copied : shares of the utterances whose spans become zero, and whose spans are overwritten with other spans of the
        same clip. The other utterances are not changed, but their spans are predicted too.
    """

    span: int = 7
    share: float = 0.15
    zeroed: float = 0.8
    copied: float = 0.1

    def __post_init__(self) -> None:
        """Raise a ValueError for values that make no rule."""
        if self.span < 1:
            raise ValueError(f"span must be 1 or more, not {self.span}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share}")
        if min(self.zeroed, self.copied) < 0 or self.zeroed + self.copied > 1:
            raise ValueError(f"zeroed ({self.zeroed}) and copied ({self.copied}) must not add up to more than 1")


class MaskedFrames(NamedTuple):
    """A batch with spans hidden.

    Attributes
    ----------
    frames : ``(B, F, M)``, with hidden spans.
    positions : bool ``(B, F)``, True for the frames of spans, changed or not: the frames to predict.
    share : share of the valid frames that are in a span, 0-dim. Spans overlap, mostly at the most intense frames, so it is
        below that of the rule.
    fallbacks : number of clips with random spans although there is intensity, 0-dim; see `choose_starts`.
    """

    frames: Tensor
    positions: Tensor
    share: Tensor
    fallbacks: Tensor


def mask_spans(
    frames: Tensor,
    mask: Tensor,
    intensity: Tensor | None = None,
    rule: SpanRule | None = None,
    generator: torch.Generator | None = None,
) -> MaskedFrames:
    """Hide spans of each clip. For each utterance, chance decides whether they become zero, are overwritten or stay [S].

    A copied span starts at a random position that is no start of a hidden span, if there is one; S3PRL does not exclude its
    own start. Where spans overlap, the one that starts last is used.

    Parameters
    ----------
    frames, mask : ``(B, F, M)``, and ``(B, F)`` True at the first frames of each row.
    intensity : ``(B, F)`` for EMS, None for plain MockingJay.
    rule : None is the default rule.
    """
    rule = rule or SpanRule()
    starts, fell_back = choose_starts(mask, intensity, rule, generator)
    positions = covered_by_spans(starts, rule.span)
    die = _uniform(mask.shape[:1], mask.device, generator).unsqueeze(1)
    sources = _other_spans(starts, mask, rule.span, generator)
    is_zeroed = die < rule.zeroed
    is_copied = ~is_zeroed & (die < rule.zeroed + rule.copied)
    others = frames.gather(1, sources.unsqueeze(-1).expand_as(frames))
    altered = torch.where((positions & is_copied).unsqueeze(-1), others, frames)
    altered = altered.masked_fill((positions & is_zeroed).unsqueeze(-1), 0.0)
    return MaskedFrames(altered, positions, share_of(positions, mask), fell_back.sum())


def choose_starts(
    mask: Tensor, intensity: Tensor | None, rule: SpanRule, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Choose the starts of each clip's spans.

    For a clip of T frames the candidates are its 2K most intense frames (the earlier one if equal). Starts are the
    first K of them, in order of intensity, at or before ``T - W - 1`` (frames counted from 0). If there are fewer than K,
    all K starts are random, and the clip counts as a fallback [S]. Without intensity all starts are random.

    There is also a fallback to random starts in three cases [C]: all frames are equally intense, as in silence; an intensity
    is not a number; K is rounded to 0, which becomes 1. A clip of W frames or fewer has no span, because no frame would be
    left to predict from; with intensity it counts as a fallback too [C].

    Returns
    -------
    starts : bool ``(B, F)``.
    fell_back : bool ``(B,)``; False everywhere without intensity.
    """
    counts = mask.sum(1)
    spans = (rule.share * counts.double() / rule.span).round().long()
    room = (counts - rule.span).clamp(min=0)
    is_short = (spans < 1) | (room < 1)
    spans = torch.minimum(spans.clamp(min=1), room).unsqueeze(1)
    scores, fell_back = _scores(mask, intensity, is_short, generator)
    can_start = valid_positions(room, mask.shape[1])
    if intensity is not None:
        candidates = _ranks(scores, mask) < 2 * spans
        fell_back = fell_back | ((candidates & can_start).sum(1, keepdim=True) < spans).squeeze(1)
    chance = _uniform(mask.shape, mask.device, generator)
    scores = torch.where(fell_back.unsqueeze(1), chance, scores)
    return can_start & (_ranks(scores, can_start) < spans), fell_back


def wide_frames(
    mask: Tensor, intensity: Tensor | None, share: float = 0.15, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Mark the ``round(share T)`` most intense of each clip's T frames, for NPC's wide mask [C].

    Without intensity the same number of frames is random. So it is, as a fallback, if all frames of a clip are equally
    intense, or an intensity is not a number.

    Returns
    -------
    wide : bool ``(B, F)``.
    fell_back : bool ``(B,)``; False everywhere without intensity.
    """
    counts = mask.sum(1)
    scores, fell_back = _scores(mask, intensity, torch.zeros_like(counts, dtype=torch.bool), generator)
    wanted = (share * counts.double()).round().long().unsqueeze(1)
    return mask & (_ranks(scores, mask) < wanted), fell_back


def resample_intensity(curves: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
    """Bring intensity curves to the encoder's frame rate by linear interpolation [S].

    Both series are spread evenly over the clip, with each value in the middle of its part. Before the first middle and after
    the last the curve is constant [C].

    Parameters
    ----------
    curves, lengths : ``(B, F')``, and the valid values of each, ``(B,)``, at least one.
    mask : ``(B, F)``, True at the encoder's frames.

    Returns
    -------
    Tensor : ``(B, F)``, zero in the padding.
    """
    counts = mask.sum(1, keepdim=True).clamp(min=1)
    last = (lengths - 1).unsqueeze(1)
    middles = torch.arange(mask.shape[1], device=mask.device) + 0.5
    places = torch.minimum((middles * (lengths.unsqueeze(1) / counts) - 0.5).clamp(min=0), last)
    before = places.floor().long()
    left = curves.gather(1, before)
    right = curves.gather(1, torch.minimum(before + 1, last))
    return (left + (places - before) * (right - left)).masked_fill(~mask, 0.0)


def shift_intensity(curves: Tensor, mask: Tensor, shifts: Tensor) -> Tensor:
    """Rotate each clip's curve: values that leave at one end enter at the other.

    Masks that follow the result are about as many as those of EMS and equally close together, but unrelated to the emotion.
    They are the control of masking by intensity [C]. (Only about as many: if the most intense frames are the last of a clip,
    EMS has random spans, but the rotated curve has not.)

    Parameters
    ----------
    curves, mask : ``(B, F)``, and ``(B, F)`` True at the first frames of each row.
    shifts : ``(B,)`` in [0, 1), shift of each curve as a share of its length.

    Returns
    -------
    Tensor : ``(B, F)``, with the padding unchanged.
    """
    counts = mask.sum(1, keepdim=True).clamp(min=1)
    distances = (shifts.unsqueeze(1).double() * counts).long()
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, curves.gather(1, (positions - distances) % counts), curves)


def share_of(positions: Tensor, mask: Tensor) -> Tensor:
    """Return the share of the valid frames that `positions` ``(B, F)`` marks, 0-dim."""
    return (positions & mask).sum() / mask.sum()


def _scores(
    mask: Tensor, intensity: Tensor | None, ignored: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return the values ``(B, F)`` that order the frames, and which clips fell back to random values."""
    chance = _uniform(mask.shape, mask.device, generator)
    if intensity is None:
        return chance, torch.zeros_like(ignored)
    lowest = intensity.masked_fill(~mask, torch.inf).amin(1)
    highest = intensity.masked_fill(~mask, -torch.inf).amax(1)
    fell_back = ignored | ~(highest > lowest)  # written so that it is true if a value is not a number
    return torch.where(fell_back.unsqueeze(1), chance, intensity.to(chance)), fell_back


def _ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """Return each frame's rank, from 0, by falling score; the padding comes last."""
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _other_spans(starts: Tensor, mask: Tensor, span: int, generator: torch.Generator | None) -> Tensor:
    """Return, for each frame of a span, the frame to copy: ``(B, F)`` indices; elsewhere anything within range."""
    width = mask.shape[1]
    positions = torch.arange(width, device=mask.device).expand_as(starts)
    can_start = valid_positions((mask.sum(1) - span).clamp(min=0), width)
    chance = _uniform(mask.shape, mask.device, generator)
    # Starts of chosen spans come last, followed only by positions that cannot be a start.
    sources = (chance - starts.float()).masked_fill(~can_start, -torch.inf).argsort(dim=1, descending=True)
    own_start = torch.where(starts, positions, 0).cummax(1).values
    number = (starts.cumsum(1) - 1).clamp(min=0)
    return (sources.gather(1, number) + positions - own_start).clamp(max=width - 1)


def _uniform(shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw from [0, 1) on the generator's device, and move the result."""
    drawn_on = "cpu" if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=drawn_on).to(device)
