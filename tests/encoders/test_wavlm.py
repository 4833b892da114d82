"""WavLM's fast attention against the one that transformers wrote."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import SPEECH_FORMS, speech_config
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import flex_attention as flex
from transformers import AutoModel, PreTrainedModel, WavLMConfig
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from gemoclap.encoders import wavlm
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.wavlm import (
    ClipwiseAttention,
    FastWavLMAttention,
    GatedBias,
    Implementation,
    gated_flex_attention,
    make_wavlm_attention_fast,
)
from gemoclap.errors import GemoclapError

NO_DROPOUT = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "mask_time_prob": 0.0,
}
SAMPLES = 6000  # 149 frames of the tiny models: farther apart than their largest bucketed distance, no multiple of 8


@pytest.fixture(params=("group", "layer"))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return random_wavlm(request.param)


def random_wavlm(norm: str = "group", **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModel.from_config(speech_config("wavlm", norm, **NO_DROPOUT | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        # Biases as large as the scores, so that a mistake in them shows.
        nn.init.normal_(model.encoder.layers[0].attention.rel_attn_embed.weight)
    return model


def fast(model: PreTrainedModel, implementation: Implementation = "auto") -> PreTrainedModel:
    twin = copy.deepcopy(model)
    make_wavlm_attention_fast(twin, implementation)
    return twin


def waveforms_and_mask(padded: bool = True) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(1)
    waveforms = torch.randn(3, SAMPLES)
    return waveforms, valid_positions(torch.tensor([SAMPLES, 4000, 500]), SAMPLES).long() if padded else None


def output_and_gradients(model: PreTrainedModel, padded: bool = True) -> tuple[Tensor, dict[str, Tensor | None]]:
    waveforms, attention_mask = waveforms_and_mask(padded)
    waveforms.requires_grad_(not model.training)  # training, transformers makes the front end's input a leaf itself
    model.zero_grad(set_to_none=True)
    torch.manual_seed(2)  # for layer drop
    output = model(waveforms, attention_mask=attention_mask).last_hidden_state
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    (output * direction).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return output.detach(), gradients | {"waveforms": waveforms.grad}


def assert_same(model: PreTrainedModel, twin: PreTrainedModel, padded: bool = True) -> None:
    """Assert that outputs and all gradients agree within 1e-5, gradients above one relative to their largest element."""
    expected, expected_gradients = output_and_gradients(model, padded)
    output, gradients = output_and_gradients(twin, padded)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
    assert gradients.keys() == expected_gradients.keys()
    for name, theirs in expected_gradients.items():
        if theirs is None:
            assert gradients[name] is None, name
        else:
            tolerance = 1e-5 * max(1.0, float(theirs.abs().max()))
            torch.testing.assert_close(gradients[name], theirs, atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize("implementation", ["auto", "sdpa"])
@pytest.mark.parametrize("padded", [True, False])
def test_outputs_and_gradients_are_those_of_transformers(
    model: PreTrainedModel, padded: bool, implementation: Implementation
) -> None:
    assert_same(model, fast(model, implementation), padded)


def test_gradient_checkpointing(model: PreTrainedModel) -> None:
    twin = fast(model).train()
    model.train().gradient_checkpointing_enable()
    twin.gradient_checkpointing_enable()
    assert_same(model, twin)


def test_layer_drop() -> None:
    model = random_wavlm(layerdrop=0.5, num_hidden_layers=6).train()
    assert_same(model, fast(model).train())
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert any("layers" in name for name in unused)


def test_frozen_first_layers() -> None:
    model = random_wavlm()
    for layer in model.encoder.layers[:2]:
        layer.requires_grad_(False)
    assert_same(model, fast(model))


def test_without_gradients(model: PreTrainedModel) -> None:
    twin, (waveforms, attention_mask) = fast(model), waveforms_and_mask()
    with torch.inference_mode():
        expected = model(waveforms, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        hidden_states = twin(waveforms, attention_mask=attention_mask, output_hidden_states=True).hidden_states
    assert len(hidden_states) == model.config.num_hidden_layers + 1
    for ours, theirs in zip(hidden_states, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("by_config", [False, True])
def test_attention_weights_of_each_head(model: PreTrainedModel, by_config: bool) -> None:
    twin, (waveforms, attention_mask) = fast(model), waveforms_and_mask()
    wish = {} if by_config else {"output_attentions": True}
    if by_config:
        model.config.output_attentions = twin.config.output_attentions = True
    with torch.no_grad():
        expected = model(waveforms, attention_mask=attention_mask, **wish)
        output = twin(waveforms, attention_mask=attention_mask, **wish)
    torch.testing.assert_close(output.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)
    for ours, theirs in zip(output.attentions, expected.attentions, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours.mean(1), theirs[:, 0], atol=1e-6, rtol=0)
        assert not torch.allclose(ours[:, 0], ours[:, 1], atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 9, 1000])
def test_position_bias_against_that_of_transformers(frames: int) -> None:
    attention = random_wavlm(num_buckets=320, max_bucket_distance=800).encoder.layers[0].attention
    expected = attention.compute_bias(frames, frames + 7)
    attention.__class__ = FastWavLMAttention
    assert torch.equal(attention.compute_bias(frames, frames + 7), expected)


def test_gradients_of_the_gated_bias_by_finite_differences() -> None:
    torch.manual_seed(0)
    gate, bias = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(3, 4, 5, dtype=torch.float64)
    padding = torch.randn(2, 1, 1, 5, dtype=torch.float64)
    expected = gate[..., None] * bias + padding
    torch.testing.assert_close(GatedBias.apply(gate, bias, padding), expected)
    assert torch.autograd.gradcheck(GatedBias.apply, (gate.requires_grad_(), bias.requires_grad_(), padding))


def test_clipwise_attention_with_dropout_against_a_loop_that_autograd_differentiates() -> None:
    torch.manual_seed(0)
    shapes = ((2, 3, 5, 4), (2, 3, 8, 4), (2, 3, 8, 4), (2, 3, 5), (3, 5, 8))
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    query, key, value, gate, bias = inputs
    padding = torch.zeros(2, 1, 1, 8, dtype=torch.float64)
    padding[..., 5:], padding[1, ..., 3:] = float("-inf"), float("-inf")
    torch.manual_seed(1)
    expected = []
    for clip in range(2):
        scores = query[clip] @ key[clip].mT / 2 + gate[clip, :, :, None] * bias + padding[clip]
        expected.append(functional.dropout(scores.softmax(-1), 0.4) @ value[clip])
    torch.manual_seed(1)
    output = ClipwiseAttention.apply(*inputs, padding, 0.4)
    torch.testing.assert_close(output, torch.stack(expected))
    direction = torch.randn_like(output)
    gradients = torch.autograd.grad(output, inputs, direction)
    for ours, theirs in zip(gradients, torch.autograd.grad(torch.stack(expected), inputs, direction), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("implementation", ["auto", "sdpa"])
def test_dropout_has_the_same_mean_and_spread(implementation: Implementation) -> None:
    torch.manual_seed(0)
    attention = WavLMAttention(16, 2, dropout=0.3)
    states = torch.randn(1, 5, 16).expand(8000, 5, 16)
    model = nn.Module()
    model.attention, model.config = copy.deepcopy(attention), WavLMConfig()
    make_wavlm_attention_fast(model, implementation)
    without = attention.eval()(states[:1])[0][0]
    expected = attention.train()(states)[0]
    output = model.attention.train()(states)[0]
    spread = expected.std(0)
    assert (spread > 0.01).all()
    standard_error = spread / len(states) ** 0.5
    assert ((output.mean(0) - without).abs() < 5 * standard_error).all()
    torch.testing.assert_close(output.std(0), spread, atol=0, rtol=0.08)


@pytest.mark.parametrize("output_attentions", [False, True])
def test_a_clip_of_padding_alone_does_not_become_nan(output_attentions: bool) -> None:
    attention = fast(random_wavlm()).encoder.layers[0].attention
    states = torch.randn(2, 6, 16, requires_grad=True)
    mask = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    output = attention(states, mask, output_attentions=output_attentions)[0]
    output.sum().backward()
    assert output.isfinite().all()
    assert states.grad is not None
    assert states.grad.isfinite().all()


def test_bfloat16_autocast_is_about_as_exact_as_that_of_transformers() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1}
    model = AutoModel.from_config(speech_config("wavlm", **sizes, **NO_DROPOUT)).eval()
    nn.init.normal_(model.encoder.layers[0].attention.rel_attn_embed.weight)
    states, direction = torch.randn(4, 50, 64), torch.randn(4, 50, 64)
    mask = valid_positions(torch.tensor([50, 40, 30, 9]), 50)

    def run(model: PreTrainedModel, autocast: bool) -> list[Tensor]:
        attention, inputs = model.encoder.layers[0].attention, states.clone().requires_grad_()
        attention.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = attention(inputs, mask)[0]
        output.float().backward(direction)
        assert inputs.grad is not None
        return [output.detach().float(), inputs.grad, attention.rel_attn_embed.weight.grad.clone()]

    results = zip(run(model, False), run(model, True), run(fast(model), True), strict=True)
    for (exact, theirs, ours), factor in zip(results, (1.5, 1.5, 3.0), strict=True):
        assert (ours - exact).norm() < factor * (theirs - exact).norm()


def test_state_dict_and_checkpoint_are_unchanged(model: PreTrainedModel, tmp_path: Path) -> None:
    twin = fast(model)
    assert list(twin.state_dict()) == list(model.state_dict())
    twin.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert type(loaded.encoder.layers[0].attention) is WavLMAttention
    waveforms, attention_mask = waveforms_and_mask()
    with torch.no_grad():
        expected = model(waveforms, attention_mask=attention_mask).last_hidden_state
        assert torch.equal(loaded(waveforms, attention_mask=attention_mask).last_hidden_state, expected)


def test_called_twice_it_changes_nothing_more() -> None:
    model = fast(random_wavlm())
    parts = [(id(module), type(module)) for module in model.modules()]
    make_wavlm_attention_fast(model)
    assert [(id(module), type(module)) for module in model.modules()] == parts
    assert [type(layer.attention) for layer in model.encoder.layers] == [FastWavLMAttention] * 3


@pytest.mark.parametrize("family", sorted({family for family, _ in SPEECH_FORMS} - {"wavlm"}))
def test_other_families_are_left_as_they_are(family: str) -> None:
    model = AutoModel.from_config(speech_config(family, "layer"))
    before = [type(module) for module in model.modules()]
    make_wavlm_attention_fast(model)
    assert [type(module) for module in model.modules()] == before


def test_unknown_implementation() -> None:
    with pytest.raises(GemoclapError, match="sdp.*did you mean 'sdpa'"):
        make_wavlm_attention_fast(random_wavlm(), "sdp")  # type: ignore[arg-type]


@pytest.fixture
def flex_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run flex attention step by step on the CPU, where its gradients work but for the refusal to compute them."""
    monkeypatch.setattr(flex, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(wavlm, "_compiles_flex", lambda device: True)
    monkeypatch.setattr(wavlm, "_compiled_flex", lambda: gated_flex_attention)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.usefixtures("flex_on_the_cpu")
@pytest.mark.parametrize("padded", [True, False])
def test_flex_attention(model: PreTrainedModel, padded: bool) -> None:
    assert_same(model, fast(model, "flex"), padded)


def test_flex_attention_leaves_the_cpu_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("flex attention was taken")

    monkeypatch.setattr(wavlm, "_compiled_flex", refuse)
    model = random_wavlm()
    assert_same(model, fast(model, "flex"))


@pytest.mark.usefixtures("flex_on_the_cpu")
def test_flex_attention_leaves_dropout_to_the_others() -> None:
    model = random_wavlm(attention_dropout=0.9).train()
    expected, output = output_and_gradients(fast(model, "auto"))[0], output_and_gradients(fast(model, "flex"))[0]
    torch.testing.assert_close(output, expected)
