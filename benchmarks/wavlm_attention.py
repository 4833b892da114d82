"""Speed of WavLM's attention: plain transformers and each implementation of this project, alternating in one process.

    python benchmarks/wavlm_attention.py                                     # base size, on the CPU
    python benchmarks/wavlm_attention.py --device cuda --dtype bf16 --large --shapes 8x200 32x200 8x700

Transformer layers of the size of WavLM-base or -large with random weights, forward and backward, on random frames of
which the clips fill from 70 to 100 %. Times are medians; the differences from transformers are the largest over the
outputs and over the gradients of frames and parameters, the latter relative to the largest element of each gradient
where that is above one.
"""

from __future__ import annotations

import argparse
import copy
import time
from statistics import median
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import PreTrainedModel, WavLMConfig, WavLMModel

from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.wavlm import make_wavlm_attention_fast

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


class Batch(NamedTuple):
    """Random frames and a direction for the gradient, (B, T, D), and the mask of real frames, (B, T)."""

    frames: Tensor
    direction: Tensor
    mask: Tensor


def build_models(arguments: argparse.Namespace) -> dict[str, PreTrainedModel]:
    """Return transformers' model and copies of it, one for each implementation to be measured, in training mode."""
    torch.manual_seed(0)
    config = WavLMConfig(
        num_hidden_layers=arguments.layers,
        attention_dropout=arguments.dropout,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        **(LARGE if arguments.large else {}),
    )
    model = WavLMModel(config).to(arguments.device).train()
    nn.init.normal_(model.encoder.layers[0].attention.rel_attn_embed.weight)
    models = {"transformers": model}
    on_cuda = arguments.device == "cuda"
    # What remains would measure sdpa twice.
    others = (["flex"] if arguments.dropout == 0.0 else []) if on_cuda else ["auto"]
    for implementation in ("sdpa", *others):
        models[implementation] = copy.deepcopy(model)
        make_wavlm_attention_fast(models[implementation], implementation)
    return models


def one_step(model: Any, batch: Batch, bf16: bool) -> tuple[Tensor, list[Tensor]]:
    """Return the outputs, and the gradients of their product with `batch.direction` for the frames and all parameters."""
    model.zero_grad(set_to_none=True)
    frames = batch.frames.clone().requires_grad_()
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=bf16):
        output, position_bias = frames, None
        for layer in model.encoder.layers:
            output, position_bias = layer(output, attention_mask=batch.mask, position_bias=position_bias)
    output.float().backward(batch.direction)
    gradients = [frames.grad, *(parameter.grad for parameter in model.encoder.layers.parameters())]
    return output.detach().float(), [gradient for gradient in gradients if gradient is not None]


def measure(model: PreTrainedModel, batch: Batch, bf16: bool) -> tuple[float, float]:
    """Return the seconds of one step and, on CUDA, the peak of its memory in GiB above what was held before."""
    on_cuda = batch.frames.is_cuda
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if on_cuda else 0
    start = time.perf_counter()
    one_step(model, batch, bf16)
    if on_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, (torch.cuda.max_memory_allocated() - held) / 2**30 if on_cuda else 0.0


def differences(reference: PreTrainedModel, model: PreTrainedModel, batch: Batch, bf16: bool) -> tuple[float, float]:
    """Return the largest difference of outputs, and of gradients; without dropout, as it cannot be compared."""
    expected, expected_gradients = one_step(reference.eval(), batch, bf16)
    output, gradients = one_step(model.eval(), batch, bf16)
    relative = [
        float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1.0))
        for ours, theirs in zip(gradients, expected_gradients, strict=True)
    ]
    reference.train()
    model.train()
    return float((output - expected).abs().max()), max(relative)


def report(shape: str, models: dict[str, PreTrainedModel], arguments: argparse.Namespace, table: Table) -> None:
    clips, length = map(int, shape.split("x"))
    size = (clips, length, models["transformers"].config.hidden_size)
    lengths = torch.linspace(0.7 * length, length, clips, device=arguments.device).long()
    frames, direction = torch.randn(size, device=arguments.device), torch.randn(size, device=arguments.device)
    batch, bf16 = Batch(frames, direction, valid_positions(lengths, length)), arguments.dtype == "bf16"
    apart = {name: differences(models["transformers"], model, batch, bf16) for name, model in models.items()}
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for repetition in range(arguments.repetitions + 1):  # the first is for warming up and compiling
        for name, model in models.items():
            figure = measure(model, batch, bf16)
            if repetition:
                figures[name].append(figure)
    seconds = {name: median(seconds for seconds, _ in values) for name, values in figures.items()}
    for name in models:
        memory = f"{max(memory for _, memory in figures[name]):.2f}" if arguments.device == "cuda" else "-"
        ratio = seconds["transformers"] / seconds[name]
        output, gradient = apart[name]
        row = (f"{seconds[name]:.4f}", f"{ratio:.2f}", f"{output:.1e}", f"{gradient:.1e}", memory)
        table.add_row(shape, name, *row, end_section=name == list(models)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32", help="bf16 is autocast")
    parser.add_argument("--large", action="store_true", help="the size of WavLM-large")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument(
        "--dropout", type=float, default=0.0, help="on the attention weights; published models have 0.1"
    )
    parser.add_argument("--shapes", nargs="+", default=["8x200", "8x250", "8x700"], help="clips x frames")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    models = build_models(arguments)
    size = "large" if arguments.large else "base"
    title = f"{arguments.layers} layers of WavLM-{size}, {arguments.device}, {arguments.dtype}"
    title += f", dropout {arguments.dropout:g}, {torch.get_num_threads()} threads"
    table = Table("clips x frames", "attention", "seconds", "times as fast", "outputs", "gradients", "GiB", title=title)
    for shape in arguments.shapes:
        report(shape, models, arguments, table)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
