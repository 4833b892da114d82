"""Time of a cross-validation with a frozen encoder, relative to its encoding pass.

    python benchmarks/frozen_crossval.py                     # WavLM-base, a tenth of IEMOCAP
    python benchmarks/frozen_crossval.py --share 1           # all of it
    python benchmarks/frozen_crossval.py --manifest ravdess.jsonl --encoder openai/whisper-base --layers 3 --epochs 30

The data are noise with IEMOCAP's durations, from ten speakers in five sessions. The encoder is a WavLM with random weights. The
script runs `cross_validate` with the three objectives, five folds and 50 epochs. Encoding and training both grow with the
number of utterances, so their ratio does not depend on the share. With your own manifest and encoder, it uses the corpus's
standard folds, and the two plain heads too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from train_step import LONGEST, SIZES, durations_and_emotions, make_utterances
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

from gemoclap.config import METHODS, AudioSettings, CacheSettings, DataSettings, ModelSettings, Settings, TrainSettings
from gemoclap.corpora.manifest import write_manifest
from gemoclap.encoders import feature_cache
from gemoclap.recipes.crossval import cross_validate


def make_corpus(folder: Path, share: float, utterances: str | None) -> Path:
    """Write noise and its manifest, and return the manifest."""
    rng = np.random.default_rng(0)
    seconds, emotions = durations_and_emotions(utterances, rng)
    chosen = rng.permutation(len(seconds))[: int(share * len(seconds))]
    rows = make_utterances(folder, np.minimum(seconds[chosen], LONGEST), [emotions[place] for place in chosen], rng)
    rows = [
        replace(row, corpus="iemocap", session=f"Ses0{number % 5 + 1}", speaker=f"Ses0{number % 5 + 1}{row.gender}")
        for number, row in enumerate(rows)
    ]
    write_manifest(rows, folder / "manifest.jsonl")
    return folder / "manifest.jsonl"


def make_encoder(folder: Path, size: str) -> Path:
    """Save a WavLM with random weights in the hub's layout."""
    torch.manual_seed(0)
    WavLMModel(WavLMConfig(**SIZES[size])).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=size == "large", return_attention_mask=True).save_pretrained(folder)
    return folder


class Stopwatch:
    """Adds up the time spent inside a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function):  # type: ignore[no-untyped-def]
        def timed(*arguments, **options):  # type: ignore[no-untyped-def]
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def made(folder: Path, options: argparse.Namespace) -> tuple[DataSettings, ModelSettings]:
    """Return noise, and an encoder of random weights."""
    manifest = make_corpus(folder / "audio", options.share, options.utterances)
    encoder = make_encoder(folder / "wavlm", options.size)
    return (
        DataSettings(manifest=str(manifest), audio=AudioSettings(trim_silence_db=None)),
        ModelSettings(audio_encoder=str(encoder), freeze="all", pooling="mean"),
    )


def real(options: argparse.Namespace) -> tuple[DataSettings, ModelSettings]:
    """Return a corpus and an encoder of the user's."""
    layers = "last" if options.layers is None else options.layers
    return (
        DataSettings(manifest=options.manifest),
        ModelSettings(audio_encoder=options.encoder, freeze="all", layers=layers),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--share", type=float, default=0.1, help="of IEMOCAP's 5,531 utterances")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--manifest", help="of a real corpus, in place of noise")
    parser.add_argument("--encoder", help="hub id or folder, with --manifest")
    parser.add_argument(
        "--layers", type=int, help="with --encoder: the layer whose frames are pooled; default: the last"
    )
    parser.add_argument("--utterances", help="tab-separated: utterance_id, emotion, duration_s; default: quantiles")
    options = parser.parse_args()
    if bool(options.manifest) != bool(options.encoder):
        parser.error("--manifest and --encoder go together")

    encoding = Stopwatch()
    feature_cache.FrozenInputs.encode = encoding.around(feature_cache.FrozenInputs.encode)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, model = real(options) if options.manifest else made(folder, options)
        settings = Settings(
            data=data,
            model=model,
            train=TrainSettings(epochs=options.epochs, batch_size=options.batch_size),
            cache=CacheSettings(folder=str(folder / "cache")),
        )
        methods = (*METHODS, "ce", "am_softmax") if options.manifest else METHODS
        began = time.perf_counter()
        folds = cross_validate(settings, methods, folder / "run", keep_models=False)
        whole = time.perf_counter() - began
        trained = sum(len(fold.train) for fold in folds) * len(methods) * options.epochs
        heard = sum(len(fold.test) for fold in folds)

    table = Table("what", "seconds", "of the encoding pass")
    rest = whole - encoding.seconds
    for what, seconds in (("encoding pass", encoding.seconds), ("everything else", rest), ("cross-validation", whole)):
        table.add_row(what, f"{seconds:.1f}", f"{seconds / encoding.seconds:.3f}")
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{options.encoder or f'WavLM-{options.size}'}, {heard} utterances, "
        f"{len(folds)} folds x {len(methods)} objectives x {options.epochs} epochs "
        f"of batches of {options.batch_size}: {1e3 * rest * options.batch_size / trained:.2f} ms a step, "
        f"{torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
