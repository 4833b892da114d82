"""What the server answers is what the library says of the same file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from servers import Serve, message_of, started
from small import run
from sound import noise, write, write_tone
from speaking import LoudNet, speech_like

from gemoclap import Predictor
from gemoclap.audio import load_audio
from gemoclap.errors import GemoclapError
from gemoclap.inference.emotion_timeline import emotion_timeline
from gemoclap.inference.prediction import Featured, Prediction
from gemoclap.inference.stream import StreamSettings
from gemoclap.reports.timeline_files import timeline_data, write_timeline


def post(client: TestClient, path: str, file: Path, **fields: object):  # type: ignore[no-untyped-def]
    return client.post(f"/v1/{path}", files={"file": (file.name, file.read_bytes())}, data=fields)


def close(found: dict[str, float], wanted: dict[str, float]) -> bool:
    return found.keys() == wanted.keys() and all(abs(found[name] - wanted[name]) < 2e-6 for name in wanted)


def test_clips_of_many_clients_get_the_answers_of_the_library(
    client: TestClient, predictor: Predictor, clips: list[Path]
) -> None:
    own = [None, ("bored", "calm"), ("happy", "sad", "angry")]
    wanted = [(clip, labels) for clip in clips[:12] for labels in own]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda one: post(client, "predict", one[0], labels=",".join(one[1] or [])), wanted))
    for (clip, labels), answer in zip(wanted, answers, strict=True):
        assert answer.status_code == 200, answer.text
        expected = predictor(clip, labels)
        assert close(answer.json()["probabilities"], expected.probabilities)
        assert answer.json()["file"] == clip.name


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "opus"])
def test_every_format_and_rate_is_read_as_from_a_file(
    suffix: str, client: TestClient, predictor: Predictor, clips: list[Path], tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{suffix}", np.tile(load_audio(clips[0]), 3), 16000)
    answer = post(client, "predict", path).json()
    hearing = Predictor(predictor.model)
    hearing.check_speech = True  # as a server's
    assert close(answer["probabilities"], hearing(path).probabilities)
    assert answer["duration"] == pytest.approx(len(load_audio(path)) / 16000, abs=1e-4)


def test_channels_can_be_chosen(client: TestClient, predictor: Predictor, clips: list[Path], tmp_path: Path) -> None:
    left, right = (load_audio(clip)[:16000] for clip in (clips[0], clips[-1]))
    both = write(tmp_path / "both.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    for number, side in enumerate((left, right), 1):
        answer = post(client, "predict", both, channel=number).json()
        assert close(answer["probabilities"], predictor(side).probabilities)
    assert close(post(client, "predict", both).json()["probabilities"], predictor(both).probabilities)
    assert "2 channels" in post(client, "predict", both, channel=3).json()["error"]["message"]


def test_a_long_clip_and_one_that_is_to_be_cut_are_the_mean_of_their_parts(
    client: TestClient, predictor: Predictor, tmp_path: Path
) -> None:
    samples = np.concatenate([noise(1.0, seed=1), noise(1.0, seed=2)]).astype(np.float32)
    answer = post(client, "predict", write(tmp_path / "a.wav", samples, subtype="FLOAT"), window=1).json()
    halves = [predictor(half).probabilities for half in (samples[:16000], samples[16000:])]
    assert answer["parts"] == 2 and answer["duration"] == 2.0
    assert close(answer["probabilities"], {name: (halves[0][name] + halves[1][name]) / 2 for name in halves[0]})
    path = write(tmp_path / "b.flac", noise(50.0, 22050), 22050)
    answer, whole = post(client, "predict", path).json(), predictor(path)
    assert answer["parts"] == whole.parts > 2 and answer["remark"] == "no speech was found"
    assert close(answer["probabilities"], whole.probabilities)


def test_words_that_are_no_emotions_are_refused_unless_they_are_asked_for(
    client: TestClient, predictor: Predictor, clips: list[Path]
) -> None:
    for path in ("predict", "timeline"):
        said = message_of(post(client, path, clips[0], labels="banana,car"), 422)
        assert "'banana'" in said and said.endswith("or set any_words to true")
    answer = post(client, "predict", clips[0], labels="banana,car", any_words="true").json()
    free = Predictor(predictor.model)
    free.any_words = True
    assert close(answer["probabilities"], free(clips[0], ["banana", "car"]).probabilities)


def test_remarks_say_what_the_answer_is_worth(client: TestClient, clips: list[Path], tmp_path: Path) -> None:
    silent = post(client, "predict", write(tmp_path / "a.wav", np.zeros(16000))).json()
    assert (silent["emotion"], silent["has_speech"]) == ("no speech", False) and "silent" in silent["remark"]
    tone = post(client, "predict", write_tone(tmp_path / "b.wav")).json()
    assert (tone["emotion"], tone["remark"]) == ("no speech", "no speech was found")
    loud = noise(1.0)
    cancelled = write(tmp_path / "c.wav", np.stack([loud, -loud], axis=1))
    assert "cancel" in post(client, "predict", cancelled).json()["remark"]
    clipped = write(tmp_path / "d.wav", np.stack([loud, np.clip(40 * loud, -0.9, 0.9)], axis=1), 44100)
    for channel, said in (("mix", True), ("1", False), ("2", True)):
        assert ("clipped: " in post(client, "predict", clipped, channel=channel).json()["remark"]) == said
    unsure = post(client, "predict", clips[0], threshold=1).json()
    assert unsure["emotion"] in ("unknown", "no speech")


def test_the_answer_for_a_clip_says_which_labels_were_not_trained(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemoclap.inference.speech.load_speech_net", LoudNet)
    spoken = write(tmp_path / "a.wav", speech_like(2, 1))
    doubtful = post(client, "predict", spoken, labels="bored,happy").json()
    assert doubtful["has_speech"] and doubtful["remark"].partition(";")[0] == "the model was not trained on bored"
    for known in ({"labels": "furious,joyful"}, {}):
        assert "trained" not in (post(client, "predict", spoken, **known).json()["remark"] or "")


@pytest.mark.usefixtures("loud_net")
@pytest.mark.parametrize("channel", ["mix", "each", "2"])
def test_a_timeline_is_that_of_the_library(
    channel: str, client: TestClient, predictor: Predictor, tmp_path: Path
) -> None:
    sides = np.stack([speech_like(20, seed, 22050) for seed in (1, 2)], axis=1)
    path = write(tmp_path / "call.wav", sides, 22050, "FLOAT")
    answer = post(client, "timeline", path, channel=channel, window=2, hop=0.5, labels="calm, loud", threshold=0.3)
    alone = path if channel != "2" else write(tmp_path / "right" / "call.wav", sides[:, 1], 22050, "FLOAT")
    by = "channel" if channel == "each" else "recording"
    settings = StreamSettings(2, 0.5)
    found = emotion_timeline(predictor, alone, by, None, settings, labels=("calm", "loud"), threshold=0.3)
    wanted = timeline_data(found)
    assert answer.status_code == 200, answer.text
    got = answer.json()
    assert (got["duration"], got["emotions"]) == (20.0, ["calm", "loud"])
    # The library's remarks; the server adds how its own option is called.
    assert [one.removesuffix("; set channel to each for a lane a channel") for one in got["remarks"]] == wanted[
        "remarks"
    ]
    assert got["remarks"][0].startswith("the model was not trained on calm, loud; ")
    assert got["file"] == "call.wav" and len(got["speakers"]) == (2 if channel == "each" else 1)
    for lane, expected in zip(got["speakers"], wanted["speakers"], strict=True):
        assert lane["speech"] == expected["speech"] and lane["speaker"] == expected["speaker"]
        assert len(lane["windows"]) == len(expected["windows"]) > 10
        for window, other in zip(lane["windows"], expected["windows"], strict=True):
            assert (window["start"], window["end"]) == (other["start"], other["end"])
            assert close(window["probabilities"], other["probabilities"])
            assert close(window["smoothed"], other["smoothed"])


@pytest.mark.usefixtures("loud_net")
def test_a_timeline_can_be_adapted_to_each_channel(tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(device="cpu")  # its features are standardised
    path = write(tmp_path / "call.wav", np.stack([speech_like(12, seed) for seed in (1, 2)], axis=1))
    with ExitStack() as stack:
        client = started(stack, predictor)
        assert client.get("/v1/model").json()["can_be_adapted"]
        answer = post(client, "timeline", path, adapt="speaker", channel="each", window=1)
    assert answer.status_code == 200, answer.text
    settings = StreamSettings(1)
    wanted = timeline_data(emotion_timeline(predictor, path, "channel", settings=settings, adapt="speaker"))
    plain = timeline_data(emotion_timeline(predictor, path, "channel", settings=settings))
    for lane, expected, other in zip(answer.json()["speakers"], wanted["speakers"], plain["speakers"], strict=True):
        assert lane["adapted_to"] == expected["adapted_to"]
        found = [window["probabilities"] for window in lane["windows"]]
        assert all(
            np.allclose([*one.values()], [*window["probabilities"].values()], atol=5e-6)
            for one, window in zip(found, expected["windows"], strict=True)
        )
        assert not close(found[0], other["windows"][0]["probabilities"])


def test_a_model_that_cannot_be_adapted_says_so(client: TestClient, clips: list[Path]) -> None:
    assert not client.get("/v1/model").json()["can_be_adapted"]
    assert "cannot be adapted" in message_of(post(client, "timeline", clips[0], adapt="speaker"), 422)
    assert "adapt" in message_of(post(client, "timeline", clips[0], adapt="yes"), 422)


@pytest.mark.usefixtures("loud_net")
def test_a_window_without_an_answer_costs_no_other(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = Predictor.decide
    seen: list[str] = []

    def failing(self: Predictor, clip: Featured, labels: Sequence[str] | None = None) -> Prediction | GemoclapError:
        seen.append(clip.name)
        return GemoclapError("no numbers") if len(seen) == 2 else decide(self, clip, labels)

    monkeypatch.setattr(Predictor, "decide", failing)
    answer = post(client, "timeline", write(tmp_path / "a.wav", noise(6.0)), window=1, hop=1, smooth=0)
    assert answer.status_code == 200, answer.text
    windows = answer.json()["speakers"][0]["windows"]
    assert [window.get("error") for window in windows] == [None, "no numbers", None, None, None, None]
    assert [one["confidence"] for one in answer.json()["speakers"][0]["segments"]].count(None) == 1


@pytest.mark.usefixtures("loud_net")
def test_a_timeline_brings_the_files_of_the_command(client: TestClient, predictor: Predictor, tmp_path: Path) -> None:
    path = write(tmp_path / "call.wav", speech_like(10, 3))
    data = post(client, "timeline", path, include=["csv", "vtt", "envelope"]).json()
    found = emotion_timeline(predictor, path)
    write_timeline(tmp_path / "a.csv", found, {})
    rows, expected = (
        list(csv.DictReader(io.StringIO(text))) for text in (data["csv"], (tmp_path / "a.csv").read_text())
    )
    assert [(row["start"], row["end"], row["emotion"]) for row in rows] == [
        (row["start"], row["end"], row["emotion"]) for row in expected
    ]
    assert data["vtt"].startswith("WEBVTT\n")
    outline = data["speakers"][0]["envelope"]
    samples = load_audio(path)
    assert max(outline["high"]) == pytest.approx(samples.max(), abs=1e-4)
    assert min(outline["low"]) == pytest.approx(samples.min(), abs=1e-4)
    assert len(outline["times"]) == len(outline["low"]) == len(outline["high"])
    plain = post(client, "timeline", path).json()
    assert "csv" not in plain and "envelope" not in plain["speakers"][0]
    assert not list(client.service.folder.iterdir())  # type: ignore[attr-defined]


def test_what_is_there_is_described(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "model": "small"}
    about = client.get("/v1/model").json()
    assert about["emotions"] == [*predictor.labels] and about["takes_any_labels"] and about["limits"]["megabytes"] == 50
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/predict", "/v1/timeline", "/healthz", "/metrics"} <= paths.keys()
    for path in ("/v1/predict", "/v1/timeline"):
        assert [*paths[path]["post"]["requestBody"]["content"]] == ["multipart/form-data"]
    assert {"413", "415", "422", "429", "503"} <= paths["/v1/predict"]["post"]["responses"].keys()


def test_limits_that_are_whole_numbers_have_no_point(serve: Serve) -> None:
    """JSON text, because 50.0 == 50 in Python; a limit that is not whole keeps its digits."""
    text = serve(body_bytes=100 * 10**6, seconds=600.0).get("/v1/model").text
    limits = text[text.index('"limits"') :]
    assert '"megabytes":100,' in limits and '"seconds":600,' in limits and ".0" not in text
    text = serve(body_bytes=200_000, seconds=0.5).get("/v1/model").text
    assert '"megabytes":0.2,' in text and '"seconds":0.5,' in text


def test_metrics_count_what_was_done(serve: Serve, clips: list[Path]) -> None:
    client = serve()
    for _ in range(3):
        assert post(client, "predict", clips[0]).status_code == 200
    client.get("/no/such/path")
    lines = client.get("/metrics").text.splitlines()
    assert 'gemoclap_requests_total{path="/v1/predict",status="200"} 3.0' in lines
    assert 'gemoclap_requests_total{path="other",status="404"} 1.0' in lines
    assert "gemoclap_batch_size_sum 3.0" in lines and "gemoclap_in_work 0.0" in lines
    seconds = next(float(line.split()[-1]) for line in lines if line.startswith("gemoclap_audio_seconds_total"))
    assert seconds == pytest.approx(3 * len(load_audio(clips[0])) / 16000, abs=1e-3)


def test_rows_are_those_of_the_command_to_the_last_digit(
    small_model: Path, predictor: Predictor, clips: list[Path], tmp_path: Path
) -> None:
    """One by one, since the last digit of a sum of floats depends on what else is summed at the same time."""
    voices = [load_audio(clip) for clip in clips[:8]]
    pauses = [np.zeros(round(16000 * seconds)) for seconds in (0, 0.4, 1.3, 3, 0.2, 2, 0, 1)]
    long = np.concatenate([part for pair in zip(voices, pauses, strict=True) for part in pair] * 4)
    paths = [
        write(tmp_path / "long.wav", long),
        write(tmp_path / "long.flac", np.tile(long, 2)[:, None] * [0.5, 0.25], 22050, "PCM_24"),
        write(tmp_path / "stereo.wav", np.stack([one[:8000] for one in voices[:2]], axis=1), 44100, "FLOAT"),
        write(tmp_path / "8k.wav", voices[2], 8000),
        write(tmp_path / "a.mp3", voices[3], 44100),
        write(tmp_path / "short.opus", voices[4][:900], 16000),
        write(tmp_path / "silent.wav", np.zeros(9000)),
    ]
    assert run("predict", *paths, "--model", small_model, "--batch_size", 1, "-o", tmp_path / "rows.csv") == 0
    with ExitStack() as stack:
        client = started(stack, predictor, batch_size=1)
        answers = {str(path): post(client, "predict", path).json() for path in paths}
    with open(tmp_path / "rows.csv", newline="") as file:
        for row in csv.DictReader(file):
            answer = answers[row["path"]]
            assert (answer["emotion"], answer["remark"] or "") == (row["emotion"], row["remark"])
            shown = {name: f"{value:.6g}" for name, value in answer["probabilities"].items()}
            assert {name: f"{float(row[name]):.6g}" for name in shown} == shown
            assert float(row["confidence"]) == answer["confidence"]
