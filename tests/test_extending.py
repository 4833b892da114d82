"""docs/extending.md, followed as it is written: its changes in a copy of the package, then its commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sound import write_tone

from gemoclap.corpora.manifest import read_manifest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
QUICK = ["--train.epochs", "1", "--train.warmup_epochs", "0", "--data.folds", "kfold", "--data.n_folds", "2"]
FOLLOW = """
import json
import sys
from contextlib import redirect_stdout
from io import StringIO
import torch
from gemoclap.cli import main
from gemoclap.encoders import load_audio_encoder
printed = []
for command in json.load(sys.stdin):
    with redirect_stdout(StringIO()) as out:
        assert main(command) == 0, command
    printed.append(out.getvalue())
encoder = load_audio_encoder("lookback").eval()
clip = torch.randn(1, 8000)
alone, _ = encoder(clip, torch.tensor([8000]))
batch = torch.cat([torch.nn.functional.pad(clip, (0, 4000)), torch.randn(1, 12000)])
together, mask = encoder(batch, torch.tensor([8000, 12000]))
difference = (alone[0] - together[0][mask[0]]).abs().max().item()
print(json.dumps({"printed": printed, "difference": difference}))
"""
"""One process for all commands: importing torch takes longer than they do."""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the changed copy of the package in src/, and the recordings of the page's corpus."""
    place = tmp_path_factory.mktemp("copy")
    package = place / "src" / "gemoclap"
    shutil.copytree(ROOT / "src" / "gemoclap", package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    (package / "weights").symlink_to(ROOT / "src" / "gemoclap" / "weights")
    new = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(new) == 3
    for name, text in new:
        assert not (place / name).exists()
        (place / name).write_text(text, encoding="utf-8")
    for block in re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL):
        apply(block, place)
    for number in range(4):
        for speaker, emotion in (("anna", "anger"), ("anna", "sadness"), ("bert", "anger"), ("bert", "sadness")):
            frequency = (200.0 if emotion == "anger" else 400.0) + 10 * number + len(emotion) * (speaker == "anna")
            write_tone(place / "recordings" / f"{speaker}_{emotion}_0{number}.wav", frequency, 0.5)
    return place


def apply(block: str, place: Path) -> None:
    """Make the changes of a block: a ``+`` line comes after the line above it, or in place of the ``-`` line above it."""
    for name, changes in re.findall(r"--- (\S+)\n((?:[ +-].*\n)+?)(?=---|\Z)", block):
        text = (place / name).read_text(encoding="utf-8")
        for sign, before, after in re.findall(r"([ -])(.*)\n\+(.*)\n", changes):
            assert text.count(f"{before}\n") == 1, f"{name}: {before}"
            kept = f"{before}\n" if sign == " " else ""
            text = text.replace(f"{before}\n", f"{kept}{after}\n")
        (place / name).write_text(text, encoding="utf-8")


def follow(place: Path, commands: list[list[str]]) -> dict[str, Any]:
    """Return what each command printed, and the encoder's largest difference between a clip alone and in a batch."""
    environment = {**os.environ, "PYTHONPATH": str(place / "src")}
    done = subprocess.run(
        [sys.executable, "-c", FOLLOW],
        input=json.dumps(commands),
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_page_can_be_followed(changed: Path) -> None:
    commands = [shlex.split(line) for line in re.findall(r"^    gemoclap (.*)$", PAGE, re.MULTILINE)]
    assert [words[0] for words in commands] == ["prepare", "inspect", "crossval", "crossval"]
    model = "runs/lookback/ce/fold_1/model"
    predict = ["predict", "recordings/anna_anger_00.wav", "--model", model]
    followed = follow(changed, [*commands[:2], *(words + QUICK for words in commands[2:]), predict])
    rows = read_manifest(changed / "kitchen.jsonl")
    assert {(row.speaker, row.gender, row.emotion) for row in rows} == {
        ("anna", "female", "angry"), ("anna", "female", "sad"), ("bert", "male", "angry"), ("bert", "male", "sad"),
    }  # fmt: skip
    _, inspected, with_encoder, with_objective, predicted = followed["printed"]
    assert "no faults" in inspected
    assert "Emo-CLAP" in with_encoder and "Cross-entropy over prompts" in with_objective
    assert (
        json.loads((changed / model / "config.json").read_text())["audio_config"]["model_type"] == "gemoclap-lookback"
    )
    assert re.search("angry|sad", predicted)
    assert followed["difference"] < 1e-5


def test_an_encoder_of_a_module_needs_no_change_of_the_package(tmp_path: Path, small_manifest: Path) -> None:
    (module,) = re.findall(r"```python\n# src/gemoclap/encoders/lookback.py\n(.*?)```", PAGE, re.DOTALL)
    save, own = re.findall(r"```python\n(import .*?)```", PAGE, re.DOTALL)
    first, second = re.findall(r"^python own.py (.*)$", PAGE, re.MULTILINE)
    for name, text in (("lookback.py", module), ("save.py", save), ("own.py", own)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    clip = str(read_manifest(small_manifest)[0].path)
    crossval = [str(small_manifest) if word == "kitchen.jsonl" else word for word in shlex.split(first)] + QUICK
    predict = [clip if word == "clip.wav" else word for word in shlex.split(second)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(tmp_path)])}

    def python(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    for words in (["save.py"], ["own.py", *crossval], ["own.py", *predict]):
        done = python(*words)
        assert done.returncode == 0, done.stderr
    assert ": " in done.stdout and "angry" in done.stdout
    for words in (predict, ["crossval", str(small_manifest), "--model.audio_encoder", "my_encoder", "-o", "runs/x"]):
        refused = python("-m", "gemoclap", *words)
        assert refused.returncode == 2
        assert "neither transformers nor gemoclap knows its type 'gemoclap-lookback'; import the code" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1 and len(refused.stderr) < 400
