"""Whisper's encoder against transformers' own, and what is ours around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import save_whisper, together, whisper_config
from torch import Tensor
from transformers import (
    AutoModel,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperForCausalLM,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.whisper import Windows, log_mel
from gemoclap.errors import GemoclapError

CHECKPOINTS = (WhisperModel, WhisperForConditionalGeneration, WhisperForAudioClassification)


def clip(samples: int = 20077, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Noise whose loudness changes, so that the floor below the loudest value matters."""
    rng = np.random.default_rng(seed)
    return (level * rng.normal(size=samples) * np.geomspace(1, 1e-5, samples)).astype(np.float32)


def encoder_of(folder: Path, layers: Any = "last", options: dict | None = None, **changes: Any) -> SpeechEncoder:
    return load_audio_encoder(str(save_whisper(folder, **changes)), layers, options).eval()


def plain_states(folder: Path, samples: np.ndarray, padding: str) -> list[Tensor]:
    """Return the hidden states of transformers' encoder for a clip; unpadded, its positions are cut to the clip."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(samples, sampling_rate=16000, padding=padding, return_tensors="pt").input_features
    whole = WhisperModel.from_pretrained(folder).encoder
    config = whole.config
    config.max_source_positions = features.shape[-1] // 2
    encoder = WhisperEncoder(config).eval()
    state = whole.state_dict()
    state["embed_positions.weight"] = state["embed_positions.weight"][: config.max_source_positions]
    encoder.load_state_dict(state)
    with torch.no_grad():
        output = encoder(features, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


@pytest.mark.parametrize("bands", [80, 128])
def test_log_mel_is_that_of_the_feature_extractor(bands: int) -> None:
    extractor = WhisperFeatureExtractor(feature_size=bands)
    clips = [clip(samples, seed) for seed, samples in enumerate((320, 479, 16000, 20077))]
    waveforms, lengths = together(*clips)
    frames, mask = log_mel(waveforms, lengths, bands)
    for row, valid, one in zip(frames, mask, clips, strict=True):
        expected = extractor(one, sampling_rate=16000, padding="do_not_pad", return_tensors="pt").input_features[0]
        torch.testing.assert_close(row[:, valid], expected, atol=1e-4, rtol=0)
        assert not row[:, ~valid].any()


@pytest.mark.parametrize("model_class", CHECKPOINTS)
def test_the_padded_form_is_transformers_own(tmp_path: Path, model_class: Any) -> None:
    encoder = encoder_of(tmp_path, options={"padded": True}, model_class=model_class)
    expected = plain_states(tmp_path, clip(), "max_length")
    with torch.no_grad():
        frames, mask = encoder(*together(clip()))
        for layer in range(4):
            found, _ = encoder.layer_frames(*together(clip()), layer)
            torch.testing.assert_close(found, expected[layer], atol=1e-4, rtol=0)
    assert mask.shape == (1, 1500) and mask.all()
    torch.testing.assert_close(frames, expected[-1], atol=1e-4, rtol=0)


def test_a_clip_as_long_as_it_is_equals_transformers_with_positions_cut(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    samples = clip(16000 + 320)
    expected = plain_states(tmp_path, samples, "do_not_pad")
    with torch.no_grad():
        for layer in range(4):
            found, _ = encoder.layer_frames(*together(samples), layer)
            torch.testing.assert_close(found, expected[layer], atol=1e-4, rtol=0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(tmp_path: Path, padded: bool, training: bool) -> None:
    encoder = encoder_of(tmp_path, options={"padded": padded}).train(training)
    clips = [clip(20077, 0), clip(9000, 1, level=0.9), clip(321, 2), clip(1, 3)]
    frames, mask = encoder(*together(*clips))
    for row, valid, one in zip(frames, mask, clips, strict=True):
        alone, all_valid = encoder(*together(one))
        assert all_valid.all() and int(valid.sum()) == alone.shape[1]
        torch.testing.assert_close(row[valid], alone[0], atol=1e-5, rtol=0)
        assert not row[~valid].any()


def test_gradients_of_a_clip_do_not_depend_on_what_is_beside_it(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path).train()
    one, other = clip(9000, 1), clip(20077, 0)

    def gradient(*clips: np.ndarray) -> Tensor:
        encoder.zero_grad()
        encoder(*together(*clips))[0][0].square().sum().backward()
        return encoder.model.feature_extractor.conv1.weight.grad.clone()

    torch.testing.assert_close(gradient(one, other), gradient(one), atol=1e-4, rtol=1e-4)


def test_frames_are_counted_as_they_come(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    assert (encoder.min_samples, encoder.hop_samples, encoder.frame_seconds) == (320, 320, 0.02)
    for samples in (1, 319, 320, 321, 479, 480, 640, 641, 5000):
        frames, _ = encoder(*together(clip(samples)))
        assert frames.shape[1] == int(encoder.frame_counts(torch.tensor([samples]))), samples


def test_windows_against_a_loop() -> None:
    counts = torch.tensor([7, 23, 10, 11, 1])
    mask = valid_positions(counts, 23)
    windows = Windows.of(mask, 10)
    frames = torch.arange(5 * 23.0).view(5, 23, 1)
    expected = []
    for row, count in zip(frames, counts.tolist(), strict=True):
        number = -(-count // 10)
        size = -(-count // number)
        expected += [row[start : min(start + size, count)] for start in range(0, count, size)]
    cut = windows.cut(frames)
    assert [valid.sum() for valid in windows.mask] == [len(one) for one in expected]
    for row, valid, one in zip(cut, windows.mask, expected, strict=True):
        assert torch.equal(row[valid], one)
    assert torch.equal(windows.join(cut, frames), frames.masked_fill(~mask.unsqueeze(-1), 0))


def test_a_long_clip_is_encoded_in_windows(tmp_path: Path) -> None:
    """Positions for one second: a clip of 2.5 s makes three windows, each of which sees itself alone."""
    encoder = encoder_of(tmp_path, max_source_positions=50)
    samples = clip(40000)
    frames, mask = encoder(*together(samples, clip(9000, 1)))
    assert mask.sum(1).tolist() == [125, 28]
    start, _ = encoder.front_end(*together(samples))
    for first in (0, 42, 84):
        window = start[:, first : first + 42]
        inner = encoder.model.encoder(window, torch.ones(window.shape[:2], dtype=torch.bool)).last_hidden_state
        torch.testing.assert_close(frames[:1, first : first + 42], inner, atol=1e-5, rtol=0)
    states, _ = encoder.layer_frames(*together(samples), 1)
    assert states.shape == (1, 125, 16) and states.isfinite().all()


def test_ten_minutes_pass(tmp_path: Path) -> None:
    samples = torch.randn(1, 600 * 16000)
    with torch.no_grad():
        frames, mask = encoder_of(tmp_path)(samples, torch.tensor([600 * 16000]))
    assert frames.shape == (1, 30000, 16) and mask.all() and frames.isfinite().all()


def test_spec_augment_is_that_of_transformers(tmp_path: Path) -> None:
    changes = {"apply_spec_augment": True, "mask_time_prob": 0.3, "mask_feature_prob": 0.3}
    encoder = encoder_of(tmp_path, **changes).train()
    whole = WhisperModel.from_pretrained(tmp_path).train()
    samples = clip(16000)
    mel, _ = log_mel(*together(samples), 80)
    np.random.seed(3)
    expected = whole._mask_input_features(mel.clone())
    np.random.seed(3)
    found, _ = encoder.model.feature_extractor._mel(*together(samples))
    assert not torch.equal(mel, expected)
    torch.testing.assert_close(found, expected)
    encoder.freeze(2)  # what is frozen is to be the same in every step
    assert torch.equal(encoder.model.feature_extractor._mel(*together(samples))[0], mel)


@pytest.mark.parametrize("augments", [False, True])
def test_a_batch_of_short_clips_in_training(tmp_path: Path, augments: bool) -> None:
    """A span of SpecAugment is longer than these clips, whether or not it is at work."""
    encoder = encoder_of(tmp_path, apply_spec_augment=augments, mask_time_length=100).train()
    waveforms, lengths = together(clip(1600), clip(1000, 1))
    frames, mask = encoder(waveforms, lengths)
    assert mask.sum(1).tolist() == [5, 3] and frames.isfinite().all()
    encoder.expect_hidden_frames()
    hidden = torch.tensor([[True, False, False, False, False], [False, True, False, False, False]])
    frames, mask = encoder(waveforms, lengths, hidden)
    assert mask.sum(1).tolist() == [5, 3] and frames.isfinite().all()


def test_a_frozen_front_end_is_not_augmented(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, apply_spec_augment=True).train()
    for what, expected in (("none", True), ("front_end", False), (0, False), ("none", True)):
        encoder.freeze(what)
        assert encoder.model.config.apply_spec_augment is expected


def test_the_last_layers_are_not_built(tmp_path: Path) -> None:
    whole = encoder_of(tmp_path)
    third = load_audio_encoder(str(tmp_path), 2).eval()
    assert len(third.model.encoder.layers) == 2
    torch.testing.assert_close(third(*together(clip()))[0], whole.layer_frames(*together(clip()), 2)[0])
    kept = load_audio_encoder(str(tmp_path), "weighted", keep_layers=2).eval()
    with torch.no_grad():
        kept.layer_weights.copy_(torch.tensor([0.0, 50.0, 0.0]))
    torch.testing.assert_close(kept(*together(clip()))[0], whole.layer_frames(*together(clip()), 1)[0])


def test_positions_are_never_trained(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    for what in ("none", "front_end", 2, "all", "none"):
        encoder.freeze(what)
        assert not encoder.model.encoder.embed_positions.weight.requires_grad
    assert encoder.model.encoder.layers[0].fc1.weight.requires_grad


def test_freezing_layers_leaves_those_above(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    encoder.freeze(2)
    trained = {name.split(".layers.")[-1][0] for name, one in encoder.model.named_parameters() if one.requires_grad}
    assert trained == {"2", "e"}  # the last layer, and the norm behind it
    encoder.train()
    assert not encoder.model.encoder.layers[1].training and encoder.model.encoder.layers[2].training


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        encoder = encoder_of(tmp_path).train()
        if checkpointing:
            encoder.checkpoint_gradients()
        encoder(*together(clip(), clip(9000, 1)))[0].square().sum().backward()
        return {name: one.grad for name, one in encoder.model.named_parameters() if one.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(checkpointed[name], expected, atol=1e-4, rtol=1e-4)


def test_hidden_frames_are_hidden(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    encoder.expect_hidden_frames()
    waveforms, lengths = together(clip(), clip(9000, 1))
    hidden = torch.zeros(2, int(encoder.frame_counts(lengths).max()), dtype=torch.bool)
    hidden[0, 10:20] = True
    frames, _ = encoder(waveforms, lengths, hidden)
    changed = waveforms.clone()
    changed[0, 11 * 320 : 18 * 320] = 0.0  # within what is hidden, whatever the reach of convolutions and level
    torch.testing.assert_close(encoder(changed, lengths, hidden)[0], frames, atol=1e-4, rtol=0)
    assert not torch.allclose(encoder(changed, lengths)[0], encoder(waveforms, lengths)[0], atol=1e-2)
    encoder.train()
    again, _ = encoder(waveforms, lengths, hidden)  # nothing else is hidden, in training either
    torch.testing.assert_close(again, frames)
    again.square().sum().backward()
    assert encoder.model.masked_spec_embed.grad.abs().sum() > 0


def test_a_saved_encoder_has_no_decoder_and_loads_again(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path / "hub", layers=2)
    encoder.save_pretrained(tmp_path / "own")
    names = load_file(tmp_path / "own" / "model.safetensors").keys()
    assert not any("decoder" in name or "layers.2" in name for name in names)
    again = load_audio_encoder(str(tmp_path / "own")).eval()
    torch.testing.assert_close(again(*together(clip()))[0], encoder(*together(clip()))[0], atol=0, rtol=0)
    plain = AutoModel.from_pretrained(tmp_path / "own").eval()
    assert type(plain) is type(encoder.model)


def error_of(folder: Path, **options: Any) -> str:
    with pytest.raises(GemoclapError) as raised:
        load_audio_encoder(str(folder), **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_loaded_is_said_in_a_line(tmp_path: Path) -> None:
    save_whisper(tmp_path / "decoder", model_class=WhisperForCausalLM)
    assert "its weights lack" in error_of(tmp_path / "decoder")
    save_whisper(tmp_path / "bands")
    WhisperFeatureExtractor(feature_size=128).save_pretrained(tmp_path / "bands")
    assert "feature_size 128, and its model takes 80" in error_of(tmp_path / "bands")
    save_whisper(tmp_path / "good")
    assert "choose 1 to 3" in error_of(tmp_path / "good", keep_layers=4)
    assert "there is no layer 4; give 0 to 3" in error_of(tmp_path / "good", layers=4)
    assert "there is no layer -1; give 0 to 3" in error_of(tmp_path / "good", layers=-1)
    kept = error_of(tmp_path / "good", layers=3, keep_layers=2)
    assert "there is no layer 3, as model.keep_layers is 2; give 0 to 2" in kept
    assert "padded is true or false (here False), not 'yes'" in error_of(tmp_path / "good", options={"padded": "yes"})
    assert "dropout is a number (here 0.0), not 'x'" in error_of(tmp_path / "good", options={"dropout": "x"})
    with pytest.raises(GemoclapError, match=r"3 layers, but 2 of the audio encoder are built \(model.layers"):
        load_audio_encoder(str(tmp_path / "good"), 2).freeze(3)
    assert "has no 'paded' to change (did you mean 'padded'?)" in error_of(tmp_path / "good", options={"paded": True})
    assert "has no 'd_model'" in error_of(tmp_path / "good", options={"d_model": 8})
    (tmp_path / "good" / "preprocessor_config.json").unlink()
    load_audio_encoder(str(tmp_path / "good"))  # what a Whisper hears is known


def test_the_bands_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, num_mel_bins=128)
    assert encoder.model.feature_extractor.conv1.in_channels == 128
    assert json.loads((tmp_path / "config.json").read_text())["num_mel_bins"] == 128
    assert encoder(*together(clip()))[0].isfinite().all()


def test_positions_made_anew_are_whispers(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    fresh = SpeechEncoder.from_config(encoder.model.config, do_normalize=False)
    expected = WhisperEncoder(whisper_config()).embed_positions.weight
    torch.testing.assert_close(fresh.model.encoder.embed_positions.weight, expected, atol=1e-5, rtol=0)
