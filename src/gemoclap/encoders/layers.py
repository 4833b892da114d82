"""The numbered layers of a speech encoder, whatever the family: counted, left out, run in part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from gemoclap.encoders.overriding import calling_instead, front_end_given
from gemoclap.errors import GemoclapError

NO_FINAL_NORM = "output_before_norm"
"""Field of an encoder's config: its output is taken before the norm behind the last layer."""


Layers = Literal["last", "weighted"] | int
"""Whose output is an encoder's: the last layer's, a learned sum of all, or that of one by number, 0 the input of the first."""


def check_layers(layers: Layers, total: int) -> None:
    """Raise a GemoclapError unless a model of `total` layers has what `layers` names."""
    if isinstance(layers, int) and not 0 <= layers <= total:
        raise GemoclapError(f"layers: there is no layer {layers}; give 0 to {total}, last or weighted")
    if not isinstance(layers, int) and layers not in ("last", "weighted"):
        raise GemoclapError(f"layers: {layers!r} is not known; choose last, weighted or the number of a layer")


def hidden_states(output: Any) -> list[Tensor]:
    """Return the input of the first layer and the output of each, of what a model answers.

    The last of them is the encoder's output after its final norm, whether or not transformers lists it so.
    """
    return [*output.hidden_states[:-1], output.last_hidden_state]


def layer_stack(model: Any) -> Any:
    """Return the module that holds the layers: ``model.encoder``, or the model itself."""
    return getattr(model, "encoder", model)


def numbered_layers(model: Any, setting: str) -> nn.ModuleList:
    """Return the model's stack of layers.

    Raises
    ------
    GemoclapError : it has none, so that `setting` cannot be obeyed.
    """
    stack = layer_stack(model)
    if not hasattr(stack, "layers"):
        raise GemoclapError(f"{setting}: a {model.config.model_type} encoder has no numbered layers")
    return stack.layers


def final_norm(model: Any) -> nn.LayerNorm | None:
    """Return the norm behind the last layer; None where the norm stands before the first (post-norm), or there is none."""
    stack = layer_stack(model)
    is_last = getattr(model.config, "do_stable_layer_norm", False) or getattr(stack, "norm_is_last", False)
    return stack.layer_norm if is_last else None


def leave_out_unused(config: PreTrainedConfig, layers: Layers, keep_layers: int | None) -> None:
    """Let `config` describe no layer above the one that is used, nor above `keep_layers`.

    With fewer than there are, no norm follows the last [C]: it was learnt for the output of the last layer of all. So the
    output of N layers is transformers' ``hidden_states[N]`` of the whole model.

    Raises
    ------
    GemoclapError : there are not as many layers.
    """
    fields: Any = config
    total = fields.num_hidden_layers
    if keep_layers is not None and not 1 <= keep_layers <= total:
        raise GemoclapError(
            f"model.keep_layers: {keep_layers}, but the audio encoder has {total} layers; choose 1 to {total}"
        )
    built = total if keep_layers is None else keep_layers
    if isinstance(layers, int) and not 0 <= layers <= built:
        why = "" if keep_layers is None else f", as model.keep_layers is {keep_layers}"
        raise GemoclapError(f"model.layers: there is no layer {layers}{why}; give 0 to {built}, last or weighted")
    if isinstance(layers, int) and keep_layers is None:
        built = max(layers, 1)
    if built < total:
        fields.num_hidden_layers = built
        setattr(fields, NO_FINAL_NORM, True)


class UnusedNorm(nn.LayerNorm):
    """A norm that lets everything pass; its weights stay in the checkpoint, which plain transformers wants whole."""

    def forward(self, input: Tensor) -> Tensor:
        return input


def pass_final_norm(model: PreTrainedModel) -> None:
    """Switch the final norm off in a model whose config says so."""
    norm = final_norm(model)
    if norm is not None and getattr(model.config, NO_FINAL_NORM, False):
        norm.__class__ = UnusedNorm
        norm.requires_grad_(False)


@contextmanager
def ending_with(model: Any, count: int) -> Iterator[None]:
    """Let the output of a call be that of the first `count` layers; those above do nothing, nor does the final norm."""
    norm = final_norm(model)
    with ExitStack() as stack:
        for layer in layer_stack(model).layers[count:]:
            stack.enter_context(calling_instead(layer, _passed_through))
        if norm is not None:
            stack.enter_context(calling_instead(norm, lambda states: states))
        yield


@contextmanager
def going_on_from(model: Any, states: Tensor, mask: Tensor, count: int) -> Iterator[None]:
    """Let a call go on from the output ``(B, F, D)`` of the first `count` layers, at least 1; ``mask (B, F)``."""
    inner = layer_stack(model)
    first, *others = inner.layers[:count]
    with ExitStack() as stack:
        for layer in others:
            stack.enter_context(calling_instead(layer, _passed_through))
        if hasattr(inner, "embed_positions"):  # Whisper: states take the place of the convolutions' output
            stack.enter_context(front_end_given(model, states, mask))
            stack.enter_context(calling_instead(inner.embed_positions, lambda places: states.new_zeros(1)))
            stack.enter_context(calling_instead(first, _passed_through))
        else:  # transformers' families: what comes before the first layer is made of nothing, and not heeded
            nothing = states.new_zeros(1).expand(*states.shape[:2], model.config.conv_dim[-1])
            stack.enter_context(front_end_given(model, nothing, mask))
            stack.enter_context(calling_instead(inner.pos_conv_embed, lambda hidden: hidden.new_zeros(1)))
            stack.enter_context(calling_instead(first, _giving(states, first)))
        yield


def _passed_through(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
    """What a layer answers that does nothing; WavLM's also hand on the bias that they are given."""
    return (hidden_states, kwargs["position_bias"]) if "position_bias" in kwargs else hidden_states


def _giving(states: Tensor, layer: Any) -> Any:
    """Return what stands for the first layer; WavLM's also makes the bias for all layers."""
    attention: Any = getattr(layer, "attention", None)
    if not hasattr(attention, "compute_bias"):
        return lambda *args, **kwargs: states
    frames = states.shape[1]
    with torch.no_grad():
        bias = attention.compute_bias(frames, frames + attention.added_keys(frames))
    return lambda *args, **kwargs: (states, bias)
