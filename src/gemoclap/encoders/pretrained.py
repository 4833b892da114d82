"""Loads transformers models from a hub id or a folder: from safetensors, in float32, with errors for users."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from safetensors import SafetensorError
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from gemoclap.encoders.checks import check_weights
from gemoclap.encoders.hub import expect_hub, is_hub_id
from gemoclap.encoders.unpickled import unpickled_folder
from gemoclap.encoders.weights import find_weights
from gemoclap.errors import GemoclapError
from gemoclap.wording import counted, shortened

OPTIONAL_WEIGHTS = ("masked_spec_embed",)
"""Parameters that can be missing in a checkpoint: the mask vector of SpecAugment, which some models do not save."""


def load_config(name: str) -> PreTrainedConfig:
    """Read config.json of a hub id or folder.

    Raises
    ------
    GemoclapError : there is no such folder or model; the hub cannot be reached; or transformers does not know the model type.
    """
    expect_hub(name)
    with readable_errors(name):
        return AutoConfig.from_pretrained(name, trust_remote_code=False)


def model_class(name: str, config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the class that AutoModel builds from `config`.

    Raises
    ------
    GemoclapError : AutoModel has no class for it.
    """
    found: Any = MODEL_MAPPING.get(type(config), None)
    if found is None:
        raise GemoclapError(f"{name}: transformers has no model of type {config.model_type!r}; give another encoder")
    return found[0] if isinstance(found, (list, tuple)) else found


def load_model(name: str, config: PreTrainedConfig, loader: Any = AutoModel, **options: Any) -> PreTrainedModel:
    """Load the weights of a hub id or folder in float32, from safetensors. `loader` is the class that loads them.

    If there is only a pickled pytorch_model.bin, its tensors are read as in `unpickled`, and stored as safetensors in the cache
    folder. This works without the hub too.

    Raises
    ------
    GemoclapError : as `load_config`; or there are no weights; pickled ones have more than tensors; they lack parameters of the
        model; or they are not finite.
    """
    with readable_errors(name):
        found = find_weights(name)
        model, report = loader.from_pretrained(
            unpickled_folder(found) if found.are_pickled else name,
            config=config,
            use_safetensors=True,
            revision=None if found.are_pickled else found.commit,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(OPTIONAL_WEIGHTS))
    if missing:
        raise GemoclapError(
            f"{name}: its weights lack {counted(len(missing), 'parameter')} of a {config.model_type} model, such as "
            f"{missing[0]}; give a folder or hub id with the whole model"
        )
    check_weights(name, model)
    model.name_or_path = model.config.name_or_path = name  # also if the weights were read from the cache folder
    return model


@contextmanager
def readable_errors(name: str) -> Iterator[None]:
    """While transformers loads `name`, turn its errors into one line, and hide its messages."""
    with quiet_transformers():
        try:
            yield
        except GemoclapError:
            raise
        except Exception as error:  # a malformed file can raise any error
            raise GemoclapError(_explanation(name, error)) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the messages and progress bars of transformers."""
    bars_were_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    loggers = [logging.getLogger(library) for library in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars_were_on:
            transformers_logging.enable_progress_bar()


UNKNOWN_TYPE = re.compile(
    r"Unrecognized model identifier: (\S+)\. Should|model type `([^`]+)` but Transformers does not"
)
"""How transformers says that it has no class for a model; the first lists some hundred names of those that it has."""
LONGEST = 300
"""Characters of an error of transformers that are shown."""


def _explanation(name: str, error: Exception) -> str:
    first_line = shortened(str(error).strip().split("\n")[0], LONGEST)
    if found := UNKNOWN_TYPE.search(str(error)):
        return (
            f"{name}: neither transformers nor gemoclap knows its type {found[1] or found[2]!r}; import the code that "
            "registers it before (docs/extending.md), or install a version that has it"
        )
    if not isinstance(error, (OSError, ValueError, RuntimeError, SafetensorError)):
        first_line = (
            f"one of its files is of another shape ({type(error).__name__}: {first_line}); copy the model again"
        )
    if "ignore_mismatched_sizes" in str(error):  # the message points to a list of tensors, which is not shown
        first_line = "its weights have other sizes than its config.json says; copy the model again"
    if "trust_remote_code" in str(error):
        return f"{name}: comes with code of its own, which is never run; give a model of a type that transformers knows"
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            return f"{name}: holds no config.json; give a folder that save_pretrained wrote, or a hub id"
        return f"{name}: cannot be loaded: {first_line}"
    if not is_hub_id(name):
        return f"{name}: no such folder; correct the path, or give a hub id, which has the form OWNER/MODEL"
    if constants.HF_HUB_OFFLINE or "couldn't connect" in str(error):
        return (
            f"{name}: no such folder here, and the Hugging Face hub cannot be reached; give a folder with the model, "
            f"or fetch it where the hub is in reach with 'hf download {name}', and copy the cache ({constants.HF_HUB_CACHE})"
        )
    return f"{name}: cannot be loaded from the Hugging Face hub: {first_line}"
