"""The compact encoder: masked batch norm against PyTorch's, padding, augmentation, freezing, disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.compact import CompactConfig, CompactModel, MaskedBatchNorm
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError

SMALL = {"n_mels": 16, "stem_channels": 4, "hidden_size": 12, "num_hidden_layers": 3}
STILL = {"dropout": 0.0, "speed_range": 0.0, "vocal_tract_range": 0.0, "time_masks": 0, "frequency_masks": 0}
LENGTHS = torch.tensor([16000, 1, 100, 5000, 640, 9999])


def small(**changes: Any) -> SpeechEncoder:
    """Return a small encoder that has seen a batch, so that its running statistics are not those it starts with."""
    torch.manual_seed(0)
    encoder = load_audio_encoder("compact", options={**SMALL, **changes}).train()
    for _ in range(20):
        encoder(clips(), LENGTHS)
    return encoder.eval()


def clips(seed: int = 0) -> Tensor:
    """Return noise of `LENGTHS` samples that swells and fades, zero-padded."""
    time = torch.arange(16000)
    noise = torch.randn(len(LENGTHS), 16000, generator=torch.Generator().manual_seed(seed))
    return noise * (time / 900).sin() * (time < LENGTHS.unsqueeze(1))


def encode(encoder: SpeechEncoder, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return encoder(waveforms, lengths)


def error_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


def norms(plain: nn.Module, channels: int) -> tuple[MaskedBatchNorm, nn.Module]:
    """Return ours and PyTorch's with the same random weights, float64."""
    masked = MaskedBatchNorm(channels).double()
    with torch.no_grad():
        masked.weight.uniform_(0.5, 2.0)
        masked.bias.normal_()
    plain = plain.double()
    plain.load_state_dict(masked.state_dict())
    return masked, plain


def same_statistics(masked: MaskedBatchNorm, plain: Any) -> None:
    torch.testing.assert_close(masked.running_mean, plain.running_mean)
    torch.testing.assert_close(masked.running_var, plain.running_var)


@pytest.mark.parametrize("shape", [(4, 3, 7), (4, 3, 7, 5)])
def test_without_padding_it_is_pytorchs_batch_norm(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    masked, plain = norms(nn.BatchNorm1d(3) if len(shape) == 3 else nn.BatchNorm2d(3), 3)
    mask = torch.ones(shape[0], 1, shape[2], *(1 for _ in shape[3:]), dtype=torch.bool)
    for _ in range(3):
        ours = (2 * torch.randn(shape, dtype=torch.float64) + 3).requires_grad_()
        theirs = ours.detach().clone().requires_grad_()
        outputs = masked(ours, mask), plain(theirs)
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.sin().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
        torch.testing.assert_close(masked.weight.grad, plain.weight.grad)
        torch.testing.assert_close(masked.bias.grad, plain.bias.grad)
        same_statistics(masked, plain)
    hidden = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(masked.eval()(hidden, mask), plain.eval()(hidden))


@pytest.mark.parametrize("mels", [1, 5])
def test_with_padding_it_is_batch_norm_over_the_valid_positions_packed(mels: int) -> None:
    torch.manual_seed(0)
    masked, plain = norms(nn.BatchNorm1d(3), 3)
    valid = torch.arange(7) < torch.tensor([[7], [1], [4]])
    for training in (True, True, False):
        masked.train(training), plain.train(training)
        padded = torch.randn(3, 3, 7, mels, dtype=torch.float64).requires_grad_()  # the padding holds something too
        packed = padded.detach().permute(0, 2, 3, 1)[valid].reshape(-1, 3).requires_grad_()
        output = masked(padded, valid[:, None, :, None])
        expected = plain(packed)
        assert not output.permute(0, 2, 3, 1)[~valid].any()
        torch.testing.assert_close(output.permute(0, 2, 3, 1)[valid].reshape(-1, 3), expected)
        output.sin().sum().backward()
        expected.sin().sum().backward()
        assert not padded.grad.permute(0, 2, 3, 1)[~valid].any()
        torch.testing.assert_close(padded.grad.permute(0, 2, 3, 1)[valid].reshape(-1, 3), packed.grad)
        same_statistics(masked, plain)


def test_statistics_of_half_precision_are_in_float32() -> None:
    masked, plain = MaskedBatchNorm(2), nn.BatchNorm1d(2)
    hidden = (torch.randn(64, 2, 500, generator=torch.Generator().manual_seed(0)) + 5).bfloat16()
    output, expected = masked(hidden, torch.ones(64, 1, 500, dtype=torch.bool)), plain(hidden)
    assert output.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(masked.running_mean, plain.running_mean)


def test_a_clip_has_the_same_frames_alone_and_padded() -> None:
    for layers in ("last", "weighted"):
        encoder = small()
        encoder.layers = layers
        encoder.layer_weights = nn.Parameter(torch.randn(4)) if layers == "weighted" else None
        batch = clips()
        frames, mask = encode(encoder, batch, LENGTHS)
        wider, _ = encode(encoder, nn.functional.pad(batch, (0, 7777), value=9.0), LENGTHS)
        torch.testing.assert_close(wider[:, : frames.shape[1]], frames, atol=1e-5, rtol=0)
        assert not frames[~mask].any()
        for row, length in enumerate(LENGTHS.tolist()):
            alone, its_mask = encode(encoder, batch[row : row + 1, :length], LENGTHS[row : row + 1])
            assert its_mask.all() and alone.shape[1] == mask[row].sum()
            torch.testing.assert_close(frames[row, mask[row]], alone[0], atol=1e-5, rtol=0)


def test_training_on_silence_and_on_a_single_sample_stays_finite() -> None:
    for lengths in ([4000, 1, 640], [1, 1]):
        encoder = small().train()
        frames, _ = encoder(torch.zeros(len(lengths), max(lengths)), torch.tensor(lengths))
        frames.square().sum().backward()
        gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
        assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
        silent, mask = encode(encoder.eval(), torch.zeros(len(lengths), max(lengths)), torch.tensor(lengths))
        assert torch.isfinite(silent).all() and mask.sum(1).min() >= 1


def test_a_frame_every_80_ms_and_at_most_ten_million_parameters() -> None:
    encoder = load_audio_encoder("compact")
    assert encoder.frame_seconds == 0.08
    assert (encoder.output_dim, encoder.min_samples) == (192, 1)
    assert 0 < sum(parameter.numel() for parameter in encoder.parameters()) <= 10_000_000


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    encoder, batch = small(), clips()
    assert torch.equal(encode(encoder, batch, LENGTHS)[0], encode(encoder, batch, LENGTHS)[0])
    encoder.train()
    seen = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seen.append(encode(encoder, batch, LENGTHS)[0])
    assert torch.equal(seen[0], seen[1])
    assert seen[0].shape != seen[2].shape or not torch.equal(seen[0], seen[2])


def test_frames_follow_the_tempo_while_training() -> None:
    lengths = torch.full((40,), 32000)
    batch = torch.randn(40, 32000, generator=torch.Generator().manual_seed(0))
    encoder = load_audio_encoder("compact", options={**SMALL, "speed_range": 0.25}).train()
    usual = encode(encoder.eval(), batch, lengths)[1].sum(1)
    counts = encode(encoder.train(), batch, lengths)[1].sum(1)
    assert (counts >= usual / 1.25 - 1).all() and (counts <= usual / 0.75 + 1).all()
    assert counts.min() < usual[0] < counts.max()
    still = load_audio_encoder("compact", options={**SMALL, "speed_range": 0.0}).train()
    assert torch.equal(encode(still, batch, lengths)[1].sum(1), usual)


def test_nothing_is_varied_when_every_range_is_zero_or_it_is_switched_off() -> None:
    for options in (STILL, {"dropout": 0.0, "apply_spec_augment": False}):
        encoder = small(**options).train()
        frames, again = encode(encoder, clips(), LENGTHS)[0], encode(encoder, clips(), LENGTHS)[0]
        torch.testing.assert_close(frames, again, atol=1e-6, rtol=0)


def test_every_parameter_has_a_gradient() -> None:
    encoder = small().train()
    encoder(clips(), LENGTHS)[0].square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_autocast_trains_in_bfloat16() -> None:
    encoder = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        frames, _ = encoder(clips(), LENGTHS)
    frames.float().square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
    exact, mask = encode(encoder.eval(), clips(), LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = encode(encoder, clips(), LENGTHS)
    difference = (rounded.float() - exact)[mask]
    assert difference.norm() < 0.05 * exact[mask].norm()


def test_hidden_states_go_from_the_first_block_to_the_output() -> None:
    model = small().model
    with torch.no_grad():
        output = model(clips(), output_hidden_states=True)
        plain = model(clips())
    assert len(output.hidden_states) == model.config.num_hidden_layers + 1
    assert all(state.shape == (6, 13, 12) for state in output.hidden_states)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert plain.hidden_states is None and torch.equal(plain.last_hidden_state, output.last_hidden_state)
    block = model.layers[1](output.hidden_states[1].transpose(1, 2), torch.ones(6, 1, 13, dtype=torch.bool))
    torch.testing.assert_close(block.transpose(1, 2), output.hidden_states[2])


def test_it_comes_back_from_a_folder_as_any_encoder_does(tmp_path: Path) -> None:
    encoder = small(kernel_size=5, speed_range=0.05)
    encoder.model.save_pretrained(tmp_path)
    encoder.feature_extractor.save_pretrained(tmp_path)
    again = SpeechEncoder.from_pretrained(str(tmp_path)).eval()
    assert isinstance(again.model, CompactModel) and not again.do_normalize
    assert torch.equal(encode(again, clips(), LENGTHS)[0], encode(encoder, clips(), LENGTHS)[0])
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, CompactConfig) and (config.kernel_size, config.speed_range) == (5, 0.05)
    assert type(AutoModel.from_pretrained(tmp_path)) is CompactModel
    assert type(load_audio_encoder(str(tmp_path), "weighted").model) is CompactModel


PARTS = {
    "none": (),
    "front_end": ("stem.",),
    "1": ("stem.", "projection.", "norm.", "layers.0."),
    "3": ("stem.", "projection.", "norm.", "layers."),
    "all": ("",),
}


@pytest.mark.parametrize("what", PARTS)
def test_frozen_parts_never_move(what: str) -> None:
    encoder = small()
    encoder.freeze(what)
    encoder.train()
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    trained = {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in encoder.model.named_parameters() if not name.startswith(PARTS[what])}
    frames, _ = encoder(clips(), LENGTHS)
    if trained:
        frames.square().sum().backward()
        torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 0.1).step()
    moved = {name for name, value in encoder.model.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved == trained | {name for name in statistics if not name.startswith(PARTS[what])}


@pytest.mark.parametrize("count", [1, 3])
def test_frozen_layers_hear_every_clip_as_it_is(count: int) -> None:
    encoder = small(dropout=0.5)
    with torch.no_grad():
        evaluated = encoder.model(clips(), output_hidden_states=True).hidden_states
        encoder.freeze(count)
        encoder.train()
        trained = encoder.model(clips(), output_hidden_states=True).hidden_states
    assert all(torch.equal(*pair) for pair in zip(evaluated[: count + 1], trained[: count + 1], strict=True))
    assert count == 3 or not torch.equal(evaluated[-1], trained[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hiden_size": 8}, "did you mean 'hidden_size'?"),
        ({"model_type": "x"}, "model_type"),
        ({"hidden_size": 0}, "hidden_size must be a whole number above 0, not 0"),
        ({"hidden_size": "big"}, "not 'big'"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"window": 2000}, "n_fft (1024) must hold the window (2000)"),
        ({"speed_range": 1.0}, "speed_range must be at least 0 and below 1"),
        ({"dropout": 3}, "dropout"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    assert message in error_of(load_audio_encoder, "compact", options=options)


def test_layers_that_are_not_there_cannot_be_frozen() -> None:
    assert "choose 0 to 4" in error_of(load_audio_encoder("compact").freeze, 5)
