"""The folder of a run: whose it is, what it was run with, and what is finished in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from accelerate.utils import broadcast_object_list, gather_object

from gemoclap.config import METHODS, TRAINED, Settings
from gemoclap.encoders import UNTRAINED
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.encoders.text import MINILM, minilm_folder
from gemoclap.encoders.weights import WeightFiles, find_weights
from gemoclap.errors import GemoclapError
from gemoclap.files import entry, file_hash, read_json, read_yaml, write_json
from gemoclap.training.distributed import process_state
from gemoclap.writing import atomic_write, folder_written_beside, is_passing

CONFIG, FOLDS = "config.yaml", "folds.json"
MANIFEST_HASH = "manifest_sha256"
DECIDE_NOTHING = frozenset({"train.trackers", "train.checkpoint_steps"})
"""Settings with which results do not change."""
UNTOLD = Settings().to_dict()
UNTOLD["model"]["standardize"] = False
"""What earlier versions did where a later one has a setting: by section, its default, but that nothing was standardised."""
NAMED_BEFORE = {"front_end": "frames", "front_end_dtype": "frames_dtype"}
"""Settings of `cache` by the names that earlier versions had for them."""
ENCODER_WEIGHTS, TEXT_WEIGHTS = "encoder_weights", "text_encoder_weights"
"""Where config.yaml says which weights a run began with: a folder or a hub id may hold others tomorrow."""
COMMITS = {ENCODER_WEIGHTS: "encoder_commit", TEXT_WEIGHTS: "text_encoder_commit"}
"""Where it says which commit of the hub they are of; another may hold the same."""


def run_key(*parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts` (plain data)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def determining(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what says only where something is kept, and so may change while a run goes on.

    So may the run that `gmp.features` are taken from: they are those that the run would train itself. Whether a part is
    computed once or in every step stays, because the two round differently. What an earlier version did not tell is filled in.
    """
    cache = config.get("cache") or {}
    cache = {NAMED_BEFORE.get(name, name): value for name, value in cache.items()}
    kept = {name: value for name, value in cache.items() if name == "frames_dtype" or value == "never"}
    found = {name: value for name, value in config.items() if name not in COMMITS.values()} | {"cache": kept}
    for section in ("model", "objective", "train"):
        if config.get(section):
            found[section] = {**UNTOLD[section], **config[section]}
    if config.get("model") and found["model"]["standardize"] is None:
        found["model"]["standardize"] = found["model"]["freeze"] == "all"
    if config.get("gmp"):
        found["gmp"] = {name: value for name, value in config["gmp"].items() if name != "features"}
    return found


def seed_folder(output: Path, seed: int) -> Path:
    """Return the folder of one seed's run in that of several."""
    return output / f"seed_{seed}"


def known_weights(encoder: str) -> WeightFiles | None:
    """Return the files of an encoder's weights, fetched from the hub where they have to be.

    None of an untrained one, and of one that is not to be had: whoever loads it says why.
    """
    if encoder in UNTRAINED:
        return None
    try:
        with readable_errors(encoder):
            return find_weights(str(minilm_folder()) if encoder == MINILM else encoder)
    except GemoclapError:
        return None


def weights_hash(encoder: str) -> str | None:
    """Return a hash of the weights of an encoder; None as `known_weights`."""
    found = known_weights(encoder)
    return found.hash() if found else None


def run_config(settings: Settings, methods: Sequence[str]) -> dict[str, Any]:
    """Return what config.yaml says of a supervised run: its settings, and hashes of what they name and `methods` use."""
    used = {
        ENCODER_WEIGHTS: settings.model.audio_encoder if set(methods) & set(TRAINED) else None,
        TEXT_WEIGHTS: settings.model.text_encoder if set(methods) & set(METHODS) else None,
    }
    hashes: dict[str, str | None] = {MANIFEST_HASH: file_hash(str(settings.data.manifest))}
    for name, encoder in used.items():
        found = known_weights(encoder) if encoder else None
        hashes |= {name: found.hash() if found else None, COMMITS[name]: found.commit if found else None}
    return {**settings.to_dict(), **hashes}


def said_by_both(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two configurations without weights that one of them does not tell: an earlier version, or not used."""
    untold = {name for name in COMMITS if one.get(name) is None or other.get(name) is None}
    first, second = ({name: found[name] for name in found if name not in untold} for found in (one, other))
    return first, second


def say(sentence: str) -> None:
    """Let the main process alone print a sentence, if there is one."""
    if sentence and process_state().is_main_process:
        print(sentence, flush=True)


def say_all(warnings: Sequence[str]) -> None:
    """Let the main process alone print warnings, one a line."""
    for warning in warnings:
        say(f"beware: {warning}")


def on_main_process(action: Callable[[], None]) -> None:
    """Let the main process alone do `action`; the others wait for it, and fail with it."""
    failure: list[str | None] = [None]
    cause: Exception | None = None
    if process_state().is_main_process:
        try:
            action()
        except Exception as error:  # whatever it is, the others wait for word of it
            cause, failure = error, [str(error)]
    broadcast_object_list(failure)
    if cause is not None:
        raise cause
    if failure[0] is not None:
        raise GemoclapError(failure[0])


def on_every_process(action: Callable[[], None]) -> None:
    """Let every process do `action`; all wait for each other, and where one fails, all do."""
    failure: str | None = None
    cause: Exception | None = None
    try:
        action()
    except Exception as error:  # whatever it is, the others wait for word of it
        cause, failure = error, str(error)
    failures = [one for one in gather_object([failure]) if one is not None]
    if cause is not None:
        raise cause
    if failures:
        raise GemoclapError(failures[0])


def refuse_other_run(folder: Path, config: Mapping[str, Any], folds: Mapping[str, Any] | None = None) -> None:
    """Raise unless `folder` is free for a run of this configuration, or holds it already; nothing is touched.

    A folder in which nothing was trained yet is free: its settings may still be mended; so may those of GMP-TL in a run
    without it.

    Parameters
    ----------
    config : settings as plain data and `MANIFEST_HASH`.
    folds : what the run's `FOLDS` says, or has to say.

    Raises
    ------
    GemoclapError : the folder holds a run with other settings, manifest or folds, or files of something else.
    """
    if not (folder / CONFIG).is_file():
        refuse_used_folder(folder)
        return
    if not has_begun(folder):
        return
    earlier = _read_config(folder)
    ignored = {"methods"} if "gmp_tl" in (*earlier.get("methods", ()), earlier.get("method")) else {"methods", "gmp"}
    one, other = (
        {name: value for name, value in determining(found).items() if name not in ignored}
        for found in (earlier, _plain(config))
    )
    difference = first_difference(*said_by_both(one, other))
    if difference == MANIFEST_HASH:
        manifest = config["data"]["manifest"]
        raise GemoclapError(f"{manifest}: has changed since the run in {folder} began; choose another folder with -o")
    if difference:
        raise GemoclapError(
            f"{folder}: holds another run (its {difference} differs, see {CONFIG}); choose another folder with -o, "
            "or delete it"
        )
    path = folder / FOLDS
    if folds is not None and path.is_file() and _divided(_read_folds(path)) != _divided(_plain(folds)):
        raise GemoclapError(f"{path}: the folds are no longer those the run began with; choose another folder with -o")


def _divided(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plan says of the folds, without what it says of encoders: older ones do not.

    Nor do all say who is trained on (`crossval.plan_of`), which the hash of a fold tells as well.
    """
    folds = [{name: value for name, value in fold.items() if name != "train"} for fold in plan["folds"]]
    return {**{name: value for name, value in plan.items() if name != "encoder_speakers"}, "folds": folds}


def refuse_used_folder(folder: Path) -> None:
    """Raise a GemoclapError unless `folder` is absent or empty, but for what is there while commands are at work."""
    # Of two processes that begin in one folder, one may meet what the other is just writing.
    if folder.exists() and (not folder.is_dir() or any(not is_passing(path) for path in folder.iterdir())):
        what = "holds files of something else" if folder.is_dir() else "is a file, not a folder"
        raise GemoclapError(f"{folder}: {what}; choose another folder with -o")


def claim(
    folder: Path, config: Mapping[str, Any], methods: Sequence[str] = (), folds: Mapping[str, Any] | None = None
) -> None:
    """Make `folder` this run's own by writing down what it is run with, or find that it is; the main process does it.

    `methods` are saved with the configuration but may grow: a method can be added to a finished comparison.

    Raises
    ------
    GemoclapError : as `refuse_other_run`.
    """

    def write() -> None:
        refuse_other_run(folder, config, folds)
        earlier = _read_config(folder) if has_begun(folder) else {}
        known = earlier.get("methods", [])
        wanted = {**_plain(config), "methods": [*known, *(method for method in methods if method not in known)]}
        # What the methods of this call do not use, those of an earlier one may have.
        of_weights = [name for pair in COMMITS.items() for name in pair if name in earlier]
        wanted |= {name: earlier[name] for name in of_weights if wanted.get(name) is None}
        if folds is not None:
            write_json(folder / FOLDS, folds)
        if wanted != earlier:
            with atomic_write(folder / CONFIG) as file:
                yaml.safe_dump(wanted, file, sort_keys=False, allow_unicode=True)

    on_main_process(write)


def has_begun(folder: Path) -> bool:
    """Whether a run's folder holds more than what it was run with."""
    if not folder.is_dir():
        return False
    return any(path.name not in (CONFIG, FOLDS) and not is_passing(path) for path in folder.iterdir())


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = read_yaml(path, "")
        check_sections(config, path, "")
        entry({"methods": [], **config}, "methods", list, path, "")
    except GemoclapError as error:
        raise GemoclapError(f"{path}: is not the configuration of a run; choose another folder with -o") from error
    return config


def check_sections(config: Mapping[str, Any], path: Path, remedy: str) -> None:
    """Raise a GemoclapError unless every section of settings that was read from `path` is a mapping, or is not there."""
    for section in ("data", "model", "objective", "gmp", "train", "cache"):
        if config.get(section) is not None:
            entry(config, section, dict, path, remedy)


def _read_folds(path: Path) -> dict[str, Any]:
    remedy = "restore it from the run, or choose another folder with -o"
    plan = read_json(path, remedy)
    for fold in entry(plan, "folds", list, path, remedy):
        entry({"a fold": fold}, "a fold", dict, path, remedy)
    return plan


def _plain(data: Any) -> Any:
    """Return data as it is after a round trip through JSON: lists for tuples."""
    return json.loads(json.dumps(data))


def first_difference(one: Any, other: Any, name: str = "") -> str:
    """Return the dotted name of the first setting in which two configurations differ, or an empty string."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return name
    for key in [*one, *(key for key in other if key not in one)]:
        if key not in one or key not in other or one[key] != other[key]:
            return first_difference(one.get(key), other.get(key), f"{name}.{key}".strip("."))
    return ""


def save_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `target`, then put it in its place.

    Raises
    ------
    GemoclapError : the disk is full, or the folder cannot be written; what was there before stays.
    """
    with folder_written_beside(target) as folder:
        write(folder)
