"""MockingJay: its layers against transformers' BERT, its positions against a double loop."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.mockingjay import MockingJayConfig, MockingJayLayer, MockingJayModel, sinusoids

SIZES = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}


def bert_layer(layer: MockingJayLayer, config: MockingJayConfig) -> BertLayer:
    """Return transformers' layer with the weights of ours."""
    bert = BertLayer(
        BertConfig(**SIZES, layer_norm_eps=config.layer_norm_eps, hidden_act="gelu", attn_implementation="eager")
    )
    query, key, value = layer.query_key_value.weight.chunk(3)
    query_bias, key_bias, value_bias = layer.query_key_value.bias.chunk(3)
    state = layer.state_dict()
    weights = {
        "attention.self.query.weight": query, "attention.self.query.bias": query_bias,
        "attention.self.key.weight": key, "attention.self.key.bias": key_bias,
        "attention.self.value.weight": value, "attention.self.value.bias": value_bias,
    }  # fmt: skip
    names = {
        "attention.output.dense": "attention_output", "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "feed_forward.0", "output.dense": "feed_forward.2", "output.LayerNorm": "feed_forward_norm",
    }  # fmt: skip
    for theirs, ours in names.items():
        weights |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    bert.load_state_dict(weights)
    return bert.double().eval()


def test_a_layer_equals_transformers_bert_with_the_same_weights() -> None:
    torch.manual_seed(0)
    config = MockingJayConfig(**SIZES)
    layer = MockingJayLayer(config)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    bert = bert_layer(layer, config)
    hidden = torch.randn(3, 7, 12, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[7], [2], [5]])
    added = torch.zeros(3, 1, 1, 7, dtype=torch.float64).masked_fill(~mask[:, None, None], -1e9)
    expected = bert(hidden, attention_mask=added)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(layer.double().eval()(hidden, mask)[mask], expected[mask])


@pytest.mark.parametrize("size", [12, 7])
def test_positions_equal_a_double_loop(size: int) -> None:
    table = sinusoids(30, size)
    for position in range(30):
        for dimension in range(size):
            angle = position / 10000 ** (2 * (dimension // 2) / size)
            expected = math.sin(angle) if dimension % 2 == 0 else math.cos(angle)
            assert table[position, dimension].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.0])
def test_the_input_is_projected_positioned_and_normalised(scale: float) -> None:
    torch.manual_seed(0)
    config = MockingJayConfig(**SIZES, n_mels=4, num_hidden_layers=1, position_scale=scale)
    model = MockingJayModel(config).double().eval()
    frames, mask = torch.randn(1, 9, 12).double(), torch.ones(1, 9, dtype=torch.bool)
    first = model.encode(frames, mask, output_hidden_states=True).hidden_states[0]
    summed = frames @ model.projection.weight.T + model.projection.bias + scale * sinusoids(9, 12)
    expected = (summed - summed.mean(-1, keepdim=True)) / summed.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(first, expected, atol=1e-6, rtol=0)


def test_without_positions_frames_in_another_order_come_out_in_that_order() -> None:
    torch.manual_seed(0)
    frames, mask, order = torch.randn(1, 9, 240), torch.ones(1, 9, dtype=torch.bool), torch.randperm(9)
    for scale, is_alike in ((0.0, True), (1.0, False)):
        model = MockingJayModel(MockingJayConfig(**SIZES, position_scale=scale)).eval()
        one, other = (model.encode(series, mask).last_hidden_state for series in (frames, frames[:, order]))
        assert torch.allclose(one[:, order], other, atol=1e-5) == is_alike


def test_the_scale_of_positions_is_saved_and_is_one_where_nothing_says_so(tmp_path: Path) -> None:
    model = MockingJayModel(MockingJayConfig(**SIZES, position_scale=0.25)).eval()
    model.save_pretrained(tmp_path)
    frames, mask = torch.randn(1, 9, 240), torch.ones(1, 9, dtype=torch.bool)
    again = MockingJayModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again.encode(frames, mask).last_hidden_state, model.encode(frames, mask).last_hidden_state)
    older = json.loads((tmp_path / "config.json").read_text())
    assert older.pop("position_scale") == 0.25
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert MockingJayModel.from_pretrained(tmp_path).config.position_scale == 1.0


def test_it_starts_as_bert_does() -> None:
    torch.manual_seed(0)
    model = load_audio_encoder("mockingjay", options={"initializer_range": 0.05, "num_hidden_layers": 1}).model
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))
        elif name.endswith("bias"):
            assert not parameter.any()
        else:
            assert parameter.std().item() == pytest.approx(0.05, rel=0.02)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    options = {**SIZES, "n_mels": 8, "dropout": 0.0, "attention_dropout": 0.0}
    waveforms = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    encoder = load_audio_encoder("mockingjay", options=options).train()

    def gradients() -> list[Tensor]:
        encoder.zero_grad(set_to_none=True)
        frames, _ = encoder(waveforms, torch.tensor([4000, 2500]))
        frames.tanh().sum().backward()
        return [parameter.grad for parameter in encoder.parameters()]

    plain = gradients()
    encoder.checkpoint_gradients()
    assert all(layer.gradient_checkpointing for layer in encoder.model.layers)
    for checkpointed, expected in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(checkpointed, expected)


def test_attention_drops_weights_in_training_alone() -> None:
    options = {**SIZES, "n_mels": 8, "dropout": 0.0, "attention_dropout": 0.5}
    waveforms, lengths = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)), torch.tensor([4000])
    encoder = load_audio_encoder("mockingjay", options=options)
    scored = [encoder.eval()(waveforms, lengths)[0] for _ in range(2)]
    trained = [encoder.train()(waveforms, lengths)[0] for _ in range(2)]
    assert torch.equal(*scored) and not torch.equal(*trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size (768) must be a multiple of num_attention_heads (5)"),
        ({"delta_order": -1}, "delta_order must be a whole number, 0 or above, not -1"),
        ({"position_scale": -0.5}, "position_scale must be 0 or above, not -0.5"),
        ({"delta_width": 0}, "delta_width must be a whole number above 0"),
    ],
)
def test_sizes_that_make_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        MockingJayConfig(**options)
    assert message in str(raised.value)


def test_without_deltas_the_input_is_the_mel_bins_alone() -> None:
    model = MockingJayModel(MockingJayConfig(**SIZES, n_mels=8, delta_order=0))
    frames, mask = model.features(torch.randn(1, 2000, generator=torch.Generator().manual_seed(0)))
    assert frames.shape == (1, 11, 8) and mask.all()
    assert model.encode(frames, mask).last_hidden_state.shape == (1, 11, 12)
