"""The probe's head against the protocol frame by frame, its training against a plain loop, and what it is put on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probes import settings_for
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from sound import noisy_clips
from tiny import save_speech_encoder, save_text_encoder
from torch import Tensor, nn

from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import AudioSettings, CacheSettings, ModelSettings, Settings
from gemoclap.config.probe import ProbeHeadSettings, ProbeSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.encoders.feature_cache import LayerFeatures
from gemoclap.encoders.mel import LogMel
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.recipes.inputs import InputSources
from gemoclap.recipes.probe import ProbeHead, fit_head, layer_means

PLAIN = AudioSettings(trim_silence_db=None)
SAMPLES = (900, 2500, 1700, 70)


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    return noisy_clips(tmp_path, SAMPLES)


def cloud(seed: int, number: int = 60, layers: int = 3, dim: int = 5) -> tuple[Tensor, Tensor]:
    """Return features (N, L, D) and classes (N,) of three unequal and overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor([0, 1, 2, 2, 2, 2]).repeat(number // 6)
    centres = torch.tensor([[0.0], [1.0], [2.0]]).expand(3, dim)
    return centres[classes].unsqueeze(1) + torch.randn(number, layers, dim, generator=generator), classes


# The head.


def by_frame(head: ProbeHead, encoder: SpeechEncoder, waveform: Tensor) -> Tensor:
    """Return the logits of a clip as the protocol has it: each frame through the first linear layer, then the mean."""
    if encoder.do_normalize:
        waveform = (waveform - waveform.mean()) / (waveform.var(unbiased=False) + 1e-7).sqrt()
    output = encoder.model(waveform.unsqueeze(0), output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    states = states[-len(head.layer_weights) :]
    weights = head.layer_weights.exp() / head.layer_weights.exp().sum()
    frames = sum(weight * state[0] for weight, state in zip(weights, states, strict=True)) / head.scale
    projected = [head.projector.weight @ frame + head.projector.bias for frame in frames]
    return head.classifier.weight @ torch.stack(projected).mean(0) + head.classifier.bias


@pytest.mark.parametrize("layers", ["weighted", "last"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_pooled_layers_are_all_that_the_protocol_needs(tmp_path: Path, rows, layers, norm) -> None:
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path / "encoder", "wavlm", norm)), layers)
    encoder.freeze("all")
    store = AudioStore(PLAIN)
    means = layer_means(encoder, rows, store, CacheSettings(layers="memory"))
    assert means.shape == (len(rows), 4 if layers == "weighted" else 1, 16)
    torch.manual_seed(0)
    head = ProbeHead(means.shape[1], 16, 6, 3, scale=0.7)
    nn.init.normal_(head.layer_weights)
    truth = torch.tensor([0, 2, 1, 1])
    gradients = []
    encoder.eval()
    routes = (head(means), torch.stack([by_frame(head, encoder, torch.from_numpy(store(row))) for row in rows]))
    for logits in routes:
        head.zero_grad()
        nn.functional.cross_entropy(logits, truth).backward()
        gradients.append([parameter.grad.clone() for parameter in head.parameters()])
    torch.testing.assert_close(*routes, rtol=0, atol=1e-5)
    for pooled, framewise in zip(*gradients, strict=True):
        torch.testing.assert_close(pooled, framewise, rtol=1e-4, atol=1e-5)


def plain_loop(
    features: Tensor, classes: Tensor, settings: ProbeSettings, seed: int, weights: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the logits of a head that was trained step by step with the plainest parts of torch, in float64."""
    torch.manual_seed(seed)
    layers = nn.Parameter(torch.zeros(features.shape[1], dtype=torch.float64))
    linear = nn.Sequential(nn.Linear(features.shape[2], settings.head.hidden_dim), nn.Linear(8, 3))
    order = [torch.randperm(len(features)).tolist() for _ in range(4)]
    linear.double()
    parameters = [layers, *linear.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=settings.train.lr)
    scale = math.sqrt(np.mean(np.square(features.double().numpy()))) if settings.head.rescale else 1.0

    def logits(rows: Tensor) -> Tensor:
        shares = layers.exp() / layers.exp().sum()
        return linear((shares[:, None] * rows.double() / scale).sum(1))

    for epoch in order:
        while epoch:
            batch, epoch = epoch[: settings.train.batch_size], epoch[settings.train.batch_size :]
            logs = logits(features[batch]).log_softmax(1)
            of_each = [weights[c] * -row[c] for row, c in zip(logs, classes[batch].tolist(), strict=True)]
            loss = torch.stack(of_each).sum() / weights[classes[batch]].sum()
            optimizer.zero_grad()
            loss.backward()
            norm = math.sqrt(sum(float(one.grad.square().sum()) for one in parameters))
            if settings.train.clip_norm is not None and norm > settings.train.clip_norm:
                for one in parameters:
                    one.grad *= settings.train.clip_norm / norm
            optimizer.step()
    return logits


@pytest.mark.parametrize(
    ("head", "train"),
    [
        ({}, {}),
        ({"rescale": False}, {"clip_norm": 0.1}),
        ({}, {"clip_norm": None, "class_weights": "balanced"}),
    ],
)
def test_the_training_is_that_of_a_plain_loop(head: dict, train: dict) -> None:
    features, classes = cloud(0, number=54)
    settings = settings_for(Path("m.jsonl"), **{"steps": 14, "batch_size": 16, **train})
    settings = replace(settings, head=ProbeHeadSettings(hidden_dim=8, **head))
    weights = torch.ones(3, dtype=torch.float64)
    if "class_weights" in train:
        weights = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(3), y=classes.numpy()))
    expected = plain_loop(features, classes, settings, 5, weights)
    found, log = fit_head(features, classes, 3, settings, 5)
    new, _ = cloud(1)
    torch.testing.assert_close(found(new).double(), expected(new), rtol=1e-4, atol=1e-4)
    assert [(row["epoch"], row["step"]) for row in log] == [(1, 4), (2, 8), (3, 12), (4, 16)]
    assert log[-1]["loss"] < log[0]["loss"] and found.layer_weights.abs().min() > 0


def test_an_encoder_of_another_scale_learns_the_same() -> None:
    features, classes = cloud(0)
    settings = settings_for(Path("m.jsonl"), steps=160)
    logits = [fit_head(factor * features, classes, 3, settings, 0)[0](factor * features) for factor in (1, 1000)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    settings = replace(settings, head=ProbeHeadSettings(rescale=False))
    logits = [fit_head(factor * features, classes, 3, settings, 0)[0](factor * features) for factor in (1, 1000)]
    assert (logits[0] - logits[1]).abs().max() > 1


def test_the_epoch_is_chosen_on_the_development_speakers() -> None:
    (features, classes), (new, truth) = cloud(0), cloud(1, number=30)

    def uar_of(head: ProbeHead) -> float:
        return balanced_accuracy_score(truth.numpy(), head(new).argmax(1).numpy())

    settings = settings_for(Path("m.jsonl"), steps=320, lr=0.05, select="dev")
    chosen, log = fit_head(features, classes, 3, settings, 0, (new, truth))
    scores = [row["dev_uar"] for row in log]
    assert uar_of(chosen) == pytest.approx(max(scores)) and max(scores) > scores[-1]
    # The last epoch is what the training ends with, whoever listens.
    last, _ = fit_head(features, classes, 3, replace(settings, train=replace(settings.train, select="last")), 0)
    assert uar_of(last) == pytest.approx(scores[-1])
    assert log[-1]["dev_war"] == pytest.approx(accuracy_score(truth.numpy(), last(new).argmax(1).numpy()))


def test_a_loss_that_is_lost_says_so() -> None:
    features, classes = cloud(0)
    with pytest.raises(GemoclapError, match="the loss of the head is nan in epoch 1; lower --train.lr"):
        fit_head(features * float("nan"), classes, 3, settings_for(Path("m.jsonl")), 0)


# What it is put on.


def test_log_mel_is_the_mean_spectrum(rows: list[Utterance]) -> None:
    mel, store = LogMel(n_mels=80), AudioStore(PLAIN)
    means = layer_means(mel, rows, store, CacheSettings())
    for row, mean in zip(rows, means, strict=True):
        waveform = np.pad(store(row).astype(np.float64), (0, max(0, 400 - len(store(row)))))
        frames = [waveform[start : start + 400] for start in range(0, len(waveform) - 399, 160)]
        power = np.abs(np.fft.rfft(np.array(frames) * np.hanning(401)[:-1], 512)) ** 2
        expected = np.log(power @ mel.filters.double().numpy() + 1e-6).mean(0)
        np.testing.assert_allclose(mean.numpy(), expected[None], rtol=1e-3, atol=1e-3)


def test_the_table_is_shared_with_a_frozen_cross_validation(tmp_path: Path, rows, monkeypatch) -> None:
    audio = save_speech_encoder(tmp_path / "audio", "hubert")
    chosen = ModelSettings(freeze="all", layers="weighted", pooling="mean", augment=False, projection_dim=8)
    vocabulary = Vocabulary("two", ("angry", "sad"))
    text = save_text_encoder(tmp_path / "text")
    model = GEmoClapModel.from_audio_text_pretrained(str(audio), str(text), vocabulary, chosen)
    store = AudioStore(PLAIN)
    expected = InputSources(store, Settings()).for_model(model, rows).inputs(rows)["layer_features"]
    monkeypatch.setattr(LayerFeatures, "_encode", lambda *args: pytest.fail("encoded again"))
    encoder = SpeechEncoder.from_pretrained(str(audio), "weighted")
    encoder.freeze("all")
    assert torch.equal(layer_means(encoder, rows, AudioStore(PLAIN), CacheSettings()), expected)
