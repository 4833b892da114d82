"""The API knows its own options: it names unknown ones, and its answers use no words of the command line."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from servers import Serve, message_of, started
from small import SMALL, run
from sound import noise, write
from speaking import speech_like

from gemoclap import Predictor

COMMAND_LINE = re.compile(r"--[a-z]|gemoclap [a-z]+ |'gemoclap|Predictor|in Python|pip install")
"""Options and commands of the terminal, and names of Python."""


def post(client: TestClient, path: str, file: Path, **fields: Any) -> Any:
    return client.post(f"/v1/{path}", files={"file": (file.name, file.read_bytes())}, data=fields)


def first_of_stream(client: TestClient, query: str) -> dict[str, Any]:
    with client.websocket_connect(f"/v1/stream?{query}") as stream:
        return json.loads(stream.receive_text())


@pytest.mark.parametrize(
    ("path", "field", "near"),
    [
        ("predict", "label", "labels"),
        ("predict", "hop", None),  # an option of the other path
        ("timeline", "chanel", "channel"),
        ("timeline", "by", None),  # an option of the command line
        ("timeline", "Window", "window"),
        ("predict", "", None),
    ],
)
def test_an_unknown_field_is_named_with_those_that_there_are(
    path: str, field: str, near: str | None, client: TestClient, clips: list[Path]
) -> None:
    answer = post(client, path, clips[0], **{field: "1"})
    said = message_of(answer, 422)
    assert said.startswith(f"{field!r}: there is no such option") and answer.json()["error"]["code"] == "unknown_field"
    assert (f"(did you mean {near!r}?)" in said) == (near is not None)
    described = client.get("/openapi.json").json()
    body = described["paths"][f"/v1/{path}"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    known = described["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    assert said.rpartition("there are ")[2].split(", ") == [*known] and "file" in known


def test_a_misspelt_file_and_a_name_without_end(client: TestClient, clips: list[Path]) -> None:
    answer = client.post("/v1/predict", files={"audio": ("a.wav", clips[0].read_bytes())})
    assert message_of(answer, 422).startswith("'audio': there is no such option; there are file, labels")
    said = message_of(post(client, "predict", clips[0], **{"x\n" * 500: "1"}), 422)
    assert len(said) < 250 and "\n" not in said


@pytest.mark.parametrize("path", ["predict", "timeline"])
def test_options_in_the_address_are_not_ignored(path: str, client: TestClient, clips: list[Path]) -> None:
    said = message_of(post(client, f"{path}?labels=calm,angry", clips[0]), 422)
    assert said == "'labels': is in the address; send options as fields of the form"


def test_what_takes_one_value_is_given_once(client: TestClient, clips: list[Path]) -> None:
    assert (
        message_of(post(client, "predict", clips[0], window=["1", "2"]), 422) == "window: is given twice; give it once"
    )
    answer = post(client, "predict", clips[0], labels=["calm", "angry"])
    assert answer.status_code == 200 and set(answer.json()["probabilities"]) == {"calm", "angry"}


@pytest.mark.parametrize(
    ("path", "field", "value", "said"),
    [
        (
            "predict",
            "channel",
            "each",
            "channel: must be mix or the number of a channel, from 1 (a timeline can also have each)",
        ),
        ("predict", "channel", "left", "channel: must be mix or the number of a channel, from 1"),
        ("timeline", "channel", "0", "channel: must be mix, each or the number of a channel, from 1, not '0'"),
        ("timeline", "any_words", "ja", "any_words: must be true or false, not 'ja'"),
    ],
)
def test_a_value_that_a_field_does_not_take_is_said_in_words(
    path: str, field: str, value: str, said: str, client: TestClient, clips: list[Path]
) -> None:
    assert message_of(post(client, path, clips[0], **{field: value}), 422).startswith(said)


def test_what_is_added_may_be_one_list(client: TestClient, clips: list[Path]) -> None:
    one, several = (post(client, "timeline", clips[0], include=given) for given in ("csv, vtt", ["csv", "vtt"]))
    assert one.status_code == 200 and one.json() == several.json() and {"csv", "vtt"} < one.json().keys()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "sampel_rate=8000",
            "'sampel_rate': there is no such option (did you mean 'sample_rate'?); there are sample_rate, ",
        ),
        ("channel=each", "'channel': there is no such option; there are sample_rate, format, "),
        ("hop=1&hop=2", "hop: is given twice; give it once"),
    ],
)
def test_an_unknown_option_of_a_stream_is_named(query: str, said: str, client: TestClient) -> None:
    found = first_of_stream(client, query)
    assert (found["type"], found["status"]) == ("error", 422) and found["message"].startswith(said)
    assert "labels" in found["message"] or "twice" in found["message"]


def test_labels_of_a_stream_may_come_several_times(client: TestClient) -> None:
    assert first_of_stream(client, "labels=calm&labels=angry")["emotions"] == ["calm", "angry"]


@pytest.mark.usefixtures("loud_net")
def test_a_timeline_speaks_of_the_options_that_it_was_made_with(serve: Serve, tmp_path: Path) -> None:
    client = serve(batch_size=1)  # what shares a batch differs from call to call, and with it the last digit
    path = write(tmp_path / "call.wav", np.stack([speech_like(6, seed) for seed in (1, 2)], axis=1))
    answer = post(client, "timeline", path, include=["vtt", "csv"], hop=0.5, window=2)
    data = answer.json()
    assert data["remarks"] == ["2 channels were mixed; set channel to each for a lane a channel"]
    assert data["remarks"][0] in data["vtt"] and not COMMAND_LINE.search(answer.text)
    assert data["settings"] == {
        **{"window": 2.0, "hop": 0.5, "smooth": 2.0, "threshold": 0.0},
        **{"channel": "mix", "speech": "detect", "adapt": "none"},
    }
    again = post(client, "timeline", path, **data["settings"])  # they are options of the API, so they can be sent back
    assert again.status_code == 200 and again.json()["speakers"] == data["speakers"]
    assert post(client, "timeline", path, channel="each").json()["remarks"] == []


def test_refusals_are_in_words_of_the_api(client: TestClient, clips: list[Path], tmp_path: Path) -> None:
    said = [
        message_of(post(client, "timeline", clips[0], adapt="speaker"), 422),
        first_of_stream(client, "adapt=speaker")["message"],
        message_of(post(client, "predict", clips[0], labels="banana,car"), 422),
        first_of_stream(client, "labels=banana,car")["message"],
        message_of(post(client, "predict", clips[0], labels="calm,calm"), 422),
        message_of(post(client, "timeline", clips[0], window=99), 422),
        message_of(post(client, "timeline", clips[0], window=1, hop=2), 422),
        message_of(post(client, "predict", clips[0], channel=7), 422),
        message_of(post(client, "predict", write(tmp_path / "a.wav", noise(0.0))), 422),
        message_of(client.post("/v1/predict", content=b"x"), 415),
    ]
    assert said[0] == said[1] == "adapt: the model of this server cannot be adapted; leave adapt out, or set it to none"
    assert not [line for line in said if COMMAND_LINE.search(line)]
    for path in ("/openapi.json", "/v1/model", "/healthz"):
        assert not COMMAND_LINE.search(client.get(path).text)


def test_a_plain_head_names_its_classes_to_clients(
    small_manifest: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("train", small_manifest, *SMALL, "--method", "ce", "-o", tmp_path / "run") == 0
    predictor = Predictor.from_pretrained(tmp_path / "run" / "model", device="cpu")
    with ExitStack() as stack:
        client = started(stack, predictor)
        said = message_of(post(client, "predict", clips[0], labels="calm,bored"), 422)
        for path in ("predict", "timeline"):
            assert post(client, path, clips[0], labels="Sad,ANGER").status_code == 200
        found = post(client, "predict", clips[0], labels="Sad,ANGER").json()["probabilities"]
    assert [*found.values()] == pytest.approx([*predictor(clips[0], ["sad", "angry"]).probabilities.values()], abs=1e-4)
    assert said.startswith("labels: this model only has the classes ") and said.endswith("leave labels out")
