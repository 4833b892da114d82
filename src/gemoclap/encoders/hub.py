"""The Hugging Face hub: checks once whether it can be reached, without a long wait, and announces each download in a line."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import get_session, validate_repo_id

PATIENCE = 10
"""Seconds to wait for the first answer of the hub."""


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a repository of the hub, and is not a folder."""
    if Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def expect_hub(name: str) -> None:
    """Print on standard error that a model is downloaded, unless it is a folder or in the cache.

    If the hub does not answer, this process uses only the cache of the hub. Otherwise huggingface_hub would try again for each
    file.
    """
    if constants.HF_HUB_OFFLINE or not is_hub_id(name):
        return
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        _say_once(f"{name}: fetching it from the Hugging Face hub ({constants.ENDPOINT})")
    if not _answers():
        constants.HF_HUB_OFFLINE = True


@lru_cache
def _say_once(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


@lru_cache(maxsize=1)
def _answers() -> bool:
    """Whether the hub gives any answer."""
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # without a network, a name server or a certificate, any library can raise its own error
        return False
    return True
