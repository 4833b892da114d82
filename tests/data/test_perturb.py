"""Perturbed copies: each change does what it says, and a copy is the same whoever asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sound
from scipy.signal import welch

from gemoclap.audio import SAMPLE_RATE
from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data import perturb
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.perturb import PerturbedUtterance, perturbed_copy, with_copies

SPEECHLIKE = sound.noise(2.0, seed=1).astype(np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def level_db(waveform: np.ndarray, low: float, high: float) -> float:
    """Return the mean power density between two frequencies, dB."""
    frequencies, density = welch(waveform, SAMPLE_RATE, nperseg=1024)
    return float(10 * np.log10(density[(frequencies >= low) & (frequencies < high)].mean() + 1e-20))


CHANGES = [*(change for change, _ in perturb.CHAIN), perturb.add_light_noise, perturb.remove_background]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("samples", [401, 801, 16000, 31999])
def test_each_change_gives_a_waveform_of_about_the_same_length(change: Callable, samples: int) -> None:
    clip = SPEECHLIKE[:samples]
    before = clip.copy()
    for seed in range(4):
        changed = change(clip, generator(seed))
        assert changed.dtype == np.float32 and changed.ndim == 1 and np.isfinite(changed).all()
        assert len(changed) == pytest.approx(samples, rel=0.115 if change is perturb.change_speed else 0)
        assert not np.array_equal(changed[: len(clip)], clip[: len(changed)])
        assert np.array_equal(change(clip, generator(seed)), changed)
    assert np.array_equal(clip, before)


@pytest.mark.parametrize(("form", "subtype"), perturb.MUSIC_CODECS)
def test_every_quality_of_every_codec_can_be_had(form: str, subtype: str) -> None:
    for quality in (0.5, 0.9999, 0.99995, 1.0):
        assert len(perturb._coded(SPEECHLIKE, SAMPLE_RATE, form, subtype, quality)) == len(SPEECHLIKE)


@pytest.mark.parametrize("seed", range(3))
def test_speed_changes_pitch_and_length_together(seed: int) -> None:
    tone = sound.tone(440, 1.0).astype(np.float32)
    faster = perturb.change_speed(tone, generator(seed))
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    peak = spectrum.argmax() * SAMPLE_RATE / len(faster)
    assert peak * len(faster) == pytest.approx(440 * len(tone), rel=0.01)


@pytest.mark.parametrize("wanted", [5.0, 20.0])
def test_noise_has_the_ratio_that_is_asked_for(wanted: float) -> None:
    noisy = perturb.add_noise(SPEECHLIKE, generator(), (wanted, wanted))
    ratio = perturb.loudness(SPEECHLIKE) / perturb.loudness(noisy - SPEECHLIKE)
    assert 20 * np.log10(ratio) == pytest.approx(wanted, abs=0.3)


@pytest.mark.parametrize("seed", range(16))
def test_light_noise_leaves_speech_10_to_40_db_above_it(seed: int) -> None:
    noise = perturb.add_light_noise(SPEECHLIKE, generator(seed)) - SPEECHLIKE
    assert 9.7 < 20 * np.log10(perturb.loudness(SPEECHLIKE) / perturb.loudness(noise)) < 40.3


def test_a_steady_background_is_removed_and_speech_stays() -> None:
    """Two seconds of steady noise; from 0.5 to 1.5 s there is a tone 40 dB above it."""
    clip = sound.noise(2.0, seed=2).astype(np.float32)
    clip *= 0.001 / perturb.loudness(clip)
    tone = sound.tone(440, 1.0).astype(np.float32)
    tone *= 0.1 / perturb.loudness(tone)
    clip[8000:24000] += tone
    removed_db = []
    for seed in range(8):
        cleaned = perturb.remove_background(clip, generator(seed))
        before, after = (np.sqrt(np.square(found[:6000]).mean()) for found in (clip, cleaned))
        removed_db.append(20 * np.log10(before / after))
        assert np.sqrt(np.square(cleaned[9000:23000] - tone[1000:15000]).mean()) < 0.02 * 0.1
    # From a little of the background to nearly all of it.
    assert 1 < min(removed_db) < 6 and 15 < max(removed_db) < 50, removed_db


def test_silence_and_a_sample_are_cleaned_too() -> None:
    for clip in (np.zeros(16000, np.float32), np.full(1, 0.5, np.float32)):
        cleaned = perturb.remove_background(clip, generator())
        assert len(cleaned) == len(clip) and np.isfinite(cleaned).all()


def test_copies_take_turns_through_the_kinds() -> None:
    for copy, change in enumerate([*perturb.KINDS_OF_COPIES] * 2, 1):
        digest = hashlib.sha256(SPEECHLIKE.tobytes()).digest()
        random = np.random.default_rng([copy, *np.frombuffer(digest, np.uint32)])
        assert np.array_equal(perturbed_copy(SPEECHLIKE, copy), change(SPEECHLIKE, random))
    assert [change.__name__ for change in perturb.KINDS_OF_COPIES] == [
        "perturb",
        "add_light_noise",
        "remove_background",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_telephone_passes_its_band_alone(seed: int) -> None:
    line = perturb.through_telephone(SPEECHLIKE, generator(seed))
    assert level_db(line, 600, 3000) == pytest.approx(level_db(SPEECHLIKE, 600, 3000), abs=3)
    assert level_db(line, 4200, 7900) < level_db(line, 600, 3000) - 25
    assert level_db(line, 10, 120) < level_db(line, 600, 3000) - 10  # GSM adds noise of its own


def test_a_room_adds_an_echo_behind_the_sound() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[1000] = 0.5
    answer = perturb.add_room(click, generator())
    assert answer[1000] == pytest.approx(0.5, abs=0.05) and np.abs(answer[:1000]).max() < 1e-6
    energy = np.square(answer[1001:]).reshape(-1)[:14000].reshape(7, 2000).sum(1)
    assert energy[0] > 0.01 * 0.25 and energy[-1] < 0.01 * energy[0]


def test_the_spectrum_is_tilted_by_no_more_than_is_asked_for() -> None:
    for seed in range(5):
        changed = perturb.colour_spectrum(SPEECHLIKE, generator(seed), most_db=6)
        for low in (100, 500, 1500, 4000):
            difference = level_db(changed, low, 1.5 * low) - level_db(SPEECHLIKE, low, 1.5 * low)
            assert abs(difference) < 6.5


def test_levels_never_go_beyond_full_scale() -> None:
    for seed in range(10):
        assert np.abs(perturb.change_level(SPEECHLIKE / np.abs(SPEECHLIKE).max(), generator(seed))).max() <= 1


def test_copies_stand_behind_their_utterances() -> None:
    rows = [Utterance("a", "a.wav", emotion="sad", speaker="s"), Utterance("b", "b.wav", 1.0, 2.0)]
    assert with_copies(rows, 0) == rows
    found = with_copies(rows, 2)
    assert found[:2] == rows and [row.id for row in found[2:]] == ["a~1", "b~1", "a~2", "b~2"]
    assert found[2].emotion == "sad" and (found[3].start, found[3].end) == (1.0, 2.0)
    assert all(isinstance(row, PerturbedUtterance) for row in found[2:])


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_store_keeps_copies_apart_and_always_the_same(on_disk: bool, tmp_path: Path) -> None:
    path = sound.write(tmp_path / "a.wav", SPEECHLIKE)
    settings = AudioSettings(max_seconds=1.5, trim_silence_db=None)
    rows = with_copies([Utterance("a", str(path))], 2)
    stores = [AudioStore(settings, tmp_path / f"cache{n}" if on_disk else None) for n in range(2)]
    clips = [[store(row) for row in rows] for store in stores]
    for first, second in zip(*clips, strict=True):
        assert np.array_equal(first, second) and len(first) <= 24000
    plain, one, two = clips[0]
    assert len({store_key for store_key in map(stores[0].content_key, rows)}) == 3
    wanted = perturbed_copy(plain, 1)[:24000]
    assert np.abs(one - wanted).max() <= np.abs(wanted).max() * 2**-14
    assert not np.array_equal(one[:1000], two[:1000])
