import struct
from importlib.util import find_spec

import numpy as np
import pytest
from sound import cut_off, noise, peak_frequency, tone, write, write_tone

from gemoclap.audio import SAMPLE_RATE, from_int16, load_audio, prepare_clip, probe_audio, to_int16
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError


def error_of(call, *arguments, **keywords) -> str:
    with pytest.raises(GemoclapError) as caught:
        call(*arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_resampling_keeps_frequency_length_and_amplitude(tmp_path, sample_rate):
    path = write_tone(tmp_path / "tone.wav", 1000.0, 1.3, sample_rate)
    waveform = load_audio(path)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert abs(len(waveform) - 1.3 * SAMPLE_RATE) <= 1
    assert abs(peak_frequency(waveform) - 1000) < 1
    middle = waveform[4000:-4000]
    assert abs(np.sqrt(2 * np.mean(middle**2)) - 0.5) < 1e-3


def test_downsampling_lets_nothing_fold_back(tmp_path):
    path = write_tone(tmp_path / "high.wav", 12000.0, 1.0, 48000)
    assert np.abs(load_audio(path)[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("suffix, loss", [("flac", 1e-4), ("mp3", 0.05), ("ogg", 0.05), ("opus", 0.05)])
def test_compressed_formats_sound_like_the_wav(tmp_path, suffix, loss):
    samples = tone(440, 1.0, 48000)
    reference = load_audio(write(tmp_path / "clip.wav", samples, 48000))
    waveform = load_audio(write(tmp_path / f"clip.{suffix}", samples, 48000))
    assert len(waveform) == len(reference)
    assert np.abs(waveform - reference)[1000:-1000].max() < loss


@pytest.mark.parametrize(
    "subtype, step", [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 2**-24), ("DOUBLE", 2**-24)]
)
def test_sample_formats_agree_within_their_quantisation(tmp_path, subtype, step):
    samples = noise(0.5)
    waveform = load_audio(write(tmp_path / "clip.wav", samples, subtype=subtype))
    assert np.abs(waveform - samples).max() <= step


def test_channels_are_averaged(tmp_path):
    left, right = tone(300), noise()
    waveform = load_audio(write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(waveform, (left + right) / 2, atol=1e-6)
    opposite = load_audio(write(tmp_path / "opposite.wav", np.stack([left, -left], axis=1), subtype="FLOAT"))
    assert len(opposite) == len(left) and not opposite.any()


def test_same_file_same_samples(tmp_path):
    path = write(tmp_path / "clip.opus", noise(1.0, 48000), 48000)
    np.testing.assert_array_equal(load_audio(path), load_audio(path))
    np.testing.assert_array_equal(load_audio(path), load_audio(str(path), start=0.0))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_start_and_end_cut_the_file(tmp_path, suffix):
    path = write(tmp_path / f"clip.{suffix}", noise(2.0))
    whole = load_audio(path)
    np.testing.assert_allclose(load_audio(path, 0.5, 1.25), whole[8000:20000], atol=1e-4)
    np.testing.assert_allclose(load_audio(path, start=1.5), whole[24000:], atol=1e-4)
    np.testing.assert_allclose(load_audio(path, end=0.25), whole[:4000], atol=1e-4)


def test_end_may_be_rounded_beyond_the_file(tmp_path):
    path = write_tone(tmp_path / "clip.wav")
    assert len(load_audio(path, 0.5, 1.04)) == 8000


@pytest.mark.parametrize(
    "start, end, words",
    [
        (0.5, 0.5, "not before end"),
        (0.8, 0.2, "not before end"),
        (1.0, None, "outside the file"),
        (7.0, 8.0, "outside the file"),
        (-0.1, 0.5, "outside the file"),
        (float("nan"), None, "outside the file"),
        (0.0, 3.0, "beyond the end of the file"),
        (0.5, 0.50001, "no sample"),
    ],
)
def test_a_stretch_outside_the_file_is_refused(tmp_path, start, end, words):
    path = write_tone(tmp_path / "clip.wav")
    message = error_of(load_audio, path, start, end)
    assert words in message and str(path) in message and "row" in message


def test_probe_reads_what_was_written(tmp_path):
    path = write(tmp_path / "clip.flac", np.zeros((44100, 2)), 44100)
    info = probe_audio(path)
    assert (info.samples, info.sample_rate, info.channels, info.duration) == (44100, 44100, 2, 1.0)


@pytest.mark.parametrize("read", [load_audio, probe_audio])
def test_what_is_no_audio_is_named(tmp_path, read):
    text = tmp_path / "renamed.wav"
    text.write_text("this is a text file\n" * 50)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "headerless.raw").write_bytes(bytes(100))
    write(tmp_path / "none.wav", np.zeros(0))
    cases = {
        "missing.wav": "no such audio file",
        ".": "is a folder",
        "renamed.wav": "cannot be decoded",
        "empty.wav": "no samples",
        "headerless.raw": "cannot be decoded",
        "none.wav": "no samples",
    }
    for name, words in cases.items():
        message = error_of(read, tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: ") and words in message and ";" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    samples = noise()
    samples[77] = value
    path = write(tmp_path / "clip.wav", samples, subtype="FLOAT")
    assert "NaN or infinite" in error_of(load_audio, path)
    assert len(load_audio(path, start=0.1)) == 14400, "a stretch without them is fine"


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "opus"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_file_that_was_cut_off_is_refused(tmp_path, suffix, share):
    path = cut_off(write(tmp_path / f"clip.{suffix}", noise(5.0, 48000), 48000), share)
    message = error_of(load_audio, path)
    assert str(path) in message and ("cut off" in message or "damaged" in message)


def test_a_wav_written_into_a_pipe_has_no_length_and_is_read(tmp_path):
    path = write_tone(tmp_path / "clip.wav")
    data = bytearray(path.read_bytes())
    assert data[36:40] == b"data"
    struct.pack_into("<I", data, 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, 40, 0xFFFFFFFF)
    path.write_bytes(data)
    assert len(load_audio(path)) == SAMPLE_RATE


def of_telephone(path, kind):
    """Write what is decoded by PyAV alone: AMR of a mobile phone (silence), or a wav with a codec that libsndfile lacks."""
    if kind == "amr":
        path.write_bytes(b"#!AMR\n" + (b"\x04" + bytes(12)) * 50)  # a frame of 4.75 kbit/s is 20 ms
        return path
    path = write_tone(path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, 20, kind)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["amr", 0x42, 0x45, 0x83])  # G.723.1, G.726, G.729
def test_what_telephones_write_names_the_extra_or_is_decoded(kind, tmp_path):
    path = of_telephone(tmp_path / ("call.amr" if kind == "amr" else "call.wav"), kind)
    if find_spec("av") is None:
        message = error_of(load_audio, path)
        assert "this format needs the package av: pip install av" in message and "damaged" not in message
    elif kind == "amr":
        assert len(load_audio(path)) == SAMPLE_RATE


def test_m4a_names_the_extra_or_is_decoded(tmp_path):
    path = tmp_path / "clip.m4a"
    try:
        import av
    except ImportError:
        path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
        message = error_of(load_audio, path)
        assert "pip install av" in message and "ffmpeg" in message
        return
    samples = np.stack([tone(440, 2.0, 44100), tone(440, 2.0, 44100, 0.25)]).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    waveform = load_audio(path)
    assert abs(len(waveform) - 2 * SAMPLE_RATE) < 1000 and abs(peak_frequency(waveform) - 440) < 1
    assert abs(np.abs(waveform[8000:24000]).max() - 0.375) < 0.01
    assert probe_audio(path).channels == 2 and len(load_audio(path, 0.5, 1.0)) == 8000


def test_mp4_without_sound_in_it_is_named(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
    assert error_of(load_audio, path).startswith(str(path))


def sixteen_bit(samples: np.ndarray) -> np.ndarray:
    """Return samples as a 16-bit file gives them, float32; `prepare_clip` rounds these no further."""
    return (np.rint(samples * 32768) / 32768).astype(np.float32)


def quiet_loud_quiet() -> np.ndarray:
    """1 s of noise 60 dB down, 0.5 s of tone, 1 s of noise again."""
    hush = noise(1.0, rms=0.0003)
    return sixteen_bit(np.concatenate([hush, tone(300, 0.5), hush]))


def test_silence_at_both_ends_goes_and_a_margin_stays():
    clip = quiet_loud_quiet()
    trimmed = prepare_clip(clip, AudioSettings(max_seconds=None, trim_silence_db=40.0))
    assert 0.5 + 2 * 0.05 - 0.001 <= len(trimmed) / SAMPLE_RATE <= 0.5 + 2 * (0.05 + 0.025)
    offset = next(i for i in range(len(clip)) if np.array_equal(clip[i : i + len(trimmed)], trimmed))
    assert offset <= SAMPLE_RATE and offset + len(trimmed) >= 1.5 * SAMPLE_RATE, "the whole tone is in it"


def test_a_pause_inside_the_clip_stays():
    clip = np.concatenate([tone(300, 0.3), np.zeros(16000), tone(300, 0.3)]).astype(np.float32)
    assert len(prepare_clip(clip, AudioSettings(trim_silence_db=30.0))) == len(clip)


def test_trimming_does_not_hear_the_level():
    clip = quiet_loud_quiet()
    settings = AudioSettings(trim_silence_db=35.0)
    np.testing.assert_allclose(prepare_clip(clip / 64, settings) * 64, prepare_clip(clip, settings))


def test_silence_goes_first_then_the_length():
    clip = quiet_loud_quiet()
    cut = prepare_clip(clip, AudioSettings(max_seconds=0.25, trim_silence_db=40.0))
    assert len(cut) == 4000 and np.abs(cut).max() > 0.4
    assert np.abs(prepare_clip(clip, AudioSettings(max_seconds=0.25, trim_silence_db=None))).max() < 0.01


@pytest.mark.parametrize("samples", [1, 3, 159, 399, 400, 401])
def test_no_clip_becomes_empty(samples):
    settings = AudioSettings(max_seconds=1e-6, trim_silence_db=1e-3)
    assert len(prepare_clip(noise(1.0)[:samples].astype(np.float32), settings)) == 1
    zeros = np.zeros(samples, np.float32)
    assert len(prepare_clip(zeros, AudioSettings(trim_silence_db=30.0))) == samples


def test_settings_that_are_null_leave_the_clip_alone():
    clip = sixteen_bit(noise(20.0))
    np.testing.assert_array_equal(prepare_clip(clip, AudioSettings(max_seconds=None)), clip)
    np.testing.assert_array_equal(prepare_clip(clip, AudioSettings()), clip[: 14 * SAMPLE_RATE])


@pytest.mark.parametrize("settings", [AudioSettings(max_seconds=0.0), AudioSettings(trim_silence_db=-30.0)])
def test_settings_that_are_not_positive_are_refused(settings):
    assert "data.audio." in error_of(prepare_clip, np.ones(100, np.float32), settings)


def clips_of_all_kinds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = rng.uniform(-1, 1, 2000)
    clips = {f"peak {peak}": shape / np.abs(shape).max() * peak for peak in (1.0, 1.5, 3e4, 1e30, 0.7, 1e-3, 1e-30)}
    clips |= {f"level {level:.3g}": noise(0.1) * level for level in 10 ** rng.uniform(-45, 30, 40)}
    clips |= {f"denormal {steps}": rng.integers(-steps, steps + 1, 50) * 2.0**-149 for steps in (1, 2, 3, 1000, 2**22)}
    for steps in np.arange(32766.75, 32770.0, 0.25):  # about where the integers end, on both sides
        for exponent in (-140, -126, -20, 0, 1, 100):
            for peak in (steps, -steps):
                clips[f"{peak} 2^{exponent}"] = np.array([peak, peak / 3, 0.0]) * 2.0 ** (exponent - 15)
    return {name: clip.astype(np.float32) for name, clip in clips.items()}


@pytest.mark.parametrize("clip", [pytest.param(clip, id=name) for name, clip in clips_of_all_kinds().items()])
def test_rounding_to_16_bits_is_fine_enough_never_clips_and_is_done_once(clip):
    samples, exponent = to_int16(clip)
    rounded = from_int16(samples, exponent)
    assert samples.dtype == np.int16 and rounded.dtype == np.float32 and samples.shape == rounded.shape == clip.shape
    np.testing.assert_array_equal(rounded, samples * 2.0 ** (exponent - 15))
    peak = np.abs(clip.astype(np.float64)).max()
    assert np.abs(rounded.astype(np.float64) - clip).max() <= peak / 32767
    kept = to_int16(rounded)
    np.testing.assert_array_equal(from_int16(*kept), rounded)
    again, same_exponent = to_int16(from_int16(*kept))
    assert same_exponent == kept[1] and np.array_equal(again, kept[0])


@pytest.mark.parametrize("peak, exponent", [(1.0, 1), (-1.0, 0), (0.99, 0), (0.51, 0), (0.5, 0), (-0.5, -1), (1.5, 1)])
def test_the_exponent_is_that_of_the_peak(peak, exponent):
    assert to_int16(np.array([0.0, peak, peak / 7], np.float32))[1] == exponent


def test_silence_is_silence():
    samples, exponent = to_int16(np.zeros(5, np.float32))
    assert exponent == 0 and not samples.any() and not from_int16(samples, exponent).any()


@pytest.mark.parametrize("loudest", [1, 2, 3, 100, 128, 16384, 32767, -32768])
def test_a_16_bit_file_is_kept_exactly_at_any_level(tmp_path, loudest):
    samples = np.random.default_rng(1).integers(-abs(loudest), abs(loudest), 5000).clip(-32768, 32767).astype(np.int16)
    samples[7] = loudest
    waveform = load_audio(write(tmp_path / "clip.wav", samples))
    np.testing.assert_array_equal(waveform * 32768, samples)
    np.testing.assert_array_equal(prepare_clip(waveform, AudioSettings(None, None)), waveform)


@pytest.mark.parametrize("gain", [1.0, 1e-6, 5.0])
def test_a_prepared_clip_is_what_its_16_bits_give_back(gain):
    clip = (noise(0.5) * gain).astype(np.float32)
    prepared = prepare_clip(clip, AudioSettings())
    np.testing.assert_array_equal(from_int16(*to_int16(prepared)), prepared)
    assert 0 < np.abs(prepared - clip).max() <= np.abs(clip).max() / 32767
