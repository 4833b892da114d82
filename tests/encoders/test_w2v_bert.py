"""w2v-BERT from raw waveforms against transformers' own use of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import save_w2v_bert, together
from torch import Tensor
from transformers import AutoModel, SeamlessM4TFeatureExtractor, Wav2Vec2BertForCTC, Wav2Vec2BertModel

from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.w2v_bert import log_mel
from gemoclap.errors import GemoclapError

LENGTHS = (560, 719, 720, 880, 8000, 20077)
"""Samples: the fewest with a frame, and both an odd and an even number of mel frames."""


def clip(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Noise on an offset that gets quieter."""
    rng = np.random.default_rng(seed)
    return (0.02 + level * rng.normal(size=samples) * np.geomspace(1, 1e-3, samples)).astype(np.float32)


def encoder_of(folder: Path, layers: Any = "last", **changes: Any) -> SpeechEncoder:
    return load_audio_encoder(str(save_w2v_bert(folder, **changes)), layers).eval()


def in_transformers(folder: Path, samples: np.ndarray) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return features, hidden states and mask that transformers has of a clip."""
    extractor = SeamlessM4TFeatureExtractor.from_pretrained(folder)
    given = extractor(samples, sampling_rate=16000, return_tensors="pt")
    model = Wav2Vec2BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**given, output_hidden_states=True).hidden_states
    return given["input_features"][0], [state[0] for state in states], given["attention_mask"][0].bool()


def test_features_and_layers_are_those_of_transformers(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    clips = [clip(samples, seed) for seed, samples in enumerate(LENGTHS)]
    waveforms, lengths = together(*clips)
    features, mask = log_mel(waveforms, lengths)
    layers = [encoder.layer_frames(waveforms, lengths, layer) for layer in range(4)]
    for row, one in enumerate(clips):
        expected, states, valid = in_transformers(tmp_path, one)
        assert int(valid.sum()) == int(mask[row].sum()) == int(encoder.frame_counts(lengths)[row])
        torch.testing.assert_close(features[row][mask[row]], expected[valid], atol=1e-4, rtol=1e-4)
        for (frames, layer_mask), state in zip(layers, states, strict=True):
            assert torch.equal(layer_mask, mask)
            torch.testing.assert_close(frames[row][mask[row]], state[valid], atol=1e-4, rtol=1e-4)
            assert not frames[row][~mask[row]].any()


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(tmp_path: Path, training: bool) -> None:
    still = {name: 0.0 for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")}
    encoder = encoder_of(tmp_path, conformer_conv_dropout=0.0, apply_spec_augment=False, **still).train(training)
    clips = [clip(20077, 0), clip(9000, 1, level=0.9), clip(721, 2), clip(1, 3)]
    frames, mask = encoder(*together(*clips))
    for row, valid, one in zip(frames, mask, clips, strict=True):
        alone, all_valid = encoder(*together(one))
        assert all_valid.all() and int(valid.sum()) == alone.shape[1]
        torch.testing.assert_close(row[valid], alone[0], atol=1e-5, rtol=0)


def test_the_level_makes_no_difference_and_silence_is_finite(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    loud, quiet = clip(16000), clip(16000) / 64
    torch.testing.assert_close(encoder(*together(quiet))[0], encoder(*together(loud))[0], atol=1e-3, rtol=0)
    assert encoder(torch.zeros(2, 16000), torch.tensor([16000, 300]))[0].isfinite().all()


def test_hidden_frames_are_hidden(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, mask_time_prob=0.0)  # without SpecAugment a checkpoint has no vector for them
    encoder.expect_hidden_frames()
    waveforms, lengths = together(clip(20077), clip(9000, 1))
    hidden = torch.zeros(2, int(encoder.frame_counts(lengths).max()), dtype=torch.bool)
    frames, _ = encoder(waveforms, lengths, hidden)
    torch.testing.assert_close(frames, encoder(waveforms, lengths)[0])
    hidden[0, 10:20] = True
    changed, _ = encoder(waveforms, lengths, hidden)
    assert not torch.allclose(changed[0, 10:20], frames[0, 10:20], atol=1e-3)
    torch.testing.assert_close(changed[1], frames[1])
    changed.square().sum().backward()
    assert encoder.model.masked_spec_embed.grad.abs().sum() > 0


@pytest.mark.parametrize("what", ["front_end", 1])
def test_training_on_what_is_kept_trains_the_layers(tmp_path: Path, what: Any) -> None:
    encoder = encoder_of(tmp_path)
    encoder.freeze(what)
    waveforms, lengths = together(clip(20077), clip(9000, 1))
    kept, counts = encoder.frozen_frames(waveforms, lengths)
    assert kept.shape[-1] == (160 if what == "front_end" else 16)
    frames, _ = encoder.from_frozen_frames(kept, counts)
    frames.square().sum().backward()
    trained = {name for name, one in encoder.model.named_parameters() if one.grad is not None and one.grad.any()}
    assert any("layers.2." in name for name in trained)
    assert any("layers.0." in name for name in trained) == (what == "front_end")


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        encoder = encoder_of(tmp_path, hidden_dropout=0.0, conformer_conv_dropout=0.0, feat_proj_dropout=0.0).train()
        encoder.switch_off_augmentation()
        if checkpointing:
            encoder.checkpoint_gradients()
        encoder(*together(clip(9000), clip(5000, 1)))[0].square().sum().backward()
        return {name: one.grad for name, one in encoder.model.named_parameters() if one.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys() and len(plain) > 20
    for name, expected in plain.items():
        torch.testing.assert_close(checkpointed[name], expected, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_with_a_head_is_loaded_without_it_and_saved_again(tmp_path: Path) -> None:
    folder = save_w2v_bert(tmp_path / "hub", model_class=Wav2Vec2BertForCTC, vocab_size=7)
    encoder = load_audio_encoder(str(folder), 2).eval()
    encoder.save_pretrained(tmp_path / "own")
    again = load_audio_encoder(str(tmp_path / "own")).eval()
    torch.testing.assert_close(again(*together(clip(9000)))[0], encoder(*together(clip(9000)))[0], atol=0, rtol=0)
    assert type(AutoModel.from_pretrained(tmp_path / "own")) is type(encoder.model)
    assert not any("layers.2" in name for name, _ in again.model.named_parameters())


def error_of(folder: Path) -> str:
    with pytest.raises(GemoclapError) as raised:
        load_audio_encoder(str(folder))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_loaded_is_said_in_a_line(tmp_path: Path) -> None:
    folder = save_w2v_bert(tmp_path / "adapter", add_adapter=True)
    assert "add_adapter" in error_of(folder)
    folder = save_w2v_bert(tmp_path / "bands")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "stride": 4}))
    assert "says stride 4, and its model takes 2" in error_of(folder)
