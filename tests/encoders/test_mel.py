"""The log-mel spectrogram, deltas and normalisation against NumPy, SciPy and scikit-learn in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from sklearn.preprocessing import StandardScaler

from gemoclap.encoders.mel import LogMel, MelFeatures, append_deltas, cmvn, deltas, mel_filterbank, normalize_frames

SIZES = {"n_mels": 20, "n_fft": 256, "window": 200, "hop": 80}


def mel_of(hz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hz / 700.0))


def hz_of(mel: float) -> float:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def noise(samples: int, seed: int = 0, level: float = 0.3) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(samples)


def batch_of(*clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    padded = torch.zeros(len(clips), max(map(len, clips)))
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return padded, torch.tensor([len(clip) for clip in clips])


@pytest.mark.parametrize(("n_mels", "n_fft", "high_hz"), [(20, 256, 7600.0), (64, 1024, 7600.0), (40, 512, 8000.0)])
def test_filters_equal_a_double_loop(n_mels: int, n_fft: int, high_hz: float) -> None:
    filters = mel_filterbank(n_mels, n_fft, 16000, 50.0, high_hz).numpy()
    step = (mel_of(high_hz) - mel_of(50.0)) / (n_mels + 1)
    edges = [hz_of(mel_of(50.0) + index * step) for index in range(n_mels + 2)]
    expected = np.zeros((n_fft // 2 + 1, n_mels))
    for number in range(n_mels):
        left, peak, right = edges[number : number + 3]
        for position in range(n_fft // 2 + 1):
            hz = position * 16000 / n_fft
            if left < hz <= peak:
                expected[position, number] = (hz - left) / (peak - left)
            elif peak < hz < right:
                expected[position, number] = (right - hz) / (right - peak)
    np.testing.assert_allclose(filters, expected, atol=1e-6)


def test_neighbouring_filters_add_up_to_one_between_the_outer_peaks() -> None:
    filters = mel_filterbank(64, 4096, 16000, 50.0, 7600.0).double()
    hz = torch.linspace(0, 8000, 2049)
    step = (mel_of(7600.0) - mel_of(50.0)) / 65
    inside = (hz > hz_of(mel_of(50.0) + step)) & (hz < hz_of(mel_of(7600.0) - step))
    torch.testing.assert_close(filters.sum(1)[inside], torch.ones(int(inside.sum())).double(), atol=1e-5, rtol=0)
    assert (filters.argmax(0).diff() > 0).all() and ((filters > 0).sum(1) <= 2).all()


def test_log_mel_equals_scipys_spectrogram() -> None:
    mel = LogMel(**SIZES)
    clip = noise(3000)
    frames, mask = mel(*batch_of(clip))
    _, _, spectrum = scipy.signal.spectrogram(
        clip.astype(np.float32).astype(np.float64), window=scipy.signal.get_window("hann", 200), nperseg=200,
        noverlap=120, nfft=256, detrend=False, scaling="spectrum", mode="complex",
    )  # fmt: skip
    # "spectrum" divides by the sum of the window.
    power = np.abs(spectrum * scipy.signal.get_window("hann", 200).sum()) ** 2
    expected = np.log(power.T @ mel_filterbank(20, 256, 16000, 50.0, 7600.0).numpy() + 1e-6)
    assert frames.shape == (1, *expected.shape) and mask.all()
    np.testing.assert_allclose(frames[0].numpy(), expected, atol=1e-3)


def test_a_tone_is_loudest_in_the_bin_around_it() -> None:
    mel = LogMel(n_mels=64, n_fft=1024, window=640, hop=320)
    step = (mel_of(7600.0) - mel_of(50.0)) / 65
    for hz in (150.0, 440.0, 1500.0, 5000.0):
        clip = np.sin(2 * np.pi * hz * np.arange(16000) / 16000)
        frames, _ = mel(*batch_of(clip))
        nearest = round((mel_of(hz) - mel_of(50.0)) / step) - 1
        assert abs(int(frames.mean((0, 1)).argmax()) - nearest) <= 1


def test_frames_lie_within_their_clip() -> None:
    mel = LogMel(**SIZES)
    for samples in (1, 199, 200, 279, 280, 3000):
        expected = len([start for start in range(0, max(samples, 200), 80) if start + 200 <= max(samples, 200)])
        assert mel.frame_counts(torch.tensor([samples])).item() == expected
        frames, mask = mel(*batch_of(noise(samples)))
        assert frames.shape == (1, expected, 20) and mask.sum() == expected


def test_a_clip_has_the_same_frames_alone_and_padded() -> None:
    mel, clips = LogMel(**SIZES), [noise(samples, seed=samples) for samples in (3000, 1, 150, 200, 1999)]
    frames, mask = mel(*batch_of(*clips))
    wide, lengths = batch_of(*clips)
    wider, _ = mel(torch.nn.functional.pad(wide, (0, 5000)), lengths)
    assert torch.equal(wider, frames)
    for row, clip in enumerate(clips):
        alone, _ = mel(*batch_of(clip))
        torch.testing.assert_close(frames[row, mask[row]], alone[0], atol=1e-4, rtol=0)
        assert not frames[row, ~mask[row]].any()


def test_normalised_frames_equal_numpy_over_the_valid_ones() -> None:
    frames = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0)) * 3 + 2
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    normed = normalize_frames(frames, mask).numpy()
    for row, count in enumerate((9, 5)):
        valid = frames[row, :count].double().numpy()
        centred = valid - valid.mean(0)
        np.testing.assert_allclose(normed[row, :count], centred / np.sqrt((centred**2).mean() + 1e-5), atol=1e-5)
        assert not normed[row, count:].any()


def test_level_and_channel_vanish_when_normalised() -> None:
    mel, clip = LogMel(**SIZES), noise(16000)
    plain = normalize_frames(*mel(*batch_of(clip)))
    for gain in (0.2, 3.0):
        torch.testing.assert_close(normalize_frames(*mel(*batch_of(gain * clip))), plain, atol=2e-3, rtol=0)
    frames, mask = mel(*batch_of(clip))
    coloured = frames + torch.linspace(-2, 2, 20)
    torch.testing.assert_close(normalize_frames(coloured, mask), plain, atol=1e-4, rtol=0)


def test_silence_becomes_zeros() -> None:
    frames, mask = LogMel(**SIZES)(torch.zeros(2, 1000), torch.tensor([1000, 30]))
    torch.testing.assert_close(normalize_frames(frames, mask), torch.zeros_like(frames), atol=1e-3, rtol=0)


def frames_of(*counts: int, dims: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 frames with garbage behind each clip's last one, and their mask."""
    frames = torch.randn(len(counts), max(counts), dims, generator=torch.Generator().manual_seed(seed)).double() * 3 + 2
    return frames, torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_deltas_equal_a_double_loop_and_scipys_local_regression(width: int) -> None:
    counts = (11, 5, 1, 2)
    frames, mask = frames_of(*counts)
    slopes = deltas(frames, mask, width)
    for row, count in enumerate(counts):
        clip = frames[row, :count].numpy()
        expected = np.zeros_like(clip)
        for time in range(count):
            for offset in range(1, width + 1):
                ahead, behind = clip[min(time + offset, count - 1)], clip[max(time - offset, 0)]
                expected[time] += offset * (ahead - behind)
            expected[time] /= 2 * sum(offset**2 for offset in range(1, width + 1))
        np.testing.assert_allclose(slopes[row, :count].numpy(), expected, atol=1e-12)
        assert not slopes[row, count:].any()
        filtered = scipy.signal.savgol_filter(clip, 2 * width + 1, 1, deriv=1, axis=0, mode="nearest")
        np.testing.assert_allclose(slopes[row, :count].numpy(), filtered, atol=1e-12)


def test_the_slope_of_a_line_and_of_its_square() -> None:
    time = torch.arange(20.0).double()
    frames = torch.stack([3 * time, time**2], dim=-1).unsqueeze(0)
    both = append_deltas(frames, torch.ones(1, 20, dtype=torch.bool), order=2, width=2)
    assert both.shape == (1, 20, 6) and torch.equal(both[..., :2], frames)
    inner = both[0, 4:-4]
    torch.testing.assert_close(inner[:, 2], torch.full_like(inner[:, 2], 3.0))
    torch.testing.assert_close(inner[:, 3], 2 * time[4:-4])
    torch.testing.assert_close(inner[:, 4:], torch.tensor([0.0, 2.0]).double().expand(12, 2))
    assert torch.equal(append_deltas(frames, torch.ones(1, 20, dtype=torch.bool), order=0), frames)


def test_cmvn_equals_scikit_learn_over_the_valid_frames() -> None:
    counts = (30, 7)
    frames, mask = frames_of(*counts)
    normed = cmvn(frames, mask)
    for row, count in enumerate(counts):
        expected = StandardScaler().fit_transform(frames[row, :count].numpy())
        np.testing.assert_allclose(normed[row, :count].numpy(), expected, atol=1e-4)
        assert not normed[row, count:].any()


def test_cmvn_leaves_zeros_where_a_dimension_never_changes() -> None:
    mask = torch.ones(1, 3001, dtype=torch.bool)
    frames = torch.full((1, 3001, 5), -13.8155)  # the log of the floor: its mean over many frames is rounded
    frames[..., 0] = torch.randn(3001, generator=torch.Generator().manual_seed(0))
    normed = cmvn(frames, mask)
    assert normed[..., 1:].abs().max() < 1e-6 and normed[..., 0].std() == pytest.approx(1.0, abs=1e-2)
    single, only = frames_of(1)
    assert not cmvn(single, only).any()


@pytest.mark.parametrize("order", [0, 2])
def test_features_are_the_same_alone_and_padded(order: int) -> None:
    features = MelFeatures(20, window=200, hop=80, n_fft=256, delta_order=order)
    clips = [noise(samples, seed=samples) for samples in (6000, 1, 150, 1999)]
    waveforms, lengths = batch_of(*clips)
    with torch.autocast("cpu", torch.bfloat16):  # not at work here: rounded to 8 bits, log-mel frames are of little use
        frames, mask = features(torch.nn.functional.pad(waveforms, (0, 3000)), lengths)
    assert frames.dtype == torch.float32 and frames.shape[2] == 20 * (order + 1) and not frames.requires_grad
    assert not frames[~mask].any()
    for row, clip in enumerate(clips):
        alone, _ = features(*batch_of(clip))
        torch.testing.assert_close(frames[row, mask[row]], alone[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(frames[0].std(0, correction=0), torch.ones(20 * (order + 1)), atol=1e-2, rtol=0)
