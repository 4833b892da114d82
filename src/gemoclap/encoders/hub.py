"""The Hugging Face hub: whether it can be reached is found out once and soon, and what is fetched from it is said first."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import get_session, validate_repo_id

PATIENCE = 10
"""Seconds to wait for the hub's first answer."""


def is_hub_id(name: str) -> bool:
    """Whether a name is that of a repository of the hub, as far as can be seen, and not that of a folder."""
    if Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def expect_hub(name: str) -> None:
    """Say on stderr that a model comes from the hub, unless it is a folder or has been fetched before.

    Where the hub does not answer, this process takes models from the hub's cache alone: huggingface_hub would try again and
    again for each file.
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
    """Whether the hub answers at all, whatever it says."""
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # of whichever library fetches, without a network, a name server or a certificate
        return False
    return True
