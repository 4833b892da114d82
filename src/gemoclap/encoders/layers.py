"""The numbered layers of a speech encoder of any family: counts them, leaves some out, or runs a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from gemoclap.encoders.overriding import calling_instead, front_end_given
from gemoclap.errors import GemoclapError
from gemoclap.wording import counted

NO_FINAL_NORM = "output_before_norm"
"""Field in the config of an encoder. If it is true, the norm after the last layer is not used."""


Layers = Literal["last", "weighted"] | int | list[int]
"""Layers whose output is used: the last, a learned sum of all, one by its number (0 = input of the first), or several."""


def used_layers(layers: Layers, total: int) -> list[int]:
    """Return the numbers of the layers whose output is used, in a model with `total` layers.

    Raises
    ------
    GemoclapError : it has no such layers, or they are not in ascending order.
    """
    if layers == "last":
        return [total]
    if layers == "weighted":
        return list(range(total + 1))
    if isinstance(layers, str):
        raise GemoclapError(
            f"model.layers: {layers!r} is not known; choose last, weighted, a number, or several as [2, 3]"
        )
    return numbers_of(layers, total)


def numbers_of(layers: int | list[int], total: int, why: str = "") -> list[int]:
    """Return the numbers of one layer or of several, from 0 to `total`.

    Parameters
    ----------
    why : the reason why there are no more layers, for the message.

    Raises
    ------
    GemoclapError : there are none, a number is too high, or they are not in ascending order. Another order would be the same
        model by another name.
    """
    numbers = [layers] if isinstance(layers, int) else list(layers)
    if not numbers or numbers != sorted(set(numbers)):
        raise GemoclapError(
            f"model.layers: {numbers}; give at least one number, each once, the lowest first, such as [2, 3]"
        )
    for number in numbers:
        if not 0 <= number <= total:
            raise GemoclapError(f"model.layers: there is no layer {number}{why}; give 0 to {total}, last or weighted")
    return numbers


def hidden_states(output: Any) -> list[Tensor]:
    """Return the input of the first layer and the output of each layer, from the output of a model.

    The last one is the output of the encoder after its final norm, even if transformers lists it without the norm.
    """
    return [*output.hidden_states[:-1], output.last_hidden_state]


def layer_stack(model: Any) -> Any:
    """Return the module that has the layers: ``model.encoder``, or the model itself."""
    return getattr(model, "encoder", model)


def numbered_layers(model: Any, setting: str) -> nn.ModuleList:
    """Return the model's stack of layers.

    Raises
    ------
    GemoclapError : it has no layers, so `setting` cannot be used.
    """
    stack = layer_stack(model)
    if not hasattr(stack, "layers"):
        raise GemoclapError(f"{setting}: a {model.config.model_type} encoder has no numbered layers")
    return stack.layers


def final_norm(model: Any) -> nn.LayerNorm | None:
    """Return the norm after the last layer; None if the norm is before the first layer (post-norm), or there is no norm."""
    stack = layer_stack(model)
    is_last = getattr(model.config, "do_stable_layer_norm", False) or getattr(stack, "norm_is_last", False)
    return stack.layer_norm if is_last else None


def leave_out_unused(config: PreTrainedConfig, layers: Layers, keep_layers: int | None) -> None:
    """Remove from `config` the layers above the highest that is used, and above `keep_layers`.

    If layers are removed, no norm follows the last layer that is left [C]. The norm was trained for the output of the original
    last layer. So the output of N layers is ``hidden_states[N]`` of the whole model in transformers.

    Raises
    ------
    GemoclapError : the model has fewer layers.
    """
    fields: Any = config
    total = fields.num_hidden_layers
    if keep_layers is not None and not 1 <= keep_layers <= total:
        raise GemoclapError(
            f"model.keep_layers: {keep_layers}, but the audio encoder has {counted(total, 'layer')}; choose 1 to {total}"
        )
    built = total if keep_layers is None else keep_layers
    if not isinstance(layers, str):
        numbers = numbers_of(layers, built, "" if keep_layers is None else f", as model.keep_layers is {keep_layers}")
        if keep_layers is None:
            built = max(*numbers, 1)
    if built < total:
        fields.num_hidden_layers = built
        setattr(fields, NO_FINAL_NORM, True)


class UnusedNorm(nn.LayerNorm):
    """A norm that does nothing. Its weights stay in the checkpoint, because transformers needs all weights."""

    def forward(self, input: Tensor) -> Tensor:
        return input


def pass_final_norm(model: PreTrainedModel) -> None:
    """Switch the final norm off if the model's config says so."""
    norm = final_norm(model)
    if norm is not None and getattr(model.config, NO_FINAL_NORM, False):
        norm.__class__ = UnusedNorm
        norm.requires_grad_(False)


@contextmanager
def ending_with(model: Any, count: int) -> Iterator[None]:
    """Run only the first `count` layers in a call. The layers above and the final norm do nothing."""
    norm = final_norm(model)
    with ExitStack() as stack:
        for layer in layer_stack(model).layers[count:]:
            stack.enter_context(calling_instead(layer, _passed_through))
        if norm is not None:
            stack.enter_context(calling_instead(norm, lambda states: states))
        yield


@contextmanager
def going_on_from(model: Any, states: Tensor, mask: Tensor, count: int) -> Iterator[None]:
    """Start a call at the output ``(B, F, D)`` of the first `count` layers, with ``mask (B, F)``. `count` is at least 1."""
    inner = layer_stack(model)
    first, *others = inner.layers[:count]
    with ExitStack() as stack:
        for layer in others:
            stack.enter_context(calling_instead(layer, _passed_through))
        if isinstance(
            getattr(inner, "embed_positions", None), nn.Embedding
        ):  # in a Whisper, the states replace the output of the convolutions
            stack.enter_context(front_end_given(model, states, mask))
            stack.enter_context(calling_instead(inner.embed_positions, lambda places: states.new_zeros(1)))
            stack.enter_context(calling_instead(first, _passed_through))
        else:  # in the other families, the input of the first layer is computed from zeros, and ignored
            width = model.feature_projection.projection.in_features
            nothing = states.new_zeros(1).expand(*states.shape[:2], width)
            stack.enter_context(front_end_given(model, nothing, mask))
            if hasattr(inner, "pos_conv_embed"):
                stack.enter_context(calling_instead(inner.pos_conv_embed, lambda hidden: hidden.new_zeros(1)))
            stack.enter_context(calling_instead(first, _giving(states, first)))
        yield


def _passed_through(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Return the output of a layer that does nothing. In WavLM it includes the position bias of the input."""
    return (hidden_states, kwargs["position_bias"]) if "position_bias" in kwargs else hidden_states


def _giving(states: Tensor, layer: Any) -> Any:
    """Return a replacement for the first layer. In WavLM it also computes the position bias for all layers."""
    attention: Any = getattr(layer, "attention", None)
    if not hasattr(attention, "compute_bias"):
        return lambda *args, **kwargs: states
    frames = states.shape[1]
    with torch.no_grad():
        bias = attention.compute_bias(frames, frames + attention.added_keys(frames))
    return lambda *args, **kwargs: (states, bias)
