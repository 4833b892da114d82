"""From recordings on disk to rows on disk: the models of this package, transformers' pipeline, and openSMILE with an SVM.

    python benchmarks/inference.py ravdess.jsonl
    python benchmarks/inference.py ravdess.jsonl --hours 3          # memory for a long recording, too
    python benchmarks/inference.py ravdess.jsonl --start            # only how long a new process takes to its first answer

The pipeline has the same three layers of Whisper base under its own head for audio classification, and pads every clip to 30 s,
as transformers' Whisper does. The SVM gets eGeMAPS features of openSMILE. Its classes, and the pipeline's, are learned from
nothing: speed does not depend on them. All ways run in turns, on the same clips in every round. "x real time" is seconds of
sound per CPU second. For figures of one core: OMP_NUM_THREADS=1 taskset -c 0 python ...
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import soundfile
import torch
from alternating import Cost, in_turns, show
from rich.console import Console
from rich.table import Table
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification, logging, pipeline

from gemoclap import Predictor
from gemoclap.audio import SAMPLE_RATE, load_audio, probe_audio
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.encoders.embedded import embedded_weights
from gemoclap.inference.model_folder import EMBEDDED_MODELS
from gemoclap.recipes.baseline import EgemapsFeatures, fit_svm

CLASSES = 6
MEMORY = """
import resource, sys
from gemoclap.cli import main
status = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(status)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--clips", type=int, default=64, help="drawn from the manifest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=100, help="for the latency of a clip of 5 s")
    parser.add_argument("--hours", type=float, default=0.0, help="length of a recording whose memory is measured")
    parser.add_argument(
        "--start", action="store_true", help="measure only how long the first answer of a new process takes"
    )
    options = parser.parse_args()
    logging.set_verbosity_error()
    rows = read_manifest(options.manifest)
    drawn = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[: options.clips]]
    if options.start:
        show_start(drawn[0].path, options.rounds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = in_turns(ways_of(drawn, folder), options.rounds)
        show(f"{len(drawn)} clips, files to rows", costs)
        show_speed(costs, sum(probe_audio(row.path).duration for row in drawn))
        show_latency(load_audio(drawn[0].path), options.calls)
        show_start(drawn[0].path, options.rounds)
        if options.hours:
            show_memory(drawn, options.hours, folder)


def models() -> list[str]:
    """Return the models of this package, one of each encoder: `research` costs what `default` does."""
    return [name for name in EMBEDDED_MODELS if name != "research"]


def ways_of(rows: list[Utterance], folder: Path) -> dict[str, Callable[[], object]]:
    """Return name -> a function that predicts all clips and writes a table."""
    paths = [row.path for row in rows]
    ways: dict[str, Callable[[], object]] = {}
    for name in models():
        ways[f"gemoclap, {name}"] = ours(name, paths, folder, check_speech=False)
        ways[f"gemoclap, {name}, looks for speech"] = ours(name, paths, folder, check_speech=True)
    pipe = whisper_pipeline(folder)
    target = folder / "rows.csv"
    ways["pipeline, one by one"] = lambda: write(target, (scores(one) for one in pipe(decoded(paths))))
    ways["pipeline, batches of 16"] = lambda: write(
        target, (scores(one) for one in pipe(decoded(paths), batch_size=16))
    )
    ways["eGeMAPS + SVM"] = svm(rows, target)
    return ways


def ours(name: str, paths: list[str], folder: Path, check_speech: bool) -> Callable[[], object]:
    predictor = Predictor.from_pretrained(name, device="cpu")
    predictor.check_speech = check_speech
    return lambda: write(folder / "rows.csv", (answer.probabilities for answer in predictor.predict_many(paths)))


def whisper_pipeline(folder: Path) -> Any:
    """Return transformers' pipeline over the layers that the models of this package use."""
    own = Predictor.from_pretrained("default", device="cpu").model.audio_encoder.model
    sizes = ("num_mel_bins", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")
    config = WhisperConfig(num_labels=CLASSES, **{size: getattr(own.config, size) for size in sizes})
    model = WhisperForAudioClassification(config)
    names = ("feature_extractor.", "encoder.")
    state = {name.removeprefix(names[0]).removeprefix(names[1]): value for name, value in embedded_weights().items()}
    wanted = model.encoder.state_dict()
    model.encoder.load_state_dict({name: state[name] for name in wanted})
    model.encoder.layer_norm = (
        torch.nn.Identity()
    )  # ours takes the third layer's output as it is, which Whisper has no norm for
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    with torch.inference_mode():  # the same frames as ours, before the time is taken
        clip = np.random.default_rng(0).standard_normal(30 * SAMPLE_RATE).astype(np.float32) * 0.1
        theirs = model.encoder(
            extractor(clip, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        ).last_hidden_state
        same = own(torch.from_numpy(clip).unsqueeze(0)).last_hidden_state
    print(f"largest difference from the pipeline's frames, a clip of 30 s: {(theirs - same).abs().max():.1e}")
    return pipeline("audio-classification", model, feature_extractor=extractor, device="cpu", top_k=CLASSES)


def svm(rows: list[Utterance], target: Path) -> Callable[[], object]:
    """Return a function that extracts eGeMAPS features and classifies them."""
    random = np.random.default_rng(0)
    classifier = fit_svm(random.standard_normal((1000, 88)), random.integers(0, CLASSES, 1000))

    def run() -> None:
        features = EgemapsFeatures(None)
        scores = classifier.decision_function(features(rows))
        write(target, (dict(enumerate(row)) for row in scores))

    return run


def decoded(paths: Iterable[str]) -> Iterator[dict[str, object]]:
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        yield {"raw": samples if samples.ndim == 1 else samples.mean(1), "sampling_rate": rate}


def scores(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {one["label"]: one["score"] for one in sorted(answer, key=lambda one: one["label"])}


def write(path: Path, rows: Iterable[Mapping[Any, float]]) -> None:
    """Write a row a clip, as each is ready."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(row.values() for row in rows)


def show_speed(costs: dict[str, list[Cost]], seconds: float) -> None:
    table = Table("", "x real time", title=f"{seconds:.0f} s of sound, seconds of it a CPU second")
    for name, of_way in costs.items():
        table.add_row(name, f"{seconds / statistics.median(cpu for cpu, _ in of_way):.0f}")
    Console().print(table)


def show_latency(voice: np.ndarray, calls: int) -> None:
    """Print how long a clip of 5 s in memory takes, the median and the slowest in a hundred."""
    clip = np.resize(voice, 5 * SAMPLE_RATE)
    table = Table("", "p50, ms", "p99, ms", title="a clip of 5 s in memory, one at a time")
    predictors = {name: Predictor.from_pretrained(name, device="cpu") for name in models()}
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for number in range(calls + 3):
        for name, predictor in predictors.items():
            begun = perf_counter()
            predictor(clip)
            if number >= 3:
                times[name].append(1000 * (perf_counter() - begun))
    for name, of_model in times.items():
        table.add_row(f"gemoclap, {name}", *(f"{np.percentile(of_model, share):.0f}" for share in (50, 99)))
    Console().print(table)


def show_start(clip: str, rounds: int) -> None:
    show("start to first answer, one clip", in_turns(first_answers(clip), rounds))


def first_answers(clip: str) -> dict[str, Callable[[], object]]:
    """Return name -> a function that starts a process which answers about one clip."""

    # An installed package has its bytecode. The first round, which does not count, writes that of a working copy.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)

    ways = {f"gemoclap, {name}": run("-m", "gemoclap", "predict", clip, "--model", name) for name in models()}
    return ways | {"importing torch alone": run("-c", "import torch")}


def show_memory(rows: list[Utterance], hours: float, folder: Path) -> None:
    """Print the memory that a long recording takes beyond a clip of 5 s."""
    voice = np.concatenate([load_audio(row.path) for row in rows])
    short, long = folder / "short.wav", folder / "long.wav"
    soundfile.write(short, np.resize(voice, 5 * SAMPLE_RATE), SAMPLE_RATE)
    minute = np.resize(voice, 60 * SAMPLE_RATE)
    with soundfile.SoundFile(long, "w", SAMPLE_RATE, 1) as file:
        for _ in range(max(1, round(60 * hours))):
            file.write(minute)
    table = Table("", "5 s, MB", f"{hours:g} h, MB", "beyond, MB", "CPU s", title="peak memory of the process")
    for command in (["predict"], ["timeline", "--hop", "4"]):
        at_short, _ = peak_memory([command[0], str(short), *command[1:]])
        at_long, cpu = peak_memory([command[0], str(long), *command[1:]])
        table.add_row(
            f"gemoclap {' '.join(command)}", *(f"{value:.0f}" for value in (at_short, at_long, at_long - at_short, cpu))
        )
    Console().print(table)


def peak_memory(arguments: list[str]) -> tuple[float, float]:
    """Return the peak memory of a command in MB, and its CPU seconds."""
    ended = subprocess.run([sys.executable, "-c", MEMORY, *arguments], check=True, capture_output=True, text=True)
    peak, cpu = ended.stdout.splitlines()[-1].split()
    return int(peak) / 1024, float(cpu)


if __name__ == "__main__":
    main()
