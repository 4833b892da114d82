"""Low-rank adaptation (LoRA) of a speech encoder (Hu et al. 2021, arXiv 2106.09685) with peft, an optional package.

The product of two narrow matrices is added to the projections of queries and values in each layer that is not frozen. Only
these matrices are trained. In a saved model, the product is added to the weights. So the model does not need peft, and is not
larger than before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gemoclap.encoders.layers import numbered_layers
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed

TARGETS = ("q_proj", "v_proj", "linear_q", "linear_v", "query_key_value")
"""Names of the projections in the attention of a layer that are adapted [C: queries and values, as in the paper above]."""
ADAPTER = "default"


def add_lora(model: Any, rank: int, alpha: float, first: int) -> None:
    """Add adapters to the attention of the layers from number `first` on. Every other weight of `model` is frozen.

    Parameters
    ----------
    rank, alpha : the product of the two matrices is multiplied by ``alpha / rank``. It is zero before training.

    Raises
    ------
    GemoclapError : peft is not installed, or no layer with attention is left.
    """
    peft = needed("peft", "model.lora_rank")  # an extra, because few people train adapters
    layers = numbered_layers(model, "model.lora_rank")
    adapted = {part for layer in layers[first:] for name, part in layer.named_modules() if name.endswith(TARGETS)}
    names = [name for name, part in model.named_modules() if part in adapted]
    if not names:
        raise GemoclapError(
            f"model.lora_rank: {first} of the {len(layers)} layers that are built are frozen, and no other has attention to "
            "adapt; freeze fewer layers (model.freeze), or leave lora_rank out"
        )
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)
    peft.inject_adapter_in_model(config, model, ADAPTER)


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module with its adapters merged into the weights."""
    state = module.state_dict()
    for name, part in module.named_modules():
        if hasattr(part, "lora_A"):
            _merge(state, name, part)
    return state


def _merge(state: dict[str, Tensor], name: str, part: Any) -> None:
    with torch.no_grad():
        weight = part.base_layer.weight + part.get_delta_weight(ADAPTER)
    for key in [key for key in state if key.startswith(f"{name}.")]:
        del state[key]
    state[f"{name}.weight"] = weight
    if part.base_layer.bias is not None:
        state[f"{name}.bias"] = part.base_layer.bias.detach()
