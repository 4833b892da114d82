"""Cached front ends and pooled layers against the encoder run as usual."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sound import noisy_clips
from tiny import SPEECH_FORMS, save_speech_encoder, save_whisper
from torch import Tensor

from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.encoders import feature_cache, load_audio_encoder
from gemoclap.encoders.feature_cache import (
    FrozenFrames,
    LayerFeatures,
    frames_bytes,
    frozen_fingerprint,
    is_cacheable,
    roomiest_place,
)
from gemoclap.encoders.layers import Layers
from gemoclap.encoders.pooling import POOLINGS
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError

AUDIO = AudioSettings(trim_silence_db=None)
SAMPLES = (900, 2500, 1700, 70, 400)


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    return noisy_clips(tmp_path, SAMPLES)


@pytest.fixture
def store() -> AudioStore:
    return AudioStore(AUDIO)


def test_a_padded_whisper_is_reckoned_with_by_what_it_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "CPU_BATCH_SECONDS", 80)
    encoder = load_audio_encoder(str(save_whisper(tmp_path / "whisper")), options={"padded": True})
    encoder.freeze(1)
    rows = noisy_clips(tmp_path, [32000] * 5)
    store = AudioStore(AUDIO)
    assert frames_bytes(encoder, store, rows, torch.float32) == 5 * 1500 * 16 * 4
    clips = FrozenFrames(encoder, store, "memory", torch.float32, tmp_path / "cache")
    batches = []
    encode = clips._encode
    clips._encode = lambda waveforms, lengths: batches.append(len(lengths)) or encode(waveforms, lengths)
    clips.encode(rows)
    assert batches == [2, 2, 1]  # of 80 s at most, each clip being 30 s long


def test_a_saved_copy_of_a_whisper_finds_what_was_kept(tmp_path: Path) -> None:
    encoder = load_audio_encoder(str(save_whisper(tmp_path / "whisper")), 2)
    encoder.save_pretrained(tmp_path / "own")
    again = load_audio_encoder(str(tmp_path / "own"))
    for what in (1, "front_end"):
        encoder.freeze(what)
        again.freeze(what)
        assert frozen_fingerprint(again) == frozen_fingerprint(encoder)
    shorter = load_audio_encoder(str(tmp_path / "whisper"), options={"padded": True})
    shorter.freeze("front_end")
    assert frozen_fingerprint(shorter) != frozen_fingerprint(encoder)


def frozen_encoder(folder: Path, what: str = "front_end", family: str = "wavlm", norm: str = "group", **options):
    layers = options.pop("layers", "last")
    encoder = SpeechEncoder.from_pretrained(
        str(save_speech_encoder(folder / "encoder", family, norm, **options)), layers
    )
    encoder.freeze(what)
    return encoder


def gradients(encoder: SpeechEncoder) -> dict[str, Tensor]:
    found = {name: one.grad.clone() for name, one in encoder.named_parameters() if one.grad is not None}
    encoder.zero_grad()
    return found


def counting(encoder: SpeechEncoder, what: str) -> list[int]:
    """Count from here on how many clips go through a method of `encoder`."""
    counts: list[int] = []
    plain = getattr(encoder, what)

    def counted(waveforms, lengths, *rest):
        counts.append(len(waveforms))
        return plain(waveforms, lengths, *rest)

    setattr(encoder, what, counted)
    return counts


@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_cached_front_end_gives_the_same_frames_and_gradients(
    tmp_path: Path, rows: list[Utterance], store: AudioStore, family: str, norm: str
) -> None:
    encoder = frozen_encoder(tmp_path, "front_end", family, norm, mask_time_prob=0.0).eval()
    clips = FrozenFrames(encoder, store, "memory", torch.float32, tmp_path)
    clips.encode(rows)
    plain, mask = encoder(**store.inputs(rows))
    weights = torch.randn_like(plain)
    (plain * weights).sum().backward()
    expected = gradients(encoder)
    inputs = clips.inputs(rows)
    frames, cached_mask = encoder.from_frozen_frames(inputs["frozen_frames"], inputs["frame_counts"])
    (frames * weights).sum().backward()
    found = gradients(encoder)
    assert torch.equal(mask, cached_mask)
    torch.testing.assert_close(frames, plain, rtol=0, atol=1e-5)
    assert found.keys() == expected.keys() and not any("feature_extractor" in name for name in found)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("freeze", ["front_end", 2])
@pytest.mark.parametrize(("family", "norm"), SPEECH_FORMS)
def test_training_draws_the_same_from_the_cache(tmp_path: Path, rows, store, family, norm, freeze) -> None:
    encoder = frozen_encoder(tmp_path, freeze, family, norm, mask_time_prob=0.3, layerdrop=0.3).train()
    clips = FrozenFrames(encoder, store, "memory", torch.float32, tmp_path)
    clips.encode(rows)

    def frames(encode, *inputs) -> Tensor:
        torch.manual_seed(1)
        np.random.seed(1)
        return encode(*inputs)[0]

    plain = frames(encoder, *store.inputs(rows).values())
    torch.testing.assert_close(
        frames(encoder.from_frozen_frames, *clips.inputs(rows).values()), plain, rtol=0, atol=1e-4
    )


def test_a_model_called_without_its_cache_is_as_before(tmp_path: Path, rows, store) -> None:
    encoder = frozen_encoder(tmp_path).eval()
    before, _ = encoder(**store.inputs(rows))
    clips = FrozenFrames(encoder, store, "memory", torch.float32, tmp_path)
    clips.encode(rows)
    encoder.from_frozen_frames(*clips.inputs(rows).values())
    with pytest.raises(RuntimeError):
        encoder.from_frozen_frames(torch.zeros(2, 5, 3), torch.tensor([5, 4]))  # not the width of the front end
    after, _ = encoder(**store.inputs(rows))
    assert torch.equal(before, after)


@pytest.mark.parametrize("place", ["memory", "disk", "device"])
def test_every_place_gives_the_same_and_encodes_once(tmp_path: Path, rows, store, place) -> None:
    encoder = frozen_encoder(tmp_path).train()
    counts = counting(encoder, "front_end")
    clips = FrozenFrames(encoder, store, place, torch.float32, tmp_path / "cache")
    clips.encode(rows[:2])
    clips.encode(rows)
    clips.encode(rows[::-1])
    assert sum(counts) == len(rows) and encoder.training
    inputs = clips.inputs(rows)
    with torch.no_grad():
        expected, frame_counts = encoder.eval().front_end(*store.inputs(rows).values())
    assert torch.equal(inputs["frame_counts"], frame_counts)
    for row, plain, count in zip(inputs["frozen_frames"], expected, frame_counts.tolist(), strict=True):
        torch.testing.assert_close(row[:count], plain[:count], rtol=0, atol=1e-6)
        assert not row[count:].any()


def test_a_clip_that_was_not_encoded_is_named(tmp_path: Path, rows, store) -> None:
    clips = FrozenFrames(frozen_encoder(tmp_path), store, "memory", torch.float32, tmp_path)
    clips.encode(rows[:2])
    with pytest.raises(GemoclapError, match="clip2"):
        clips.inputs(rows[:3])


def test_half_precision_is_what_was_asked_for_rounded(tmp_path: Path, rows, store) -> None:
    encoder = frozen_encoder(tmp_path)
    exact, rounded = (
        FrozenFrames(encoder, store, "disk", dtype, tmp_path / "cache") for dtype in (torch.float32, torch.bfloat16)
    )
    for clips in (exact, rounded):
        clips.encode(rows)
    frames = rounded.inputs(rows)["frozen_frames"]
    assert frames.dtype == torch.bfloat16
    assert torch.equal(frames, exact.inputs(rows)["frozen_frames"].bfloat16())


@pytest.mark.parametrize("layers", ["last", "weighted", 1, [0, 2, 3], [1, 3]])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_layers_stand_in_for_the_frames(tmp_path: Path, rows, store, layers: Layers, pooling: str) -> None:
    encoder = frozen_encoder(tmp_path, "all", layers=layers)
    if not is_cacheable(encoder, pooling):
        with pytest.raises(ValueError, match="weighted"):
            LayerFeatures(encoder, store, pooling, None)
        return
    if encoder.layer_weights is not None:
        with torch.no_grad():
            encoder.layer_weights.copy_(torch.tensor([0.3, -1.0, 0.5, 0.1]))
    clips = LayerFeatures(encoder, store, pooling, tmp_path / "cache")
    clips.encode(rows)
    table = clips.inputs(rows)["layer_features"]
    assert table.shape[:2] == (len(rows), len(encoder.used_layers))
    expected = POOLINGS[pooling](*encoder(**store.inputs(rows)))
    torch.testing.assert_close(encoder.join(table.unbind(1)), expected, rtol=0, atol=1e-5)


def test_the_table_of_layers_is_shared_on_disk_and_never_stale(tmp_path: Path, rows, store) -> None:
    encoder = frozen_encoder(tmp_path, "all")

    def encoded(encoder: SpeechEncoder, store: AudioStore, rows: list[Utterance]) -> int:
        """Return how many clips had to be encoded."""
        counts = counting(encoder, "layer_features")
        LayerFeatures(encoder, store, "mean", tmp_path / "cache").encode(rows)
        del encoder.layer_features
        return sum(counts)

    assert encoded(encoder, store, rows) == len(rows)
    assert encoded(copy.deepcopy(encoder), AudioStore(AUDIO), rows) == 0
    copied = [Utterance(row.id, shutil.copy(row.path, f"{row.path}.copy.wav")) for row in rows]
    assert encoded(encoder, store, copied) == 0  # the content counts, not the name
    assert (
        encoded(encoder, AudioStore(AudioSettings(max_seconds=0.1, trim_silence_db=None)), rows) == 2
    )  # two are longer
    soundfile.write(rows[1].path, np.full(2500, 0.1, np.float32), 16000)
    assert encoded(encoder, AudioStore(AUDIO), rows) == 1
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        next(other.model.encoder.layers.parameters()).view(-1)[0] += 1e-3
    assert encoded(other, store, rows) == len(rows)
    other = copy.deepcopy(encoder)
    other.do_normalize = not encoder.do_normalize
    assert encoded(other, store, rows) == len(rows)


def test_what_was_encoded_before_an_interruption_stays(tmp_path: Path, rows, store, monkeypatch) -> None:
    monkeypatch.setattr(feature_cache, "CPU_BATCH_SECONDS", 0.1)
    encoder = frozen_encoder(tmp_path, "all")
    plain, seen = encoder.layer_features, []

    def killed(waveforms, *rest):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(waveforms))
        return plain(waveforms, *rest)

    encoder.layer_features = killed
    with pytest.raises(KeyboardInterrupt):
        LayerFeatures(encoder, store, "mean", tmp_path / "cache").encode(rows)
    encoder.layer_features = plain
    again = counting(encoder, "layer_features")
    LayerFeatures(encoder, store, "mean", tmp_path / "cache").encode(rows)
    assert sum(seen) > 0 and sum(again) == len(rows) - sum(seen)


def test_size_and_place(tmp_path: Path, rows, store, monkeypatch) -> None:
    encoder = frozen_encoder(tmp_path)
    clips = FrozenFrames(encoder, store, "memory", torch.float32, tmp_path)
    clips.encode(rows)
    actual = sum(int(count) for count in clips.inputs(rows)["frame_counts"]) * 8 * 4
    assert frames_bytes(encoder, store, [*rows, rows[0]], torch.float32) == pytest.approx(actual, rel=0.1)
    monkeypatch.setattr(feature_cache.psutil, "virtual_memory", lambda: type("M", (), {"available": 1000})())
    assert roomiest_place(499, 1, torch.device("cpu")) == "memory"
    assert roomiest_place(501, 1, torch.device("cpu")) == roomiest_place(251, 2, torch.device("cpu")) == "disk"
