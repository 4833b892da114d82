"""Makes the folder of a cross-validation out of nothing: what recipes write, with random predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from gemoclap.predictions import PredictionTable

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
ONE = {"methods": ("emo_clap",), "n_folds": 2, "epochs": 3}
"""Arguments of `make_run` for one method in two folds."""


def make_run(
    folder: Path,
    methods: Sequence[str] = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap"),
    n_folds: int = 5,
    classes: tuple[str, ...] = CLASSES,
    speakers_a_fold: int = 4,
    utterances_a_speaker: int = 24,
    epochs: int = 20,
    accuracy: Sequence[float] = (0.45, 0.5, 0.52),
    shared_speakers: Sequence[str] = (),
    known_speakers: bool = True,
    known_genders: bool = True,
) -> Path:
    """Write config.yaml, folds.json and, for every method and fold, predictions.csv and log.jsonl."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    names = "".join(f"- {method}\n" for method in methods)
    (folder / "config.yaml").write_text(f"train:\n  select: last\nmethods:\n{names}")
    folds, n_speakers = [], n_folds * speakers_a_fold
    for fold in range(n_folds):
        speakers = [f"{number + 1:02d}" for number in range(n_speakers) if number % n_folds == fold]
        ids = [f"{speaker}-{take:02d}" for speaker in speakers for take in range(utterances_a_speaker)]
        truth = np.random.default_rng(fold).integers(0, len(classes), len(ids))  # whatever the methods
        folds.append(
            {
                "name": f"fold_{fold + 1}",
                "hash": hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12],
                "shared_speakers": list(shared_speakers),
                "train": [],
                "dev": [],
                "test": ids,
            }
        )
        for method, base in zip(methods, accuracy, strict=False):
            ease = {speaker: base + 0.12 * rng.standard_normal() for speaker in speakers}
            right = rng.random(len(ids)) < [ease[name.split("-")[0]] for name in ids]
            # Mistakes go to neighbouring classes, so that the confusion matrix has some structure.
            slip = truth + rng.choice([1, -1, 2, 3], len(ids), p=[0.4, 0.3, 0.2, 0.1])
            prediction = np.where(right, truth, slip % len(classes))
            probabilities = rng.dirichlet(np.full(len(classes), 0.3), len(ids))
            swap = np.argmax(probabilities, axis=1)
            rows = np.arange(len(ids))
            best = probabilities[rows, swap].copy()
            probabilities[rows, swap], probabilities[rows, prediction] = probabilities[rows, prediction], best
            table = PredictionTable(
                classes=classes,
                ids=tuple(ids),
                folds=(f"fold_{fold + 1}",) * len(ids),
                speakers=tuple(name.split("-")[0] if known_speakers else None for name in ids),
                genders=tuple(
                    ("female", "male")[int(name.split("-")[0]) // n_folds % 2] if known_genders else None
                    for name in ids
                ),
                truth=tuple(classes[index] for index in truth),
                prediction=tuple(classes[index] for index in prediction),
                probabilities=probabilities,
            )
            output = folder / method / f"fold_{fold + 1}"
            table.write(output / "predictions.csv")
            if method != "egemaps_svm":
                (output / "log.jsonl").write_text(_log(rng, epochs, "ml" in method))
    plan = {
        "vocabulary": {"name": f"made-up{len(classes)}", "emotions": list(classes), "merges": {}},
        "manifest": "made-up.jsonl",
        "speaker_overlap": bool(shared_speakers),
        "folds": folds,
    }
    (folder / "folds.json").write_text(json.dumps(plan))
    return folder


def told(run: Path, **sections: dict) -> Path:
    """Write settings into a run's config.yaml, as though it had been given them."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["train"] |= sections.pop("train", {})
    (run / "config.yaml").write_text(yaml.safe_dump({**config, **sections}))
    return run


def _log(rng: np.random.Generator, epochs: int, gender_losses: bool) -> str:
    lines = []
    for epoch in range(1, epochs + 1):
        floor = 0.9 * np.exp(-epoch / 6)
        loss = 0.4 + floor + 0.03 * rng.standard_normal()
        row = {"epoch": epoch, "step": 100 * epoch, "lr": 1e-5, "loss": loss, "loss_less_entropy": loss - 0.4}
        if gender_losses:
            row |= {"emotion_loss": loss * 1.1, "gender_loss": loss * 0.3}
        row |= {"seconds": 12.5, "utterances_per_second": 90.1, "data_wait_seconds": 0.1}
        row |= {"dev_uar": 0.5 - 0.35 * floor + 0.02 * rng.standard_normal(), "dev_war": 0.5}
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)
