"""Makes transformers' speech encoders independent of padding.

With an attention mask, padding still changes a clip's output in two parts. The group norm of the first convolution
(wav2vec2-base, HuBERT-base, WavLM-base) includes the padding in its statistics. In stacked convolutions over frames, a layer
writes values into the padding, and the next layer reads them. The positional convolution of data2vec has five such layers, and
that of HuBERT can have a batch norm before it. `make_padding_exact` replaces the group norm, and sets the padding to zero
before each of these convolutions. Parameters keep their names, so transformers alone can still load a checkpoint of the model.
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
    """Return a mask ``(B, width)``, which is True at the first `lengths` ``(B,)`` positions of each row."""
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)


def masked_group_norm(hidden: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group norm with one group per channel. Its statistics are over the valid frames of each clip only.

    Parameters
    ----------
    hidden : ``(B, C, F)``.
    lengths : number of valid frames of each clip, ``(B,)``.
    norm : the layer with weight, bias and eps. It has as many groups as channels.

    Returns
    -------
    Tensor : ``(B, C, F)`` float32. It is constant in the padding.
    """
    padding = ~valid_positions(lengths, hidden.shape[-1]).unsqueeze(1)
    count = lengths.view(-1, 1, 1)
    hidden = hidden.float().masked_fill(padding, 0.0)
    # There are two passes: in float32, the mean square minus the squared mean is imprecise if a channel has an offset.
    centred = (hidden - hidden.sum(-1, keepdim=True) / count).masked_fill(padding, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / count
    scale = torch.rsqrt(variance + norm.eps) * norm.weight.view(-1, 1)
    return centred * scale + norm.bias.view(-1, 1)


class BatchLengths:
    """The lengths of the clips in the current batch, for the parts of an encoder that were replaced.

    transformers does not give the attention mask to the convolutional front end or to the positional convolution. The parts
    that replace them read the lengths from this shared object. Outside `of` it is empty, so a model that is called directly
    does the same as in transformers.

    Attributes
    ----------
    samples, frames : numbers of valid samples and of valid frames of each clip, ``(B,)``, or None.
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

    def samples_of(self, waveforms: Tensor) -> Tensor:
        """Return the numbers of samples of ``waveforms (B, T)``, ``(B,)``; all T of each clip where none are known."""
        if self.samples is not None:
            return self.samples
        return torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)

    def for_checkpointing(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """Return the contexts for the two forward passes of a checkpointed layer. The second one comes when `of` has ended."""
        return nullcontext(), self.of(self.samples, self.frames)


class MaskedGroupNormConvolution(GradientCheckpointingLayer):
    """The first convolution with its group norm and activation, as in `layer`, but with statistics that ignore the padding.

    It has the submodules of `layer` under the same names.
    """

    def __init__(self, layer: Any, lengths: BatchLengths) -> None:
        super().__init__()
        self.conv, self.layer_norm, self.activation = layer.conv, layer.layer_norm, layer.activation
        self.lengths = lengths

    def __call__(self, hidden_states: Tensor) -> Tensor:
        # They are read here and passed on, because gradient checkpointing runs `forward` again when the batch has ended.
        return super().__call__(hidden_states, self.lengths.samples)

    def forward(self, hidden_states: Tensor, samples: Tensor | None) -> Tensor:
        hidden_states = self.conv(hidden_states)
        if samples is None:
            return self.activation(self.layer_norm(hidden_states))
        frames = (samples - self.conv.kernel_size[0]) // self.conv.stride[0] + 1
        normed = masked_group_norm(hidden_states, frames, self.layer_norm)
        return self.activation(normed.to(hidden_states.dtype))


class PaddingToZero:
    """A forward pre-hook of a convolution over frames ``(B, D, F)``. It sets the padding to zero, as behind a single clip."""

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
"""End of a class name -> how the module is changed. In transformers, the name begins with that of the family."""


def make_padding_exact(model: PreTrainedModel) -> BatchLengths:
    """Make the frames of a clip independent of its padding. This is called once for each model.

    Returns
    -------
    BatchLengths : its `of` must be used around every forward pass of `model` with a padded batch. Without it, the model does
        the same as in transformers. An encoder that ignores padding itself is not changed.
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
