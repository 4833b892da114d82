"""Training steps of Emo-CLAP over a WavLM: a plain loop and this project's, alternating in one process.

    python benchmarks/train_step.py                                    # base size, on a CPU
    python benchmarks/train_step.py --size large --precision bf16 --batches 60     # on a GPU

Same weights (random), same utterances (noise of IEMOCAP's durations), same objective, both encoders trained, the
convolutional front end frozen.

plain: as the field writes it. transformers' model as loaded; batches in random order, padded to the longest; a prompt
       for every row through the tokenizer and the text encoder; the front end computed in every step; Adam.
ours:  batches of like length with emotions mixed inside, the front end's output computed once, each distinct prompt
       encoded once a step, WavLM's attention and fused Adam as they come with a training.

Our batches are drawn from the epoch of a corpus of IEMOCAP's size; the plain loop shuffles the same utterances into its
own. The front end's one pass is timed apart: a cross-validation needs it once. Gradients are compared on one batch of
clips of one length, because transformers lets padding change a clip's numbers (benchmarks/padding.py), dropout off.
"""

from __future__ import annotations

import argparse
import copy
import csv
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, RobertaConfig, WavLMConfig

from gemoclap.clap.losses import agreement, symmetric_contrastive_loss
from gemoclap.clap.model import GEmoClapConfig, GEmoClapModel
from gemoclap.clap.objectives import EmoCLAP
from gemoclap.config import AudioSettings, ObjectiveSettings, TrainSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.batching import length_bucketed, padding_share
from gemoclap.data.dataset import Batch, collate
from gemoclap.encoders.feature_cache import DTYPES, FrozenFrames
from gemoclap.encoders.framing import normalize_clips
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.pooling import masked_mean
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.text import MINILM, TextEncoder
from gemoclap.labels import GENDERS, get_vocabulary
from gemoclap.training.distributed import resolve_precision, start_accelerator
from gemoclap.training.gradients import Gradients
from gemoclap.training.run import Run

# The 0, 5, ..., 100 % quantiles of IEMOCAP's 5,531 durations in seconds, and its classes' shares.
DURATIONS = (
    0.58, 1.39, 1.68, 1.91, 2.13, 2.32, 2.55, 2.78, 3.00, 3.29, 3.58,
    3.89, 4.25, 4.69, 5.18, 5.77, 6.53, 7.37, 8.69, 11.06, 34.14,
)  # fmt: skip
SHARES = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
WORDS = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}
LONGEST, RATE = 14.0, 16000
TABLE_1 = 12 * 5 * 50 * 0.8 * 5531
"""Utterances trained on for the paper's Table 1: 12 cells, 5 folds, 50 epochs, four sessions of five."""

VOCABULARY = get_vocabulary("iemocap4")
SIZES = {
    "tiny": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (32,) * 7,
    },
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
}


def durations_and_emotions(path: str | None, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Return IEMOCAP's own from `path` (utterance_id, emotion, duration_s), or as many drawn from its quantiles."""
    if path:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return np.array([float(row["duration_s"]) for row in rows]), [WORDS[row["emotion"]] for row in rows]
    count = sum(SHARES.values())
    seconds = np.interp(rng.random(count), np.linspace(0, 1, len(DURATIONS)), DURATIONS)
    return seconds, [str(word) for word in rng.permutation(np.repeat(list(SHARES), list(SHARES.values())))]


def make_utterances(
    folder: Path, seconds: np.ndarray, emotions: list[str], rng: np.random.Generator
) -> list[Utterance]:
    """Write noise of these durations."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number, (length, emotion) in enumerate(zip(seconds, emotions, strict=True)):
        path = folder / f"{number}.wav"
        soundfile.write(path, rng.normal(0, 0.1, int(length * RATE)).astype(np.float32), RATE)
        rows.append(Utterance(str(number), str(path), gender=GENDERS[number % 2], emotion=emotion))
    return rows


def build_model(size: str, pooling: str = "mean") -> GEmoClapModel:
    """Return WavLM and RoBERTa-base with random weights under our heads. The tokens come from MiniLM's tokenizer."""
    torch.manual_seed(0)
    speech = SpeechEncoder.from_config(WavLMConfig(**SIZES[size], layerdrop=0.0), do_normalize=size == "large")
    speech.switch_off_augmentation()
    tokenizer = TextEncoder.from_pretrained(MINILM).tokenizer
    text_sizes = {"num_hidden_layers": 2} if size == "tiny" else {}
    text = TextEncoder.from_config(RobertaConfig(**text_sizes), tokenizer, "first")
    config = GEmoClapConfig(
        audio_config=speech.model.config,
        text_config=text.model.config,
        audio_pooling=pooling,
        vocabulary=VOCABULARY.to_dict(),
    )
    model = GEmoClapModel(config, speech, text)
    model.audio_encoder.freeze("front_end")
    return model


class PlainModel(nn.Module):
    """Both encoders as transformers makes them, and the heads; what a first implementation looks like."""

    def __init__(self, ours: GEmoClapModel) -> None:
        super().__init__()
        self.audio: PreTrainedModel = AutoModel.from_config(copy.deepcopy(ours.audio_encoder.model.config))
        self.audio.load_state_dict(ours.audio_encoder.model.state_dict())
        self.text, self.head = copy.deepcopy(ours.text_encoder), copy.deepcopy(ours.emotion_head)
        self.prompts, self.do_normalize = ours.emotion_prompts, ours.audio_encoder.do_normalize
        self.audio.freeze_feature_encoder()

    def forward(self, waveforms: Tensor, lengths: Tensor, emotions: Tensor) -> dict[str, Tensor]:
        waveforms = normalize_clips(waveforms, lengths, self.do_normalize)
        mask = valid_positions(lengths, waveforms.shape[1]).long()
        frames = self.audio(waveforms, attention_mask=mask).last_hidden_state
        counts = self.audio._get_feat_extract_output_lengths(lengths)
        features = masked_mean(frames, valid_positions(counts, frames.shape[1]))
        audio_scale, text_scale = self.head.scales()
        return {
            "audio_embedding": self.head.embed_audio(features),
            "text_embedding": self.head.embed_text(self.text([self.prompts[emotion] for emotion in emotions.tolist()])),
            "audio_scale": audio_scale,
            "text_scale": text_scale,
        }


class PlainLoop:
    """Steps over batches in random order."""

    def __init__(self, model: PlainModel, device: torch.device, precision: str, learning_rate: float) -> None:
        self.model, self.device = model.to(device).train(), device
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=learning_rate)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def step(self, batch: Batch) -> None:
        batch = batch.to(self.device)
        with self.autocast:
            outputs = self.model(batch.inputs["waveforms"], batch.inputs["lengths"], batch.targets.emotions)
        plain_loss(outputs, batch.targets.emotions).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def plain_loss(outputs: dict[str, Tensor], emotions: Tensor) -> Tensor:
    """Emo-CLAP's loss of rows of audio and of text."""
    embeddings = outputs["audio_embedding"], outputs["text_embedding"]
    scales = outputs["audio_scale"], outputs["text_scale"]
    return symmetric_contrastive_loss(*embeddings, *scales, agreement(emotions)).kl


class OurLoop:
    """The pieces of `training.loop.run_epochs`: one step after another."""

    def __init__(self, model: GEmoClapModel, settings: TrainSettings, folder: Path) -> None:
        self.accelerator = start_accelerator(settings, folder)
        self.run = Run(model.train(), settings, folder, "benchmark", self.accelerator, batches=10**6)
        objective = EmoCLAP(ObjectiveSettings())
        self.gradients = Gradients(self.accelerator, self.run.wrapped, objective, settings)

    def step(self, batch: Batch) -> None:
        self.gradients.add(batch.to(self.accelerator.device), 1.0, True, lambda losses: None)
        self.run.step()


@dataclass
class Side:
    """What was measured of one loop."""

    seconds: float = 0.0
    utterances: int = 0
    peak: float = 0.0


@contextmanager
def measured(side: Side, utterances: int, device: torch.device) -> Iterator[None]:
    """Add time and utterances to `side` and raise its peak: memory above the start, of the GPU or of the process."""
    done, process = threading.Event(), psutil.Process()
    start = torch.cuda.memory_allocated() if device.type == "cuda" else process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            side.peak = max(side.peak, process.memory_info().rss - start)

    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
    began = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize()
        side.peak = max(side.peak, torch.cuda.max_memory_allocated() - start)
    side.seconds += time.perf_counter() - began
    side.utterances += utterances
    done.set()


def largest_differences(size: str, device: torch.device) -> tuple[float, float]:
    """Return the difference of the losses, and the largest of the gradients, each relative to its parameter's largest."""
    ours = build_model(size).to(device)
    plain = PlainModel(ours).to(device)
    generator = torch.Generator().manual_seed(1)
    waveforms = 0.1 * torch.randn(4, 2 * RATE, generator=generator).to(device)
    lengths, emotions = torch.full((4,), 2 * RATE, device=device), torch.tensor([0, 1, 2, 3], device=device)
    ours.eval(), plain.eval()
    with torch.no_grad():
        front_end, counts = ours.audio_encoder.front_end(waveforms, lengths)
    our_outputs = ours(frozen_frames=front_end, frame_counts=counts)
    our_loss = EmoCLAP(ObjectiveSettings())(our_outputs, emotions, emotions)["loss"]
    other_loss = plain_loss(plain(waveforms, lengths, emotions), emotions)
    our_loss.backward()
    other_loss.backward()
    found, expected = (
        {
            name: one.grad
            for name, one in (*audio.named_parameters(), *text.named_parameters("text"))
            if one.grad is not None
        }
        for audio, text in ((ours.audio_encoder.model, ours.text_encoder), (plain.audio, plain.text))
    )
    assert found.keys() == expected.keys(), "the loops train other parameters"
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    # A gradient that is zero but for rounding, as a key's bias has, says nothing.
    told = {name: float(one.abs().max()) for name, one in expected.items() if one.abs().max() > 1e-4 * largest}
    difference = max(float((found[name] - expected[name]).abs().max()) / scale for name, scale in told.items())
    return float((our_loss - other_loss).detach().abs()), difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=8, help="of each loop")
    parser.add_argument("--compile", action="store_true", help="torch.compile our transformer layers")
    parser.add_argument("--utterances", help="tab-separated: utterance_id, emotion, duration_s; default: quantiles")
    options = parser.parse_args()
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    rng = np.random.default_rng(0)

    seconds, emotions = durations_and_emotions(options.utterances, rng)
    seconds = np.minimum(seconds, LONGEST)
    samples = (seconds * RATE).astype(np.int64)
    classes = [VOCABULARY.index(emotion) for emotion in emotions]
    epoch = length_bucketed(samples, classes, np.arange(len(samples)) % 2, options.batch_size, rng)
    places = np.array([place for batch in epoch[: options.batches] for place in batch])
    sizes = [len(batch) for batch in epoch[: options.batches]]
    edges = np.cumsum([0, *sizes])
    ours_order = [range(edges[i], edges[i + 1]) for i in range(len(sizes))]
    plain_order = [part.tolist() for part in np.array_split(rng.permutation(len(places)), len(sizes))]

    with tempfile.TemporaryDirectory() as folder:
        rows = make_utterances(Path(folder), seconds[places], [emotions[place] for place in places], rng)
        store = AudioStore(AudioSettings(trim_silence_db=None))
        store.preload(rows)
        model = build_model(options.size).to(device)
        plain_model = PlainModel(model)
        if options.compile:
            model.audio_encoder.compile_layers()
        settings = TrainSettings(
            precision=options.precision, lr=1e-5, weight_decay=0, clip_norm=None, schedule="constant"
        )
        dtype = DTYPES["bf16" if options.precision == "bf16" else "float32"]
        clips = FrozenFrames(
            model.audio_encoder, store, "device" if device.type == "cuda" else "memory", dtype, Path(folder)
        )
        once = Side()
        with measured(once, len(rows), device):
            clips.encode(rows)
        plain_loop, our_loop = (
            PlainLoop(plain_model, device, options.precision, 1e-5),
            OurLoop(model, settings, Path(folder)),
        )
        plain, ours = Side(), Side()
        plain_loop.step(collate(rows[:2], store, VOCABULARY))
        our_loop.step(collate(rows[:2], clips, VOCABULARY))
        for plain_places, our_places in zip(plain_order, ours_order, strict=True):
            plain_batch = collate([rows[place] for place in plain_places], store, VOCABULARY)
            with measured(plain, len(plain_batch), device):
                plain_loop.step(plain_batch)
            with measured(ours, len(our_places), device):
                our_loop.step(collate([rows[place] for place in our_places], clips, VOCABULARY))
        loss_difference, gradient_difference = largest_differences(options.size, device)

    console = Console(width=110)
    table = Table("loop", "utterances/s", "ratio", "peak of a step", "padding", "Table 1 of the paper, hours")
    plain_rate = plain.utterances / plain.seconds
    for name, side, order in (("plain", plain, plain_order), ("ours", ours, ours_order)):
        rate = side.utterances / side.seconds
        share = padding_share(samples[places], [list(batch) for batch in order])
        peak = f"{side.peak / 2**30:.2f} GiB"
        table.add_row(
            name,
            f"{rate:.2f}",
            f"{rate / plain_rate:.2f}",
            peak,
            f"{100 * share:.1f} %",
            f"{TABLE_1 / rate / 3600:.1f}",
        )
    console.print(table)
    console.print(
        f"WavLM-{options.size}, {resolve_precision(options.precision, device)} on {device}, batch {options.batch_size}, "
        f"{len(rows)} utterances of {seconds[places].sum():.0f} s, {torch.get_num_threads()} threads"
    )
    console.print(
        f"front end, once for a cross-validation: {once.seconds:.1f} s, {once.seconds / plain.seconds:.2f} of one plain epoch"
    )
    console.print(
        f"one batch, dropout off, float32: losses differ by {loss_difference:.1g}, gradients by {gradient_difference:.1g} "
        "of each parameter's largest"
    )


if __name__ == "__main__":
    main()
