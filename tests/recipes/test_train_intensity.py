"""Ranking, training and curves of the intensity model on made voices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy.stats import spearmanr
from small import changed, contents, log_of

from gemoclap.config import AudioSettings, CacheSettings, DataSettings, TrainSettings
from gemoclap.config.ems import IntensityModelSettings, IntensitySettings, RankingSettings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import InputSource
from gemoclap.ems.intensity import IntensityModel, intensity_curve
from gemoclap.errors import GemoclapError
from gemoclap.metrics import unweighted_average_recall
from gemoclap.recipes import intensity
from gemoclap.recipes.intensity import (
    StrengthInputs,
    curves,
    score_intensity,
    train_intensity,
)

TINY = {"input_size": 27, "channels": [4, 8], "lstm_size": 8, "head_size": 8}


@pytest.fixture(scope="module")
def settings(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> IntensitySettings:
    return IntensitySettings(
        data=DataSettings(manifest=str(small_manifest), dev_speakers=1),
        model=IntensityModelSettings(options=TINY),
        train=TrainSettings(epochs=3, lr=1e-2, warmup_epochs=0.5),
        cache=CacheSettings(folder=str(tmp_path_factory.mktemp("functionals"))),
    )


@pytest.fixture(scope="module")
def trained(settings: IntensitySettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_intensity(settings, tmp_path_factory.mktemp("intensity") / "run")


def error_of(call, *arguments) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_a_training_leaves(settings: IntensitySettings, trained: Path, small_manifest: Path) -> None:
    run = trained.parent
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "log.jsonl", "model", "ranking.json"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["ranking"]["neutral"], config["model"]["options"]) == ("neutral", TINY)
    rows = {row.id: row for row in read_manifest(small_manifest)}
    ranking = json.loads((run / "ranking.json").read_text())
    assert ranking["scores"].keys() == rows.keys() and ranking["pairs"].keys() == {"angry", "happy", "sad"}
    # Three training speakers with two sentences in each emotion, one take a sentence.
    assert ranking["pairs"]["angry"] == {"ordered": 6, "similar": 6, "across_speakers": False}
    neutral = [score for name, score in ranking["scores"].items() if rows[name].emotion == "neutral"]
    others = [score for name, score in ranking["scores"].items() if rows[name].emotion != "neutral"]
    assert np.mean(neutral) < np.mean(others) - 0.3 and 0 <= min(neutral + others) <= max(neutral + others) <= 1
    log = log_of(run)
    assert [row["epoch"] for row in log] == [1, 2, 3] and log[-1]["loss"] < log[0]["loss"]
    assert {"score_error", "frame_error", "emotion_cross_entropy", "dev_mae", "dev_rank_correlation"} <= log[0].keys()


def test_the_model_knows_what_it_was_trained_with(settings: IntensitySettings, trained: Path) -> None:
    model = IntensityModel.from_pretrained(trained)
    assert (model.config.channels, model.config.lstm_size) == ([4, 8], 8)
    assert model.config.emotions.emotions == ("angry", "happy", "neutral", "sad")
    assert model.config.audio_settings == settings.data.audio
    assert len(model.config.trained_speakers) == 4 and model.config.trained_speakers[0].startswith("synthetic/")


def test_the_card_names_the_corpus_and_the_scores(trained: Path) -> None:
    card = (trained / "README.md").read_text(encoding="utf-8")
    last = log_of(trained.parent)[-1]
    assert "- synthetic: " in card and "licence" in card
    assert f"rank correlation {last['dev_rank_correlation']:.3f}" in card


def test_the_log_scores_the_speakers_that_were_held_out(settings: IntensitySettings, trained: Path) -> None:
    model, rows = IntensityModel.from_pretrained(trained), read_manifest(str(settings.data.manifest))
    strengths = json.loads((trained.parent / "ranking.json").read_text())["scores"]
    log, store = log_of(trained.parent)[-1], AudioStore(settings.data.audio)
    for speaker in sorted({row.speaker for row in rows}):
        mine = [row for row in rows if row.speaker == speaker]
        waveforms = [torch.from_numpy(store(row)) for row in mine]
        with torch.no_grad():
            outputs = [model(one[None], torch.tensor([len(one)])) for one in waveforms]
        scores, wanted = [float(one["score"]) for one in outputs], [strengths[row.id] for row in mine]
        named = [model.config.id2label[int(one["logits"].argmax())] for one in outputs]
        expected = {
            "mae": np.mean([abs(score - one) for score, one in zip(scores, wanted, strict=True)]),
            "rank_correlation": spearmanr(scores, wanted).statistic,
            "uar": unweighted_average_recall([str(row.emotion) for row in mine], named),
        }
        found = score_intensity(model, mine, StrengthInputs(store, strengths))
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)
        if found["mae"] == pytest.approx(log["dev_mae"], abs=1e-5):
            return
    pytest.fail("the log has the error of no speaker")


def test_a_finished_training_is_left_alone_and_a_stopped_one_goes_on(
    settings: IntensitySettings, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(trained.parent)
    train_intensity(settings, trained.parent)
    assert contents(trained.parent) == before

    score, seen = intensity.score_intensity, []

    def pull_the_plug(*arguments):
        seen.append(arguments)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(intensity, "score_intensity", pull_the_plug)
    monkeypatch.setattr("gemoclap.training.run.KEEP_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_intensity(settings, tmp_path / "run")
    train_intensity(settings, tmp_path / "run")
    assert len(seen) == 4  # the first epoch is not done again
    first, second = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "run" / "model"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = replace(settings, ranking=RankingSettings(cost=0.1))
    assert "its ranking.cost differs" in error_of(train_intensity, other, trained.parent)


def test_strengths_ride_beside_the_waveforms(settings: IntensitySettings, small_manifest: Path) -> None:
    rows, store = read_manifest(small_manifest)[:3], AudioStore(settings.data.audio)
    clips: InputSource = StrengthInputs(store, {rows[0].id: 0.25, rows[1].id: 1.0, rows[2].id: 0.0})
    inputs = clips.inputs([rows[2], rows[0]])
    assert inputs.keys() == {"waveforms", "lengths", "strength"} and inputs["strength"].tolist() == [0.0, 0.25]
    assert inputs["lengths"].tolist() == clips.lengths([rows[2], rows[0]]).tolist()


def test_curves_are_computed_once_for_each_clip(
    settings: IntensitySettings, trained: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, store = IntensityModel.from_pretrained(trained), AudioStore(settings.data.audio)
    rows = read_manifest(small_manifest)
    rows = [*rows[:20], replace(rows[0], id="again")]
    kept = curves(model, store, rows, tmp_path)
    assert len(kept) == 20
    for row in rows:
        times, scores = intensity_curve(model, store(row))
        np.testing.assert_allclose(kept[store.content_key(row)].numpy(), scores, atol=1e-5)
        assert np.array_equal(model.frame_times(kept.length(store.content_key(row))), times)

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(intensity, "intensity_curves", fail)
    assert len(curves(model, AudioStore(settings.data.audio), rows, tmp_path)) == 20
    with torch.no_grad():
        model.projection.bias[0] += 1
    others = [model, *(IntensityModel.from_pretrained(trained) for _ in range(3))]
    others[1].config.hop, others[2].config.mel_stride, others[3].config.log_mel = (
        128,
        2,
        False,
    )  # weights would not tell
    for other in others:
        with pytest.raises(AssertionError, match="computed again"):
            curves(other, store, rows, tmp_path)


def test_what_cannot_be_trained_on(settings: IntensitySettings, small_manifest: Path, tmp_path: Path) -> None:
    def with_data(**data: object) -> IntensitySettings:
        return replace(settings, data=replace(settings.data, **data))  # type: ignore[arg-type]

    said = error_of(train_intensity, with_data(emotions=["angry", "sad"]), tmp_path / "run")
    assert "no training utterance is 'neutral' (labels: angry, sad)" in said
    mourning = changed(
        small_manifest, tmp_path / "sad.jsonl", emotion=lambda row: row.emotion.replace("neutral", "sad")
    )
    said = error_of(train_intensity, with_data(manifest=str(mourning)), tmp_path / "run")
    assert "no training utterance is 'neutral' (labels: angry, happy, sad)" in said
    misnamed = replace(settings, ranking=RankingSettings(neutral="normal"))
    assert "no training utterance is 'normal'" in error_of(train_intensity, misnamed, tmp_path / "run")
    nameless = changed(small_manifest, tmp_path / "m.jsonl", speaker=None)
    assert "no speaker" in error_of(train_intensity, with_data(manifest=str(nameless)), tmp_path / "run")
    for options, message in (
        ({"chanels": [4]}, "has no 'chanels' (did you mean 'channels'?)"),
        ({"channels": []}, "model.options: channels must be whole numbers"),
        ({"dropout": "much"}, "model.options: "),
    ):
        wrong = replace(settings, model=IntensityModelSettings(options=options))  # type: ignore[arg-type]
        assert message in error_of(train_intensity, wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_that_would_have_no_effect_or_make_no_sense() -> None:
    def chunked() -> IntensitySettings:
        return IntensitySettings(train=TrainSettings(chunk_size=4))

    assert "lower train.batch_size" in error_of(chunked)
    assert "ranking.cost must be above 0" in error_of(lambda: RankingSettings(cost=0))
    assert "ranking.max_pairs must be 1 or more" in error_of(lambda: RankingSettings(max_pairs=0))
    assert AudioSettings() == IntensitySettings().data.audio and IntensitySettings().data.dev_speakers == 2
