"""Speed of prediction: this project, and transformers' audio-classification pipeline with the same encoder.

    python benchmarks/predict.py ravdess.jsonl --encoder facebook/wav2vec2-base

Both have an untrained linear head for six classes on the last layer of the encoder: speed does not depend on the weights.
They run alternately, on the same clips in every round, from files on disk to predictions. The pipeline gets the samples that
soundfile reads, one clip at a time, which is its default, and in batches of 16. Then each predicts one clip in a new process,
to measure the first prediction after a start. The table shows medians over the rounds, of CPU seconds (all threads) and of
seconds, and ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from alternating import in_turns, show
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, logging, pipeline

from gemoclap import GemoclapError, Predictor
from gemoclap.config import ModelSettings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.labels import Vocabulary

EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad")
FIRST_ANSWER = """
import sys, soundfile
from transformers import pipeline
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
print(pipeline("audio-classification", sys.argv[1], device="cpu")({"raw": samples, "sampling_rate": rate}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--encoder", required=True, help="hub id or folder of a speech encoder")
    parser.add_argument("--clips", type=int, default=64, help="drawn from the manifest")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = read_manifest(options.manifest)
            ours, theirs = save_models(options.encoder, Path(folder))
        except GemoclapError as error:
            parser.error(str(error))
        drawn = np.random.default_rng(0).permutation(len(rows))[: options.clips]
        clips = [rows[place].path for place in drawn]
        show(f"{len(clips)} clips", in_turns(ways_of(ours, theirs, clips), options.rounds))
        show("first answer, one clip", in_turns(first_answers(ours, theirs, clips[0]), options.rounds))


def save_models(encoder: str, folder: Path) -> tuple[Path, Path]:
    """Save the encoder under a head, here and as transformers has it."""
    model = SpeechClassifier.from_audio_pretrained(
        encoder, Vocabulary("six", EMOTIONS, {}), ModelSettings(audio_encoder=encoder, pooling="mean"), method="ce"
    )
    model.save_pretrained(folder / "ours")
    whole = AutoModelForAudioClassification.from_pretrained(encoder, num_labels=len(EMOTIONS))
    whole.save_pretrained(folder / "theirs")
    AutoFeatureExtractor.from_pretrained(encoder).save_pretrained(folder / "theirs")
    return folder / "ours", folder / "theirs"


def ways_of(ours: Path, theirs: Path, clips: list[str]) -> dict[str, Callable[[], object]]:
    """Return name -> a function that predicts all clips."""
    predictor = Predictor.from_pretrained(ours, device="cpu")
    pipe = pipeline("audio-classification", str(theirs), device="cpu")

    def decoded() -> Iterator[dict[str, object]]:
        for clip in clips:
            samples, rate = soundfile.read(clip, dtype="float32")
            yield {"raw": samples if samples.ndim == 1 else samples.mean(1), "sampling_rate": rate}

    return {
        "gemoclap": lambda: list(predictor.predict_many(clips)),
        "pipeline, one by one": lambda: list(pipe(decoded())),
        "pipeline, batches of 16": lambda: list(pipe(decoded(), batch_size=16)),
    }


def first_answers(ours: Path, theirs: Path, clip: str) -> dict[str, Callable[[], object]]:
    """Return name -> a function that starts a process which answers about one clip."""

    def run(*command: str) -> None:
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env={**os.environ})

    return {
        "gemoclap": lambda: run("-m", "gemoclap", "predict", clip, "--model", str(ours)),
        "pipeline, one by one": lambda: run("-c", FIRST_ANSWER, str(theirs), clip),
    }


if __name__ == "__main__":
    main()
