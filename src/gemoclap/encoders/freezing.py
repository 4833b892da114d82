"""Freezes parts of a speech encoder, as `ModelSettings.freeze` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from gemoclap.encoders.layers import final_norm, layer_stack, numbered_layers
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.wording import counted

FREEZE_WORDS = ("none", "front_end", "all")


def layer_count(what: str | int) -> int | None:
    """Return the number of layers to freeze if `what` is a number, or None if it is a word."""
    return int(what) if str(what).isdecimal() else None


def parts_to_freeze(model: PreTrainedModel, what: str | int) -> list[nn.Module]:
    """Return the modules of `model` that ``SpeechEncoder.freeze(what)`` freezes. Mark them as frozen for transformers.

    Raises
    ------
    GemoclapError : the word is unknown, or the encoder has fewer layers.
    """
    count = layer_count(what)
    if count is not None and count == trainable_layers(model):
        return [model]
    if count is not None:
        return [*_front_end(model), *_parts_up_to(model, count)]
    if what == "front_end":
        return _front_end(model)
    if what not in FREEZE_WORDS:
        words = [*FREEZE_WORDS, "a number of layers"]
        raise GemoclapError(f"freeze: {what!r} is not known{did_you_mean(str(what), words)}; {', '.join(words)}")
    return [model] if what == "all" else []


def trainable_layers(model: Any) -> int | None:
    """Return the number of layers, or None if a norm behind the last layer is trained."""
    norm = final_norm(model)
    is_norm_trained = norm is not None and any(parameter.requires_grad for parameter in norm.parameters())
    return None if is_norm_trained else len(numbered_layers(model, "freeze"))


def unfreeze(modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
    """Undo the freezing of `modules`: make `parameters` trainable again, which they were, and remove the marks."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    for module in modules:
        for part in module.modules():
            if hasattr(part, "_requires_grad"):  # with this, transformers marks a frozen front end
                setattr(part, "_requires_grad", True)  # noqa: B010


def _front_end(model: Any) -> list[nn.Module]:
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    elif hasattr(model, "feature_extractor"):  # of HuBERT, only models with a head have the method
        model.feature_extractor._freeze_parameters()
    else:
        raise GemoclapError(f"freeze: a {model.config.model_type} encoder has no front end; use none or all")
    now_frozen = {parameter for parameter in trained if not parameter.requires_grad}
    found = [module for module in model.modules() if _all_parameters_in(module, now_frozen)]
    if not found and hasattr(model, "feature_extractor"):
        return [model.feature_extractor]  # log-mel features, which have no parameters
    return found


def _parts_up_to(model: Any, count: int) -> list[nn.Module]:
    """Return the modules between the front end and the output of transformer layer `count`."""
    layers = numbered_layers(model, "freeze")
    total = len(layers)
    if count > total:
        raise GemoclapError(
            f"freeze: {counted(count, 'layer')}, but {total} of the audio encoder are built (model.layers, model.keep_layers); "
            f"choose 0 to {total}"
        )
    parts = [model.feature_projection] if hasattr(model, "feature_projection") else []
    if count:
        behind = {"layers"} if final_norm(model) is None else {"layers", "layer_norm"}
        parts += [part for name, part in layer_stack(model).named_children() if name not in behind]
        parts += layers[:count]
    return parts


def _all_parameters_in(module: nn.Module, parameters: set[nn.Parameter]) -> bool:
    own = list(module.parameters())
    return bool(own) and all(parameter in parameters for parameter in own)
