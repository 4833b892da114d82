"""Fits the temperature of a model that was trained on all speakers.

No speaker is left to fit it on. So the predictions of a cross-validation with the same settings are used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, write_json
from gemoclap.predictions import PREDICTIONS, PredictionTable, concatenate, read_predictions
from gemoclap.recipes.model_card import write_expected_scores
from gemoclap.recipes.other_folders import other_folder
from gemoclap.recipes.run_files import read_plan, read_run_config
from gemoclap.recipes.run_folder import (
    COMMITS,
    CONFIG,
    FOLDS,
    determining,
    first_difference,
    resolved,
    said_by_both,
    seed_folders,
)
from gemoclap.training.calibration import calibration_on

OF_A_RUN = "the unseen speakers of a cross-validation with the same settings"
CALIBRATION = "calibration.json"
"""Name of the file in a fold's folder with the temperature of its model."""


@dataclass(frozen=True)
class Unseen:
    """A finished cross-validation's predictions for its test speakers, of all folds and seeds.

    Attributes
    ----------
    manifest : name of its manifest, without the folder.
    speaker_overlap : whether speakers were in training and test.
    """

    table: PredictionTable
    manifest: str
    speaker_overlap: bool


def predictions_of_run(run: Path, config: Mapping[str, Any], method: str, classes: Sequence[str]) -> Unseen:
    """Return the predictions that a model of the same settings can be calibrated on.

    Parameters
    ----------
    run : folder of the cross-validation. If it has several seeds, the predictions of all of them are used.
    config : `run_folder.run_config` of the training whose model gets the temperature.

    Raises
    ------
    GemoclapError : `run` is no cross-validation, trained something else or with other settings, or is not finished.
    """
    folders = [run] if (run / FOLDS).is_file() else seed_folders(run)
    tables, overlap, manifest = [], False, ""
    for folder in folders:
        found = _same_settings(folder, config, method)
        plan = read_plan(folder / FOLDS)
        overlap, manifest = overlap or bool(plan["speaker_overlap"]), Path(str(found["data"]["manifest"])).name
        for fold in plan["folds"]:
            path = folder / method / fold["name"] / PREDICTIONS
            if not path.is_file():
                raise GemoclapError(f"{path}: no such file; finish the cross-validation of {method} first")
            tables.append(read_predictions(path))
            if tables[-1].classes != tuple(classes):
                raise GemoclapError(f"{path}: has other classes than this training ({', '.join(classes)})")
    if not tables:
        unknown = f"not the folder of a cross-validation; make one with 'gemoclap crossval -o {run}'"
        raise GemoclapError(f"{run}: {other_folder(run) or unknown}")
    return Unseen(concatenate(tables), manifest, overlap)


def set_calibration(model: Path, unseen: Unseen) -> None:
    """Write the temperature fitted on a cross-validation into the config.json of a saved model, and its scores into the card.

    Raises
    ------
    GemoclapError : config.json is not that of a model.
    """
    path, calibration = model / "config.json", calibration_on(unseen.table, OF_A_RUN)
    config = read_json(path, "train the model again")
    if config.get("calibration") != calibration:
        write_json(path, {**config, "calibration": calibration})
    write_expected_scores(model / "README.md", unseen.table, unseen.manifest, unseen.speaker_overlap)


def _same_settings(folder: Path, config: Mapping[str, Any], method: str) -> Mapping[str, Any]:
    """Return the settings of a cross-validation, or raise a GemoclapError if they are others than `config`."""
    found = read_run_config(folder / CONFIG)
    if method not in found["methods"]:
        raise GemoclapError(f"{folder}: is not a cross-validation of {method}; name one with --calibrate_on")
    one, other = (_deciding(each, method) for each in (found, config))
    one, other = map(resolved, said_by_both(one, other))
    difference = first_difference(one, other)
    if difference:
        raise GemoclapError(
            f"{folder}: its {difference} differs from this training's; a temperature is that of a cross-validation with the "
            "same settings"
        )
    return found


def _deciding(config: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the settings that change a model's probabilities, without the seed."""
    found = determining(config)
    sections = ["model", "objective", "train", *(["gmp"] if method == "gmp_tl" else [])]
    kept = {section: dict(found.get(section) or {}) for section in sections}
    kept["train"].pop("seed", None)
    audio = (config.get("data") or {}).get("audio") or {}
    hashes = {name: found.get(name) for name in COMMITS}
    return json.loads(json.dumps({**kept, "audio": audio, **hashes}))
