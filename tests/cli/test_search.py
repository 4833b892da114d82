"""`gemoclap index` and `gemoclap search`: what is added and what is not, what is found, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from small import complaint, run
from sound import noise, write

from gemoclap.audio import SAMPLE_RATE, load_audio
from gemoclap.cli.recordings import clips_of
from gemoclap.corpora.manifest import read_manifest
from gemoclap.inference.clip_index import CLIPS, EMBEDDINGS, ClipIndex
from gemoclap.inference.prediction import Prediction
from gemoclap.inference.predictor import Predictor


@pytest.fixture(scope="module")
def voices(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of a voice, one of which has a sentence, a long pause, and another sentence."""
    folder = tmp_path_factory.mktemp("voices")
    rows = read_manifest(small_manifest)[::5][:6]
    for row in rows[:5]:
        shutil.copy(row.path, folder / f"{row.emotion}{row.id.replace('/', '-')}.wav")
    first, second = (load_audio(row.path) for row in rows[4:])
    write(folder / "two.wav", np.concatenate([first, np.zeros(5 * SAMPLE_RATE), second]))
    return folder


@pytest.fixture(scope="module")
def index(voices: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "voices"
    assert run("index", voices, "--model", small_model, "--speech", "all", "-o", folder) == 0
    return folder


def copy_of(index: Path, folder: Path) -> Path:
    return Path(shutil.copytree(index, folder))


def test_the_most_similar_clip_is_the_one_that_is_asked_for(
    index: Path, voices: Path, small_model: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in sorted(voices.glob("*.wav")):
        if path.name == "two.wav":
            continue
        capsys.readouterr()
        assert run("search", "--like", path, "--index", index, "-k", 1, "--json") == 0
        (row,) = map(json.loads, capsys.readouterr().out.splitlines())
        assert row["rank"] == 1 and row["similarity"] > 0.999
        if Path(row["path"]) != path:  # another may be as similar to the stored digits
            assert round(row["similarity"], 2) == 1


def test_words_are_compared_with_every_part(
    index: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    stored = np.fromfile(index / EMBEDDINGS, "<f2").astype(np.float64)
    rows = [json.loads(line) for line in (index / CLIPS).read_text().splitlines()]
    places = [(row["path"], *part[:2]) for row in rows for part in row["parts"]]
    cosines = stored.reshape(len(places), -1) @ predictor.embed_words("angry").astype(np.float64)
    expected = [places[place] for place in np.argsort(-cosines, kind="stable")]
    assert run("search", "angry", "--index", index, "-k", 1000, "-o", tmp_path / "found.csv") == 0
    with (tmp_path / "found.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(row["path"], float(row["start"]), float(row["end"])) for row in found] == expected
    assert [*found[0]] == ["rank", "similarity", "path", "start", "end", "emotion", "confidence"]
    listed = clips_of([str(tmp_path / "found.csv")])  # other commands take the parts that were found, not their files
    assert [(one.path, one.start, one.end) for one in listed] == expected
    capsys.readouterr()
    assert run("search", "angry", "--index", index, "-k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].split()[:3] == ["1", f"{cosines.max():.2f}", expected[0][0]]


def test_words_that_were_not_trained_are_said_not_to_be(index: Path, capsys: pytest.CaptureFixture) -> None:
    capsys.readouterr()
    assert run("search", "someone sounds furious", "--index", index) == 0
    line = capsys.readouterr().err
    assert line.startswith("'someone sounds furious' is not an emotion that the model was trained on; it knows angry, ")
    for misspelt, meant in (("hapy", "happy"), ("furios", "furious")):
        assert run("search", misspelt, "--index", index, "--any_words") == 0
        assert f"did you mean '{meant}'?" in capsys.readouterr().err
    assert run("search", "furious", "--index", index) == 0
    assert "did you mean" not in capsys.readouterr().err
    assert run("search", "someone", "sounds", "furious", "--index", index) == 0  # without quotes
    assert capsys.readouterr().err == line
    assert run("search", "happy", "--index", index) == 0
    assert not capsys.readouterr().err
    line = complaint(capsys, "search", "banana", "--index", index)
    assert "words: 'banana' is like no English word for an emotion" in line
    assert run("search", "banana", "--index", index, "--any_words") == 0


def test_pauses_and_silence_are_not_in_the_index(
    voices: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros(16000))
    assert run("index", silent, "--model", small_model, "-o", tmp_path / "index") == 0
    assert "it has 1 with 0 parts of speech" in capsys.readouterr().out
    assert run("search", "sad", "--index", tmp_path / "index") == 0


def test_only_what_is_new_or_changed_is_read_again(
    index: Path, voices: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, clip = copy_of(index, tmp_path / "index"), write(tmp_path / "new.wav", noise(1.0))
    given = ["index", voices, clip, "--model", small_model, "--speech", "all", "-o", folder]
    before = ClipIndex(folder)
    assert run(*given) == 0
    assert "1 recording added (already there: 6); it has 7 with" in capsys.readouterr().out
    rows = (folder / CLIPS).read_bytes()
    assert run(*given) == 0
    assert "0 recordings added (already there: 7)" in capsys.readouterr().out
    assert (folder / CLIPS).read_bytes() == rows
    write(clip, noise(1.0, seed=1))
    os.utime(clip, ns=(1, 1))
    assert run(*given) == 0
    assert "1 recording added (already there: 6); it has 7 with" in capsys.readouterr().out
    assert ClipIndex(folder).parts == before.parts + 1


def test_a_clip_that_cannot_be_read_is_tried_again_the_next_time(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken, good = tmp_path / "broken.wav", write(tmp_path / "good.wav", noise(0.5))
    broken.write_text("no sound")
    given = ["index", broken, good, "--model", small_model, "--speech", "all", "-o", tmp_path / "index"]
    assert run(*given) == 1
    shown = capsys.readouterr()
    assert "broken.wav" in shown.err and "1 of 2 recordings could not be read" in shown.err
    assert "1 recording added" in shown.out
    write(broken, noise(0.5, seed=2))
    assert run(*given) == 0
    assert ClipIndex(tmp_path / "index").recordings == 2


def test_a_recording_is_the_same_by_any_path(
    voices: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    clip = sorted(voices.glob("*.wav"))[0]
    monkeypatch.chdir(voices)
    given = ["--model", small_model, "--speech", "all", "-o", tmp_path / "index"]
    assert run("index", clip.name, *given) == run("index", clip, *given) == 0
    assert "0 recordings added (already there: 1); it has 1 with" in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.chdir(tmp_path)
    assert run("search", "sad", "--index", "index", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["path"] == str(clip)


def test_an_index_can_be_made_again(index: Path, voices: Path, small_model: Path, tmp_path: Path) -> None:
    folder = copy_of(index, tmp_path / "index")
    clip = sorted(voices.glob("*.wav"))[0]
    assert run("index", clip, "--model", small_model, "--overwrite", "-o", folder) == 0
    assert ClipIndex(folder).recordings == 1


def test_an_index_is_not_lost_by_a_command_that_fails(
    index: Path, voices: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = copy_of(index, tmp_path / "index")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    given = ["--overwrite", "-o", folder]
    assert "no such folder" in complaint(capsys, "index", voices, "--model", tmp_path / "missing" / "model", *given)
    assert "no.jsonl" in complaint(capsys, "index", tmp_path / "no.jsonl", "--model", small_model, *given)
    with FileLock(folder / ".lock"):
        assert "is adding to it" in complaint(capsys, "index", voices, "--model", small_model, *given)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before if name != ".lock"} == {
        name: old for name, old in before.items() if name != ".lock"
    }


def test_what_is_refused(
    index: Path, voices: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clip = sorted(voices.glob("*.wav"))[0]
    assert "give words for an emotion" in complaint(capsys, "search", "--index", index)
    assert "not both" in complaint(capsys, "search", "sad", "--like", clip, "--index", index)
    assert "no index in it" in complaint(capsys, "search", "sad", "--index", tmp_path)
    assert "was made by another model than default" in complaint(
        capsys, "search", "sad", "--index", index, "--model", "default"
    )
    assert "made with another model or other settings" in complaint(
        capsys, "index", clip, "--model", small_model, "-o", index
    )
    assert "has other files than an index" in complaint(capsys, "index", clip, "--model", small_model, "-o", voices)
    assert "is a file" in complaint(capsys, "index", clip, "--model", small_model, "-o", clip)
    assert "broken.txt" in complaint(capsys, "search", "sad", "--index", index, "-o", tmp_path / "broken.txt")


def test_the_parts_of_a_clip_are_what_its_answer_is_the_mean_of(small_model: Path) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    predictor.model.config.clip_seconds = 1.0
    clip = np.concatenate([noise(1.6, seed=3), 0.2 * noise(1.7, seed=4)]).astype(np.float32)
    (parts,) = predictor.predict_parts([clip])
    whole = predictor(clip)
    assert not isinstance(parts, Exception) and isinstance(whole, Prediction) and len(parts) == whole.parts == 4
    lengths = np.array([part.end - part.start for part in parts])
    assert parts[0].start == 0 and parts[-1].end == pytest.approx(3.3)
    for label, mean in whole.probabilities.items():
        assert np.average([part.probabilities[label] for part in parts], weights=lengths) == pytest.approx(
            mean, abs=1e-6
        )
    for part in parts:
        samples = clip[round(part.start * 16000) : round(part.end * 16000)]
        np.testing.assert_allclose(predictor(samples).embedding, part.embedding, atol=1e-5)


ROW = {"path": "a.wav", "stamp": None, "parts": [[0, 1, "happy", 0.5]]}
DAMAGES = {
    "no size": ("index.json", lambda about: {name: of for name, of in about.items() if name != "size"}),
    "size as text": ("index.json", lambda about: {**about, "size": "16"}),
    "size zero": ("index.json", lambda about: {**about, "size": 0}),
    "no model": ("index.json", lambda about: {name: of for name, of in about.items() if name != "model"}),
    "name as number": ("index.json", lambda about: {**about, "name": 5}),
    "a list": ("index.json", lambda about: [about]),
    "parts as number": ("clips.jsonl", lambda _: {**ROW, "parts": 3}),
    "a short part": ("clips.jsonl", lambda _: {**ROW, "parts": [[1]]}),
    "a part of words": ("clips.jsonl", lambda _: {**ROW, "parts": [["a", "b", "happy", 1.0]]}),
    "a part without end": ("clips.jsonl", lambda _: {**ROW, "parts": [[0, float("inf"), "happy", 1.0]]}),
    "no path": ("clips.jsonl", lambda _: {"parts": []}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_named_with_a_cure(
    damage: str, index: Path, voices: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    name, change = DAMAGES[damage]
    path = copy_of(index, tmp_path / "copy") / name
    first, *others = path.read_text().splitlines() if name == "clips.jsonl" else [path.read_text()]
    path.write_text("\n".join([json.dumps(change(json.loads(first))), *others]) + "\n")
    given = ["index", next(voices.glob("*.wav")), "--model", small_model, "--speech", "all", "-o", path.parent]
    for command in (["search", "happy", "--index", path.parent], given):
        line = complaint(capsys, *command)
        assert str(path) in line and "make the index again with 'gemoclap index ... --overwrite'" in line


def test_embeddings_that_are_no_numbers_are_not_ranked(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = copy_of(index, tmp_path / "copy") / "embeddings.f16"
    content = np.fromfile(path, "<f2")
    content[3] = np.nan
    content.tofile(path)
    assert f"{path}: has embeddings that are not finite" in complaint(capsys, "search", "happy", "--index", path.parent)


def test_a_doubtful_clip_and_an_index_without_speech_are_said(
    index: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE))
    assert run("search", "--like", silent, "--index", index) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"gemoclap: {silent}: ") and "silent" in said.removeprefix(f"gemoclap: {silent}: ")
    assert run("index", silent, "--model", small_model, "-o", tmp_path / "empty") == 0
    capsys.readouterr()
    assert run("search", "happy", "--index", tmp_path / "empty", "--json") == 0
    shown = capsys.readouterr()
    assert "has no speech, so nothing can be found" in shown.err and shown.out == ""
    assert "is not a folder; name the folder" in complaint(capsys, "search", "happy", "--index", silent)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "link to a folder that does not exist" in complaint(capsys, "index", silent, "-o", tmp_path / "link")
