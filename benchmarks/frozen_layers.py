"""Time of a training epoch with frozen layers, whose output is stored, or computed in every step.

    python benchmarks/frozen_layers.py ravdess.jsonl --encoder openai/whisper-base --keep 5 --freeze 3

The first layers of the encoder are frozen. The layers above and a cross-entropy head are trained, on the training part of the
corpus's first fold. Both variants run alternately, an epoch each, over the same batches and without dropout, so their losses
must be equal. The stored output is computed first, and its time is shown separately.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from gemoclap.config import CacheSettings, DataSettings, ModelSettings, Settings, TrainSettings
from gemoclap.data.dataset import TrainBatches
from gemoclap.data.folds import make_folds
from gemoclap.data.reading import read_data
from gemoclap.errors import GemoclapError
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.recipes.supervised import build_model
from gemoclap.training.distributed import process_state
from gemoclap.training.optim import optimizer_for


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--encoder", required=True, help="hub id or folder")
    parser.add_argument("--keep", type=int, default=5, help="layers that are built")
    parser.add_argument("--freeze", type=int, default=3, help="of these, from the input")
    parser.add_argument("--clips", type=int, help="of the training part; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            compare(options, Path(folder))
    except GemoclapError as error:
        parser.error(str(error))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Train both ways in turns and print what an epoch takes."""
    rows, vocabulary, data = read_data(DataSettings(manifest=options.manifest))
    train = make_folds(rows, data, vocabulary)[0].train
    places = np.random.default_rng(0).permutation(len(train))[: options.clips]
    train = [train[place] for place in places]
    settings = Settings(
        data=data,
        model=ModelSettings(
            audio_encoder=options.encoder, freeze=options.freeze, keep_layers=options.keep, augment=False
        ),
        train=TrainSettings(lr=1e-5, batch_size=32, precision="no"),
        cache=CacheSettings(folder=str(folder)),
    )
    sources = InputSources(load_audio_store(settings.cache, data.audio, train), settings)
    device = process_state().device
    models = {name: build_model(settings, "ce", vocabulary).to(device).eval() for name in ("in every step", "kept")}
    began = perf_counter()
    clips = {"in every step": sources.store, "kept": sources.for_model(models["kept"], train)}
    once = perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in models}
    losses: dict[str, list[float]] = {name: [] for name in models}
    optimizers = {name: optimizer_for(model, settings.train) for name, model in models.items()}
    for epoch in range(options.rounds):
        for name, model in models.items():
            began = perf_counter()
            for batch in TrainBatches(train, clips[name], vocabulary, settings.train).epoch(epoch):
                batch = batch.to(device)
                loss = functional.cross_entropy(model(**batch.inputs)["logits"], batch.targets.emotions)
                optimizers[name].zero_grad()
                loss.backward()
                optimizers[name].step()
                losses[name].append(loss.item())
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            seconds[name].append(perf_counter() - began)
    table = Table("frozen layers", "seconds an epoch", "ratio", "largest difference of a loss")
    plain = float(np.median(seconds["in every step"]))
    for name, times in seconds.items():
        time = float(np.median(times))
        difference = np.abs(np.subtract(losses[name], losses["in every step"])).max()
        table.add_row(name, f"{time:.1f}", f"{plain / time:.2f}", f"{difference:.1e}")
    console = Console(width=110)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    console.print(table)
    console.print(
        f"{len(train)} clips, {options.keep} layers of which {options.freeze} are frozen; what is kept took {once:.1f} s once; "
        f"median of {options.rounds} epochs, {where}"
    )


if __name__ == "__main__":
    main()
