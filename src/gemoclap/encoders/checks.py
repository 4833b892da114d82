"""Checks of the weights that were loaded: every number is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from gemoclap.errors import GemoclapError

REMEDY = "copy the model again, or train it again"


def check_weights(name: str, model: nn.Module) -> None:
    """Raise a GemoclapError where a model that was loaded from `name` has weights that are no numbers.

    Such a model would give NaN as every probability, and the first class as every answer. Whole numbers in the place of
    numbers with a fraction are refused as well: they are floats that some tool has mislabelled.
    """
    state = {key: tensor for key, tensor in model.state_dict().items() if tensor.is_floating_point() and tensor.numel()}
    _refuse_whole_numbers(name, state)
    for key, tensor in state.items():
        # Least and greatest are found in one pass without a copy, and NaN is both.
        if not all(one.isfinite() for one in torch.aminmax(tensor)):
            raise GemoclapError(f"{name}: its weights are damaged ({key} holds NaN or infinite values); {REMEDY}")


def _refuse_whole_numbers(name: str, state: Mapping[str, Tensor]) -> None:
    for path in sorted(Path(name).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in state.keys() & file.keys():
                kind = file.get_slice(key).get_dtype()
                if not kind.startswith(("F", "BF")):
                    raise GemoclapError(f"{path}: its weights are damaged ({key} is of type {kind}); {REMEDY}")
