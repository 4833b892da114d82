"""Checks loaded weights: every number must be finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from gemoclap.errors import GemoclapError

REMEDY = "copy the model again, or train it again"


def check_weights(name: str, model: nn.Module) -> None:
    """Raise a GemoclapError if a model loaded from `name` has weights that are not finite numbers.

    All probabilities of such a model would be NaN, and it would always predict the first class. Tensors of integers are refused
    too, because all weights are floats: the file has a wrong type for them.
    """
    state = {key: tensor for key, tensor in model.state_dict().items() if tensor.is_floating_point() and tensor.numel()}
    _refuse_whole_numbers(name, state)
    for key, tensor in state.items():
        # Minimum and maximum need one pass and no copy. With a NaN, both are NaN.
        if not all(one.isfinite() for one in torch.aminmax(tensor)):
            raise GemoclapError(f"{name}: its weights are damaged ({key} holds NaN or infinite values); {REMEDY}")


def _refuse_whole_numbers(name: str, state: Mapping[str, Tensor]) -> None:
    for path in sorted(Path(name).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in state.keys() & file.keys():
                kind = file.get_slice(key).get_dtype()
                if not kind.startswith(("F", "BF")):
                    raise GemoclapError(f"{path}: its weights are damaged ({key} is of type {kind}); {REMEDY}")
