"""GMP-TL through its steps on tiny random HuBERT weights: what it leaves, resumes, and never hears."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from sklearn.metrics import mutual_info_score
from small import complaint, contents, log_of, run
from tiny import save_speech_encoder

from gemoclap.config import AudioSettings, DataSettings, GmpSettings, ModelSettings, Settings, TrainSettings
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.shards import Shards
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.gmp.clustering import load_kmeans
from gemoclap.gmp.quality import agreement_with_words, purity
from gemoclap.models import load_emotion_model
from gemoclap.predictions import read_predictions
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.gmp import _frame_training
from gemoclap.training.run import Run

SCALES = [3, 8]


@pytest.fixture(scope="module")
def settings(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    encoder = save_speech_encoder(tmp_path_factory.mktemp("hubert") / "encoder", "hubert")
    return Settings(
        data=DataSettings(
            manifest=str(small_manifest), folds="kfold", n_folds=2, audio=AudioSettings(max_seconds=0.25)
        ),
        model=ModelSettings(audio_encoder=str(encoder), pooling="mean"),
        gmp=GmpSettings(scales=SCALES, frame_epochs=2, passes=4),
        train=TrainSettings(epochs=2, batch_size=8, warmup_epochs=0.2),
    )


@pytest.fixture(scope="module")
def finished(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    cross_validate(settings, ["gmp_tl", "am_softmax"], output)
    return output


def test_each_step_leaves_what_the_next_one_needs(settings: Settings, finished: Path) -> None:
    fold = finished / "gmp_tl" / "fold_1"
    assert {path.name for path in fold.iterdir()} == {
        "features", "clusters", "frames", "log.jsonl", "made.json", "model", "predictions.csv",
        "embeddings.safetensors",
    }  # fmt: skip
    assert {path.name for path in (fold / "clusters").iterdir()} == {
        "config.json", "kmeans_3.safetensors", "kmeans_8.safetensors", "labels", "emotions.safetensors", "quality.json",
    }  # fmt: skip
    pretrained, features, frames = (
        load_file(Path(place) / "model.safetensors")
        for place in (str(settings.model.audio_encoder), fold / "features" / "model", fold / "frames" / "model")
    )
    assert pretrained.keys() == features.keys() == frames.keys()
    name = "encoder.layers.0.attention.q_proj.weight"
    assert not torch.equal(pretrained[name], features[name]) and not torch.equal(features[name], frames[name])
    log = log_of(fold / "frames")
    assert {f"frame_accuracy_{k}" for k in SCALES} < set(log[0]) and 0 < log[0]["hidden_share"] < 1
    model = load_emotion_model(fold / "model")
    assert (model.config.method, model.config.head) == ("gmp_tl", "cosine")
    assert "pseudo-labels" in (fold / "model" / "README.md").read_text(encoding="utf-8")
    assert len(read_predictions(fold / "predictions.csv")) == 16


def test_labels_are_the_nearest_centroids_of_the_layer(settings: Settings, finished: Path) -> None:
    fold = finished / "gmp_tl" / "fold_2"
    plan = json.loads((finished / "folds.json").read_text())["folds"][1]
    rows = {row.id: row for row in read_manifest(str(settings.data.manifest))}
    store = AudioStore(settings.data.audio)
    labels = Shards(fold / "clusters" / "labels")
    assert len(labels) == len({store.content_key(rows[name]) for name in plan["train"]})
    model = load_emotion_model(fold / "model")
    encoder = SpeechEncoder.from_pretrained(str(fold / "features" / "model")).eval()
    assert type(encoder.model) is type(model.audio_encoder.model)
    for name in plan["train"][:4]:
        waveform = torch.from_numpy(store(rows[name])).unsqueeze(0)
        frames = encoder.layer_frames(waveform, torch.tensor([waveform.shape[1]]), -3)[0][0].detach().double()
        for place, k in enumerate(SCALES):
            centroids = torch.from_numpy(load_kmeans(fold / "clusters" / f"kmeans_{k}.safetensors").centroids).double()
            distances = (frames[:, None] - centroids).square().sum(-1)
            chosen = distances.gather(1, labels[store.content_key(rows[name])][:, place : place + 1].long())[:, 0]
            torch.testing.assert_close(chosen, distances.amin(1), rtol=1e-4, atol=1e-6)


def test_the_same_again_does_nothing(settings: Settings, finished: Path) -> None:
    before = contents(finished / "gmp_tl")
    cross_validate(settings, ["gmp_tl", "am_softmax"], finished)
    assert contents(finished / "gmp_tl") == before


@pytest.mark.parametrize(
    "lost",
    [
        ["model"],
        ["frames"],
        ["frames", "clusters/labels", "clusters/kmeans_8.safetensors"],
        ["frames", "clusters/quality.json"],
        ["frames", "clusters"],
    ],
)
def test_what_is_lost_is_made_again_and_the_same(
    settings: Settings, finished: Path, tmp_path: Path, lost: list[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    fold = copy / "gmp_tl" / "fold_1"
    for name in [*lost, "predictions.csv", "log.jsonl"]:
        path = fold / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (fold / "features" / "checkpoint").mkdir()
    cross_validate(settings, ["gmp_tl"], copy)
    if "frames" in lost:
        assert not (fold / "features" / "checkpoint").exists() and not (fold / "clusters" / "frames").exists()
    old, new = (Shards(place / "gmp_tl" / "fold_1" / "clusters" / "labels") for place in (finished, copy))
    keys = list(old._places)
    assert len(new) == len(keys) > 0 and all(torch.equal(old[key], new[key]) for key in keys)
    quality = "gmp_tl/fold_1/clusters/quality.json"
    assert (copy / quality).read_text() == (finished / quality).read_text()
    for name in ("frames/model/model.safetensors", "model/model.safetensors"):
        one, other = load_file(finished / "gmp_tl" / "fold_1" / name), load_file(fold / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name


@pytest.mark.parametrize("start", ["pretrained", "features"])
def test_each_stage_starts_where_it_should(settings: Settings, tmp_path: Path, start: str) -> None:
    """With steps too small to see, B is what it starts from, and C is B."""
    gmp = replace(settings.gmp, scales=[3], start=start, frame_epochs=1, frame_lr=1e-12)
    still = replace(settings, gmp=gmp, train=replace(settings.train, epochs=1, lr=1e-12, weight_decay=0.0))
    first = tmp_path / "run" / "gmp_tl" / "fold_1"
    other = save_speech_encoder(tmp_path / "other", "hubert", seed=7)
    cross_validate(still, ["gmp_tl"], tmp_path / "run")
    codebook = first / "clusters" / "kmeans_3.safetensors"
    before = load_kmeans(codebook).centroids
    # The same again, with an encoder of other weights in the place of the features.
    for name in ("frames", "model", "predictions.csv", "log.jsonl"):
        shutil.rmtree(first / name) if (first / name).is_dir() else (first / name).unlink()
    shutil.rmtree(first / "features" / "model")
    shutil.copytree(other, first / "features" / "model")
    cross_validate(still, ["gmp_tl"], tmp_path / "run")
    assert not np.allclose(load_kmeans(codebook).centroids, before)  # the old clusters are not taken for the new
    begins = other if start == "features" else Path(settings.model.audio_encoder)
    expected = load_file(begins / "model.safetensors")
    frames = load_file(first / "frames" / "model" / "model.safetensors")
    last = load_file(first / "model" / "model.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(frames[name], tensor, atol=1e-8, rtol=0)
        torch.testing.assert_close(last[f"audio_encoder.model.{name}"], tensor, atol=1e-8, rtol=0)


def test_the_last_stage_goes_on_in_a_folder_that_moved(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    few = replace(settings, gmp=replace(settings.gmp, scales=[3], frame_epochs=1))
    close = Run.close_epoch

    def stop(self, evaluate):
        if self.state.epoch == 1 and self.output.name == "fold_1":
            raise KeyboardInterrupt
        return close(self, evaluate)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "close_epoch", stop)
        patch.setattr("gemoclap.training.run.KEEP_SECONDS", 0.0)
        cross_validate(few, ["gmp_tl"], tmp_path / "here")
    assert (tmp_path / "here" / "gmp_tl" / "fold_1" / "checkpoint").is_dir()
    (tmp_path / "here").rename(tmp_path / "there")
    fold = tmp_path / "there" / "gmp_tl" / "fold_1"
    (fold / "features" / "log.jsonl").write_text('{"epoch": 1, "seconds": 1000}\n{"epoch": 2, "seconds": 1000}\n')
    cross_validate(few, ["gmp_tl"], tmp_path / "there")
    assert [row["epoch"] for row in log_of(fold)] == [1, 2]
    # The duration has the stages that were finished before the interruption, each epoch once.
    assert 2000 < json.loads((fold / "made.json").read_text())["seconds"] < 3000


def test_nothing_learns_from_test_speakers(settings: Settings, finished: Path, tmp_path: Path) -> None:
    """Other audio of the first fold's test speakers, at the same paths of a copy: every artefact is the same."""
    plan = json.loads((finished / "folds.json").read_text())["folds"][0]
    rng = np.random.default_rng(0)
    rows = []
    for row in read_manifest(str(settings.data.manifest)):
        if row.id in plan["test"]:
            path = tmp_path / f"{row.id}.wav"
            soundfile.write(path, rng.normal(0, 0.1, 9000), 16000)
            row = replace(row, path=str(path))
        rows.append(row)
    write_manifest(rows, tmp_path / "other.jsonl")
    other = replace(settings, data=replace(settings.data, manifest=str(tmp_path / "other.jsonl")))
    cross_validate(other, ["gmp_tl"], tmp_path / "run")
    assert json.loads((tmp_path / "run" / "folds.json").read_text())["folds"][0] == plan
    mine, theirs = (folder / "gmp_tl" / "fold_1" for folder in (finished, tmp_path / "run"))
    of_test = {"embeddings.safetensors"}  # those of the test clips themselves
    compared = [path.relative_to(mine) for path in mine.rglob("*.safetensors") if path.name not in of_test]
    compared = [name for name in compared if "labels" not in str(name)]
    assert len(compared) == 6
    for name in compared:
        one, two = load_file(mine / name), load_file(theirs / name)
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one), name
    assert (mine / "clusters" / "quality.json").read_text() == (theirs / "clusters" / "quality.json").read_text()
    tables = [read_predictions(folder / "predictions.csv") for folder in (mine, theirs)]
    assert not np.allclose(tables[0].probabilities, tables[1].probabilities)


@pytest.mark.parametrize(
    ("gmp", "present", "absent"),
    [
        (GmpSettings(scales=[4], frame_epochs=1, gender=False), {"features", "clusters", "frames"}, set()),
        (GmpSettings(frame_epochs=0), set(), {"features", "clusters", "frames"}),
        (GmpSettings(frame_epochs=0, start="features", head="ce"), {"features"}, {"clusters", "frames"}),
        (GmpSettings(scales=[4], frame_epochs=1, start="features", layer=1), {"features", "clusters", "frames"}, set()),
    ],
)
def test_ablations(settings: Settings, tmp_path: Path, gmp: GmpSettings, present: set[str], absent: set[str]) -> None:
    few = replace(settings, gmp=gmp, train=replace(settings.train, epochs=1))
    cross_validate(few, ["gmp_tl"], tmp_path / "run")
    fold = tmp_path / "run" / "gmp_tl" / "fold_1"
    names = {path.name for path in fold.iterdir()}
    assert present <= names and not absent & names
    if "features" in present:
        assert ("gender" in log_of(fold / "features")[0]) == gmp.gender
    assert load_emotion_model(fold / "model").config.head == ("linear" if gmp.head == "ce" else "cosine")


def test_what_a_killed_step_left_is_let_go(settings: Settings, finished: Path, tmp_path: Path) -> None:
    fold = shutil.copytree(finished, tmp_path / "run") / "gmp_tl" / "fold_1"
    (fold / "predictions.csv").unlink()
    (fold / "frames" / "checkpoint").mkdir()  # killed when the encoder was saved, before this was deleted
    cross_validate(settings, ["gmp_tl"], tmp_path / "run")
    assert (fold / "predictions.csv").exists() and not (fold / "frames" / "checkpoint").exists()


def test_without_models_no_encoder_is_kept(settings: Settings, tmp_path: Path) -> None:
    few = replace(
        settings, gmp=replace(settings.gmp, scales=[3], frame_epochs=1), train=replace(settings.train, epochs=1)
    )
    cross_validate(few, ["gmp_tl"], tmp_path / "run", keep_models=False)
    fold = tmp_path / "run" / "gmp_tl" / "fold_1"
    left = {"clusters", "log.jsonl", "made.json", "predictions.csv", "embeddings.safetensors"}
    assert {path.name for path in fold.iterdir()} == left
    assert not list(fold.rglob("model.safetensors"))


@pytest.mark.parametrize("encoder", ["compact", "mockingjay", "npc"])
def test_our_own_encoders_from_the_command_line(small_manifest: Path, tmp_path: Path, encoder: str) -> None:
    options = {
        "compact": '{"hidden_size": 16, "num_hidden_layers": 2, "stem_channels": 4}',
        "mockingjay": '{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}',
        "npc": '{"hidden_size": 16}',
    }[encoder]
    given = [
        "crossval", "--data.manifest", small_manifest, "--data.folds", "kfold", "--data.n_folds", "2", "--methods", "gmp_tl",
        "--model.audio_encoder", encoder, "--model.audio_options", options, "--gmp.scales", "[4,16]", "--gmp.frame_epochs", "1",
        "--train.epochs", "1", "--data.audio.max_seconds", "1", "-o", tmp_path / "run",
    ]  # fmt: skip
    assert run(*given) == 0
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "GMP-TL" in page and "### Pseudo-labels of GMP-TL" in page
    folds = [tmp_path / "run" / "gmp_tl" / name / "clusters" / "quality.json" for name in ("fold_1", "fold_2")]
    purity = np.mean([json.loads(path.read_text())["16"]["emotion"]["purity"] for path in folds])
    assert "| 16 | " in page and f"| {100 * purity:.1f}, " in page
    config = json.loads((tmp_path / "run" / "gmp_tl" / "fold_1" / "frames" / "model" / "config.json").read_text())
    assert config.get("apply_spec_augment", True)  # switched off for the labels alone
    once = [*given[1:3], "--method", "gmp_tl", *given[9:-1], tmp_path / "all"]
    assert run("train", *once) == 0
    clip = read_manifest(small_manifest)[0].path
    assert run("predict", clip, "--model", tmp_path / "all" / "model") == 0


@pytest.mark.parametrize("batch_size, chunk_size", [(16, None), (16, 4), (16, 5), (16, 1), (3, 2), (2, 1), (8, 100)])
def test_chunks_of_the_first_stage_are_batches(settings: Settings, batch_size: int, chunk_size: int | None) -> None:
    given = replace(settings.train, batch_size=batch_size, chunk_size=chunk_size, accumulate=3)
    train = _frame_training(replace(settings, train=given))
    parts = train.accumulate // 3
    assert 2 <= train.batch_size <= max(2, chunk_size or batch_size) and train.accumulate == 3 * parts
    assert parts * train.batch_size >= batch_size > (parts - 1) * train.batch_size  # no batch more than needed


def test_what_cannot_be(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def error_of(**changes: object) -> str:
        with pytest.raises(GemoclapError) as caught:
            cross_validate(replace(settings, **changes), ["gmp_tl"], tmp_path / "run")  # type: ignore[arg-type]
        return str(caught.value)

    assert "model.freeze all" in error_of(model=replace(settings.model, freeze="all"))
    assert "gmp.layer: there is no layer 9; give 0 to 3" in error_of(gmp=replace(settings.gmp, layer=9))
    frozen = error_of(model=replace(settings.model, freeze=2), gmp=replace(settings.gmp, layer=-2))
    assert "model.freeze 2: the frames of gmp.layer -2 would stay as they were" in frozen
    by_seconds = error_of(train=replace(settings.train, batch_seconds=4.0, chunk_size=4))
    assert "lower train.batch_seconds and raise train.accumulate" in by_seconds
    assert "fewer than 90000 clusters" in error_of(gmp=replace(settings.gmp, scales=[4, 90000]))
    assert not (tmp_path / "run" / "gmp_tl").exists()  # so that the setting can be mended
    assert "gmp.scales must be" in complaint(
        capsys, "crossval", "--data.manifest", str(settings.data.manifest), "--gmp.scales", "[1]", "-o", tmp_path / "x"
    )


def test_purity_and_mutual_information() -> None:
    rng = np.random.default_rng(0)
    words, counts = ["a", "b", None, "a"], [30, 20, 10, 40]
    labels = rng.integers(0, 5, 100)
    known = [place for place in range(100) if not 50 <= place < 60]
    classes = ["a"] * 30 + ["b"] * 20 + ["a"] * 40
    found = agreement_with_words(labels, words, counts)
    assert found is not None
    most = sum(
        max(Counter(c for c, place in zip(classes, known, strict=True) if labels[place] == k).values())
        for k in range(5)
    )
    assert found["purity"] == pytest.approx(most / 90)

    def entropy(values: list) -> float:
        shares = np.array(list(Counter(values).values())) / len(values)
        return float(-(shares * np.log(shares)).sum())

    chosen = [int(labels[place]) for place in known]
    expected = mutual_info_score(classes, chosen) / ((entropy(classes) + entropy(chosen)) / 2)
    assert found["nmi"] == pytest.approx(expected)
    assert purity(np.arange(6), np.array([0, 1, 2, 0, 1, 2])) == 1.0
    assert agreement_with_words(labels, ["a", None, None, "a"], counts) is None
