"""Train, test and pack the models that come with this package: one command, from four manifests and a Whisper.

    python scripts/build_models.py --whisper openai/whisper-base --cremad cremad.jsonl --emodb emodb.jsonl \
        --ravdess ravdess.jsonl --nemo nemo.jsonl -o runs/models

In order: the first three layers of Whisper base in half precision (src/gemoclap/weights/encoder); a speaker-disjoint
cross-validation of each model's recipe; each model on all speakers, its temperature fitted on the cross-validation; the recipe
trained without each corpus and tested on that; and the folders in src/gemoclap/weights with their cards. What is done already
is not done again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gemoclap.cli import main as gemoclap
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.embedded import FOLDER, WEIGHTS
from gemoclap.models import load_emotion_model
from gemoclap.predictions import read_predictions

LAYERS = 3
CORPORA = ("cremad", "emodb", "ravdess", "nemo")
TITLES = {"cremad": "CREMA-D", "emodb": "EmoDB", "ravdess": "RAVDESS", "nemo": "nEMO"}
MODELS = {
    "default": (("cremad", "emodb"), "neutral,happy,sad,angry,fearful,disgusted"),
    "research": (CORPORA, "neutral,calm,happy,sad,angry,fearful,disgusted,surprised"),
}
"""Model -> its corpora and its classes."""
METHOD = "emo_clap"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--whisper", help="hub id or folder of Whisper base; needed only to make the encoder anew")
    for corpus in CORPORA:
        parser.add_argument(f"--{corpus}", required=True, help="its manifest")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    options = parser.parse_args()
    if options.whisper:
        pack_encoder(options.whisper)
    manifests = {corpus: Path(getattr(options, corpus)) for corpus in CORPORA}
    options.output.mkdir(parents=True, exist_ok=True)
    for name, (corpora, emotions) in MODELS.items():
        joint = joined(manifests, corpora, options.output / f"{name}.jsonl")
        train(joint, emotions, options.output / name)
        test_elsewhere(name, manifests, options.output)
        pack(options.output / name / "model", FOLDER.parent / name)


def pack_encoder(whisper: str) -> None:
    """Write the first layers of a Whisper, in half precision."""
    encoder = load_audio_encoder(whisper, LAYERS, keep_layers=LAYERS)
    encoder.model.half().save_pretrained(FOLDER)
    encoder.feature_extractor.save_pretrained(FOLDER)


def joined(manifests: dict[str, Path], corpora: Sequence[str], target: Path) -> Path:
    """Write one manifest of several corpora."""
    write_manifest([row for corpus in corpora for row in read_manifest(manifests[corpus])], target)
    return target


def train(manifest: Path, emotions: str, output: Path) -> None:
    """Cross-validate the recipe, then train it on all speakers and fit its temperature on the cross-validation."""
    settings = [str(manifest), "--config", "default_model", "--cache.audio", "disk", "--data.emotions", emotions]
    checked = output.with_name(f"{output.name}-crossval")
    run("crossval", *settings, "--methods", METHOD, "--keep_models", "false", "-o", str(checked))
    run("train", *settings, "--method", METHOD, "--calibrate_on", str(checked), "-o", str(output))


def test_elsewhere(name: str, manifests: dict[str, Path], output: Path) -> None:
    """Test on corpora that were not trained on: those that a model never saw, and each that is left out for it."""
    corpora, emotions = MODELS[name]
    for corpus in CORPORA:
        model = output / name / "model"
        if corpus in corpora:
            if len(corpora) == 2:
                continue  # with one corpus of two left there is little of the recipe
            others = [other for other in corpora if other != corpus]
            joint = joined(manifests, others, output / f"{name}-without-{corpus}.jsonl")
            settings = [str(joint), "--config", "default_model", "--cache.audio", "disk", "--data.emotions", emotions]
            run("train", *settings, "--method", METHOD, "-o", str(output / f"{name}-without-{corpus}"))
            model = output / f"{name}-without-{corpus}" / "model"
        scores = output / f"{name}-on-{corpus}"
        if not scores.exists():
            run("evaluate", str(manifests[corpus]), "--model", str(model), "-o", str(scores))


def run(*arguments: str) -> None:
    """Run a command of gemoclap, and stop where it fails."""
    print("gemoclap", *arguments, flush=True)
    if status := gemoclap(arguments):
        raise SystemExit(status)


def pack(model: Path, target: Path) -> None:
    """Copy a model in half precision; its prompts are embedded by the rounded weights."""
    loaded: Any = load_emotion_model(model)
    state = loaded.state_dict()
    loaded.load_state_dict({name: _rounded(tensor) for name, tensor in state.items()})
    shutil.rmtree(target, ignore_errors=True)
    loaded.save_pretrained(target)
    weights = load_file(target / WEIGHTS)
    save_file({name: _halved(tensor) for name, tensor in weights.items()}, target / WEIGHTS, {"format": "pt"})
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()) / 1e6:.1f} MB")


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    return _halved(tensor).to(tensor.dtype)


def scores_by_corpus(run_folder: Path) -> dict[str, dict[str, float]]:
    """Return corpus -> WAR and UAR, shares from 0 to 1, of a cross-validation's predictions of unseen speakers."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(run_folder.glob(f"{METHOD}/fold_*/predictions.csv")):
        table = read_predictions(path)
        for speaker, truth, said in zip(table.speakers, table.truth, table.prediction, strict=True):
            rows.setdefault(str(speaker).split("/")[0], []).append((truth, said))
    found = {}
    for corpus, pairs in rows.items():
        recalls = [
            sum(said == truth for truth, said in pairs if truth == emotion)
            / sum(truth == emotion for truth, _ in pairs)
            for emotion in {truth for truth, _ in pairs}
        ]
        found[corpus] = {"war": sum(a == b for a, b in pairs) / len(pairs), "uar": sum(recalls) / len(recalls)}
    return found


if __name__ == "__main__":
    main()
