"""A length in a header is a promise, an estimate, unknown or unfinished: what is decoded is what was written."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import cut_off, noise, write

from gemoclap.audio import load_audio, probe_audio
from gemoclap.corpora.emobox import write_emobox
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError

SECONDS = 3.0
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "nist": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "float.aiff": ("AIFF", "FLOAT"),
    "ulaw.au": ("AU", "ULAW"),
    "alac.caf": ("CAF", "ALAC_16"),
    "gsm.wav": ("WAV", "GSM610"),  # the last three cannot seek
    "g721.au": ("AU", "G721_32"),
    "dwvw.aiff": ("AIFF", "DWVW_16"),
}


def written(folder: Path, name: str, samples: np.ndarray | None = None) -> Path:
    container, subtype = FORMATS[name]
    samples = noise(SECONDS) if samples is None else samples
    soundfile.write(folder / f"clip.{name}", samples, 16000, format=container, subtype=subtype)
    return folder / f"clip.{name}"


def decoded(path: Path, first: int = 0, last: int | None = None) -> np.ndarray:
    """Decode with soundfile."""
    if path.name.endswith("dwvw.aiff"):  # soundfile cannot read it: it seeks after each block, but it loses nothing
        path = written(path.parent, "wav")
    with soundfile.SoundFile(path) as file:
        if file.seekable():
            file.seek(first)
            return file.read(-1 if last is None else last - first, dtype="float32")
        return file.read(file.frames, dtype="float32")[first:last]


def patched(path: Path, *patches: tuple[int, bytes]) -> Path:
    data = bytearray(path.read_bytes())
    for place, patch in patches:
        data[place : place + len(patch)] = patch
    path.write_bytes(data)
    return path


def place_of(path: Path, name: bytes) -> int:
    place = path.read_bytes().find(name)
    assert place >= 0
    return place


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_read_as_soundfile_reads_it(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    expected = decoded(path)
    assert load_audio(path).tobytes() == expected.tobytes()
    info = probe_audio(path)
    assert (info.samples, info.sample_rate, info.channels) == (len(expected), 16000, 1)
    assert info.length == "declared"
    assert load_audio(path, 1.0, 2.5).tobytes() == decoded(path, 16000, 40000).tobytes()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.55, 0.9])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, name: str, share: float) -> None:
    path = cut_off(written(tmp_path, name), share)
    with pytest.raises(GemoclapError, match="cut off") as caught:
        load_audio(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def unfinished(folder: Path, name: str, length: bytes, samples: np.ndarray) -> Path:
    """Write a file whose lengths were never filled in; `length` is 4 bytes that stand in their place."""
    path = written(folder, name, samples)
    if name in ("wav", "adpcm.wav"):
        return patched(path, (4, length), (place_of(path, b"data") + 4, length))
    if name == "rf64":
        return patched(path, (20, 4 * length), (place_of(path, b"data") + 4, b"\xff" * 4))
    if name == "w64":
        return patched(path, (16, 2 * length), (place_of(path, b"data\xf3") + 16, 2 * length))
    if name in ("aiff", "float.aiff"):
        return patched(path, (4, length), (place_of(path, b"SSND") + 4, length))
    if name == "au":
        return patched(path, (8, length))
    assert name == "caf"
    return patched(path, (place_of(path, b"data") + 4, 2 * length))


@pytest.mark.parametrize("name", ["wav", "adpcm.wav", "rf64", "w64", "aiff", "float.aiff", "au", "caf"])
@pytest.mark.parametrize("length", [b"\xff" * 4, bytes(4)], ids=["ones", "zero"])
def test_a_length_that_was_never_filled_in_is_the_rest_of_the_file(tmp_path: Path, name: str, length: bytes) -> None:
    samples = noise(SECONDS)
    expected = soundfile.read(written(tmp_path, name, samples), dtype="float32")[0]
    path = unfinished(tmp_path, name, length, samples)
    assert np.array_equal(load_audio(path), expected)
    info = probe_audio(path)
    assert info.samples == len(expected) and info.length == "counted"
    assert np.array_equal(load_audio(path, 1.0, 1.5), expected[16000:24000])


@pytest.mark.parametrize("name, order", [("wav", "<"), ("rf64", "<"), ("aiff", ">")])
@pytest.mark.parametrize("tail", [b"LIST", b"id3 "])
def test_chunks_behind_sound_of_unknown_length_are_not_heard(
    tmp_path: Path, name: str, order: str, tail: bytes
) -> None:
    samples = noise(SECONDS)
    expected = soundfile.read(written(tmp_path, name, samples), dtype="float32")[0]
    path = unfinished(tmp_path, name, b"\xff" * 4, samples)
    text = b"INFOISFT\x0e\0\0\0\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f"
    path.write_bytes(path.read_bytes() + tail + struct.pack(f"{order}I", len(text)) + text)
    assert np.array_equal(load_audio(path), expected)


def test_a_file_that_truly_holds_no_samples_says_so(tmp_path: Path) -> None:
    for name in ("wav", "w64", "aiff"):
        with pytest.raises(GemoclapError, match="no samples"):
            load_audio(written(tmp_path, name, np.zeros(0)))


def flac_of_unknown_length(folder: Path, samples: np.ndarray) -> Path:
    path = written(folder, "flac", samples)
    total = path.read_bytes()[21]
    return patched(path, (21, bytes([total & 0xF0])), (22, bytes(4)))


def test_flac_of_unknown_length_is_decoded_to_its_end(tmp_path: Path) -> None:
    samples = noise(SECONDS)
    expected = soundfile.read(written(tmp_path, "flac", samples), dtype="float32")[0]
    path = flac_of_unknown_length(tmp_path, samples)
    assert np.array_equal(load_audio(path), expected)
    assert np.array_equal(load_audio(path, 1.0, 2.0), expected[16000:32000])
    info = probe_audio(path)
    assert info.samples == len(expected) and info.length == "counted"
    with pytest.raises(GemoclapError, match="beyond the end of the file, which has 3.000 s"):
        load_audio(path, 0.0, 4.0)
    write_emobox([Utterance("x", str(path), emotion="angry", corpus="demo")], tmp_path / "emobox")
    row = json.loads((tmp_path / "emobox" / "demo.jsonl").read_text())
    assert row["num_frame"] == len(expected) and row["length"] == 3.0


def test_a_length_that_the_bytes_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "flac")
    patched(path, (21, bytes([path.read_bytes()[21] | 0x0F])), (22, b"\xff" * 4))
    with pytest.raises(GemoclapError, match="cut off"):
        probe_audio(path)
    path = written(tmp_path, "ogg")
    last = path.read_bytes().rfind(b"OggS")
    patched(path, (last + 6, struct.pack("<q", 2**50)))  # its check sum no longer fits either
    try:
        seconds = probe_audio(path).duration
    except GemoclapError:
        return
    assert seconds < 4


def test_ogg_without_an_end_is_read_and_a_chain_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "ogg")
    data, whole = path.read_bytes(), load_audio(path)
    path.write_bytes(data[: data.rfind(b"OggS")])  # a recorder that was killed between two pages
    assert probe_audio(path).length == "counted"
    part = load_audio(path)
    assert 0 < len(part) < len(whole) and np.allclose(part[:-2000], whole[: len(part) - 2000], atol=1e-6)
    path.write_bytes(data + written(tmp_path, "opus").read_bytes())
    with pytest.raises(GemoclapError, match="several recordings"):
        load_audio(path)


def test_what_stands_in_front_of_the_sound_does_not_matter(tmp_path: Path) -> None:
    """Taggers write ID3 in front of flac, wav and others."""
    tag = b"ID3\x04\0\0\0\0\x02\x00" + bytes(256)
    for name in ("flac", "mp3"):
        path = written(tmp_path, name)
        expected = load_audio(path)
        path.write_bytes(tag + path.read_bytes())
        assert np.array_equal(load_audio(path), expected)


def test_a_file_of_zeros_and_random_bytes_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        head = [
            b"RIFF\0\0\0\0WAVE",
            b"fLaC",
            b"OggS\0",
            b"caff\0\1\0\0",
            b"FORM\0\0\0\0AIFF",
            b"riff",
            b".snd",
            b"ID3\4\0\0\0\0\0\0",
        ]
        path = tmp_path / "x.wav"
        path.write_bytes(head[number % 8] + (bytes(3000) if number < 8 else rng.bytes(3000)))
        with pytest.raises(GemoclapError) as caught:
            load_audio(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    write(tmp_path / "good.wav", noise(0.1))
