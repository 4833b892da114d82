"""MP3 with and without a header that says how long it is, whole, joined, cut off, with other bytes around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import noise, tone

import gemoclap.audio.mpeg as mpeg
from gemoclap.audio import load_audio, probe_audio
from gemoclap.errors import GemoclapError

LOUD, HUSH = noise(6.0, rms=0.5), np.zeros(96000)


def encoded(path: Path, samples: np.ndarray, sample_rate: int = 16000, mode: str = "VARIABLE") -> bytes:
    soundfile.write(path, samples, sample_rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return path.read_bytes()


def without_header(data: bytes) -> bytes:
    """Take away the first frame, which holds the Xing or Info header."""
    with_header = max(data.find(b"Xing"), data.find(b"Info"))
    starts = [data.find(start, with_header) for start in (b"\xff\xf3", b"\xff\xf2", b"\xff\xfb")]
    return data[min(start for start in starts if start > 0) :]


@pytest.mark.parametrize("halves", [(LOUD, HUSH), (HUSH, LOUD)], ids=["loud first", "silence first"])
def test_variable_bit_rate_without_a_header_is_read_to_its_end(
    tmp_path: Path, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    path = tmp_path / "clip.mp3"
    data = encoded(path, np.concatenate(halves))
    whole = load_audio(path)  # the encoder's header is there
    path.write_bytes(without_header(data))
    waveform = load_audio(path)
    assert len(waveform) == probe_audio(path).samples and abs(len(waveform) - 12 * 16000) < 0.1 * 16000 + 1105
    assert probe_audio(path).length == "counted"
    # The encoder's delay is cut off only where the header tells it: 1105 samples with LAME and this decoder.
    assert np.allclose(waveform[1105:][: len(whole)][2000:-2000], whole[2000:-2000], atol=1e-4)


@pytest.mark.parametrize("sample_rate, channels", [(16000, 1), (44100, 2), (24000, 1)])
def test_constant_bit_rate_without_a_header_is_read_as_soundfile_reads_it(
    tmp_path: Path, sample_rate: int, channels: int
) -> None:
    path = tmp_path / "clip.mp3"
    samples = noise(4.0, sample_rate, 0.2)[:, None].repeat(channels, axis=1)
    path.write_bytes(without_header(encoded(path, samples, sample_rate, "CONSTANT")))
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0]
    info = probe_audio(path)
    assert (info.sample_rate, info.channels) == (sample_rate, channels) and info.samples == len(expected)
    if sample_rate == 16000:
        assert load_audio(path).tobytes() == expected.mean(axis=1).tobytes()


def test_files_that_were_joined_are_read_to_the_end_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    first, second = encoded(path, LOUD), encoded(path, tone(440, 3.0))
    path.write_bytes(first + second)
    waveform = load_audio(path)
    assert abs(len(waveform) / 16000 - 9.0) < 0.3
    assert np.sqrt(np.mean(waveform[:90000] ** 2)) == pytest.approx(0.5, abs=0.02)
    spectrum = np.abs(np.fft.rfft(waveform[-32000:-1600]))
    assert abs(spectrum.argmax() * 16000 / 30400 - 440) < 1


@pytest.mark.parametrize("with_header", [True, False])
def test_other_bytes_around_the_frames_change_nothing(tmp_path: Path, with_header: bool) -> None:
    path = tmp_path / "clip.mp3"
    data = encoded(path, LOUD)
    data = data if with_header else without_header(data)
    path.write_bytes(data)
    expected = load_audio(path)
    rng = np.random.default_rng(0)
    junk = rng.integers(0, 255, 500, dtype=np.uint8).tobytes()
    for front, behind in ((b"", b"TAG" + bytes(125)), (b"", bytes(3000)), (b"", junk), (junk, b""), (bytes(99), junk)):
        path.write_bytes(front + data + behind)
        assert np.array_equal(load_audio(path), expected)


def test_a_file_with_a_header_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    data = encoded(path, LOUD)
    for kept in (len(data) // 2, len(data) - 1500):
        path.write_bytes(data[:kept])
        for read in (load_audio, probe_audio):
            with pytest.raises(GemoclapError, match="cut off"):
                read(path)


def test_a_text_called_mp3_is_named_and_nothing_else_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "clip.mp3").write_text("version https://git-lfs.github.com/spec/v1\n" * 40)
    with pytest.raises(GemoclapError, match="cannot be decoded"):
        load_audio(tmp_path / "clip.mp3")
    assert capfd.readouterr() == ("", "")


def test_frames_are_found_across_the_pieces_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp3"
    data = encoded(path, LOUD, mode="CONSTANT")
    for buffer in (*range(5000, 5300, 2), 2**18):
        monkeypatch.setattr(mpeg, "BUFFER", buffer)
        with path.open("rb") as file:
            places = list(mpeg._frames(file, 0))
        ends = [place + frame.length for place, frame in places]
        assert [place for place, _ in places] == [0, *ends[:-1]] and ends[-1] == len(data)
        assert (len(places) - 1) * 576 >= len(LOUD) > (len(places) - 5) * 576
