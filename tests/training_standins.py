"""A tiny model, objective and data that obey the loop's contracts, and trainings in processes that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from gemoclap.config import TrainSettings
from gemoclap.data.targets import Targets
from gemoclap.training.distributed import gather_outputs, process_state
from gemoclap.training.loop import run_epochs

FRAME = 8
CLASSES = 3


class TinyModel(nn.Module):
    """An audio branch with rows, a text branch that all rows share, two temperatures, a frozen front-end, a buffer.

    With `dropout`, training also draws from Python's and NumPy's generators, so that each of them matters.
    """

    def __init__(self, dropout: float = 0.0, layerdrop: bool = False) -> None:
        super().__init__()
        self.front_end = nn.Linear(FRAME, 6)
        self.front_end.requires_grad_(False)
        self.audio = nn.Linear(6, 6)
        self.extra = nn.Linear(6, 6)
        self.dropout = nn.Dropout(dropout)
        self.prompts = nn.Parameter(torch.randn(CLASSES, 5))
        self.text = nn.Linear(5, 6)
        self.audio_log_scale = nn.Parameter(torch.tensor(1.0))
        self.text_log_scale = nn.Parameter(torch.tensor(0.5))
        self.unused = nn.Linear(2, 2)
        self.register_buffer("largest", torch.zeros(()))
        self.noisy, self.layerdrop = dropout > 0, layerdrop

    def forward(self, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        frames = torch.tanh(self.front_end(waveforms.unfold(1, FRAME, FRAME)))
        mask = torch.arange(frames.shape[1]) < (lengths // FRAME)[:, None]
        hidden = self.audio((frames * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        if not (self.layerdrop and process_state().process_index == 1):
            hidden = hidden + torch.tanh(self.extra(hidden))
        if self.training and self.noisy:
            hidden = hidden + 0.1 * random.random() + 0.1 * np.random.rand()
            self.largest.copy_(torch.maximum(self.largest, hidden.detach().max()))
        return {
            "audio_embedding": F.normalize(self.dropout(hidden), dim=-1),
            "text_embedding": F.normalize(self.text(self.prompts), dim=-1),
            "audio_scale": self.audio_log_scale.exp(),
            "text_scale": self.text_log_scale.exp(),
        }


class ContrastiveObjective:
    """Emo-CLAP's loss (METHODS section 1), written out."""

    row_outputs = ("audio_embedding",)

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        emotions = targets.emotions
        audio, text = outputs["audio_embedding"], outputs["text_embedding"][emotions]
        target = (emotions[:, None] == emotions[None, :]).to(audio.dtype).softmax(1)
        losses = {}
        for name, logits in (
            ("audio", outputs["audio_scale"] * audio @ text.T),
            ("text", outputs["text_scale"] * text @ audio.T),
        ):
            losses[f"{name}_loss"] = (target * (target.log() - logits.log_softmax(1))).sum(1).mean()
        return {"loss": 0.5 * (losses["audio_loss"] + losses["text_loss"]), **losses}


class MeanObjective:
    """A loss that is a mean over rows, for which averaging over equal batches is exact."""

    row_outputs = ("audio_embedding",)

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        logits = outputs["audio_scale"] * outputs["audio_embedding"] @ outputs["text_embedding"].T
        return {"loss": F.cross_entropy(logits, targets.emotions) + 0.0 * outputs["text_scale"]}


@dataclass(frozen=True)
class TinyBatch:
    inputs: dict[str, Tensor]
    targets: Targets
    ids: tuple[str, ...]

    def to(self, device: torch.device) -> TinyBatch:
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return TinyBatch(inputs, self.targets.each(lambda tensor: tensor.to(device)), self.ids)

    def split(self, rows: int) -> list[TinyBatch]:
        def part(first: int) -> TinyBatch:
            chosen = slice(first, first + rows)
            inputs = {name: tensor[chosen] for name, tensor in self.inputs.items()}
            return TinyBatch(inputs, self.targets.each(lambda tensor: tensor[chosen]), self.ids[chosen])

        return [part(first) for first in range(0, len(self), rows)]

    def __len__(self) -> int:
        return len(self.ids)


def utterance(index: int) -> tuple[Tensor, int]:
    """Return waveform number `index`, 3 to 6 frames long, with its emotion."""
    generator = torch.Generator().manual_seed(1000 + index)
    emotion = index % CLASSES
    waveform = torch.randn(FRAME * (3 + index % 4), generator=generator) + 0.5 * (emotion - 1)
    return waveform, emotion


def make_batch(indices: Sequence[int], dtype: torch.dtype = torch.float32) -> TinyBatch:
    waveforms, emotions = zip(*(utterance(index) for index in indices), strict=True)
    padded = nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True).to(dtype)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    genders = torch.tensor([index % 2 for index in indices])
    return TinyBatch(
        {"waveforms": padded, "lengths": lengths},
        Targets(torch.tensor(emotions), genders),
        tuple(f"utt{index}" for index in indices),
    )


class TinyBatches:
    """Shuffled batches over `count` utterances, by (seed, epoch, process) alone.

    Each global batch is dealt out to the processes in turn, so that two processes with half the batch see together what
    one sees with the whole; a last, smaller batch comes out uneven.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        process: int = 0,
        processes: int = 1,
        dtype: torch.dtype = torch.float32,
        pause: float = 0.0,
    ) -> None:
        self.count, self.whole, self.process, self.processes = count, batch_size * processes, process, processes
        self.dtype, self.pause = dtype, pause
        self.drawn: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return -(-self.count // self.whole)

    def epoch(self, index: int, start: int = 0) -> Iterator[TinyBatch]:
        order = np.random.default_rng((7, index)).permutation(self.count)
        for batch in range(start, len(self)):
            time.sleep(self.pause)
            self.drawn.append((index, batch))
            everyone = order[batch * self.whole : (batch + 1) * self.whole]
            yield make_batch([int(i) for i in everyone[self.process :: self.processes]], self.dtype)


def tiny_model(**options: Any) -> TinyModel:
    torch.manual_seed(3)
    return TinyModel(**options)


def development_uar(model: nn.Module) -> Callable[[], dict[str, float]]:
    """Return an evaluation that is a function of the weights alone, goes up and down, and touches the generators."""

    def evaluate() -> dict[str, float]:
        torch.rand(3), random.random(), np.random.rand()
        weight = float(next(p for p in model.parameters() if p.requires_grad).double().sum())
        return {"uar": 0.5 + 0.5 * float(np.sin(300 * weight)), "war": 0.25}

    return evaluate


KILLABLE = TrainSettings(
    epochs=4, batch_size=4, lr=0.02, weight_decay=0.01, warmup_epochs=1.5, schedule="cosine", accumulate=2,
    clip_norm=1.0, select="dev", checkpoint_steps=1, seed=5, precision="no",
)  # fmt: skip


def train_noisy(output: Path, process: int = 0, processes: int = 1, pause: float = 0.0) -> None:
    """Train with everything that has state switched on, and write the final weights."""
    model = tiny_model(dropout=0.3)
    batches = TinyBatches(30, 4 // processes, process=process, processes=processes, pause=pause)
    run_epochs(
        model, ContrastiveObjective(), batches, KILLABLE, output, run_key="noisy", evaluate=development_uar(model)
    )
    save_weights(model, output / f"final-{process}.safetensors")


def train_exact(output: Path, process: int = 0, processes: int = 1, settings: dict | None = None) -> None:
    """Train without noise in float64, so that one and two processes can be compared; the last batch is uneven."""
    model = tiny_model(layerdrop=bool((settings or {}).pop("layerdrop", False))).double()
    batches = TinyBatches(21, 8 // processes, process=process, processes=processes, dtype=torch.float64)
    chosen = TrainSettings(epochs=3, lr=0.02, warmup_epochs=1, precision="no", **(settings or {}))
    run_epochs(model, ContrastiveObjective(), batches, chosen, output, run_key="exact")
    save_weights(model, output / f"final-{process}.safetensors")


def gradients(output: Path, process: int = 0, processes: int = 1) -> None:
    """Write the loss and DDP's gradients of one batch of five, dealt out to the processes as three and two."""
    state = process_state()
    assert (state.process_index, state.num_processes) == (process, processes)
    model = tiny_model().double()
    wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True) if processes > 1 else model
    batch = make_batch([0, 1, 2, 3, 4][process::processes], torch.float64)
    outputs = wrapped(**batch.inputs)
    outputs, targets = gather_outputs(outputs, ContrastiveObjective.row_outputs, batch.targets)
    losses = ContrastiveObjective()(outputs, targets)
    losses["loss"].backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    save_file({"loss": losses["loss"].detach(), **grads}, output / f"gradients-{process}.safetensors")


def save_weights(model: nn.Module, path: Path) -> None:
    save_file({name: tensor.detach().clone() for name, tensor in model.state_dict().items()}, path)


def _enter(
    target: Callable[..., None], output: Path, rank: int, processes: int, rendezvous: str, options: dict
) -> None:
    torch.set_num_threads(1)
    if processes > 1:
        here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        os.environ |= {name: str(value) for name, value in here.items()} | {"GLOO_SOCKET_IFNAME": "lo"}
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=processes)
    target(output, rank, processes, **options)
    if processes > 1:
        dist.destroy_process_group()


def start(target: Callable[..., None], output: Path, processes: int = 1, **options: Any) -> list[BaseProcess]:
    """Start `target(output, process, processes, **options)` in that many new processes, and return them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gemoclap.training.loop", "torch._dynamo"])  # imported once for all of them
    output.mkdir(parents=True, exist_ok=True)
    rendezvous = str(output.parent / f"{output.name}-{random.Random().getrandbits(64):x}")
    started = [
        context.Process(target=_enter, args=(target, output, rank, processes, rendezvous, options), daemon=True)
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    return started


def finish(started: list[BaseProcess]) -> None:
    """Wait for processes to end well."""
    for process in started:
        process.join(timeout=120)
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
    assert codes == [0] * len(started), f"exit codes {codes}"
