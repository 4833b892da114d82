"""Padding never changes a result: one clip alone against the same clip in a padded batch."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import HOP, RECEPTIVE_FIELD, SPEECH_FORMS, save_speech_encoder, speech_config
from torch import Tensor, nn
from transformers import AutoModel

from gemoclap.encoders.padding import make_padding_exact, masked_group_norm, valid_positions
from gemoclap.encoders.speech import SpeechEncoder

OTHER_FAMILIES = (
    ("unispeech", "group"), ("unispeech-sat", "group"), ("wav2vec2-conformer", "group"),
    ("wav2vec2-conformer", "layer"),
)  # fmt: skip


def padded_batch(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Return noise with an offset, another level in every clip, and garbage where an encoder must not look."""
    rng = np.random.default_rng(seed)
    waveforms = rng.normal(0.02, 0.1, (len(lengths), max(lengths))) * rng.uniform(0.1, 2.0, (len(lengths), 1))
    return torch.tensor(waveforms, dtype=torch.float32), torch.tensor(lengths)


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    return (frames * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def alone(encoder: SpeechEncoder, waveforms: Tensor, lengths: Tensor, clip: int) -> tuple[Tensor, Tensor]:
    samples = int(lengths[clip])
    return encoder(waveforms[clip : clip + 1, :samples], lengths[clip : clip + 1])


@pytest.fixture(params=SPEECH_FORMS, ids=lambda form: "-".join(form))
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> SpeechEncoder:
    family, norm = request.param
    return SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path, family, norm))).eval()


@pytest.mark.parametrize("seed", range(3))
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(encoder: SpeechEncoder, seed: int) -> None:
    lengths_drawn = np.random.default_rng(seed).integers(RECEPTIVE_FIELD, 6000, 4).tolist()
    waveforms, lengths = padded_batch([*lengths_drawn, 6000, 31], seed)
    with torch.no_grad():
        frames, mask = encoder(waveforms, lengths)
        embeddings = masked_mean(frames, mask)
        for clip in range(len(lengths)):
            own_frames, own_mask = alone(encoder, waveforms, lengths, clip)
            assert own_mask.all()
            assert own_mask.sum() == mask[clip].sum()
            torch.testing.assert_close(frames[clip, mask[clip]], own_frames[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(embeddings[clip], masked_mean(own_frames, own_mask)[0], atol=1e-4, rtol=0)


def test_more_padding_changes_nothing(encoder: SpeechEncoder) -> None:
    waveforms, lengths = padded_batch([1500, 700], seed=3)
    with torch.no_grad():
        frames, mask = encoder(waveforms, lengths)
        wider_frames, wider_mask = encoder(nn.functional.pad(waveforms, (0, 2000), value=5.0), lengths)
    torch.testing.assert_close(wider_frames[wider_mask], frames[mask], atol=1e-5, rtol=0)
    assert not wider_frames[~wider_mask].any()


def test_gradients_of_a_batch_are_the_sum_of_those_of_its_clips(encoder: SpeechEncoder) -> None:
    waveforms, lengths = padded_batch([3000, 900, 1800, 50], seed=4)
    direction = torch.randn(encoder.output_dim, generator=torch.Generator().manual_seed(0))
    (masked_mean(*encoder(waveforms, lengths)) @ direction).tanh().sum().backward()
    together = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    encoder.zero_grad(set_to_none=True)
    for clip in range(len(lengths)):
        (masked_mean(*alone(encoder, waveforms, lengths, clip)) @ direction).tanh().sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            scale = max(1.0, float(parameter.grad.abs().max()))
            torch.testing.assert_close(together[name], parameter.grad, atol=1e-4 * scale, rtol=0, msg=name)
    assert sum(gradient is not None for gradient in together.values()) > len(together) // 2


def test_transformers_alone_would_have_failed(tmp_path: Path) -> None:
    """The measure itself can fail: the same test on the plain model finds the leak."""
    for family, norm in (("wav2vec2", "group"), ("data2vec-audio", "layer")):
        model = AutoModel.from_pretrained(save_speech_encoder(tmp_path / family, family, norm)).eval()
        waveforms, lengths = padded_batch([3000, 1000], seed=5)
        attention_mask = valid_positions(lengths, 3000)
        with torch.no_grad():
            batch = model(waveforms * attention_mask, attention_mask=attention_mask.long()).last_hidden_state[1]
            own = model(waveforms[1:, :1000]).last_hidden_state[0]
        assert (batch[: len(own)] - own).abs().max() > 0.01


@pytest.mark.parametrize(("family", "norm"), OTHER_FAMILIES)
def test_families_that_share_the_parts_are_exact_too(family: str, norm: str) -> None:
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_config(speech_config(family, norm), do_normalize=True).eval()
    waveforms, lengths = padded_batch([3000, 1240, 800], seed=6)
    with torch.no_grad():
        frames, mask = encoder(waveforms, lengths)
        for clip in range(len(lengths)):
            own_frames, _ = alone(encoder, waveforms, lengths, clip)
            torch.testing.assert_close(frames[clip, mask[clip]], own_frames[0], atol=1e-4, rtol=0)


def test_hubert_with_batch_norm_before_the_positional_convolution() -> None:
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_config(speech_config("hubert", "layer", conv_pos_batch_norm=True), True).eval()
    encoder.model.encoder.pos_conv_embed.batch_norm.bias.data.fill_(1.0)
    waveforms, lengths = padded_batch([3000, 1000], seed=7)
    with torch.no_grad():
        frames, mask = encoder(waveforms, lengths)
        own_frames, _ = alone(encoder, waveforms, lengths, 1)
    torch.testing.assert_close(frames[1, mask[1]], own_frames[0], atol=1e-4, rtol=0)


def test_group_norm_statistics_against_torch_clip_by_clip() -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    hidden, lengths = torch.randn(3, 4, 50, dtype=torch.float64) + 30.0, torch.tensor([50, 1, 17])
    normed = masked_group_norm(hidden.float(), lengths, norm.float())
    for clip, length in enumerate(lengths.tolist()):
        expected = norm.double()(hidden[clip : clip + 1, :, :length])[0] if length > 1 else norm.bias[:, None]
        torch.testing.assert_close(normed[clip, :, :length].double(), expected.double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "norm"),
    [("wav2vec2", "group"), ("data2vec-audio", "layer"), ("wavlm", "layer"), ("wav2vec2-conformer", "layer")],
)
def test_gradient_checkpointing_gives_the_same_gradients_when_two_batches_wait(family: str, norm: str) -> None:
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_config(
        speech_config(family, norm, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0,
                      activation_dropout=0.0, conformer_conv_dropout=0.0, mask_time_prob=0.0), True
    ).train()  # fmt: skip
    batches = [padded_batch([2000, 900], seed=8), padded_batch([1500, 400], seed=9)]

    def gradients() -> list[Tensor]:
        encoder.zero_grad(set_to_none=True)
        losses = [masked_mean(*encoder(*batch)).square().sum() for batch in batches]
        for loss in losses:
            loss.backward()
        return [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]

    plain = gradients()
    encoder.checkpoint_gradients()
    for with_checkpointing, without in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(with_checkpointing, without, atol=1e-5, rtol=1e-4)


def test_a_copy_of_an_encoder_has_parts_of_its_own() -> None:
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_config(speech_config("data2vec-audio", "layer"), True).eval()
    twin = copy.deepcopy(encoder)
    encoder.requires_grad_(False).model.encoder.layers[0].attention.k_proj.weight.zero_()
    waveforms, lengths = padded_batch([2000, 700], seed=10)
    with torch.no_grad():
        frames, mask = twin(waveforms, lengths)
        own_frames, _ = alone(twin, waveforms, lengths, 1)
    torch.testing.assert_close(frames[1, mask[1]], own_frames[0], atol=1e-4, rtol=0)


def test_installing_twice_changes_nothing_more() -> None:
    model = AutoModel.from_config(speech_config("wav2vec2", "group"))
    first = make_padding_exact(model)
    parts = [id(module) for module in model.modules()]
    assert make_padding_exact(model) is first
    assert [id(module) for module in model.modules()] == parts


def test_a_model_called_directly_behaves_as_transformers_made_it(tmp_path: Path) -> None:
    folder = save_speech_encoder(tmp_path)
    encoder, plain = SpeechEncoder.from_pretrained(str(folder)).eval(), AutoModel.from_pretrained(folder).eval()
    waveforms, lengths = padded_batch([2000, 2000 - 5 * HOP], seed=11)
    with torch.no_grad():
        encoder(waveforms, lengths)
        assert torch.equal(encoder.model(waveforms).last_hidden_state, plain(waveforms).last_hidden_state)
