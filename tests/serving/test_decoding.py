"""Decoders: what a file does to one of them, and that the next file gets another."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from servers import Serve, message_of
from sound import noise, write

from gemoclap.audio import Recording, open_channels, part_edges
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.inference import clips as clips_module
from gemoclap.inference.clips import Clip
from gemoclap.inference.prediction import Prediction
from gemoclap.serving import decode_worker, decoding
from gemoclap.serving.batching import SharedPredictor
from gemoclap.serving.decoding import Decoders, Upload
from gemoclap.serving.limits import Limits, Refused
from gemoclap.serving.service import CLIP_DECODERS

HOSTILE = """\
import os, signal
from gemoclap.serving import decode_worker

def look_at(path, seconds):
    word = open(path, "rb").read(9)
    if word == b"crash####":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == b"hang#####":
        signal.pause()
    if word == b"large####":
        os.write(1, b'{"bytes": 99999999999}\\n')
    if word == b"nonsense#":
        os.write(1, b"[[[[\\n")
    honest(path, seconds)

honest, decode_worker.look_at = decode_worker.look_at, look_at
os.dup2 = lambda *_: None  # what is printed goes to the server
decode_worker.main()
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let decoders do what files that begin with certain words tell them: such as a bug in a library would."""
    script = tmp_path / "hostile.py"
    script.write_text(HOSTILE)
    monkeypatch.setattr(decoding, "COMMAND", (sys.executable, str(script)))


@pytest.mark.parametrize(("channel", "longest"), [(None, None), (None, 0.7), (2, 0.7)])
def test_a_clip_is_decoded_as_in_this_process(channel: int | None, longest: float | None, tmp_path: Path) -> None:
    samples = np.stack([noise(3.0, 44100), 0.3 * noise(3.0, 44100, seed=1)], axis=1)
    path = write(tmp_path / "a.flac", samples, 44100)
    right = write(tmp_path / "right.flac", samples[:, 1], 44100)
    decoders, settings = Decoders(1, Limits()), AudioSettings(longest, 35.0)
    recording = Recording(path if channel is None else right)
    edges = part_edges(recording, settings, 60.0)
    with decoders.clip(Upload(path, "a.flac"), settings, 60.0, channel) as found:
        pieces = [*found.pieces(found.edges)]
    assert found.edges == edges and len(pieces) == (5 if longest else 1)
    for piece, wanted in zip(pieces, recording.pieces(edges), strict=True):
        np.testing.assert_array_equal(piece, wanted)
    assert (found.samples, found.peak, found.channels_cancel) == (recording.samples, recording.peak, False)
    assert (found.name, decoders.lost) == ("a.flac", 0)
    decoders.close()


def test_a_clip_may_have_any_number_of_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(100.0, 1000), 1000)
    decoders, settings = Decoders(1, Limits()), AudioSettings(0.01, None)
    with decoders.clip(Upload(path, "a.wav"), settings, 60.0) as found:
        assert found.edges == [*range(0, 1_600_001, 160)]
        assert next(found.pieces(found.edges)).shape == (160,)
    decoders.close()


def test_a_decoder_that_ended_between_two_files_is_replaced_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(0.1))
    decoders = Decoders(1, Limits())
    decoders.warm_up()
    (first,) = decoders._all
    first._process.kill()
    first._process.wait()
    with decoders.channels(Upload(path, "a.wav")) as file:
        assert [*file.blocks()]
    assert first not in decoders._all and (len(decoders._all), decoders.lost) == (1, 1)
    decoders.close()


def test_channels_are_decoded_as_in_this_process(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", np.stack([noise(3.0, 44100), noise(3.0, 44100, seed=1)], axis=1), 44100)
    decoders = Decoders(1, Limits())
    with decoders.channels(Upload(path, "a.ogg")) as file, open_channels(path) as wanted:
        assert (file.sample_rate, file.channels, file.samples) == (44100, 2, 3 * 44100)
        np.testing.assert_array_equal(np.concatenate([*file.blocks()]), np.concatenate([*wanted.blocks()]))
    assert decoders.lost == 0
    decoders.close()


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("word", ["crash####", "hang#####", "large####", "nonsense#"])
def test_a_hostile_file_takes_only_its_decoder(word: str, serve: Serve, clips: list[Path]) -> None:
    limit = 1.0 if word == "hang#####" else 20.0  # a busy machine may take seconds for the others
    client = serve(decode_seconds=limit)
    for path in ("predict", "timeline"):
        said = message_of(client.post(f"/v1/{path}", files={"file": ("a.wav", word.encode())}), 422)
        assert said.startswith("a.wav: ") and ("within 1 s" in said) == (word == "hang#####")
        assert client.post(f"/v1/{path}", files={"file": clips[0].read_bytes()}).status_code == 200
    assert "gemoclap_decoders_lost 2.0" in client.get("/metrics").text


def test_a_timeline_that_is_given_up_frees_its_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(60.0))
    decoders = Decoders(1, Limits())
    for _ in range(2):
        with pytest.raises(KeyError), decoders.channels(Upload(path, "a.wav")) as file:
            next(file.blocks())
            raise KeyError
    with decoders.channels(Upload(path, "a.wav")) as file:
        assert sum(map(len, file.blocks())) == 60 * 16000
    decoders.close()


def test_nobody_waits_forever_for_a_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1.0))
    decoders = Decoders(1, Limits(answer_seconds=0.05))
    other = decoders.clip(Upload(path, "b.wav"), AudioSettings(), 60.0)
    with decoders.channels(Upload(path, "a.wav")), pytest.raises(Refused, match="no room"), other:
        pass
    decoders.close()


def test_a_decoder_has_no_key_and_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMOCLAP_API_KEY", "correct-horse")
    path = write(tmp_path / "a.wav", noise(0.1))
    decoders = Decoders(1, Limits())
    with decoders.channels(Upload(path, "a.wav")) as file:
        assert [*file.blocks()]
    (decoder,) = decoders._all
    environment = Path(f"/proc/{decoder._process.pid}/environ")
    if environment.exists():
        assert b"OMP_NUM_THREADS=1" in environment.read_bytes() and b"correct-horse" not in environment.read_bytes()
    decoder._process.stdin.close()  # as when the server is killed
    assert decoder._process.wait(20) == 0
    decoders.close()


def test_frames_name_what_is_wrong(tmp_path: Path) -> None:
    """The process's own side, without a process."""
    wav = write(tmp_path / "a.wav", noise(1.0))
    job = {"what": "channels", "path": str(wav), "seconds": 9.0, "channel": 2, "cpu_seconds": 10**6}
    ((header, _),) = decode_worker.frames(dict(job))
    assert header["error"] == f"channel 2 is asked for, but {wav} has one channel; give another one"
    assert header["is_option"]
    assert [header for header, _ in decode_worker.frames(job | {"seconds": 0.5})] == [{"error": "too_long"}]
    form, *blocks, last = decode_worker.frames(job | {"channel": None})
    assert form[0] == {"sample_rate": 16000, "channels": 1, "samples": 16000} and last[0] == {"done": True}
    assert sum(len(data) for _, data in blocks) == 4 * 16000


def test_the_code_says_whether_the_file_or_an_option_is_wrong(client: TestClient, tmp_path: Path) -> None:
    """A program can then leave the file out, or ask for it again otherwise; the page does so."""
    whole = write(tmp_path / "a.wav", noise(1.0)).read_bytes()
    asked = [
        ({}, whole[:9000], 422, "unusable_file"),
        ({}, b"no sound" * 99, 415, "not_audio"),
        ({"channel": "2"}, whole, 422, "unusable"),
        ({"labels": "banana,happy"}, whole, 422, "unusable"),
    ]
    for path in ("predict", "timeline"):
        for fields, sound, status, code in asked:
            answer = client.post(f"/v1/{path}", data=fields, files={"file": ("a.wav", sound)})
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_a_clip_that_is_in_memory_keeps_no_decoder(
    serve: Serve, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    decoders = client.service.clip_decoders  # type: ignore[attr-defined]
    free: list[int] = []
    predict = SharedPredictor.predict

    def watched(self: SharedPredictor, clip: Clip, labels: tuple[str, ...] | None) -> Prediction | GemoclapError:
        free.append(decoders._free.qsize())
        return predict(self, clip, labels)

    monkeypatch.setattr(SharedPredictor, "predict", watched)
    assert client.post("/v1/predict", files={"file": clips[0].read_bytes()}).status_code == 200
    monkeypatch.setattr(clips_module, "HELD_SECONDS", 0.0)
    assert client.post("/v1/predict", files={"file": clips[0].read_bytes()}).status_code == 200
    assert free == [CLIP_DECODERS, CLIP_DECODERS - 1] and decoders.lost == 0
