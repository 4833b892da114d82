"""The small encoder: Whisper's convolutions as transformers computes them, no influence of padding, save and load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sound import noise
from torch.nn import functional
from transformers import AutoModel, WhisperFeatureExtractor

from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.embedded import embedded_weights
from gemoclap.encoders.pooling import masked_mean
from gemoclap.encoders.small import SmallConfig, SmallModel, halve_frames
from gemoclap.errors import GemoclapError

SMALL = {"block_size": 8, "num_hidden_layers": 2}


@pytest.fixture
def model() -> SmallModel:
    torch.manual_seed(0)
    found = SmallModel(SmallConfig(**SMALL))
    with torch.no_grad():  # statistics of some training, so that the norms do something
        found.train()(torch.from_numpy(np.stack([noise(1.0, seed=seed) for seed in range(4)])).float())
    return found.eval()


def test_the_convolutions_are_those_of_whisper(model: SmallModel) -> None:
    clip = noise(1.0).astype(np.float32)
    features = WhisperFeatureExtractor(feature_size=80)(clip, sampling_rate=16000, padding=False, return_tensors="pt")
    weights = {name: value for name, value in embedded_weights().items() if "feature_extractor" in name}
    hidden = features.input_features
    for number, stride in ((1, 1), (2, 2)):
        weight, bias = (weights[f"feature_extractor.conv{number}.{part}"] for part in ("weight", "bias"))
        hidden = functional.gelu(functional.conv1d(hidden, weight, bias, stride=stride, padding=1))
    found = model.convolutions(torch.from_numpy(clip).unsqueeze(0))
    torch.testing.assert_close(found, hidden, atol=1e-4, rtol=1e-4)
    wide, counts = halve_frames(*halve_frames(hidden, torch.tensor([50])))
    norm = model.norm
    mean, deviation = norm.running_mean, (norm.running_var + norm.eps).sqrt()
    standardised = (torch.stack([hidden[0, :, 4 * at : 4 * at + 4].mean(1) for at in range(12)]) - mean) / deviation
    last = model(torch.from_numpy(clip).unsqueeze(0)).last_hidden_state
    assert wide.shape[2] == int(counts) == last.shape[1] == 13
    torch.testing.assert_close(last[0, :12, :512], standardised, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("samples", [1, 320, 4799, 15999, 16000])
def test_padding_changes_nothing(model: SmallModel, samples: int) -> None:
    clips = [noise(1.3, seed=1), noise(2.0, seed=2)[:samples]]
    padded = torch.zeros(2, len(clips[0]))
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    mask = torch.arange(padded.shape[1]) < torch.tensor([[len(clip)] for clip in clips])
    together = model(padded, mask.long(), output_hidden_states=True)
    alone = model(torch.from_numpy(clips[1]).float().unsqueeze(0), output_hidden_states=True)
    frames = int(together.frame_counts[1])
    assert frames == alone.last_hidden_state.shape[1]
    assert frames == int(model._get_feat_extract_output_lengths(torch.tensor([samples]))[0])
    torch.testing.assert_close(together.last_hidden_state[1, :frames], alone.last_hidden_state[0], atol=1e-5, rtol=1e-5)
    assert len(alone.hidden_states) == 3
    for state, single in zip(together.hidden_states, alone.hidden_states, strict=True):
        torch.testing.assert_close(state[1, :frames], single[0], atol=1e-5, rtol=1e-5)


def test_save_and_load(model: SmallModel, tmp_path: Path) -> None:
    with torch.no_grad():
        model.convolutions.conv1.weight.mul_(1.5)  # as if they were trained
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, SmallModel) and loaded.config.hidden_size == 520
    clip = torch.from_numpy(noise(0.7)).float().unsqueeze(0)
    torch.testing.assert_close(loaded.eval()(clip).last_hidden_state, model(clip).last_hidden_state, atol=0, rtol=0)


def test_it_is_an_encoder_like_any_other() -> None:
    encoder = load_audio_encoder("small", options=SMALL).eval()
    clips = torch.from_numpy(noise(0.5)).float().unsqueeze(0)
    frames, mask = encoder(clips, torch.tensor([8000]))[:2]
    assert frames.shape == (1, 7, 520) and mask.all()
    with pytest.raises(GemoclapError, match="small has no 'stem_channels'"):
        load_audio_encoder("small", options={"stem_channels": 4})
    with pytest.raises(GemoclapError, match="block_size must be a whole number above 0"):
        load_audio_encoder("small", options={"block_size": 0})


def test_frozen_convolutions_stay_as_they_are() -> None:
    torch.manual_seed(0)
    model = SmallModel(SmallConfig(**SMALL)).train()
    model.freeze_feature_encoder()
    before = {name: tensor.clone() for name, tensor in model.convolutions.state_dict().items()}
    optimizer = torch.optim.SGD((weight for weight in model.parameters() if weight.requires_grad), 0.1)
    model(torch.from_numpy(np.stack([noise(0.5), noise(0.5, seed=1)])).float()).last_hidden_state[
        ..., 512:
    ].sum().backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.convolutions.state_dict().items())
    assert model.stride.weight.grad is not None and bool(model.stride.weight.grad.abs().sum() > 0)


@pytest.mark.parametrize("layers", [1, [0, 2], "weighted"])
def test_the_output_of_a_layer_is_that_of_a_model_without_the_layers_above(layers: int | list[int] | str) -> None:
    """As in every other family, so that model.layers, freezing and the caches of pooled layers work."""
    torch.manual_seed(0)
    encoder = load_audio_encoder("small", layers, SMALL).eval()
    clips = torch.from_numpy(np.stack([noise(0.5), noise(0.5, seed=1)])).float()
    lengths = torch.tensor([8000, 6000])
    parts = []
    for number in encoder.used_layers:
        alone = SmallModel(SmallConfig(**SMALL)).eval()
        alone.load_state_dict(encoder.model.state_dict())
        alone.layers = alone.layers[:number]
        parts.append(alone(clips, torch.arange(8000) < lengths.unsqueeze(1)).last_hidden_state)
    frames, mask = encoder(clips, lengths)
    expected = sum(parts) / 3 if layers == "weighted" else torch.cat(parts, dim=-1)
    assert frames.shape[-1] == encoder.output_dim
    torch.testing.assert_close(frames[mask], expected[mask], atol=1e-5, rtol=1e-5)
    pooled = encoder.layer_features(clips, lengths, masked_mean)
    assert pooled.shape == (2, 3, 520)
    torch.testing.assert_close(pooled[0, encoder.used_layers[0]], parts[0][0].mean(0), atol=1e-5, rtol=1e-5)
