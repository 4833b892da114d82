"""NPC: what a frame's representation depends on, found with gradients, and its parts against naive ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gemoclap.encoders.npc import MaskedConvolution, NPCConfig, NPCModel

FRAMES = 41


def model_of(**options: Any) -> NPCModel:
    """Return a small model in float64 whose weights, norms and running statistics are off their starting values."""
    torch.manual_seed(0)
    model = NPCModel(NPCConfig(**{"n_mels": 6, "hidden_size": 16, **options})).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for _ in range(20):
            model.encode(*frames_of(4))
    return model.eval()


def frames_of(batch: int = 1) -> tuple[Tensor, Tensor]:
    frames = torch.randn(batch, FRAMES, 6, generator=torch.Generator().manual_seed(1)).double()
    return frames, torch.ones(batch, FRAMES, dtype=torch.bool)


def offsets_seen(model: NPCModel, state: int, time: int, wide: Tensor | None) -> set[int]:
    """Return where, from frame `time`, input frames lie on which its part of masked convolution `state` depends."""
    frames, mask = frames_of()
    frames.requires_grad_()
    states = model.encode(frames, mask, output_hidden_states=True, wide=wide).hidden_states
    # The first state is the first block's output; the second is the first masked convolution, not a sum with it.
    part = states[state] - states[state - 1] if state > 1 else states[state]
    part[0, time].pow(2).sum().backward()
    return set((frames.grad[0].abs().sum(-1).nonzero().squeeze(1) - time).tolist())


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize(("mask_size", "wide_mask_size"), [(5, 7), (3, 9), (1, 1)])
def test_each_part_sees_all_but_the_mask(mask_size: int, wide_mask_size: int, is_wide: bool) -> None:
    model = model_of(mask_size=mask_size, wide_mask_size=wide_mask_size, kernel_size=19)
    time = FRAMES // 2
    wide = torch.zeros(1, FRAMES, dtype=torch.bool)
    wide[0, time] = is_wide
    hidden = (wide_mask_size if is_wide else mask_size) // 2
    for state in range(1, model.config.num_hidden_layers + 1):
        farthest = 19 // 2 + state
        expected = {offset for offset in range(-farthest, farthest + 1) if abs(offset) > hidden}
        assert offsets_seen(model, state, time, wide) == expected
    assert offsets_seen(model, 0, time, wide) == {-1, 0, 1}  # the first block alone knows the frame itself


@pytest.mark.parametrize("is_wide", [False, True])
def test_at_the_papers_sizes_a_frame_is_seen_from_23_frames_around_it(is_wide: bool) -> None:
    model = model_of()
    wide = torch.full((1, FRAMES), is_wide)
    for time in (0, 1, 7, FRAMES // 2, FRAMES - 3, FRAMES - 1):
        frames, mask = frames_of()
        frames.requires_grad_()
        model.encode(frames, mask, wide=wide).last_hidden_state[0, time].sum().backward()
        seen = set(frames.grad[0].abs().sum(-1).nonzero().squeeze(1).tolist())
        reach = range(max(time - 11, 0), min(time + 12, FRAMES))
        if is_wide:  # the last block's mask is as wide as its kernel, so the three before it set the reach
            reach = range(max(time - 10, 0), min(time + 11, FRAMES))
        assert seen == {other for other in reach if abs(other - time) > (3 if is_wide else 2)}


def test_a_mask_as_wide_as_the_kernel_leaves_the_bias() -> None:
    model = model_of()
    frames, mask = frames_of()
    with torch.no_grad():
        states = model.encode(frames, mask, output_hidden_states=True, wide=mask).hidden_states
    bias = model.layers[3].masked.bias.tanh()
    torch.testing.assert_close(states[4] - states[3], bias.expand(1, FRAMES, 16))


def test_wide_frames_are_those_of_plain_npc_with_the_wide_mask_and_the_others_of_the_narrow_one() -> None:
    model = model_of()
    plain = model_of(mask_size=7)
    plain.load_state_dict(model.state_dict())
    frames, mask = frames_of(3)
    wide = torch.rand(3, FRAMES, generator=torch.Generator().manual_seed(2)) < 0.3
    with torch.no_grad():
        mixed = model.encode(frames, mask, wide=wide).last_hidden_state
        narrow = model.encode(frames, mask).last_hidden_state
        as_wide = plain.encode(frames, mask).last_hidden_state
    torch.testing.assert_close(mixed, torch.where(wide.unsqueeze(-1), as_wide, narrow))
    assert (as_wide - narrow).abs().max() > 0.1


@pytest.mark.parametrize("mask_size", [3, 5, 9])
def test_a_masked_convolution_equals_a_double_loop(mask_size: int) -> None:
    torch.manual_seed(0)
    convolution = MaskedConvolution(3, 9, mask_size, 9).double()
    hidden = torch.randn(2, 3, 12, dtype=torch.float64)
    expected = convolution.bias.detach().expand(2, 12, 3).clone()
    for time in range(12):
        for tap in range(9):
            other = time + tap - 4
            if abs(tap - 4) > mask_size // 2 and 0 <= other < 12:
                expected[:, time] += hidden[:, :, other] @ convolution.weight[:, :, tap].detach().T
    torch.testing.assert_close(convolution(hidden).detach(), expected.transpose(1, 2))


def test_the_blocks_equal_plain_pytorch_and_the_masked_parts_are_summed() -> None:
    """Without padding, and in training mode, so that batch norm takes the batch's own statistics."""
    model = model_of(num_hidden_layers=2, dropout=0.0).train()
    frames, mask = frames_of(3)
    states = model.encode(frames, mask, output_hidden_states=True).hidden_states
    hidden, total, functional = frames.transpose(1, 2), 0.0, torch.nn.functional
    for number, layer in enumerate(model.layers):

        def norm(x: Tensor, like: Any) -> Tensor:
            return functional.batch_norm(x, None, None, like.weight, like.bias, training=True)

        inner = norm(functional.conv1d(hidden, layer.over_time.weight, padding=1), layer.norm_time).relu()
        inner = norm(functional.conv1d(inner, layer.over_channels.weight), layer.norm_channels)
        hidden = (inner + hidden if number else inner).relu()
        if number == 0:
            torch.testing.assert_close(states[0], hidden.transpose(1, 2))
        middle = 5 // 2 + number + 1
        weight = layer.masked.weight.clone()
        weight[:, :, 7 - middle : 7 + middle + 1] = 0
        total = total + functional.conv1d(hidden, weight, layer.masked.bias, padding=7).tanh()
        torch.testing.assert_close(states[number + 1], total.transpose(1, 2))


def test_garbage_in_the_padding_is_not_heard() -> None:
    model = model_of(dropout=0.0).train()
    frames, _ = frames_of(3)
    mask = torch.arange(FRAMES) < torch.tensor([[FRAMES], [9], [20]])
    wide = torch.rand(3, FRAMES, generator=torch.Generator().manual_seed(2)) < 0.3
    clean = model.encode(frames.masked_fill(~mask.unsqueeze(-1), 0.0), mask, wide=wide).last_hidden_state
    dirty = model.encode(frames.masked_fill(~mask.unsqueeze(-1), 9.0), mask, wide=wide | ~mask).last_hidden_state
    assert torch.equal(clean, dirty) and not clean[~mask].any()
    model.eval()
    clean = model.encode(frames, mask, wide=wide).last_hidden_state
    for row, count in enumerate((FRAMES, 9, 20)):
        alone = model.encode(
            frames[row : row + 1, :count], mask[row : row + 1, :count], wide=wide[row : row + 1, :count]
        )
        torch.testing.assert_close(alone.last_hidden_state[0], clean[row, :count])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_size": 4}, "mask_size must be odd, not 4"),
        ({"kernel_size": 14}, "kernel_size must be odd, not 14"),
        ({"mask_size": 0}, "mask_size must be a whole number above 0, not 0"),
        ({"wide_mask_size": 3}, "wide_mask_size (3) must not be below mask_size (5)"),
        ({"kernel_size": 9}, "kernel_size (9) must be above wide_mask_size + 2 (9)"),
    ],
)
def test_sizes_that_make_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        NPCConfig(**options)
    assert message in str(raised.value)
