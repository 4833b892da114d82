"""Runs out of nothing, as `fakerun` makes them, under IEMOCAP's name, and probes as `compare ems` leaves them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from fakerun import make_run, told
from table_files import read_table, write_table

FOUR = ("angry", "happy", "neutral", "sad")


def of_iemocap(run: Path, vocabulary: str = "iemocap4", corpus: str = "iemocap") -> Path:
    """Give a made run IEMOCAP's name, classes and folds."""
    plan = json.loads((run / "folds.json").read_text())
    plan["vocabulary"] |= {"name": vocabulary}
    plan["manifest"] = "iemocap.jsonl"
    (run / "folds.json").write_text(json.dumps(plan))
    for path in run.rglob("predictions.csv"):
        write_table(path, [{**row, "speaker": f"{corpus}/{row['speaker']}"} for row in read_table(path)])
    return told(
        run,
        model={"audio_encoder": "microsoft/wavlm-large", "text_encoder": "roberta-base", "freeze": "none"},
        data={"folds": "session", "merges": {}},
        train={"epochs": 50, "lr": 1e-5, "batch_size": 8, "seed": 0},
        manifest_sha256="0123456789abcdef",
    )


def iemocap_run(folder: Path, methods: Sequence[str] = ("emo_clap", "ml_gemo_clap")) -> Path:
    """Make a cross-validation of IEMOCAP with five sessions of two speakers."""
    made = make_run(folder, methods, 5, FOUR, speakers_a_fold=2, utterances_a_speaker=12, accuracy=(0.6, 0.7, 0.5))
    return of_iemocap(made)


def ems_run(folder: Path, accuracies: dict[str, float], seeds: Sequence[int] = (0, 1), corpus: str = "iemocap") -> Path:
    """Make the folder of a comparison with one probe per variant and seed."""
    for variant, accuracy in accuracies.items():
        for seed in seeds:
            run = folder / "probe" / "labelled" / variant / f"seed_{seed}"
            make_run(run, (variant,), 2, FOUR, 3, 12, accuracy=(accuracy - 0.02 * seed,))
            of_iemocap(run, corpus=corpus)
            config = yaml.safe_load((run / "config.yaml").read_text())
            del config["model"]
            config |= {
                "encoders": [f"{variant}=model"],
                "head": {"hidden_dim": 256, "rescale": True, "layers": "weighted"},
            }
            config["train"] = {"seeds": [seed], "steps": 2000, "batch_size": 32, "lr": 1e-3, "select": "last"}
            (run / "config.yaml").write_text(yaml.safe_dump(config))
            for fold in (run / variant).iterdir():
                (fold / f"seed_{seed}").mkdir()
                shutil.move(fold / "predictions.csv", fold / f"seed_{seed}" / "predictions.csv")
    settings = {
        "speech": ["libri.jsonl"], "size": "small",
        "lr": {"mockingjay": 2e-4, "npc": 1e-3}, "train": {"epochs": 1, "batch_size": 16},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder
