"""Manages the folder of a run: checks which run it belongs to, and stores its settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from accelerate.utils import broadcast_object_list, gather_object

from gemoclap.config import METHODS, TRAINED, Settings
from gemoclap.encoders import UNTRAINED, audio_encoder_source
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.encoders.text import MINILM, minilm_folder
from gemoclap.encoders.weights import WeightFiles, find_weights
from gemoclap.errors import GemoclapError
from gemoclap.files import entry, file_hash, read_json, read_yaml, write_json
from gemoclap.predictions import PREDICTIONS
from gemoclap.training.checkpoint import CHECKPOINT
from gemoclap.training.distributed import process_state
from gemoclap.writing import atomic_write, folder_written_beside, is_passing, refuse_used_folder

CONFIG, FOLDS = "config.yaml", "folds.json"
MANIFEST_HASH = "manifest_sha256"
DECIDE_NOTHING = frozenset({"train.trackers", "train.checkpoint_steps"})
"""Settings that do not change results."""
DEFAULTS_BEFORE = Settings().to_dict()
DEFAULTS_BEFORE["model"]["standardize"] = False
"""Settings that earlier versions did not have, by section. Values are the defaults, but nothing was standardised then."""
NAMED_BEFORE = {"front_end": "frames", "front_end_dtype": "frames_dtype"}
"""Settings of `cache` as earlier versions called them."""
ENCODER_WEIGHTS, TEXT_WEIGHTS = "encoder_weights", "text_encoder_weights"
"""Keys of config.yaml with hashes of the weights that a run started from. A folder or hub id can have others later."""
COMMITS = {ENCODER_WEIGHTS: "encoder_commit", TEXT_WEIGHTS: "text_encoder_commit"}
"""Keys of config.yaml with the commits of these weights on the hub. Another commit can have the same weights."""
PATHS = (("data", "manifest"), ("model", "audio_encoder"), ("model", "text_encoder"))
"""Settings that may be paths. One file can be named in several ways, such as from the working folder and in full."""
PROBED = "encoders"
"""The setting of a probe that names its encoders. Hashes of what is loaded are compared instead: a comparison has
its encoders in its own folder, which may be renamed."""
LONGEST_PART, LONGEST_WHOLE_NAME = 150, 250
"""Largest number of bytes of a part of the name of a file or folder, and of a whole name. Most file systems allow 255."""


def run_key(*parts: Any) -> str:
    """Return a hash of `parts` (plain data), 16 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def short_name(name: str, longest: int = LONGEST_PART) -> str:
    """Return a name that a file or folder can have: the name itself, or its `run_key` if it has more than `longest` bytes.

    File systems count bytes, and a letter can have up to four.
    """
    return name if len(os.fsencode(name)) <= longest else run_key([name])


def determining(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the settings that can change within a run. These only say where something is stored.

    One of them is `gmp.features`, because the features of the other run are the same that this run would train itself. The
    settings that say whether a part is computed once or in every step are kept, because the two round differently. Settings
    that an earlier version did not have get their values. `DECIDE_NOTHING` is left out.
    """
    cache = config.get("cache") or {}
    cache = {NAMED_BEFORE.get(name, name): value for name, value in cache.items()}
    kept = {name: value for name, value in cache.items() if name == "frames_dtype" or value == "never"}
    found = {name: value for name, value in config.items() if name not in COMMITS.values()} | {"cache": kept}
    for section in ("data", "model", "objective", "train"):
        if config.get(section):
            found[section] = {
                name: value
                for name, value in {**DEFAULTS_BEFORE[section], **config[section]}.items()
                if f"{section}.{name}" not in DECIDE_NOTHING
            }
    if config.get("model") and found["model"]["standardize"] is None:
        found["model"]["standardize"] = found["model"]["freeze"] == "all"
    if config.get("gmp"):
        found["gmp"] = {name: value for name, value in config["gmp"].items() if name != "features"}
    return found


def seed_folder(output: Path, seed: int) -> Path:
    """Return the folder of one seed within the folder of several seeds."""
    return output / f"seed_{seed}"


def seed_folders(folder: Path) -> list[Path]:
    """Return the runs within the folder of several seeds, by their seed; none if it is something else."""
    found = [
        path.parent for path in folder.glob(f"seed_*/{CONFIG}") if path.parent.name.removeprefix("seed_").isdecimal()
    ]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def tested_seeds(folder: Path) -> list[Path]:
    """Return those of `seed_folders` that have predictions to report. If none has any, all of them."""
    found = seed_folders(folder)
    return [one for one in found if any(one.glob(f"*/*/{PREDICTIONS}"))] or found


def known_weights(encoder: str, is_text: bool = False) -> WeightFiles | None:
    """Return the files of an audio or text encoder's weights, downloaded from the hub if needed.

    None for an untrained encoder, and for one that is not available; loading it raises the error.
    """
    if encoder in UNTRAINED and not is_text:
        return None
    try:
        with readable_errors(encoder):
            if is_text:
                return find_weights(str(minilm_folder()) if encoder == MINILM else encoder)
            return find_weights(audio_encoder_source(encoder))
    except GemoclapError:
        return None


def weights_hash(encoder: str, is_text: bool = False) -> str | None:
    """Return a hash of an encoder's weights, or None as `known_weights`."""
    found = known_weights(encoder, is_text)
    return found.hash() if found else None


def run_config(settings: Settings, methods: Sequence[str]) -> dict[str, Any]:
    """Return the config.yaml of a supervised run: its settings, and hashes of the files that `methods` use."""
    used = {
        ENCODER_WEIGHTS: settings.model.audio_encoder if set(methods) & set(TRAINED) else None,
        TEXT_WEIGHTS: settings.model.text_encoder if set(methods) & set(METHODS) else None,
    }
    hashes: dict[str, str | None] = {MANIFEST_HASH: file_hash(str(settings.data.manifest))}
    for name, encoder in used.items():
        found = known_weights(encoder, name == TEXT_WEIGHTS) if encoder else None
        hashes |= {name: found.hash() if found else None, COMMITS[name]: found.commit if found else None}
    return {**settings.to_dict(), **hashes}


def said_by_both(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two configurations without the hashes of weights that one of them lacks.

    It lacks them if it does not use the weights, or if an earlier version wrote it.
    """
    lacking = {name for name in COMMITS if one.get(name) is None or other.get(name) is None}
    first, second = ({name: found[name] for name in found if name not in lacking} for found in (one, other))
    return first, second


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the full paths of `PATHS` that exist."""
    found = {**config}
    for section, name in PATHS:
        part = found.get(section)
        if isinstance(part, Mapping) and isinstance(path := part.get(name), str) and Path(path).exists():
            found[section] = {**part, name: str(Path(path).resolve())}
    return found


def training_key(config: Mapping[str, Any], *parts: Any) -> str:
    """Return what identifies a training to its checkpoints: its settings, and hashes of its data and weights.

    Parameters
    ----------
    config : settings as plain data.
    """
    return run_key(resolved(determining(config)), *parts)


def say(sentence: str) -> None:
    """Print a sentence, if there is one, on the main process only."""
    if sentence and process_state().is_main_process:
        print(sentence, flush=True)


def say_all(warnings: Sequence[str]) -> None:
    """Print warnings, one per line, on the main process only."""
    for warning in warnings:
        say(f"beware: {warning}")


def on_main_process(action: Callable[[], None]) -> None:
    """Run `action` on the main process only. The others wait until it has ended. If it fails, all fail."""
    failure: list[str | None] = [None]
    cause: Exception | None = None
    if process_state().is_main_process:
        try:
            action()
        except Exception as error:  # any error: the others wait for the result
            cause, failure = error, [str(error)]
    broadcast_object_list(failure)
    if cause is not None:
        raise cause
    if failure[0] is not None:
        raise GemoclapError(failure[0])


def drop_checkpoint(output: Path) -> None:
    """Delete the training state of a finished training. All processes wait until it is gone."""
    on_main_process(lambda: shutil.rmtree(output / CHECKPOINT, ignore_errors=True))


def on_every_process(action: Callable[[], None]) -> None:
    """Run `action` on every process. All wait for each other. If it fails on one, all fail."""
    failure: str | None = None
    cause: Exception | None = None
    try:
        action()
    except Exception as error:  # any error: the others wait for the result
        cause, failure = error, str(error)
    failures = [one for one in gather_object([failure]) if one is not None]
    if cause is not None:
        raise cause
    if failures:
        raise GemoclapError(failures[0])


def refuse_other_run(folder: Path, config: Mapping[str, Any], folds: Mapping[str, Any] | None = None) -> None:
    """Raise a GemoclapError unless `folder` is free for a run with this configuration or has this run already. Change nothing.

    A folder in which nothing was trained yet is free, so that wrong settings can be corrected. In a run without GMP-TL, the
    settings of GMP-TL can be changed.

    Parameters
    ----------
    config : settings as plain data, and `MANIFEST_HASH`.
    folds : the contents of the run's `FOLDS` file.

    Raises
    ------
    GemoclapError : the folder has a run with other settings, manifest or folds, or other files.
    """
    if not (folder / CONFIG).is_file():
        if seed_folders(folder):
            raise GemoclapError(
                f"{folder}: has runs of several seeds; name seeds with --seeds, or choose another folder with -o"
            )
        refuse_used_folder(folder)
        return
    if not has_begun(folder):
        return
    difference = _difference(_read_config(folder), config)
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


def saved_run(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of the run that has begun in a folder; None if there is none, or its file is damaged."""
    try:
        return _read_config(folder) if has_begun(folder) else None
    except GemoclapError:
        return None


def is_same_run(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a run with `config` is that whose saved configuration is `earlier`. Methods do not count: they can be added."""
    return not _difference(earlier, config)


def _difference(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the first setting in which a run with `config` would be another than that of a folder; empty if it is the same."""
    ignored = {"methods"} if "gmp_tl" in (*earlier.get("methods", ()), earlier.get("method")) else {"methods", "gmp"}
    one, other = (
        {name: value for name, value in determining(found).items() if name not in ignored}
        for found in (earlier, _plain(config))
    )
    one, other = map(resolved, said_by_both(one, other))
    if PROBED in one and PROBED in other and one.get(ENCODER_WEIGHTS) == other.get(ENCODER_WEIGHTS):
        one[PROBED] = other[PROBED]
    return first_difference(one, other)


def _divided(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the folds of a plan without its notes on encoders and on labels that are no class. Older plans lack them.

    The manifest is left out, because the configuration has it.
    Training utterances are left out too, because not all plans list them (`crossval.plan_of`). The hash of a fold covers them.
    """
    folds = [{name: value for name, value in fold.items() if name != "train"} for fold in plan["folds"]]
    notes = ("encoder_speakers", "left_out", "manifest")
    return {**{name: value for name, value in plan.items() if name not in notes}, "folds": folds}


def claim(
    folder: Path, config: Mapping[str, Any], methods: Sequence[str] = (), folds: Mapping[str, Any] | None = None
) -> None:
    """On the main process, write the configuration of this run to `folder`, or check that it is there already.

    `methods` are saved with the configuration. More can be added later, also to a finished comparison.

    Raises
    ------
    GemoclapError : as `refuse_other_run`.
    """

    def write() -> None:
        refuse_other_run(folder, config, folds)
        earlier = _read_config(folder) if has_begun(folder) else {}
        known = earlier.get("methods", [])
        wanted = {**_plain(config), "methods": [*known, *(method for method in methods if method not in known)]}
        # Methods of an earlier call may have used weights that this call's methods do not use.
        of_weights = [name for pair in COMMITS.items() for name in pair if name in earlier]
        wanted |= {name: earlier[name] for name in of_weights if wanted.get(name) is None}
        if folds is not None:
            write_json(folder / FOLDS, folds)
        if wanted != earlier:
            with atomic_write(folder / CONFIG) as file:
                yaml.safe_dump(wanted, file, sort_keys=False, allow_unicode=True)

    on_main_process(write)


def has_begun(folder: Path) -> bool:
    """Whether the folder of a run has more than a configuration."""
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
    """Raise a GemoclapError unless every section of settings that was read from `path` is a mapping or absent."""
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
    """Return data as JSON would give it back, with lists in place of tuples."""
    return json.loads(json.dumps(data))


def first_difference(one: Any, other: Any, name: str = "") -> str:
    """Return the dotted name of the first setting that differs between two configurations, or an empty string."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return name
    for key in [*one, *(key for key in other if key not in one)]:
        if key not in one or key not in other or one[key] != other[key]:
            return first_difference(one.get(key), other.get(key), f"{name}.{key}".strip("."))
    return ""


def save_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder beside `target`, then rename that folder to `target`.

    Raises
    ------
    GemoclapError : the disk is full, or the folder cannot be written. The old contents of `target` stay then.
    """
    with folder_written_beside(target) as folder:
        write(folder)
