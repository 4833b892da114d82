"""A faster attention for WavLM, with the same parameters and results.

WavLM adds a bias to its attention scores. The bias depends on the distance between key and query. All layers share one learned
value for each head and each bucket of distances. The bias is multiplied by a gate, which each query computes in each layer
(Chen et al., "WavLM", 2022, section III-B). transformers looks up a bucket for each of the T x T pairs of frames, copies the
bias for the whole batch, (B * H, T, T), and averages the attention weights even if nobody asks for them. Here the 2T - 1
distances are embedded once per forward pass, and all layers and clips share one (H, T, T). The gated bias is the mask of an
attention kernel. It is written in one pass, and its gradient needs no other tensors of its size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from gemoclap.encoders.dropout import fast_dropout
from gemoclap.errors import GemoclapError, did_you_mean

Implementation = Literal["auto", "sdpa", "flex"]

KEY_MULTIPLE = 8
"""Keys are padded to a multiple of this. CUDA's memory-efficient kernel would copy masks with other row lengths."""


def make_wavlm_attention_fast(model: PreTrainedModel, implementation: Implementation = "auto") -> None:
    """Replace the attention in every layer of a WavLM. Models of other families are not changed.

    Outputs and gradients equal those of transformers apart from rounding, also at padded frames. Parameters keep their names,
    so transformers alone can still load a checkpoint of the model. A second call only sets `implementation`.

    Parameters
    ----------
    implementation : how attention is computed.

        - ``"sdpa"``: `scaled_dot_product_attention` with the gated bias as its mask.
        - ``"auto"``: the same, but `ClipwiseAttention` in training on a CPU.
        - ``"flex"``: `flex_attention`, compiled, which needs no (B, H, T, T) tensor. It does not support dropout of attention
          weights. With such dropout, and on a CPU, this is the same as ``"auto"``. The gradients of bias and gate are summed by
          atomic additions, in no fixed order.

    Raises
    ------
    GemoclapError : the word is unknown.

    Notes
    -----
    With ``output_attentions=True`` the weights are computed step by step, and returned for each head, ``(B, H, T, T)``.
    transformers returns their mean over the heads, H times.
    """
    words = list(get_args(Implementation))
    if implementation not in words:
        raise GemoclapError(
            f"implementation: {implementation!r} is not known{did_you_mean(implementation, words)}; {', '.join(words)}"
        )
    for module in model.modules():
        if type(module) in (WavLMAttention, FastWavLMAttention):
            # The class is swapped, not the module, so that names, hooks and placement stay the same.
            attention: Any = module
            attention.__class__ = FastWavLMAttention
            attention.config, attention.implementation = model.config, implementation


class FastWavLMAttention(WavLMAttention):
    """The attention of one WavLM layer. `make_wavlm_attention_fast` makes it from a `WavLMAttention`.

    Attributes
    ----------
    config : config of the model. It says whether attention weights are requested.
    implementation : see `make_wavlm_attention_fast`.
    """

    config: PreTrainedConfig
    implementation: Implementation

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        index: int = 0,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Compute the attention.

        Parameters
        ----------
        hidden_states : ``(B, T, D)``.
        attention_mask : ``(B, T)``, 1 or True at the frames of each clip.
        position_bias : ``(H, T, K)``, which the first layer has returned. It is None in the first layer.

        Returns
        -------
        tuple : the output ``(B, T, D)``; the weights ``(B, H, T, T)`` if they are requested, otherwise None; and the position
            bias for the next layer. It is for K keys: T rounded up to a multiple of `KEY_MULTIPLE`.
        """
        frames = hidden_states.shape[1]
        added = self.added_keys(frames)
        if position_bias is None:
            position_bias = self.compute_bias(frames, frames + added)
        padded_states = functional.pad(hidden_states, (0, 0, 0, added))
        query = self._split_heads(self.q_proj(hidden_states))
        key, value = self._split_heads(self.k_proj(padded_states)), self._split_heads(self.v_proj(padded_states))
        bias = (self.compute_gate(hidden_states), position_bias, padding_bias(hidden_states, attention_mask, added))
        dropout = self.dropout if self.training else 0.0
        weights = None
        if kwargs.get("output_attentions", self.config.output_attentions):
            context, weights = attention_with_weights(query, key, value, _mask(query, bias), dropout)
            weights = weights[..., :frames]
        elif self.implementation == "flex" and dropout == 0.0 and _compiles_flex(query.device):
            context = _compiled_flex()(query, key, value, *bias)
        elif dropout > 0.0 and query.device.type == "cpu":
            # On a CPU, no fused kernel supports a mask with a gradient. For dropout, sdpa would draw a double for each weight.
            context, _ = attention_with_weights(query, key, value, _mask(query, bias), dropout)
        else:
            context = functional.scaled_dot_product_attention(query, key, value, _mask(query, bias), dropout)
        return self.out_proj(context.transpose(1, 2).flatten(2)), weights, position_bias

    @staticmethod
    def added_keys(frames: int) -> int:
        """Return the number of padding keys after those of `frames` frames."""
        return -frames % KEY_MULTIPLE

    def compute_bias(self, query_length: int, key_length: int) -> Tensor:
        """Return the bias of each query and key, ``(H, query_length, key_length)``. It is constant along every diagonal."""
        # The series has the values for the distances 0 .. K-1, -T .. -1 (-T is never read). It is written again and again into
        # rows that are shorter than it by one. So each row is the one above it, moved to the right by one.
        device = self.rel_attn_embed.weight.device
        ahead, behind = torch.arange(key_length, device=device), torch.arange(-query_length, 0, device=device)
        values = self.rel_attn_embed(self._relative_positions_bucket(torch.cat((ahead, behind)))).T
        width = key_length + query_length - 1
        rows = values.repeat(1, query_length)[:, : query_length * width].unflatten(1, (query_length, width))
        return rows[..., :key_length].contiguous()

    def compute_gate(self, hidden_states: Tensor) -> Tensor:
        """Return the gate ``(B, H, T)``, the factor of each query of ``(B, T, D)`` on its biases."""
        projected = self.gru_rel_pos_linear(self._split_heads(hidden_states)).unflatten(-1, (2, 4)).sum(-1)
        gate_a, gate_b = projected.sigmoid().unbind(-1)
        # it is contiguous, because the mask gets the memory layout of the gate
        return (gate_a * (gate_b * self.gru_rel_pos_const.squeeze(-1) - 1.0) + 2.0).contiguous()

    def _split_heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class GatedBias(torch.autograd.Function):
    """The mask for attention: ``gate * bias + padding``.

    This is an autograd function. Without it, autograd would write two tensors of the size of the mask for the gradients of the
    factors, and then sum them.

    Parameters
    ----------
    gate : ``(B, H, T)``.
    bias : ``(H, T, K)``.
    padding : ``(B, 1, 1, K)``, without gradient.

    Returns
    -------
    Tensor : ``(B, H, T, K)``.
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor, bias: Tensor, padding: Tensor) -> Tensor:
        ctx.save_for_backward(gate, bias)
        return torch.addcmul(padding, gate.unsqueeze(-1), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gate, bias = ctx.saved_tensors
        for_gate, for_bias, _ = ctx.needs_input_grad
        return (
            torch.einsum("bhqk,hqk->bhq", gradients[0], bias) if for_gate else None,
            torch.einsum("bhqk,bhq->hqk", gradients[0], gate) if for_bias else None,
            None,
        )


class ClipwiseAttention(torch.autograd.Function):
    """Attention with a gated bias for CPUs. It goes through the clips one by one, and writes over the scores in place.

    On a CPU, sdpa has no fused kernel for a mask that needs a gradient, and memory bandwidth limits it. The scores of a single
    clip are more likely to fit into the cache. `benchmarks/wavlm_attention.py` compares the two.

    Parameters
    ----------
    query, key, value : ``(B, H, T, D / H)`` and twice ``(B, H, K, D / H)``.
    gate, bias, padding : as in `GatedBias`.
    dropout : probability that an attention weight is dropped.

    Returns
    -------
    Tensor : ``(B, H, T, D / H)``.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, gate: Tensor, bias: Tensor, padding: Tensor, dropout: float
    ) -> Tensor:
        ctx.scale = query.shape[-1] ** -0.5
        context, weights, dropped = torch.empty_like(query), [], []
        for clip in range(len(query)):
            scores = torch.addcmul(padding[clip], gate[clip].unsqueeze(-1), bias)
            scores.baddbmm_(query[clip], key[clip].transpose(1, 2), alpha=ctx.scale)
            weights.append(torch.softmax(scores, -1, out=scores))
            dropped.append(functional.dropout(scores, dropout))
            torch.bmm(dropped[clip], value[clip], out=context[clip])
        ctx.save_for_backward(query, key, value, gate, bias, context, *weights, *dropped)
        return context

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (of_context,) = gradients
        query, key, value, gate, bias, context, *saved = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        of_gate, of_bias = torch.empty_like(gate), torch.zeros_like(bias)
        # the sum over keys of weight times gradient; the backward pass of a softmax subtracts it from each gradient
        shared = (of_context * context).sum(-1, keepdim=True)
        for clip, (weights, dropped) in enumerate(zip(saved[: len(query)], saved[len(query) :], strict=True)):
            torch.bmm(dropped.transpose(1, 2), of_context[clip], out=of_value[clip])
            of_scores = torch.bmm(of_context[clip], value[clip].transpose(1, 2))
            of_scores.mul_(dropped).addcmul_(weights, shared[clip], value=-1.0)
            torch.bmm(of_scores, key[clip], out=of_query[clip])
            torch.bmm(of_scores.transpose(1, 2), query[clip], out=of_key[clip])
            of_bias.addcmul_(of_scores, gate[clip].unsqueeze(-1))
            torch.sum(of_scores.mul_(bias), -1, out=of_gate[clip])
        return of_query.mul_(ctx.scale), of_key.mul_(ctx.scale), of_value, of_gate, of_bias, None, None


def padding_bias(hidden_states: Tensor, attention_mask: Tensor | None, added: int = 0) -> Tensor:
    """Return ``(B, 1, 1, T + added)``, which is -inf at padded and added keys, and 0 elsewhere.

    A clip that is nothing but padding keeps its keys. Its output is not used, but without any key it would be NaN.
    """
    batch, frames, _ = hidden_states.shape
    bias = hidden_states.new_zeros((batch, 1, 1, frames))
    if attention_mask is not None:
        padded = attention_mask.ne(1)
        padded = padded & ~padded.all(-1, keepdim=True)
        bias = bias.masked_fill(padded[:, None, None], float("-inf"))
    return functional.pad(bias, (0, added), value=float("-inf"))


def attention_with_weights(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float
) -> tuple[Tensor, Tensor]:
    """Return context ``(B, H, T, D / H)`` and weights ``(B, H, T, K)``, both after dropout, as in transformers."""
    queries, keys = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    scores = torch.baddbmm(mask.flatten(0, 1), queries, keys, alpha=query.shape[-1] ** -0.5)
    weights = fast_dropout(scores.softmax(-1), dropout)
    return torch.bmm(weights, value.flatten(0, 1)).view_as(query), weights.view_as(mask)


def gated_flex_attention(
    query: Tensor, key: Tensor, value: Tensor, gate: Tensor, bias: Tensor, padding: Tensor
) -> Tensor:
    """Return the context ``(B, H, T, D / H)``. The three terms of the mask have the shapes of `GatedBias`."""

    # There is no block mask for the padding. Together with a score_mod, its backward pass gives NaN at lengths that are not a
    # multiple of 128 (pytorch/pytorch#153799).
    def add_bias(score: Tensor, batch: Tensor, head: Tensor, query_frame: Tensor, key_frame: Tensor) -> Tensor:
        gated = gate[batch, head, query_frame] * bias[head, query_frame, key_frame]
        return score + gated + padding[batch, 0, 0, key_frame]

    return flex_attention(query, key, value, score_mod=add_bias)


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    # Gate and bias are computed outside. torch 2.8 loses the gradient of tensors that a score_mod captures from its compiled
    # region (pytorch/pytorch#162228).
    return torch.compile(gated_flex_attention)


def _compiles_flex(device: torch.device) -> bool:
    return device.type == "cuda"


def _mask(query: Tensor, bias: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the mask in the type of the queries. Under autocast, sdpa would copy a mask of higher precision."""
    return GatedBias.apply(*(term.to(query.dtype) for term in bias))


def _trains_on_cpu(query: Tensor, bias: tuple[Tensor, Tensor, Tensor]) -> bool:
    wants_gradient = any(term.requires_grad for term in bias)
    # In an exported or compiled model, a loop over clips would fix the number of clips.
    is_traced = torch.compiler.is_compiling()
    return wants_gradient and not is_traced and query.device.type == "cpu" and query.dtype == torch.float32
