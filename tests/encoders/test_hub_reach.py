"""The hub out of reach: said in a line before anything is fetched, found out once, and ended with a line and a cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakehub import offline_hub, snapshot
from huggingface_hub import constants
from small import SMALL, complaint, run
from tiny import save_speech_encoder

from gemoclap.encoders import hub as hub_module
from gemoclap.encoders.hub import PATIENCE, expect_hub, is_hub_id
from gemoclap.encoders.pretrained import load_config
from gemoclap.encoders.text import TextEncoder
from gemoclap.encoders.weights import find_weights
from gemoclap.errors import GemoclapError
from gemoclap.inference.predictor import Predictor


class Session:
    """In the place of huggingface_hub's: counts what is asked of the hub, which does not answer."""

    def __init__(self, answers: bool = False) -> None:
        self.answers, self.timeouts = answers, list[float]()

    def head(self, url: str, timeout: float) -> None:
        self.timeouts.append(timeout)
        if not self.answers:
            raise ConnectionError("Name or service not known")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """An empty cache, and a hub that is asked for and does not answer."""
    session = Session()
    offline_hub(tmp_path / "hub", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "get_session", lambda: session)
    hub_module._answers.cache_clear()
    hub_module._say_once.cache_clear()
    return session


@pytest.mark.parametrize(
    "load", [load_config, TextEncoder.from_pretrained, Predictor.from_pretrained], ids=lambda load: load.__qualname__
)
def test_a_hub_out_of_reach_is_asked_once(
    load: Callable[[str], Any], session: Session, capsys: pytest.CaptureFixture
) -> None:
    for _ in range(2):
        with pytest.raises(
            GemoclapError, match=r"org/model: .* hub cannot be reached; give a folder .*'hf download org/"
        ):
            load("org/model")
    assert session.timeouts == [PATIENCE] and PATIENCE <= 10
    assert capsys.readouterr().err == f"org/model: fetching it from the Hugging Face hub ({constants.ENDPOINT})\n"


def test_what_was_fetched_before_needs_no_hub(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_speech_encoder(snapshot(tmp_path / "hub", "org/speech"))
    capsys.readouterr()  # the bar of saving
    assert load_config("org/speech").model_type == "wav2vec2" and find_weights("org/speech").files
    assert len(session.timeouts) == 1 and capsys.readouterr().err == ""


def test_a_hub_that_answers_is_not_given_up(session: Session, capsys: pytest.CaptureFixture) -> None:
    session.answers = True
    expect_hub("org/model")
    expect_hub("org/model")
    assert not constants.HF_HUB_OFFLINE and len(session.timeouts) == 1
    assert capsys.readouterr().err.count("fetching it") == 1


def test_paths_are_no_hub_ids(session: Session, tmp_path: Path) -> None:
    for name in ("./nowhere", "../x", "/no/model", "~/model", "a/b/c", "", str(tmp_path)):
        assert not is_hub_id(name)
        expect_hub(name)
    assert is_hub_id("gpt2") and is_hub_id("openai/whisper-base") and session.timeouts == []


def test_a_run_says_so_and_leaves_no_folder(
    session: Session, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["train", small_manifest, *SMALL, "--model.audio_encoder", "org/speech", "-o", tmp_path / "run"]
    assert run(*command) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("org/speech: fetching it") and "hub cannot be reached" in last
    assert not (tmp_path / "run").exists()


def test_a_path_without_a_model_of_emotion(session: Session, capsys: pytest.CaptureFixture) -> None:
    line = complaint(capsys, "predict", "clip.wav", "--model", "/no/model")
    assert (
        line
        == "gemoclap: /no/model: no such folder; give the folder of a model, such as RUN/model of 'gemoclap train'\n"
    )
