"""The intensity model against NumPy, PyTorch's packed LSTM, and itself in other company."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sound import noise, tone
from tiny import save_speech_encoder
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gemoclap.config import AudioSettings
from gemoclap.data.targets import Targets
from gemoclap.ems.intensity import (
    BidirectionalLSTM,
    IntensityConfig,
    IntensityModel,
    IntensityObjective,
    intensity_curve,
    intensity_curves,
)
from gemoclap.encoders.mel import mel_filterbank
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary

TINY: dict[str, Any] = {"input_size": 30, "channels": [3, 4], "lstm_size": 5, "head_size": 6}
CLASSES = Vocabulary("three", ("angry", "neutral", "sad"))
LENGTHS = torch.tensor([8000, 1, 100, 5000, 512, 767, 768])


def tiny(seed: int = 0, **changes: Any) -> IntensityModel:
    """Return a tiny model with biases that are not zero, which would hide a mistake in the padding."""
    torch.manual_seed(seed)
    model = IntensityModel(IntensityConfig(**{**TINY, **changes}, vocabulary=CLASSES.to_dict()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def clips() -> Tensor:
    """Return noise of `LENGTHS` samples that swells and fades, zero-padded."""
    time = torch.arange(8000)
    loud = torch.randn(len(LENGTHS), 8000, generator=torch.Generator().manual_seed(0))
    return loud * (time / 900).sin() * (time < LENGTHS.unsqueeze(1))


def run(model: IntensityModel, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return model(waveforms, lengths)


def error_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_mel_magnitudes_are_those_of_a_loop() -> None:
    model, waveform = tiny(), noise(0.1).astype(np.float32)
    found, mask = model.mel(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    filters = mel_filterbank(80, 512, 16000, 0.0, 8000.0).double().numpy()
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(512) / 512)
    starts = range(0, len(waveform) - 512 + 1, 256)
    expected = []
    for start in starts:
        magnitudes = np.abs(np.fft.rfft(waveform[start : start + 512].astype(np.float64) * window))
        expected.append([(magnitudes * one).sum() / one.sum() for one in filters.T])
    assert found.shape == (1, len(starts), 80) and mask.all()
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4)


def test_every_mel_bin_hears_something() -> None:
    model = IntensityModel(IntensityConfig(**TINY))
    assert (model.mel.filters.sum(0) - 1).abs().max() < 1e-5


def test_its_form_is_strengthnets() -> None:
    """Twelve convolutions bring 257 inputs down to 4 x 128 = 512, which its code writes out."""
    model = IntensityModel(IntensityConfig())
    convolutions: list[Any] = list(model.convolutions)
    assert [one.out_channels for one in convolutions] == [size for size in (16, 32, 64, 128) for _ in range(3)]
    assert [one.stride for one in convolutions] == [(1, 1), (1, 1), (1, 3)] * 4
    assert {one.kernel_size for one in convolutions} == {(3, 3)}
    assert model.frame_lstm.ahead.input_size == model.emotion_lstm.back.input_size == 4 * 128
    assert (model.frame_lstm.ahead.hidden_size, model.frame_head[0].in_features) == (128, 256)


def test_the_lstm_is_pytorchs_over_packed_sequences() -> None:
    torch.manual_seed(0)
    ours, theirs = BidirectionalLSTM(4, 3), nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            one = ours.back if name.endswith("_reverse") else ours.ahead
            getattr(one, name.removesuffix("_reverse")).copy_(parameter)
    counts = torch.tensor([6, 1, 4])
    mask = torch.arange(6) < counts.unsqueeze(1)
    frames = torch.randn(3, 6, 4)
    states, last = ours(frames, mask)
    packed, (final, _) = theirs(pack_padded_sequence(frames, counts, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    torch.testing.assert_close(states[mask], expected[mask])
    torch.testing.assert_close(last, torch.cat([final[0], final[1]], dim=-1))


@pytest.mark.parametrize("log_mel", [False, True])
def test_a_clip_has_the_same_curve_score_and_emotion_alone_and_padded(log_mel: bool) -> None:
    model, batch = tiny(log_mel=log_mel), clips()
    together = run(model, batch, LENGTHS)
    wider = run(model, nn.functional.pad(batch, (0, 3333), value=9.0), LENGTHS)
    scores, mask = together["frame_scores"], together["mask"]
    assert mask.sum(1).tolist() == [30, 1, 1, 18, 1, 1, 2] and not scores[~mask].any()
    assert scores[0].std() > 0.01
    for row, length in enumerate(LENGTHS.tolist()):
        alone = run(model, batch[row : row + 1, :length], LENGTHS[row : row + 1])
        assert alone["mask"].all()
        torch.testing.assert_close(scores[row, mask[row]], alone["frame_scores"][0], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone["score"][0], alone["frame_scores"].mean(), atol=1e-6, rtol=0)
        for name in ("score", "logits"):
            torch.testing.assert_close(together[name][row], alone[name][0], atol=1e-5, rtol=0)
            torch.testing.assert_close(wider[name], together[name], atol=1e-5, rtol=0)


def test_strength_is_passed_through_for_the_loss() -> None:
    strength = torch.rand(len(LENGTHS))
    assert "strength" not in run(tiny(), clips(), LENGTHS)
    assert torch.equal(tiny()(clips(), LENGTHS, strength)["strength"], strength)


def test_the_loss_is_that_of_a_loop() -> None:
    model, strength, emotions = tiny(), torch.rand(len(LENGTHS)), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    with torch.no_grad():
        outputs = model(clips(), LENGTHS, strength)
        losses = IntensityObjective()(outputs, Targets(emotions, torch.full_like(emotions, -1)))
    score, frame, emotion = [], [], []
    for row, target in enumerate(strength.tolist()):
        valid = outputs["frame_scores"][row][outputs["mask"][row]].tolist()
        score.append(abs(sum(valid) / len(valid) - target))
        frame.append(sum(abs(one - target) for one in valid) / len(valid))
        emotion.append(-outputs["logits"][row].double().softmax(0)[emotions[row]].log().item())
    expected = {
        "score_error": np.mean(score),
        "frame_error": np.mean(frame),
        "emotion_cross_entropy": np.mean(emotion),
        "loss": np.mean(score) + np.mean(frame) + np.mean(emotion),
    }
    assert list(losses)[0] == "loss" and losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-5)


def test_every_parameter_learns_also_from_silence_and_a_single_sample() -> None:
    model = tiny().train()
    outputs = model(clips(), LENGTHS, torch.rand(len(LENGTHS)))
    IntensityObjective()(outputs, Targets(torch.zeros(len(LENGTHS), dtype=torch.int64), LENGTHS))["loss"].backward()
    assert [name for name, one in model.named_parameters() if not one.grad.abs().sum() > 0] == []
    model.zero_grad()
    outputs = model(torch.zeros(2, 3000), torch.tensor([3000, 1]), torch.rand(2))
    IntensityObjective()(outputs, Targets(torch.tensor([0, 1]), torch.tensor([0, 1])))["loss"].backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters())


def test_a_few_steps_put_a_loud_clip_above_a_quiet_one() -> None:
    torch.manual_seed(0)
    model = IntensityModel(IntensityConfig(**TINY, dropout=0.0, vocabulary=CLASSES.to_dict())).train()
    waveforms = torch.from_numpy(np.stack([noise(0.5, rms=0.2), noise(0.5, rms=0.02)])).float()
    lengths, strength, emotions = torch.tensor([8000, 8000]), torch.tensor([0.9, 0.1]), torch.tensor([0, 1])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        IntensityObjective()(model(waveforms, lengths, strength), Targets(emotions, emotions))["loss"].backward()
        optimizer.step()
    outputs = run(model.eval(), waveforms, lengths)
    assert outputs["logits"].argmax(1).tolist() == [0, 1]
    assert outputs["score"][0] > outputs["score"][1] + 0.4
    assert outputs["frame_scores"][0].min() > outputs["frame_scores"][1].max()


def test_curves_are_the_models_frames_with_their_middles() -> None:
    model = tiny().train()
    waveforms = [noise(0.5).astype(np.float32), np.zeros(9000, np.float32), np.ones(1, np.float32), tone(300, 0.04)]
    curves = intensity_curves(model, [waveform.astype(np.float32) for waveform in waveforms])
    assert not model.training
    for waveform, (times, scores) in zip(waveforms, curves, strict=True):
        frames = max(1, (len(waveform) - 512) // 256 + 1)
        assert times.tolist() == [(256 * frame + 256) / 16000 for frame in range(frames)]
        assert scores.shape == (frames,) and scores.dtype == np.float32 and np.isfinite(scores).all()
        alone_times, alone = intensity_curve(model, waveform.astype(np.float32))
        assert np.array_equal(alone_times, times)
        np.testing.assert_allclose(alone, scores, atol=1e-5)
    expected = run(model, torch.from_numpy(waveforms[0])[None], torch.tensor([8000]))["frame_scores"][0]
    np.testing.assert_allclose(curves[0][1], expected.numpy(), atol=1e-5)


def test_it_comes_back_from_a_folder(tmp_path: Path) -> None:
    model = tiny(hop=200, mel_stride=2)
    model.config.preparation = {"max_seconds": 5.0, "trim_silence_db": None}
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = IntensityModel.from_pretrained(tmp_path)
    first, second = (run(one, clips(), LENGTHS) for one in (model, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not again.training and again.config.emotions == CLASSES
    assert again.config.audio_settings == AudioSettings(max_seconds=5.0, trim_silence_db=None)
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "angry", "1": "neutral", "2": "sad"}


def test_folders_that_hold_no_intensity_model(tmp_path: Path) -> None:
    other = save_speech_encoder(tmp_path / "other")
    assert "holds a wav2vec2 model, not one of emotion intensity" in error_of(IntensityModel.from_pretrained, other)
    assert "no config.json" in error_of(IntensityModel.from_pretrained, tmp_path)
    tiny().save_pretrained(tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if name != "projection.bias"}
    save_file(kept, tmp_path / "cut" / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 1 weight, such as projection.bias" in error_of(IntensityModel.from_pretrained, tmp_path / "cut")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": []}, "channels must be whole numbers above 0, one or more"),
        ({"channels": [4, 0]}, "channels must be whole numbers above 0"),
        ({"lstm_size": 0}, "lstm_size must be a whole number above 0"),
        ({"window": 600}, "n_fft (512) must hold the window (600)"),
    ],
)
def test_sizes_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        IntensityConfig(**options)
