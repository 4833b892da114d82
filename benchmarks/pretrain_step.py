"""Speed of self-supervised pre-training: hours of speech per minute, and the share of a step for computing features.

    python benchmarks/pretrain_step.py [--size paper] [--device cuda]

The data are random sound with durations as in LibriSpeech, in batches of 8 as in configs/ems.yaml. The encoders run alternately
in one process. A step is forward, backward and optimiser. Features are also computed and timed separately. "PyTorch's dropout"
is the same step with `torch.nn.Dropout`, and for MockingJay with attention weights dropped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from gemoclap.audio import SAMPLE_RATE
from gemoclap.config.ems import PretrainModelSettings, PretrainSettings
from gemoclap.data.targets import Targets
from gemoclap.ems.losses import Reconstruction
from gemoclap.encoders.dropout import FastDropout
from gemoclap.encoders.padding import valid_positions
from gemoclap.recipes.pretrain import build

BATCH, ROUNDS = 8, 12
ENCODERS = {"mockingjay": "random", "npc": "none"}


def model_of(encoder: str, size: str, plain: bool) -> nn.Module:
    options = {"attention_dropout": 0.1} if plain and encoder == "mockingjay" else {}
    settings = PretrainModelSettings(encoder, size, options, ENCODERS[encoder])  # type: ignore[arg-type]
    model = build(PretrainSettings(speech=["none"], model=settings))
    for module in model.modules() if plain else ():
        if type(module) is FastDropout:
            module.__class__ = nn.Dropout
    return model.train()


def timed(
    model: nn.Module, optimizer: torch.optim.Optimizer, waveforms: Tensor, lengths: Tensor
) -> tuple[float, float]:
    """Return the seconds of a step, and of making its features."""
    loss = Reconstruction()

    def step() -> None:
        loss(model(waveforms, lengths), Targets(lengths, lengths))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    def listen() -> None:
        model.encoder.features(waveforms, valid_positions(lengths, waveforms.shape[1]))  # type: ignore[operator, union-attr]

    return seconds(step, waveforms.device), seconds(listen, waveforms.device)


def seconds(action: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def batches(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return clips of 2 to 14 s; within a batch they are of like length, as in training."""
    generator = torch.Generator().manual_seed(0)
    lengths = (torch.rand(BATCH * ROUNDS, generator=generator) * 12 + 2).mul(SAMPLE_RATE).long().sort().values
    return [
        (torch.randn(BATCH, int(part.max()), generator=generator).mul(0.1).to(device), part.to(device))
        for part in lengths.split(BATCH)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "paper"), default="small")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    models = {
        (name, plain): model_of(name, args.size, plain).to(device) for name in ENCODERS for plain in (False, True)
    }
    optimizers = {key: torch.optim.AdamW(model.parameters(), 1e-3, fused=True) for key, model in models.items()}
    steps: dict[tuple[str, bool], list[float]] = {key: [] for key in models}
    features: dict[tuple[str, bool], list[float]] = {key: [] for key in models}
    clips = batches(device)
    for turn, (waveforms, lengths) in enumerate([clips[len(clips) // 2], *clips]):
        for key, model in models.items():
            took = timed(model, optimizers[key], waveforms, lengths)
            if turn:  # the first only warms up
                audio = float(lengths.sum()) / SAMPLE_RATE
                steps[key].append(took[0] / audio)
                features[key].append(took[1] / audio)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    table = Table(
        "encoder", "s of audio a s", "features, %", "PyTorch's dropout, s a s", "ratio", title=f"{args.size}, {where}"
    )
    for name in ENCODERS:
        ours, plain = median(steps[name, False]), median(steps[name, True])
        share = 100 * sum(features[name, False]) / sum(steps[name, False])
        table.add_row(name, f"{1 / ours:.0f}", f"{share:.1f}", f"{1 / plain:.0f}", f"{plain / ours:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
