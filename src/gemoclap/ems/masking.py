"""Which frames are hidden during self-supervised pre-training: at random, or where the emotion is most intense.

Everything works on padded batches, without a loop over clips, and draws from torch's global CPU generator or from the
generator given, whatever the device: a seed hides the same frames everywhere. How many numbers are drawn depends on the
shapes alone, so masking by intensity and masking at random leave the generator in the same state.
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
    span : W, frames a span.
    share : of a clip's T frames that ``K = round(share T / W)`` spans would hide if they did not overlap.
    zeroed, copied : of the utterances, those whose spans become zero and those whose spans are overwritten with other
        spans of theirs; the rest is left as it is, to be predicted all the same.
    """

    span: int = 7
    share: float = 0.15
    zeroed: float = 0.8
    copied: float = 0.1

    def __post_init__(self) -> None:
        """Refuse with a ValueError what makes no rule."""
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
    frames : ``(B, F, M)``, altered.
    positions : bool ``(B, F)``, True where a span lies, altered or not: the frames to predict.
    share : of the valid frames that lie in a span, 0-dim. Spans overlap, those at the most intense frames above all, so
        it stays below the rule's.
    fallbacks : number of clips whose intensity could not decide, 0-dim; see `choose_starts`.
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
    """Hide spans of each clip: one die an utterance zeroes them, copies other spans in, or leaves them [S].

    A copied span starts at random at another place than the spans chosen, if there is one; S3PRL does not exclude that
    it starts at its own. Where spans overlap, the one that starts last goes on.

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
    """Choose where the spans of each clip start.

    For a clip of T frames the candidates are its 2K most intense frames (the earlier of two alike). Starts are the
    first K of them, in order of intensity, at or before ``T - W - 1`` (frames counted from 0). Where fewer than K of
    the candidates are, all K starts are drawn at random, and the clip counts as a fallback [S]. Without intensity all
    starts are random.

    All are random too, with a fallback, where all frames are equally intense, as in silence, where one is not a number,
    and where K is rounded down to 0, which becomes 1 [C]. A clip of W frames or fewer has no span, or none of its frames
    would be left to predict from; with intensity it counts as well [C].

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
    """Mark the ``round(share T)`` most intense of each clip's T frames: where NPC's mask is wide [C].

    Without intensity as many frames are drawn at random; so they are, as fallbacks, where all of a clip's frames are
    equally intense or one is not a number.

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

    Both series are spread evenly over the clip, each value in the middle of its share; before the first middle and after
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
    """Move each clip's curve round the clip; what leaves at one end comes in at the other.

    Masks that follow the result are about as many, and lie as close to each other, as those of EMS, but tell nothing of the
    emotion: the control of masking by intensity [C]. About, because the spans of EMS are random where the most intense
    frames are a clip's last ones, and the moved curve has them elsewhere.

    Parameters
    ----------
    curves, mask : ``(B, F)``, and ``(B, F)`` True at the first frames of each row.
    shifts : ``(B,)`` in [0, 1), the share of its own length that each curve is moved.

    Returns
    -------
    Tensor : ``(B, F)``, the padding as it was.
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
    """Return what frames are ordered by ``(B, F)``, and for which clips that is chance although there is intensity."""
    chance = _uniform(mask.shape, mask.device, generator)
    if intensity is None:
        return chance, torch.zeros_like(ignored)
    lowest = intensity.masked_fill(~mask, torch.inf).amin(1)
    highest = intensity.masked_fill(~mask, -torch.inf).amax(1)
    fell_back = ignored | ~(highest > lowest)  # so written that it holds where one is not a number
    return torch.where(fell_back.unsqueeze(1), chance, intensity.to(chance)), fell_back


def _ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """Return each frame's place, from 0, when the valid frames are sorted by falling score; the padding comes last."""
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _other_spans(starts: Tensor, mask: Tensor, span: int, generator: torch.Generator | None) -> Tensor:
    """Return, for each frame of a span, the frame to copy: ``(B, F)`` indices; elsewhere anything within range."""
    width = mask.shape[1]
    positions = torch.arange(width, device=mask.device).expand_as(starts)
    can_start = valid_positions((mask.sum(1) - span).clamp(min=0), width)
    chance = _uniform(mask.shape, mask.device, generator)
    # Starts of spans already chosen come last, after them what is no start at all.
    sources = (chance - starts.float()).masked_fill(~can_start, -torch.inf).argsort(dim=1, descending=True)
    own_start = torch.where(starts, positions, 0).cummax(1).values
    number = (starts.cumsum(1) - 1).clamp(min=0)
    return (sources.gather(1, number) + positions - own_start).clamp(max=width - 1)


def _uniform(shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw from [0, 1) on the generator's own device, and move."""
    drawn_on = "cpu" if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=drawn_on).to(device)
