"""The speech encoder that comes with this package: the first layers of Whisper base (OpenAI, MIT), in half precision."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from gemoclap.errors import GemoclapError

EMBEDDED = "default"
"""Its name in settings and in the config.json of a model."""
FOLDER = Path(__file__).parents[1] / "weights" / "encoder"
WEIGHTS = "model.safetensors"
CONVOLUTIONS = "convolutions"
"""Value in the config.json of a model whose encoder begins with the convolutions of the embedded one."""
OF_CONVOLUTIONS = "convolutions.", "feature_extractor."
"""How the names of their weights begin in such a model, and in the embedded encoder."""


def embedded_encoder() -> Path:
    """Return the folder of the embedded encoder.

    Raises
    ------
    GemoclapError : this copy of the package lacks it.
    """
    if not (FOLDER / WEIGHTS).is_file():
        raise GemoclapError(f"{FOLDER}: the speech encoder of this package is missing; install gemoclap again")
    return FOLDER


@lru_cache(maxsize=1)
def embedded_weights() -> dict[str, Tensor]:
    """Return the weights of the embedded encoder by name, float32."""
    return {name: tensor.float() for name, tensor in load_file(embedded_encoder() / WEIGHTS).items()}


def embedded_convolutions() -> dict[str, Tensor]:
    """Return the weights of its convolutions, float32, by their names in the encoder `small`."""
    there, here = OF_CONVOLUTIONS
    return {there + name.removeprefix(here): one for name, one in embedded_weights().items() if name.startswith(here)}
