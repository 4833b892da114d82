"""Masking by intensity: MockingJay's rule against a naive loop, its dice over many draws, padding, fallbacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gemoclap.ems.masking import (
    SpanRule,
    choose_starts,
    mask_spans,
    resample_intensity,
    share_of,
    shift_intensity,
    wide_frames,
)

COUNTS = (400, 93, 24, 200, 311, 57)
RULES = (SpanRule(), SpanRule(span=3, share=0.4), SpanRule(span=1, share=0.9), SpanRule(span=20, share=0.3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask_of(counts: tuple[int, ...] = COUNTS) -> Tensor:
    return torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)


def frames_of(mask: Tensor) -> Tensor:
    """Return frames that are all different, garbage in the padding."""
    return 1.0 + torch.arange(mask.numel() * 3, dtype=torch.float32).reshape(*mask.shape, 3)


def smooth(mask: Tensor, seed: int = 0) -> Tensor:
    """Return intensity that rises and falls slowly, so that the most intense frames lie together."""
    noise = torch.rand(*mask.shape, generator=seeded(seed))
    return torch.nn.functional.avg_pool1d(noise.unsqueeze(1), 25, 1, padding=12).squeeze(1)


def naive_starts(intensity: list[float], rule: SpanRule) -> tuple[int, list[int]]:
    """Return K, and the starts that intensity decides, by the rule's own words: none where chance decides."""
    frames = len(intensity)
    wanted = round(rule.share * frames / rule.span)
    by_intensity = sorted(range(frames), key=lambda frame: -intensity[frame])
    candidates = by_intensity[: 2 * wanted]
    starts: list[int] = []
    for frame in candidates:
        if frame <= frames - rule.span - 1 and len(starts) < wanted:
            starts.append(frame)
    return wanted, starts if len(starts) == wanted else []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_starts_are_those_of_the_naive_rule_or_all_random(rule: SpanRule, seed: int) -> None:
    mask = mask_of()
    intensity = smooth(mask, seed)
    starts, fell_back = choose_starts(mask, intensity, rule, seeded(seed))
    by_chance = 0
    for row, count in enumerate(COUNTS):
        wanted, decided = naive_starts(intensity[row, :count].tolist(), rule)
        chosen = starts[row].nonzero().squeeze(1).tolist()
        assert fell_back[row] == (not decided)
        if decided:
            assert chosen == sorted(decided)
        else:
            assert len(chosen) == min(max(wanted, 1), count - rule.span)
        assert max(chosen) <= count - rule.span - 1
        by_chance += not decided
    assert by_chance < len(COUNTS)


def test_where_the_peak_is_at_the_end_all_starts_are_random() -> None:
    mask = mask_of((200, 200))
    intensity = torch.arange(200.0).repeat(2, 1)  # the 8 most intense frames: 192 to 199; starts end at 192
    intensity[1, 100:104] = 500.0  # with these four among the candidates there is nothing to draw
    assert naive_starts(intensity[0].tolist(), SpanRule()) == (4, [])
    seen = torch.zeros(200, dtype=torch.long)
    for seed in range(300):
        starts, fell_back = choose_starts(mask, intensity, SpanRule(), seeded(seed))
        assert starts[0].sum() == 4 and not starts[0, 193:].any() and fell_back.tolist() == [True, False]
        assert starts[1].nonzero().squeeze(1).tolist() == [100, 101, 102, 103]
        seen += starts[0]
    # Of 193 places each is drawn with probability 4 / 193 in each of 300 draws, the one valid candidate, 192, no oftener.
    assert (seen > 0).sum() > 185 and seen.max() < 25


def test_equally_intense_frames_go_from_the_first() -> None:
    mask = mask_of((100,))
    intensity = torch.zeros(1, 100)
    intensity[0, 30:70] = 1.0
    assert round(0.15 * 100 / 7) == 2
    starts, _ = choose_starts(mask, intensity, SpanRule(), seeded())
    assert starts[0].nonzero().squeeze(1).tolist() == [30, 31]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("is_random", [False, True])
def test_spans_lie_in_their_clip_and_nothing_else_is_touched(rule: SpanRule, is_random: bool) -> None:
    mask = mask_of()
    frames, intensity = frames_of(mask), None if is_random else smooth(mask)
    for seed in range(5):
        masked = mask_spans(frames, mask, intensity, rule, seeded(seed))
        starts, _ = choose_starts(mask, intensity, rule, seeded(seed))
        expected = torch.zeros_like(mask)
        for row, start in starts.nonzero().tolist():
            assert start + rule.span <= COUNTS[row] - 1  # the last frame is in no span
            expected[row, start : start + rule.span] = True
        assert torch.equal(masked.positions, expected) and not (masked.positions & ~mask).any()
        assert torch.equal(masked.frames[~masked.positions], frames[~masked.positions])
        assert masked.share.item() == pytest.approx(expected.sum().item() / sum(COUNTS))


def test_spans_at_the_most_intense_frames_overlap_more_than_random_ones() -> None:
    mask = mask_of((400,) * 50)
    frames = frames_of(mask)
    by_intensity = mask_spans(frames, mask, smooth(mask), generator=seeded()).share
    at_random = mask_spans(frames, mask, generator=seeded()).share
    if_apart = 7 * round(0.15 * 400 / 7) / 400
    assert by_intensity < 0.8 * at_random and 0.9 * if_apart < at_random < if_apart


def test_a_shifted_curve_is_the_clips_own_rolled() -> None:
    mask = mask_of((40, 60, 1, 40))
    curves = torch.where(mask, smooth(mask), 7.0)
    shifts = torch.tensor([0.0, 0.5, 0.9, 0.999], dtype=torch.float64)
    shifted = shift_intensity(curves, mask, shifts)
    assert torch.equal(shifted[~mask], curves[~mask])
    for row, (count, distance) in enumerate(zip((40, 60, 1, 40), (0, 30, 0, 39), strict=True)):
        assert np.array_equal(shifted[row, :count].numpy(), np.roll(curves[row, :count].numpy(), distance))


def test_masks_of_a_shifted_curve_hide_about_as_many_frames_and_others() -> None:
    mask = mask_of((400,) * 200)
    frames, curve = frames_of(mask), smooth(mask)
    shifted = shift_intensity(curve, mask, torch.rand(200, generator=seeded(1)))
    ems, control = (mask_spans(frames, mask, one, generator=seeded()) for one in (curve, shifted))
    assert control.share.item() == pytest.approx(ems.share.item(), rel=0.05)
    assert control.share < 0.8 * mask_spans(frames, mask, generator=seeded()).share
    by_chance = (ems.share * control.share).item()
    # Somewhat more than by chance, as no span lies at the edges; were they not shifted it would be 15 times as much.
    assert by_chance / 2 < share_of(ems.positions & control.positions, mask).item() < 2 * by_chance
    again = mask_spans(frames, mask, shifted, generator=seeded(2)).positions
    assert torch.equal(again, control.positions)  # as EMS's, the places of a clip's spans stay


def test_random_starts_are_uniform() -> None:
    count, clips = 60, 20000
    starts, fell_back = choose_starts(mask_of((count,) * clips), None, SpanRule(), seeded())
    frequencies = starts.double().mean(0)
    wanted, valid = round(0.15 * count / 7), count - 7
    expected = wanted / valid
    assert wanted == 1 and not fell_back.any() and not frequencies[valid:].any()
    deviation = (expected * (1 - expected) / clips) ** 0.5
    assert (frequencies[:valid] - expected).abs().max() < 4.5 * deviation


def test_one_die_an_utterance_zeroes_copies_or_leaves() -> None:
    clips, count = 6000, 100
    mask = mask_of((count,) * clips)
    frames = frames_of(mask)
    masked = mask_spans(frames, mask, smooth(mask), generator=seeded())
    kinds = {"zeroed": 0, "left": 0, "copied": 0}
    for row in range(clips):
        positions = masked.positions[row]
        after, before = masked.frames[row, positions], frames[row, positions]
        if not after.any():
            kinds["zeroed"] += 1
        elif torch.equal(after, before):
            kinds["left"] += 1
        else:
            assert (after != before).all()  # every span comes from elsewhere
            kinds["copied"] += 1
    for kind, probability in (("zeroed", 0.8), ("copied", 0.1), ("left", 0.1)):
        deviation = (probability * (1 - probability) / clips) ** 0.5
        assert kinds[kind] / clips == pytest.approx(probability, abs=4.5 * deviation), kind


@pytest.mark.parametrize("rule", [SpanRule(zeroed=0.0, copied=1.0), SpanRule(5, 0.5, zeroed=0.0, copied=1.0)])
def test_copies_are_other_spans_of_the_same_clip(rule: SpanRule) -> None:
    mask = mask_of()
    frames = frames_of(mask)
    for seed in range(5):
        intensity = smooth(mask, seed) if seed else None
        masked = mask_spans(frames, mask, intensity, rule, seeded(seed))
        starts, _ = choose_starts(mask, intensity, rule, seeded(seed))
        for row, count in enumerate(COUNTS):
            place = {tuple(frame.tolist()): time for time, frame in enumerate(frames[row, :count])}
            own = starts[row].nonzero().squeeze(1).tolist()
            sources = []
            for start, following in zip(own, [*own[1:], count], strict=True):
                length = min(rule.span, following - start)
                copied = [place[tuple(frame.tolist())] for frame in masked.frames[row, start : start + length]]
                assert copied == list(range(copied[0], copied[0] + length))
                assert copied[0] + rule.span <= count - 1
                sources.append(copied[0])
            assert len(set(sources)) == len(own) and not set(sources) & set(own)


def test_the_other_ends_of_the_die() -> None:
    mask = mask_of()
    frames = frames_of(mask)
    zeroed = mask_spans(frames, mask, None, SpanRule(zeroed=1.0, copied=0.0))
    assert not zeroed.frames[zeroed.positions].any() and zeroed.positions.any()
    left = mask_spans(frames, mask, None, SpanRule(zeroed=0.0, copied=0.0))
    assert torch.equal(left.frames, frames) and left.positions.any()


def test_silence_and_what_is_not_a_number_fall_back_to_random_starts_and_are_counted() -> None:
    mask = mask_of((200,) * 6)
    intensity = smooth(mask)
    intensity[1], intensity[4] = 0.5, 0.0
    intensity[2, 50] = float("nan")
    masked = mask_spans(frames_of(mask), mask, intensity, generator=seeded())
    starts, fell_back = choose_starts(mask, intensity, SpanRule(), seeded())
    assert fell_back.tolist() == [False, True, True, False, True, False] and masked.fallbacks.item() == 3
    assert starts.sum(1).tolist() == [4] * 6
    drawn = torch.stack([choose_starts(mask, intensity, SpanRule(), seeded(seed))[0] for seed in range(400)])
    for row in range(6):  # nobody stands out: at most about 4.5 deviations above 400 draws of 4 starts among 193
        is_random = drawn[:, row].sum(0).max() < 22
        assert is_random == fell_back[row]
    padded = mask.clone()
    padded[0, 150:] = False
    intensity[0] = 0.3
    intensity[0, 150:] = torch.rand(50)  # garbage in the padding tells nothing
    assert choose_starts(padded, intensity, SpanRule(), seeded())[1].tolist() == [True, True, True, False, True, False]


def test_clips_too_short_for_the_rule() -> None:
    counts = (200, 24, 23, 8, 7, 1)
    assert [round(0.15 * count / 7) for count in counts] == [4, 1, 0, 0, 0, 0]
    mask = mask_of(counts)
    for seed in range(20):
        curve = smooth(mask, seed)
        at_the_end = sum(not naive_starts(curve[row, : counts[row]].tolist(), SpanRule())[1] for row in (0, 1))
        for intensity, fallbacks in ((curve, 4 + at_the_end), (None, 0)):
            masked = mask_spans(frames_of(mask), mask, intensity, generator=seeded(seed))
            hidden = masked.positions.sum(1).tolist()
            assert 7 <= hidden[0] <= 28 and hidden[1:] == [7, 7, 7, 0, 0] and masked.fallbacks.item() == fallbacks
    drawn = {tuple(choose_starts(mask, smooth(mask), SpanRule(), seeded(seed))[0][2].tolist()) for seed in range(60)}
    assert len(drawn) > 10  # of 16 places


def test_a_seed_decides_and_intensity_draws_as_much_as_chance() -> None:
    mask = mask_of()
    frames, intensity = frames_of(mask), smooth(mask)
    rule = SpanRule(zeroed=0.3, copied=0.4)
    first, again, other = (mask_spans(frames, mask, intensity, rule, seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first.frames, other.frames)
    states = []
    for curve in (intensity, None, torch.zeros_like(intensity)):
        torch.manual_seed(5)
        drawn = mask_spans(frames, mask, curve, rule)
        states.append(torch.get_rng_state())
        if curve is None:
            assert torch.equal(drawn.frames, mask_spans(frames, mask, None, rule, seeded(5)).frames)
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


@pytest.mark.parametrize("share", [0.15, 0.5, 1.0])
def test_wide_frames_are_the_most_intense_of_each_clip(share: float) -> None:
    counts = (*COUNTS, 2)
    mask = mask_of(counts)
    intensity = smooth(mask)
    wide, fell_back = wide_frames(mask, intensity, share)
    assert not fell_back.any()
    for row, count in enumerate(counts):
        order = np.argsort(-intensity[row, :count].numpy(), kind="stable")
        assert set(wide[row].nonzero().squeeze(1).tolist()) == set(order[: round(share * count)].tolist())
    assert share_of(wide, mask).item() == pytest.approx(sum(round(share * count) for count in counts) / sum(counts))


def test_wide_frames_without_an_order_are_drawn_at_random() -> None:
    mask = mask_of((100, 40))
    flat = torch.zeros(2, 100)
    for intensity in (None, flat):
        drawn = [wide_frames(mask, intensity, generator=seeded(seed)) for seed in range(200)]
        assert all(wide.sum(1).tolist() == [15, 6] and not (wide & ~mask).any() for wide, _ in drawn)
        frequencies = torch.stack([wide for wide, _ in drawn]).double().mean(0)
        assert frequencies[mask].min() > 0 and frequencies.max() < 0.35
        assert all(fell_back.tolist() == [intensity is not None] * 2 for _, fell_back in drawn)


@pytest.mark.parametrize("frames", [1, 2, 31, 50, 77])
def test_resampling_equals_pytorchs_linear_interpolation_of_each_clip(frames: int) -> None:
    lengths = torch.tensor([31, 20, 1, 2])
    curves = torch.rand(4, 31, generator=seeded()).double()
    counts = (frames, max(1, frames - 7), 3, 1)
    mask = mask_of(counts)
    resampled = resample_intensity(curves, lengths, mask)
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts, strict=True)):
        clip = curves[row, :length].reshape(1, 1, -1)
        expected = torch.nn.functional.interpolate(clip, size=count, mode="linear", align_corners=False)
        torch.testing.assert_close(resampled[row, :count], expected.flatten(), atol=1e-5, rtol=0)
        assert not resampled[row, count:].any()


def test_resampling_keeps_what_is_constant_exactly_so_that_silence_is_known() -> None:
    mask = mask_of((97, 50))
    curves = torch.tensor([[0.1], [0.7]]).expand(2, 61)
    resampled = resample_intensity(curves, torch.tensor([61, 40]), mask)
    assert choose_starts(mask, resampled, SpanRule(), seeded())[1].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": 0}, "span must be 1 or more"),
        ({"share": 0.0}, "share must be above 0"),
        ({"share": 1.1}, "share must be above 0 and at most 1"),
        ({"zeroed": 0.95}, "must not add up to more than 1"),
        ({"copied": -0.1}, "must not add up"),
    ],
)
def test_rules_that_make_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        SpanRule(**options)  # type: ignore[arg-type]
    assert message in str(raised.value)
