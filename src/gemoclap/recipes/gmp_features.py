"""The features of GMP-TL (step A): what they are made of, and how those of another run are taken in their place."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemoclap.config import GmpSettings, ModelSettings, ObjectiveSettings, Settings, meaningless_to_heads
from gemoclap.data.folds import Fold
from gemoclap.errors import GemoclapError
from gemoclap.files import entry, file_hash, read_json, write_json
from gemoclap.recipes.run_folder import (
    ENCODER_WEIGHTS,
    check_sections,
    determining,
    first_difference,
    said_by_both,
    save_folder,
    seed_folder,
    weights_hash,
)
from gemoclap.recipes.supervised import is_trained

ORIGIN = "origin.json"
"""File beside features/model with the fold and the training settings."""


def feature_settings(settings: Settings) -> Settings:
    """Return the settings of step A. The other settings of GMP-TL have no effect on it."""
    gmp = settings.gmp
    plain, model = ModelSettings(), settings.model
    return replace(
        settings,
        gmp=GmpSettings(gender=gmp.gender),
        objective=ObjectiveSettings(alpha=settings.objective.alpha),
        model=replace(
            model, **{name: getattr(plain, name) for name in meaningless_to_heads(model.project_plain_heads)}
        ),
        train=replace(settings.train, epochs=gmp.feature_epochs or settings.train.epochs),
    )


def features_origin(settings: Settings, fold: Fold) -> dict[str, Any]:
    """Return the fold of the features and all settings that they depend on, as plain data without paths."""
    config = determining(feature_settings(settings).to_dict())
    weights = weights_hash(settings.model.audio_encoder)
    config["data"] = {**config["data"], "manifest": file_hash(str(settings.data.manifest))}
    config["gmp"] = {"gender": settings.gmp.gender}
    config["objective"] = {"alpha": settings.objective.alpha}
    ignored = meaningless_to_heads(settings.model.project_plain_heads)
    config["model"] = {name: value for name, value in config["model"].items() if name not in ignored}
    if weights and Path(settings.model.audio_encoder).is_dir():
        config["model"] = {**config["model"], "audio_encoder": weights}
    elif weights:
        config[ENCODER_WEIGHTS] = weights
    return json.loads(json.dumps({"fold": fold.name, "utterances": fold.hash, **config}))


def features_of(run: Path, made_of: dict[str, Any]) -> Path:
    """Return the folder with the features of the same fold in another run of GMP-TL that has the same settings.

    Parameters
    ----------
    run : folder of a training or of a cross-validation, with one seed or several.
    made_of : what `features_origin` returns.

    Raises
    ------
    GemoclapError : there are none, or they are of another fold or were trained with other data or settings.
    """
    below = Path("gmp_tl", made_of["fold"], "features")
    places = (run / "features", run / below, seed_folder(run, made_of["train"]["seed"]) / below)
    found = next((place for place in places if is_trained(place) and (place / ORIGIN).is_file()), None)
    if found is None:
        raise GemoclapError(
            f"gmp.features: {run} holds no finished features of {made_of['fold']}; name the folder of a run of gmp_tl with the "
            "same folds, which kept its models, or leave it out"
        )
    remedy = "restore it, or leave gmp.features out"
    theirs = read_json(found / ORIGIN, remedy)
    check_sections(theirs, found / ORIGIN, remedy)
    if entry(theirs, "fold", str, found / ORIGIN, remedy) != made_of["fold"]:
        raise GemoclapError(
            f"gmp.features: {run} is of {theirs['fold']}, not of {made_of['fold']}; name the run's folder, that of a training "
            "for a training, of a cross-validation for one"
        )
    difference = first_difference(*said_by_both(_filled_in(theirs, made_of), made_of))
    if difference:
        raise GemoclapError(
            f"gmp.features: {found} was trained with other data, settings or folds (its {difference} differs); give those, "
            "or leave gmp.features out"
        )
    return found


def _filled_in(theirs: dict[str, Any], made_of: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of other features. Settings that their version of gemoclap did not have get the values in made_of."""

    def heeded(section: str, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        known = {*theirs.get(section, {}), *made_of.get(section, {})}
        return {name: value for name, value in values.items() if name in known}

    return {section: heeded(section, values) for section, values in determining(theirs).items()}


def copy_features(run: Path, made_of: dict[str, Any], output: Path) -> None:
    """Copy the features of another run, and write what they are made of beside them; parameters and errors as `features_of`."""
    found = features_of(run, made_of)

    def copy(folder: Path) -> None:
        shutil.copytree(found / "model", folder, dirs_exist_ok=True)

    write_json(output / ORIGIN, made_of)
    save_folder(output / "model", copy)
