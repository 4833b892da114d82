"""Frames that a caller hides, and the frames of one layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import HOP, RECEPTIVE_FIELD, SPEECH_FORMS, save_speech_encoder
from torch import Tensor

from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError

SAMPLES = (RECEPTIVE_FIELD + 29 * HOP, RECEPTIVE_FIELD + 11 * HOP)
LENGTHS = torch.tensor(SAMPLES)
OURS = {
    "compact": {"hidden_size": 12, "num_hidden_layers": 2, "stem_channels": 4, "n_mels": 16, "window": 160, "hop": 80},
    "mockingjay": {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "n_mels": 16},
    "npc": {"hidden_size": 12, "n_mels": 16},
}  # fmt: skip


def waveforms(seed: int = 0) -> Tensor:
    return torch.randn(2, SAMPLES[0], generator=torch.Generator().manual_seed(seed))


def encoder_of(folder: Path, family: str, norm: str = "group", **changes: object) -> SpeechEncoder:
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(folder, family, norm, **changes)))
    encoder.expect_hidden_frames()
    return encoder


def some(encoder: SpeechEncoder, lengths: Tensor = LENGTHS) -> Tensor:
    frames = int(encoder.frame_counts(lengths).max())
    return torch.rand(len(lengths), frames, generator=torch.Generator().manual_seed(1)) < 0.4


@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_the_layers_do_not_see_what_is_hidden(tmp_path: Path, family: str, norm: str) -> None:
    """What the front end makes of hidden frames may be anything; what it makes of others may not."""
    encoder = encoder_of(tmp_path, family, norm).eval()
    features, counts = encoder.front_end(waveforms(), LENGTHS)
    hidden = some(encoder)
    expected, _ = encoder.from_front_end(features, counts, hidden)
    elsewhere = torch.where(hidden.unsqueeze(-1), torch.randn_like(features), features)
    torch.testing.assert_close(encoder.from_front_end(elsewhere, counts, hidden)[0], expected)
    seen = torch.where(hidden.unsqueeze(-1), features, features + 1 + torch.randn_like(features))
    assert not torch.allclose(encoder.from_front_end(seen, counts, hidden)[0], expected, atol=1e-3)
    torch.testing.assert_close(encoder(waveforms(), LENGTHS, hidden)[0], expected)


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_hidden_frames_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    encoder = encoder_of(tmp_path, family, "layer", do_normalize=False).eval()
    hidden, clip = some(encoder)[:1], waveforms()[:1]
    with torch.no_grad():
        expected = encoder.model(clip, mask_time_indices=hidden.clone())
    assert not encoder.model.config.apply_spec_augment  # so transformers hides nothing, and neither would we
    plain, _ = encoder(clip, LENGTHS[:1])
    torch.testing.assert_close(plain, expected.last_hidden_state)
    encoder.model.config.apply_spec_augment = True
    with torch.no_grad():
        expected = encoder.model(clip, mask_time_indices=hidden.clone())
    torch.testing.assert_close(encoder(clip, LENGTHS[:1], hidden)[0], expected.last_hidden_state)


@pytest.mark.parametrize("name", OURS)
def test_our_own_encoders_hide_frames_too(name: str) -> None:
    torch.manual_seed(0)
    encoder = load_audio_encoder(name, options=OURS[name])
    encoder.expect_hidden_frames()
    encoder.eval()
    lengths = torch.tensor([16000, 9000])
    loud, other = torch.randn(2, 16000), torch.randn(2, 16000)
    everything = torch.ones_like(some(encoder, lengths))
    frames, mask = encoder(loud, lengths, everything)
    torch.testing.assert_close(encoder(other, lengths, everything)[0], frames)
    assert torch.equal(mask.sum(1), encoder.frame_counts(lengths))
    nothing = torch.zeros_like(everything)
    torch.testing.assert_close(encoder(loud, lengths, nothing)[0], encoder(loud, lengths)[0])
    assert not torch.allclose(encoder(loud, lengths)[0], frames, atol=1e-3)


def test_no_tempo_changes_while_frames_are_hidden() -> None:
    encoder = load_audio_encoder("compact", options={**OURS["compact"], "dropout": 0.0})
    encoder.expect_hidden_frames()
    encoder.train()
    lengths = torch.tensor([16000, 9000])
    for _ in range(5):
        _, mask = encoder(torch.randn(2, 16000), lengths, some(encoder, lengths))
        assert torch.equal(mask.sum(1), encoder.frame_counts(lengths))


def test_saving_keeps_the_augmentation_of_its_own(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path / "one", "hubert", apply_spec_augment=True)
    assert not encoder.model.config.apply_spec_augment
    encoder.save_pretrained(tmp_path / "two")
    assert not encoder.model.config.apply_spec_augment
    assert SpeechEncoder.from_pretrained(str(tmp_path / "two")).model.config.apply_spec_augment


def test_what_stands_for_hidden_frames_is_learnt_and_nothing_else_is_hidden(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, "hubert", mask_time_prob=0.9, mask_feature_prob=0.9, hidden_dropout=0.0,
                         attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0).train()  # fmt: skip
    first, second = (encoder(waveforms(), LENGTHS, some(encoder))[0] for _ in range(2))
    torch.testing.assert_close(first, second)
    first.square().sum().backward()
    assert encoder.model.masked_spec_embed.grad.abs().sum() > 0
    assert encoder.model.config.mask_feature_prob == 0.9  # as it was, for whoever saves the model


def test_short_clips_in_training(tmp_path: Path) -> None:
    """A batch is padded to a span of SpecAugment's, which is more frames than these clips have."""
    encoder = encoder_of(tmp_path, "wavlm", mask_time_prob=0.5, mask_time_length=10).train()
    lengths = torch.tensor([RECEPTIVE_FIELD + HOP, RECEPTIVE_FIELD])
    frames, mask = encoder(waveforms()[:, : int(lengths[0])], lengths, torch.tensor([[True, False], [True, False]]))
    assert mask.sum(1).tolist() == [2, 1] and frames.isfinite().all()


def test_an_encoder_without_weights_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match="mask_time_prob above 0"):
        encoder_of(tmp_path, "hubert", mask_time_prob=0.0, mask_feature_prob=0.0)


@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_the_frames_of_a_layer_are_transformers_hidden_states(tmp_path: Path, family: str, norm: str) -> None:
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path, family, norm, do_normalize=False))).eval()
    clip = waveforms()[:1]
    with torch.no_grad():
        output = encoder.model(clip, output_hidden_states=True)
    for layer in (0, 1, -3):
        frames, mask = encoder.layer_frames(clip, LENGTHS[:1], layer)
        torch.testing.assert_close(frames, output.hidden_states[layer])
        assert mask.all()
    torch.testing.assert_close(encoder.layer_frames(clip, LENGTHS[:1], -1)[0], output.last_hidden_state)
    both, mask = encoder.layer_frames(waveforms(), LENGTHS, 2)
    assert mask.sum(1).tolist() == [30, 12] and not both[1, 12:].any()
    for layer in (4, -5):
        with pytest.raises(GemoclapError, match="give 0 to 3, or -1 for the last to -4"):
            encoder.layer_frames(clip, LENGTHS[:1], layer)
