"""Layers that are left out, frozen and passed over, or adapted: in every family, against the whole model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import SPEECH_FORMS, save_family, save_speech_encoder, save_whisper, speech_config
from torch import Tensor
from transformers import AutoModel

from gemoclap.config import ModelSettings
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.layers import final_norm
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError

FORMS = (*SPEECH_FORMS, ("whisper", "layer"), ("w2v-bert", "layer"))
NO_DROPOUT = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
LENGTHS = torch.tensor([3000, 1400])


def waveforms() -> Tensor:
    return torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))


def frames_of(encoder: SpeechEncoder) -> Tensor:
    with torch.no_grad():
        return encoder.eval()(waveforms(), LENGTHS)[0]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("family", "norm"), FORMS)
def test_what_is_kept_is_the_hidden_state_of_the_whole(tmp_path: Path, family: str, norm: str, count: int) -> None:
    folder = save_family(tmp_path / "hub", family, norm, do_normalize=False)
    whole = load_audio_encoder(str(folder)).eval()
    expected, mask = whole.layer_frames(waveforms(), LENGTHS, count)
    for encoder in (
        load_audio_encoder(str(folder), keep_layers=count),
        load_audio_encoder(str(folder), layers=count),
        load_audio_encoder(str(folder), layers=count, keep_layers=3),
    ):
        torch.testing.assert_close(frames_of(encoder), expected, atol=1e-5, rtol=0)
    kept = load_audio_encoder(str(folder), keep_layers=count)
    assert kept.model.config.num_hidden_layers == count
    kept.save_pretrained(tmp_path / "own")
    torch.testing.assert_close(frames_of(load_audio_encoder(str(tmp_path / "own"))), expected, atol=1e-5, rtol=0)
    again = SpeechEncoder.from_config(kept.model.config, kept.do_normalize)
    again.load_state_dict(kept.state_dict())
    torch.testing.assert_close(frames_of(again), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("family", "norm"), FORMS)
def test_layers_side_by_side_are_those_of_the_whole(tmp_path: Path, family: str, norm: str, count: int) -> None:
    folder = str(save_family(tmp_path / "hub", family, norm, do_normalize=False))
    whole = load_audio_encoder(folder).eval()
    each = [whole.layer_frames(waveforms(), LENGTHS, number)[0] for number in (0, count)]
    for options in ({}, {"keep_layers": 2}):
        encoder = load_audio_encoder(folder, [0, count], **options)
        assert encoder.model.config.num_hidden_layers == options.get("keep_layers", count)
        frames = frames_of(encoder)
        assert frames.shape[-1] == encoder.output_dim
        torch.testing.assert_close(frames, torch.cat(each, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layers", "keep"), [([2, 3], None), ([0, 1, 2, 3], None), ([1, 2], 3), (2, 3), ("weighted", None)]
)
@pytest.mark.parametrize("family", ["wavlm", "hubert", "wav2vec2", "data2vec-audio"])
def test_no_layer_is_dropped_where_others_than_the_last_are_used(
    tmp_path: Path, family: str, layers: Any, keep: int | None
) -> None:
    """A dropped layer is not among the hidden states of transformers, so that the others would be taken for it."""
    folder = save_speech_encoder(tmp_path, family, layerdrop=0.99, mask_time_prob=0.0, **NO_DROPOUT)
    encoder = load_audio_encoder(str(folder), layers, keep_layers=keep)
    expected = frames_of(encoder)
    torch.testing.assert_close(encoder.train()(waveforms(), LENGTHS)[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([2, 1], "each once, the lowest first"),
        ([2, 2], "each once"),
        ([], "at least one number"),
        ([1, 9], "there is no layer 9; give 0 to 3"),
        ([-1, 2], "there is no layer -1; give 0 to 3"),
    ],
)
def test_wrong_lists_of_layers(tmp_path: Path, layers: list[int], message: str) -> None:
    with pytest.raises(GemoclapError, match=message):
        load_audio_encoder(str(save_speech_encoder(tmp_path, "wavlm")), layers)
    with pytest.raises(GemoclapError, match=message):
        SpeechEncoder.from_config(speech_config("wavlm"), do_normalize=True, layers=layers)


@pytest.mark.parametrize("layers", ["last", 2, "weighted", [2, 3], [0, 3]])
@pytest.mark.parametrize("what", ["front_end", 0, 1, 3, "all"])
@pytest.mark.parametrize(("family", "norm"), FORMS)
def test_going_on_from_what_is_frozen(tmp_path: Path, family: str, norm: str, what: Any, layers: Any) -> None:
    """The same frames, and the same gradients of what is trained, as from the waveforms."""
    encoder = load_audio_encoder(str(save_family(tmp_path, family, norm, do_normalize=False)), layers, keep_layers=3)
    encoder.settle(ModelSettings(freeze=what, augment=False))
    encoder.eval()  # dropout off
    until = encoder.constant_until
    if layers == "weighted":
        assert until == 0
    else:
        used = min(encoder.used_layers)
        norm = final_norm(encoder.model)
        is_whole = what == "all" or (what == 3 and norm is None)
        assert until == ("output" if is_whole else min(0 if what == "front_end" else what, used))

    def gradients(frames: Tensor) -> dict[str, Tensor]:
        encoder.zero_grad()
        if frames.requires_grad:
            (frames * torch.linspace(-1, 1, frames.shape[-1])).sum().backward()
        return {name: one.grad.clone() for name, one in encoder.named_parameters() if one.grad is not None}

    expected, mask = encoder(waveforms(), LENGTHS)
    plain = gradients(expected)
    with torch.no_grad():
        kept, counts = encoder.frozen_frames(waveforms(), LENGTHS)
    found, found_mask = encoder.from_frozen_frames(kept, counts)
    cached = gradients(found)
    assert torch.equal(found_mask, mask)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert plain.keys() == cached.keys()
    assert bool(plain) == expected.requires_grad
    for name, one in plain.items():
        torch.testing.assert_close(cached[name], one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "norm"), FORMS)
def test_adapters_are_trained_alone_and_saved_in_the_weights(tmp_path: Path, family: str, norm: str) -> None:
    folder = save_family(tmp_path / "hub", family, norm, do_normalize=False)
    before = frames_of(load_audio_encoder(str(folder)))
    encoder = load_audio_encoder(str(folder))
    encoder.settle(ModelSettings(freeze=1, lora_rank=2, augment=False))
    torch.testing.assert_close(frames_of(encoder), before, atol=1e-6, rtol=0)
    trained = [name for name, one in encoder.named_parameters() if one.requires_grad]
    assert len(trained) == 2 * 2 * 2 and all("lora_" in name and ".layers.0." not in name for name in trained)
    assert encoder.constant_until == 1
    optimizer = torch.optim.Adam([one for one in encoder.parameters() if one.requires_grad], lr=0.1)
    for _ in range(2):
        encoder.train()(waveforms(), LENGTHS)[0].square().sum().backward()
        optimizer.step()
    after = frames_of(encoder)
    assert not torch.allclose(after, before, atol=1e-2)
    encoder.save_pretrained(tmp_path / "own")
    names = load_file(tmp_path / "own" / "model.safetensors")
    assert names.keys() == AutoModel.from_pretrained(tmp_path / "own").state_dict().keys()
    torch.testing.assert_close(frames_of(load_audio_encoder(str(tmp_path / "own"))), after, atol=1e-5, rtol=0)


def test_adapters_without_anything_to_adapt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error_of(encoder: SpeechEncoder, **settings: Any) -> str:
        with pytest.raises(GemoclapError) as raised:
            encoder.settle(ModelSettings(lora_rank=2, **settings))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    folder = str(save_whisper(tmp_path))
    assert "model.freeze is all" in error_of(load_audio_encoder(folder), freeze="all")
    assert "3 of the 3 layers that are built are frozen" in error_of(load_audio_encoder(folder), freeze=3)
    assert "has attention to adapt" in error_of(load_audio_encoder("compact"))
    monkeypatch.setitem(sys.modules, "peft", None)
    assert error_of(load_audio_encoder(folder)) == "model.lora_rank needs the package peft: pip install peft"


@pytest.mark.parametrize(("family", "norm"), FORMS)
def test_all_that_is_built_being_frozen_is_the_whole(tmp_path: Path, family: str, norm: str) -> None:
    """As many layers as are built, and no norm behind them: nothing is left to train."""
    encoder = load_audio_encoder(str(save_family(tmp_path, family, norm)), layers=2)
    encoder.freeze(2)
    assert encoder.is_frozen("all") and not any(one.requires_grad for one in encoder.parameters())
    assert encoder.constant_until == "output"
    encoder.freeze(1)
    assert not encoder.is_frozen("all") and any(one.requires_grad for one in encoder.parameters())


def test_what_stays_frozen_is_remembered_when_freezing_again(tmp_path: Path) -> None:
    encoder = load_audio_encoder(str(save_speech_encoder(tmp_path, "wavlm", "layer")), keep_layers=2)
    everything = {name for name, one in encoder.model.named_parameters() if one.requires_grad}
    assert "encoder.layer_norm.weight" not in everything  # passed over, so it has nothing to learn
    for what in ("all", 1, "front_end", "none"):
        encoder.freeze(what)
    assert {name for name, one in encoder.model.named_parameters() if one.requires_grad} == everything
