"""Encoders as X-ARES wants them: what its checker asks for, and an average over frames that the padding does not change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sound import noise
from tiny import save_whisper
from torch import Tensor, nn

from gemoclap.encoders import load_audio_encoder, xares
from gemoclap.errors import GemoclapError


class CompactEncoder(xares.Frames):
    audio_encoder = "compact"
    options = {"hidden_size": 32}


def padded(*seconds: float) -> tuple[list[Tensor], Tensor]:
    """Return clips, and the same in a batch with zeros behind them."""
    clips = [torch.from_numpy(noise(length, seed=number)) for number, length in enumerate(seconds)]
    return clips, nn.utils.rnn.pad_sequence(clips, batch_first=True)


def test_an_encoder_has_all_that_the_checker_of_x_ares_asks_for() -> None:
    encoder = CompactEncoder()
    assert isinstance(encoder, nn.Module) and type(encoder).__name__.endswith("Encoder")
    assert encoder.sampling_rate == 16000
    frames = encoder(torch.randn(2, 50000))
    assert frames.shape[0] == 2 and frames.shape[2] == encoder.output_dim == 32
    assert 50000 / 16 / frames.shape[1] == pytest.approx(encoder.hop_size_in_ms, rel=0.05)
    assert not frames.requires_grad


@pytest.mark.parametrize("name", ["compact", "whisper"])
def test_the_average_over_all_frames_is_that_of_the_clip_alone(name: str, tmp_path: Path) -> None:
    source = name if name == "compact" else str(save_whisper(tmp_path / "whisper"))
    layer = "last" if name == "compact" else 1

    class SomeEncoder(xares.Frames):
        audio_encoder, layers = source, layer

    torch.manual_seed(0)  # compact has random weights
    encoder = SomeEncoder().train()
    clips, batch = padded(0.31, 1.1, 0.7)
    together = encoder(batch)
    for clip, frames in zip(clips, together, strict=True):
        alone = encoder.encoder(clip[None], torch.tensor([len(clip)]))[0][0]
        torch.testing.assert_close(frames.mean(0), alone.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(frames[: len(alone)], alone, atol=1e-5, rtol=1e-4)


def test_the_length_is_read_from_the_zeros_at_the_end() -> None:
    batch = torch.zeros(4, 50)
    batch[0, :] = 1.0
    batch[1, 3:20] = -0.5
    batch[2, [0, 7, 31]] = 1e-6
    assert xares.samples_before_padding(batch).tolist() == [50, 20, 32, 1]


def test_silence_has_finite_frames_and_a_misspelt_encoder_is_named() -> None:
    assert CompactEncoder()(torch.zeros(2, 16000)).isfinite().all()

    class WrongEncoder(xares.Frames):
        audio_encoder = "compcat"

    with pytest.raises(GemoclapError, match="compcat.*compact"):
        WrongEncoder()


def test_default_is_the_encoder_that_comes_with_the_package() -> None:
    class DefaultEncoder(xares.Frames):
        pass

    clips, batch = padded(0.5)
    expected, _ = load_audio_encoder("default").eval()(batch, torch.tensor([len(clips[0])]))
    torch.testing.assert_close(DefaultEncoder()(batch), expected)
