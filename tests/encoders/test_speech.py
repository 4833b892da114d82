"""SpeechEncoder against plain transformers, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import HOP, RECEPTIVE_FIELD, SPEECH_FORMS, save_speech_encoder, speech_config
from torch import Tensor
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCTC,
    AutoModelForPreTraining,
    BertConfig,
    WhisperConfig,
)

from gemoclap.encoders.framing import normalize_clips
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError


def waveform(samples: int = 2500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.05, 0.3, samples).astype(np.float32)


def encode(encoder: SpeechEncoder, clip: np.ndarray) -> Tensor:
    with torch.no_grad():
        frames, mask = encoder(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    assert mask.all()
    return frames


def plain_output(folder: Path, clip: np.ndarray, **options: Any) -> Any:
    """Return what transformers answers for a clip alone, its own feature extractor in front."""
    inputs = AutoFeatureExtractor.from_pretrained(folder)(clip, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(**inputs, **options)


def error_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_a_clip_alone_equals_transformers(tmp_path: Path, family: str, norm: str, do_normalize: bool) -> None:
    folder = save_speech_encoder(tmp_path, family, norm, do_normalize)
    encoder = SpeechEncoder.from_pretrained(str(folder)).eval()
    assert encoder.do_normalize is do_normalize
    for samples in (RECEPTIVE_FIELD, 2500):
        clip = waveform(samples)
        expected = plain_output(folder, clip).last_hidden_state
        torch.testing.assert_close(encode(encoder, clip), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_weighted_layers_start_as_their_mean(tmp_path: Path, family: str, norm: str) -> None:
    folder = save_speech_encoder(tmp_path, family, norm, layerdrop=0.5)
    encoder = SpeechEncoder.from_pretrained(str(folder), layers="weighted").eval()
    clip = waveform()
    plain = plain_output(folder, clip, output_hidden_states=True)
    states = torch.stack([*plain.hidden_states[:-1], plain.last_hidden_state])
    torch.testing.assert_close(encode(encoder, clip), states.mean(0), atol=1e-5, rtol=0)
    with torch.no_grad():
        encoder.layer_weights.copy_(torch.tensor([0.0, 50.0, 0.0, 0.0]))
    torch.testing.assert_close(encode(encoder, clip), states[1], atol=1e-5, rtol=0)
    encoder.train()
    frames, _ = encoder(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    frames.square().sum().backward()
    assert encoder.layer_weights.grad is not None


@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_a_saved_model_loads_in_plain_transformers(tmp_path: Path, family: str, norm: str) -> None:
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path / "first", family, norm))).eval()
    encoder.model.save_pretrained(tmp_path / "again")
    encoder.feature_extractor.save_pretrained(tmp_path / "again")
    first, again = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "again"))
    assert first.keys() == again.keys()
    clip = waveform()
    expected = plain_output(tmp_path / "again", clip).last_hidden_state
    torch.testing.assert_close(encode(encoder, clip), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "auto_class"),
    [("wav2vec2", AutoModelForPreTraining), ("hubert", AutoModelForCTC), ("wavlm", AutoModelForCTC),
     ("data2vec-audio", AutoModelForCTC)],
)  # fmt: skip
def test_checkpoints_with_a_head(tmp_path: Path, family: str, auto_class: Any) -> None:
    changes = {"codevector_dim": 8, "proj_codevector_dim": 8, "num_codevectors_per_group": 4, "vocab_size": 12}
    folder = save_speech_encoder(tmp_path, family, "group", auto_class=auto_class, **changes)
    whole = auto_class.from_pretrained(folder).eval()
    clip = waveform()
    inputs = AutoFeatureExtractor.from_pretrained(folder)(clip, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = whole.base_model(**inputs).last_hidden_state
    encoder = SpeechEncoder.from_pretrained(str(folder)).eval()
    torch.testing.assert_close(encode(encoder, clip), expected, atol=1e-5, rtol=0)


def test_older_names_of_the_normed_weights(tmp_path: Path) -> None:
    """Checkpoints on the hub hold weight_g and weight_v, under the prefix of the model with a head."""
    expected = encode(SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path))).eval(), waveform())
    weights = load_file(tmp_path / "model.safetensors")
    older = {
        f"wav2vec2.{name.replace('parametrizations.weight.original0', 'weight_g')}".replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in weights.items()
    }
    assert older.keys() != weights.keys()
    assert any(name.endswith("conv.weight_g") for name in older)
    save_file(older, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(encode(SpeechEncoder.from_pretrained(str(tmp_path)).eval(), waveform()), expected)


def test_normalisation_against_numpy_in_float64() -> None:
    clips = [waveform(900, seed=1) + 3.0, waveform(50, seed=2), np.zeros(400, np.float32)]
    batch = torch.full((3, 900), 9.0)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)] = torch.from_numpy(clip)
    normed = normalize_clips(batch, torch.tensor([900, 50, 400]), do_normalize=True)
    for row, clip in enumerate(clips):
        exact = clip.astype(np.float64)
        exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)
        np.testing.assert_allclose(normed[row, : len(clip)], exact, atol=1e-5)
        assert not normed[row, len(clip) :].any()


def test_frames_cover_the_clip_and_are_as_far_apart_as_said() -> None:
    encoder = SpeechEncoder.from_config(speech_config(), do_normalize=True).eval()
    assert encoder.frame_seconds == HOP / 16000
    for samples in (1, RECEPTIVE_FIELD - 1, RECEPTIVE_FIELD, RECEPTIVE_FIELD + HOP - 1, RECEPTIVE_FIELD + HOP, 5000):
        expected = 1 + max(0, samples - RECEPTIVE_FIELD) // HOP
        assert encode(encoder, waveform(samples)).shape == (1, expected, encoder.output_dim)


def test_sizes_of_the_real_front_end() -> None:
    config = speech_config(conv_dim=(4,) * 7, conv_kernel=(10, 3, 3, 3, 3, 2, 2), conv_stride=(5, 2, 2, 2, 2, 2, 2))
    config.num_feat_extract_layers = 7
    encoder = SpeechEncoder.from_config(config, do_normalize=True)
    assert (encoder.min_samples, encoder.frame_seconds) == (400, 0.02)


def trained_names(encoder: SpeechEncoder) -> set[str]:
    return {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_freezing(norm: str) -> None:
    encoder = SpeechEncoder.from_config(speech_config("wav2vec2", norm), do_normalize=True)
    everything = {name for name, _ in encoder.model.named_parameters()}
    assert trained_names(encoder) == everything
    encoder.freeze("front_end")
    assert trained_names(encoder) == {name for name in everything if not name.startswith("feature_extractor.")}
    encoder.freeze(2)
    behind = {name for name in everything if name.startswith("encoder.layers.2.")}
    if norm == "layer":
        behind |= {"encoder.layer_norm.weight", "encoder.layer_norm.bias"}
    assert trained_names(encoder) == behind
    encoder.freeze("0")
    assert trained_names(encoder) == {name for name in everything if not name.startswith("feature_")}
    encoder.freeze("all")
    assert not trained_names(encoder)
    encoder.freeze("none")
    assert trained_names(encoder) == everything


@pytest.mark.parametrize(("what", "constant"), [("front_end", 0), (1, 2), (2, 3), ("all", 4)])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "data2vec-audio"])
def test_frozen_parts_answer_alike_in_training_and_never_move(family: str, what: str | int, constant: int) -> None:
    norm = "layer" if family == "data2vec-audio" else "group"
    changes = {"hidden_dropout": 0.3, "feat_proj_dropout": 0.3, "layerdrop": 0.3, "mask_time_prob": 0.5}
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_config(speech_config(family, norm, **changes), do_normalize=True)
    encoder.freeze(what)
    encoder.train()
    clips, lengths = torch.randn(2, 3000), torch.tensor([3000, 1200])

    def hidden_states() -> tuple[Tensor, ...]:
        with torch.no_grad():
            features = encoder.model.feature_extractor(clips)
            return (features, *encoder.model(clips, output_hidden_states=True).hidden_states)

    first, second = hidden_states(), hidden_states()
    assert all(torch.equal(*pair) for pair in list(zip(first, second, strict=False))[: constant + 1])
    if what != "all":
        assert not torch.equal(encoder(clips, lengths)[0], encoder(clips, lengths)[0])
    before = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    frames, _ = encoder(clips, lengths)
    assert frames.requires_grad is (what != "all")
    if frames.requires_grad:
        frames.square().sum().backward()
        torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 0.1).step()
    moved = {name for name, parameter in encoder.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved <= {f"model.{name}" for name in trained_names(encoder)}
    assert bool(moved) is (what != "all")


def test_weights_of_layers_are_trained_when_all_is_frozen() -> None:
    encoder = SpeechEncoder.from_config(speech_config("wavlm", "layer"), do_normalize=True, layers="weighted")
    encoder.freeze("all")
    encoder.train()
    frames, _ = encoder(torch.randn(2, 900), torch.tensor([900, 500]))
    frames.square().sum().backward()
    assert encoder.layer_weights.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in encoder.model.parameters())


def test_freezing_too_much_or_something_else() -> None:
    encoder = SpeechEncoder.from_config(speech_config(), do_normalize=True)
    assert "choose 0 to 3" in error_of(encoder.freeze, 4)
    assert "front_end" in error_of(encoder.freeze, "frontend")


def test_spec_augment_bears_clips_shorter_than_its_span() -> None:
    config = speech_config("wav2vec2", "layer", mask_time_length=10, mask_time_prob=0.5)
    encoder = SpeechEncoder.from_config(config, do_normalize=True).train()
    frames, mask = encoder(torch.randn(2, 200), torch.tensor([200, 80]))
    assert mask.sum(1).tolist() == [4, 1]
    assert torch.isfinite(frames).all()


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    missing = str(tmp_path / "missing")
    assert missing in error_of(SpeechEncoder.from_pretrained, missing)
    message = error_of(SpeechEncoder.from_pretrained, "nobody/no-such-encoder")
    assert "nobody/no-such-encoder" in message
    assert "folder" in message
    (tmp_path / "empty").mkdir()
    assert "config.json" in error_of(SpeechEncoder.from_pretrained, str(tmp_path / "empty"))


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (save_speech_encoder(tmp_path) / "model.safetensors").unlink()
    message = error_of(SpeechEncoder.from_pretrained, str(tmp_path))
    assert str(tmp_path) in message
    assert "model.safetensors" in message


def test_broken_weights(tmp_path: Path) -> None:
    weights = load_file(save_speech_encoder(tmp_path / "whole") / "model.safetensors")
    cut = save_speech_encoder(tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    assert "cut" in error_of(SpeechEncoder.from_pretrained, str(tmp_path / "cut"))
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_speech_encoder(tmp_path / "lacking")
    save_file(weights, tmp_path / "lacking" / "model.safetensors", metadata={"format": "pt"})
    message = error_of(SpeechEncoder.from_pretrained, str(tmp_path / "lacking"))
    assert "encoder.layers.1.attention.k_proj.weight" in message


def test_filler_of_spec_augment_may_be_missing(tmp_path: Path) -> None:
    weights = load_file(save_speech_encoder(tmp_path) / "model.safetensors")
    del weights["masked_spec_embed"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert SpeechEncoder.from_pretrained(str(tmp_path)).output_dim == 16


def test_preprocessor_config_is_needed_and_minded(tmp_path: Path) -> None:
    described = save_speech_encoder(tmp_path) / "preprocessor_config.json"
    described.write_text(json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000}))
    assert "8000 Hz" in error_of(SpeechEncoder.from_pretrained, str(tmp_path))
    described.unlink()
    assert "do_normalize" in error_of(SpeechEncoder.from_pretrained, str(tmp_path))


def test_encoders_that_do_not_take_waveforms(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path / "bert")
    assert "bert" in error_of(SpeechEncoder.from_pretrained, str(tmp_path / "bert"))
    WhisperConfig().save_pretrained(tmp_path / "whisper")
    assert "whisper" in error_of(SpeechEncoder.from_pretrained, str(tmp_path / "whisper"))
    assert "adapter" in error_of(SpeechEncoder.from_config, speech_config(add_adapter=True), do_normalize=True)
    squeezing = speech_config("sew", squeeze_factor=2)
    assert "sew" in error_of(SpeechEncoder.from_config, squeezing, do_normalize=True)
    assert "weighted" in error_of(SpeechEncoder.from_config, speech_config(), do_normalize=True, layers="every")


@pytest.mark.parametrize(("family", "norm"), [("hubert", "group"), ("wavlm", "layer")])
def test_without_augmentation_training_equals_evaluation(tmp_path: Path, family: str, norm: str) -> None:
    no_dropout = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
    augmented = {"mask_time_prob": 0.5, "mask_time_length": 2, "layerdrop": 0.9}
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path, family, norm, **no_dropout, **augmented)))
    clips, lengths = torch.randn(2, 8000), torch.tensor([8000, 6000])
    told, _ = encoder.eval()(clips, lengths)
    varied, _ = encoder.train()(clips, lengths)
    assert (varied - told).abs().max() > 1e-3
    encoder.switch_off_augmentation()
    encoder.freeze("front_end")
    trained, _ = encoder.train()(clips, lengths)
    torch.testing.assert_close(trained, told)
