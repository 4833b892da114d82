"""MockingJay: a Transformer over mel frames, pre-trained by predicting masked spans (Liu et al., arXiv 1910.12638).

The layers are those of BERT, with the norm after each step (post-norm). Sizes are those of "mockingjay" in S3PRL, as in the
experiments of EMS [S]. Masking and the heads for pre-training are in `gemoclap.ems`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from gemoclap.encoders.dropout import FastDropout
from gemoclap.encoders.mel import MelEncoder, MelFeatures, refuse_impossible_sizes


class MockingJayConfig(PreTrainedConfig):
    """Sizes of MockingJay. The defaults are those of EMS [S].

    Attributes
    ----------
    n_mels, window, hop, n_fft : sizes of the log-mel input. The last three are in samples at 16 kHz (25 ms every 10 ms).
    delta_order, delta_width : orders of deltas of each mel bin (2 = delta and delta-delta), and number of frames on either side
        for their regression [C].
    position_scale : factor for the positions that are added to the projected features; 1 as in S3PRL [S]. The root mean square
        of the positions is 0.7. This is more than twice that of the untrained projection of 240 features (0.3), and four times
        that of 80 features.
    hidden_size, num_hidden_layers, num_attention_heads, intermediate_size : widths and depth.
    dropout : dropout of the input, and before each residual connection.
    attention_dropout : dropout of the attention weights. With 0, a CPU needs no (B, heads, F, F) tensor.
    layer_norm_eps, initializer_range : as in BERT.
    """

    model_type = "gemoclap-mockingjay"

    n_mels: int = 80
    window: int = 400
    hop: int = 160
    n_fft: int = 512
    delta_order: int = 2
    delta_width: int = 2
    position_scale: float = 1.0
    hidden_size: int = 768
    num_hidden_layers: int = 3
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        """Raise a ValueError for values from which no network can be built."""
        super().__post_init__(**kwargs)
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "delta_width")
        refuse_impossible_sizes(self, *sizes)
        if not isinstance(self.delta_order, int) or self.delta_order < 0:
            raise ValueError(f"delta_order must be a whole number, 0 or above, not {self.delta_order!r}")
        if not self.position_scale >= 0:
            raise ValueError(f"position_scale must be 0 or above, not {self.position_scale!r}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )

    @property
    def input_size(self) -> int:
        """Number of values in an input frame: the mel bins and their deltas."""
        return self.n_mels * (self.delta_order + 1)


class MockingJayLayer(GradientCheckpointingLayer):
    """Self-attention, then feed-forward. A residual connection and a layer norm follow each of them (post-norm, as in BERT)."""

    def __init__(self, config: MockingJayConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(size, 3 * size)
        self.attention_output = nn.Linear(size, size)
        self.attention_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(size, config.intermediate_size), nn.GELU(), nn.Linear(config.intermediate_size, size)
        )
        self.feed_forward_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = FastDropout(config.dropout)
        self.attention_dropout = config.attention_dropout

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """``(B, F, D)`` to the same shape. No frame attends to frames where ``mask (B, F)`` is False."""
        hidden = self.attention_norm(hidden + self.dropout(self._attend(hidden, mask)))
        return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))

    def _attend(self, hidden: Tensor, mask: Tensor) -> Tensor:
        by_head = self.query_key_value(hidden).unflatten(-1, (3, self.heads, -1))
        query, key, value = by_head.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.attention_dropout if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(query, key, value, mask[:, None, None, :], dropout)
        return self.attention_output(attended.transpose(1, 2).flatten(2))


class MockingJayModel(MelEncoder):
    """MockingJay: raw waveforms to frames every 10 ms (with the default sizes).

    The ``hidden_states`` are the input of the first layer and the output of each. The padding is zero.
    """

    config_class = MockingJayConfig
    config: MockingJayConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: MockingJayConfig) -> None:
        super().__init__(config)
        self.mel = MelFeatures(
            config.n_mels, config.window, config.hop, config.n_fft, config.delta_order, config.delta_width
        )
        self.projection = nn.Linear(config.input_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = FastDropout(config.dropout)
        self.layers = nn.ModuleList(MockingJayLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def encode(self, frames: Tensor, mask: Tensor, output_hidden_states: bool = False) -> BaseModelOutput:
        positions = sinusoids(frames.shape[1], self.config.hidden_size, frames.device) * self.config.position_scale
        states = [self.dropout(self.norm(self.projection(frames) + positions))]
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        states = [state.masked_fill(~mask.unsqueeze(-1), 0.0) for state in states]
        return BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None
        )


def sinusoids(frames: int, size: int, device: torch.device | None = None) -> Tensor:
    """Return positions ``(frames, size)``: sines in even dimensions, cosines in odd ones (Vaswani et al. 2017)."""
    dimension = torch.arange(size, device=device)
    rate = 10000.0 ** (-(dimension - dimension % 2) / size)
    angle = torch.arange(frames, device=device).unsqueeze(1) * rate
    return torch.where(dimension % 2 == 0, angle.sin(), angle.cos())


AutoConfig.register(MockingJayConfig.model_type, MockingJayConfig)
AutoModel.register(MockingJayConfig, MockingJayModel)
