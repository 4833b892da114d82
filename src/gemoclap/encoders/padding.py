"""Makes transformers' speech encoders independent of padding.

With an attention mask, padding still changes a clip's output in two parts. The group norm of the first convolution
(wav2vec2-base, HuBERT-base, WavLM-base) includes the padding in its statistics. In stacked convolutions over frames
(data2vec's positional convolution has five; HuBERT's may have a batch norm before it), values that one layer writes into the
padding are read by the next. `make_padding_exact` replaces the first, and puts a mask before each of the second. Parameters
keep their names, so a checkpoint of the model still loads in plain transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def valid_positions(lengths: Tensor, width: int) -> Tensor:
    """Return the mask ``(B, width)`` that is True at the first `lengths` ``(B,)`` positions of each row."""
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)


def masked_group_norm(hidden: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group norm with one group per channel, with statistics over the valid frames of each clip only.

    Parameters
    ----------
    hidden : ``(B, C, F)``.
    lengths : valid frames of each clip, ``(B,)``.
    norm : the layer whose weight, bias and eps are used; it has as many groups as channels.

    Returns
    -------
    Tensor : ``(B, C, F)`` float32; constant over the padding.
    """
    padding = ~valid_positions(lengths, hidden.shape[-1]).unsqueeze(1)
    count = lengths.view(-1, 1, 1)
    hidden = hidden.float().masked_fill(padding, 0.0)
    # Two passes, because the mean square minus the squared mean loses precision in float32 if a channel has an offset.
    centred = (hidden - hidden.sum(-1, keepdim=True) / count).masked_fill(padding, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / count
    scale = torch.rsqrt(variance + norm.eps) * norm.weight.view(-1, 1)
    return centred * scale + norm.bias.view(-1, 1)


class BatchLengths:
    """The lengths of the current batch, for the replaced parts of an encoder.

    transformers passes the attention mask neither to the convolutional front end nor to the positional convolution. The
    replaced parts get the lengths from this shared object. It is empty outside `of`, so a model that is called directly
    behaves as in plain transformers.

    Attributes
    ----------
    samples, frames : valid samples and valid frames of each clip, ``(B,)``, or None.
    """

    def __init__(self) -> None:
        self.samples: Tensor | None = None
        self.frames: Tensor | None = None

    @contextmanager
    def of(self, samples: Tensor | None, frames: Tensor | None) -> Iterator[None]:
        before = self.samples, self.frames
        self.samples, self.frames = samples, frames
        try:
            yield
        finally:
            self.samples, self.frames = before

    def for_checkpointing(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """Return the contexts of a checkpointed layer's two forward passes; the second one comes after `of` has ended."""
        return nullcontext(), self.of(self.samples, self.frames)


class MaskedGroupNormConvolution(GradientCheckpointingLayer):
    """A first convolution with group norm and activation, like `layer`, whose statistics ignore padding.

    It uses the submodules of `layer` under the same names.
    """

    def __init__(self, layer: Any, lengths: BatchLengths) -> None:
        super().__init__()
        self.conv, self.layer_norm, self.activation = layer.conv, layer.layer_norm, layer.activation
        self.lengths = lengths

    def __call__(self, hidden_states: Tensor) -> Tensor:
        # Read here and passed on, because gradient checkpointing runs `forward` again after the batch.
        return super().__call__(hidden_states, self.lengths.samples)

    def forward(self, hidden_states: Tensor, samples: Tensor | None) -> Tensor:
        hidden_states = self.conv(hidden_states)
        if samples is None:
            return self.activation(self.layer_norm(hidden_states))
        frames = (samples - self.conv.kernel_size[0]) // self.conv.stride[0] + 1
        normed = masked_group_norm(hidden_states, frames, self.layer_norm)
        return self.activation(normed.to(hidden_states.dtype))


class PaddingToZero:
    """A forward pre-hook of a convolution over frames ``(B, D, F)``: the padding is zero, as beyond a clip's end."""

    def __init__(self, lengths: BatchLengths) -> None:
        self.lengths = lengths

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_states, *rest = inputs
        if self.lengths.frames is None:
            return inputs
        valid = valid_positions(self.lengths.frames, hidden_states.shape[-1]).unsqueeze(1)
        return (hidden_states.masked_fill(~valid, 0.0), *rest)


def _replace_group_norm(model: PreTrainedModel, name: str, lengths: BatchLengths) -> None:
    model.set_submodule(name, MaskedGroupNormConvolution(model.get_submodule(name), lengths))


def _mask_convolutions(model: PreTrainedModel, name: str, lengths: BatchLengths) -> None:
    for module in model.get_submodule(name).modules():
        if isinstance(module, nn.Conv1d) and module.padding not in (0, (0,), "valid"):
            module.register_forward_pre_hook(PaddingToZero(lengths))


INSTALLERS: dict[str, Callable[[PreTrainedModel, str, BatchLengths], None]] = {
    "GroupNormConvLayer": _replace_group_norm,
    "PositionalConvEmbedding": _mask_convolutions,
    "ConvolutionModule": _mask_convolutions,  # the depthwise convolution of each Conformer layer
}
"""End of a class name -> change to the module; transformers has these classes under each family's prefix."""


def make_padding_exact(model: PreTrainedModel) -> BatchLengths:
    """Make a clip's frames independent of its padding; called once for each model.

    Returns
    -------
    BatchLengths : use its `of` around every forward pass of `model` with a padded batch. Without it the model behaves as in
        plain transformers. An encoder that ignores padding itself is not changed.
    """
    known = getattr(model, "batch_lengths", None)
    if isinstance(known, BatchLengths):
        return known
    lengths = BatchLengths()
    for name, module in list(model.named_modules()):
        for ending, install in INSTALLERS.items():
            if type(module).__name__.endswith(ending):
                install(model, name, lengths)
    setattr(model, "batch_lengths", lengths)  # noqa: B010
    return lengths
