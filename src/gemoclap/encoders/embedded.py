"""The speech encoder that comes with this package: the first layers of Whisper base (OpenAI, MIT), in half precision."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from gemoclap.errors import GemoclapError

EMBEDDED = "default"
"""What settings and a model's config.json call it."""
FOLDER = Path(__file__).parents[1] / "weights" / "encoder"
WEIGHTS = "model.safetensors"
CONVOLUTIONS = "convolutions"
"""What a model's config.json says whose encoder begins with the convolutions of the embedded one."""
OF_CONVOLUTIONS = "convolutions.", "feature_extractor."
"""What their weights' names begin with there, and in the embedded encoder."""


def embedded_encoder() -> Path:
    """Return its folder.

    Raises
    ------
    GemoclapError : this copy of the package lacks it.
    """
    if not (FOLDER / WEIGHTS).is_file():
        raise GemoclapError(f"{FOLDER}: the speech encoder of this package is missing; install gemoclap again")
    return FOLDER


@lru_cache(maxsize=1)
def embedded_weights() -> dict[str, Tensor]:
    """Return its weights by name, float32."""
    return {name: tensor.float() for name, tensor in load_file(embedded_encoder() / WEIGHTS).items()}


def embedded_convolutions() -> dict[str, Tensor]:
    """Return the weights of its convolutions by name, float32, as the encoder `small` has them."""
    there, here = OF_CONVOLUTIONS
    return {there + name.removeprefix(here): one for name, one in embedded_weights().items() if name.startswith(here)}
