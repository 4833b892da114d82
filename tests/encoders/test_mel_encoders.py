"""What MockingJay and NPC share with every other audio encoder: padding, disk, freezing, options, GEmo-CLAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import save_text_encoder
from torch import Tensor
from transformers import AutoConfig, AutoModel

from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import ModelSettings
from gemoclap.encoders import UNTRAINED, load_audio_encoder
from gemoclap.encoders.mockingjay import MockingJayModel
from gemoclap.encoders.npc import NPCModel
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary

SMALL: dict[str, dict[str, Any]] = {
    "mockingjay": {
        "n_mels": 16, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20, "num_hidden_layers": 3,
    },
    "npc": {"n_mels": 16, "hidden_size": 12, "num_hidden_layers": 3},
}  # fmt: skip
MODELS = {"mockingjay": MockingJayModel, "npc": NPCModel}
LENGTHS = torch.tensor([9000, 1, 100, 3000, 400, 5999])

both = pytest.mark.parametrize("name", SMALL)


def small(name: str, layers: str = "last", **changes: Any) -> SpeechEncoder:
    """Return a small encoder off its starting values: running statistics, biases and norms too."""
    torch.manual_seed(0)
    encoder = load_audio_encoder(name, layers, {**SMALL[name], **changes}).train()  # type: ignore[arg-type]
    with torch.no_grad():
        for _ in range(10):
            encoder(clips(), LENGTHS)
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder.eval()


def clips(seed: int = 0) -> Tensor:
    """Return noise of `LENGTHS` samples that swells and fades, zero-padded."""
    time = torch.arange(9000)
    noise = torch.randn(len(LENGTHS), 9000, generator=torch.Generator().manual_seed(seed))
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


@both
@pytest.mark.parametrize("layers", ["last", "weighted"])
def test_a_clip_has_the_same_frames_alone_and_padded(name: str, layers: str) -> None:
    encoder, batch = small(name, layers), clips()
    frames, mask = encode(encoder, batch, LENGTHS)
    wider, _ = encode(encoder, torch.nn.functional.pad(batch, (0, 7777), value=9.0), LENGTHS)
    torch.testing.assert_close(wider[:, : frames.shape[1]], frames, atol=1e-5, rtol=0)
    assert not frames[~mask].any() and frames[mask].abs().mean() > 0.1
    for row, length in enumerate(LENGTHS.tolist()):
        alone, its_mask = encode(encoder, batch[row : row + 1, :length], LENGTHS[row : row + 1])
        assert its_mask.all() and alone.shape[1] == mask[row].sum()
        torch.testing.assert_close(frames[row, mask[row]], alone[0], atol=1e-5, rtol=0)


@both
def test_more_padding_changes_nothing_in_training_either(name: str) -> None:
    still = {"dropout": 0.0, "attention_dropout": 0.0} if name == "mockingjay" else {"dropout": 0.0}
    encoder, batch = small(name, **still).train(), clips()
    start = {key: value.clone() for key, value in encoder.state_dict().items()}
    seen = []
    for padding in (0, 5000):
        encoder.load_state_dict(start)
        encoder.zero_grad()
        frames, mask = encoder(torch.nn.functional.pad(batch, (0, padding)), LENGTHS)
        frames[mask].tanh().sum().backward()
        seen.append(
            [frames[mask].detach(), *(parameter.grad for parameter in encoder.parameters()), *encoder.buffers()]
        )
    for plain, padded in zip(*seen, strict=True):
        torch.testing.assert_close(padded, plain, atol=1e-5, rtol=1e-4)


@both
def test_the_first_step_of_training_has_a_gradient_everywhere(name: str) -> None:
    encoder = small(name, "weighted").train()
    frames, _ = encoder(clips(), LENGTHS)
    (frames * torch.randn(encoder.output_dim, generator=torch.Generator().manual_seed(1))).sum().backward()
    assert [key for key, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0] == []


@both
def test_silence_and_single_samples_stay_finite(name: str) -> None:
    for lengths in ([4000, 1, 640], [1, 1]):
        encoder = small(name).train()
        frames, _ = encoder(torch.zeros(len(lengths), max(lengths)), torch.tensor(lengths))
        frames.square().sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
        silent, mask = encode(encoder.eval(), torch.zeros(len(lengths), max(lengths)), torch.tensor(lengths))
        assert torch.isfinite(silent).all() and mask.sum(1).min() >= 1


@both
def test_autocast_trains_in_bfloat16(name: str) -> None:
    encoder = small(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        frames, _ = encoder(clips(), LENGTHS)
    frames.float().square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
    exact, mask = encode(encoder.eval(), clips(), LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = encode(encoder, clips(), LENGTHS)
    difference = (rounded.float() - exact)[mask]
    assert 0 < difference.norm() < 0.05 * exact[mask].norm()


@both
def test_a_frame_every_10_ms_and_the_sizes_of_the_papers(name: str) -> None:
    encoder = load_audio_encoder(name)
    assert (encoder.frame_seconds, encoder.hop_samples, encoder.min_samples) == (0.01, 160, 1)
    assert encoder.output_dim == {"mockingjay": 768, "npc": 512}[name]
    trained = sum(parameter.numel() for parameter in encoder.parameters())
    # 3 BERT layers, projection and its norm; 4 blocks of kernels 3 and 1 with batch norm, and kernels of 15.
    layer = 4 * 768 * 769 + 768 * 3073 + 3072 * 769 - 3072 + 3072 + 4 * 768
    block = 512 * 512 * (1 + 15) + 512 + 4 * 512
    expected = {
        "mockingjay": 3 * layer + 240 * 768 + 3 * 768,
        "npc": 4 * block + 3 * 512 * 80 + 3 * 3 * 512 * 512,
    }
    assert trained == expected[name]


@both
def test_masking_may_come_between_the_two_steps(name: str) -> None:
    model: Any = small(name).model
    attention_mask = (torch.arange(9000) < LENGTHS.unsqueeze(1)).long()
    frames, mask = model.features(clips(), attention_mask)
    with torch.no_grad():
        whole = model(clips(), attention_mask=attention_mask, output_hidden_states=True)
        parts = model.encode(frames, mask, output_hidden_states=True)
        hidden = model.encode(frames.masked_fill((torch.arange(frames.shape[1]) == 9)[:, None], 0.0), mask)
        unmasked = model(clips())
    assert not frames.requires_grad
    assert torch.equal(whole.last_hidden_state, parts.last_hidden_state)
    assert len(whole.hidden_states) == model.config.num_hidden_layers + 1
    assert torch.equal(whole.hidden_states[-1], whole.last_hidden_state)
    assert all(state.shape == whole.last_hidden_state.shape for state in whole.hidden_states)
    assert not any(state[~mask].any() for state in whole.hidden_states)
    assert parts.hidden_states is not None and hidden.hidden_states is None
    assert not torch.equal(hidden.last_hidden_state[0], parts.last_hidden_state[0])
    assert unmasked.last_hidden_state.shape == (6, 54, 12)


@both
def test_it_comes_back_from_a_folder_as_any_encoder_does(name: str, tmp_path: Path) -> None:
    encoder = small(name, window=320, dropout=0.05)
    encoder.model.save_pretrained(tmp_path)
    encoder.feature_extractor.save_pretrained(tmp_path)
    again = SpeechEncoder.from_pretrained(str(tmp_path)).eval()
    assert type(again.model) is MODELS[name] and not again.do_normalize
    assert torch.equal(encode(again, clips(), LENGTHS)[0], encode(encoder, clips(), LENGTHS)[0])
    config: Any = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is UNTRAINED[name] and (config.window, config.dropout) == (320, 0.05)
    assert type(AutoModel.from_pretrained(tmp_path)) is MODELS[name]
    assert load_audio_encoder(str(tmp_path), "weighted").layer_weights.shape == (4,)


@both
@pytest.mark.parametrize("what", ["none", "front_end", "1", "3", "all"])
def test_frozen_parts_never_move(name: str, what: str) -> None:
    encoder = small(name, dropout=0.5)
    before_layers = ("projection.", "norm.") if name == "mockingjay" else ()
    frozen = {
        "none": (), "front_end": (), "1": (*before_layers, "layers.0."), "3": (*before_layers, "layers."), "all": ("",),
    }[what]  # fmt: skip
    evaluated = encoder.model(clips(), output_hidden_states=True).hidden_states
    encoder.freeze(what)
    encoder.train()
    before = {key: value.clone() for key, value in encoder.model.state_dict().items()}
    trained = {key for key, parameter in encoder.model.named_parameters() if parameter.requires_grad}
    assert trained == {key for key, _ in encoder.model.named_parameters() if not key.startswith(frozen)}
    output = encoder.model(clips(), output_hidden_states=True)
    still = {"1": 2, "3": 4, "all": 4}.get(what, 0)
    assert all(torch.equal(*pair) for pair in zip(evaluated[:still], output.hidden_states[:still], strict=True))
    assert still == 4 or not torch.equal(evaluated[-1], output.last_hidden_state)
    if trained:
        output.last_hidden_state.square().sum().backward()
        torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 0.1).step()
    moved = {key for key, value in encoder.model.state_dict().items() if not torch.equal(value, before[key])}
    assert not [key for key in moved if key.startswith(frozen)] and trained <= moved


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hiden_size": 8}, "did you mean 'hidden_size'?"),
        ({"hidden_size": 0}, "hidden_size must be a whole number above 0, not 0"),
        ({"n_mels": "many"}, "not 'many'"),
        ({"window": 2000}, "n_fft (512) must hold the window (2000)"),
        ({"dropout": 3}, "dropout"),
    ],
)
def test_options_that_make_no_sense(name: str, options: dict[str, Any], message: str) -> None:
    assert message in error_of(load_audio_encoder, name, options=options)


@both
def test_more_layers_cannot_be_frozen_than_there_are(name: str) -> None:
    assert "choose 0 to 3" in error_of(small(name).freeze, 4)


@both
def test_it_is_an_audio_encoder_of_gemo_clap(name: str, tmp_path: Path) -> None:
    text = str(save_text_encoder(tmp_path / "text"))
    pretrained = small(name)
    pretrained.model.save_pretrained(tmp_path / "audio")
    pretrained.feature_extractor.save_pretrained(tmp_path / "audio")
    settings = {"projection_dim": 8, "layers": "weighted", "freeze": "all"}
    for audio, options in ((name, SMALL[name]), (str(tmp_path / "audio"), {})):
        model = GEmoClapModel.from_audio_text_pretrained(
            audio, text, get_vocabulary("iemocap4"), ModelSettings(**settings, audio_options=options)
        ).eval()
        assert type(model.audio_encoder.model) is MODELS[name]
        model.save_pretrained(tmp_path / "whole")
        again = GEmoClapModel.from_pretrained(tmp_path / "whole")
        with torch.no_grad():
            answers = [one(clips(), LENGTHS)["audio_embedding"] for one in (model, again)]
        assert torch.equal(*answers) and torch.isfinite(answers[0]).all()
    weights = model.audio_encoder.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in pretrained.model.state_dict().items())
