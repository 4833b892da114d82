"""An exported model beside the model, on one core: speed, size, and CPU seconds from start to the first answer.

    python benchmarks/onnx_speed.py ravdess.jsonl --model default

torch, the ONNX file and its 8-bit form predict the same clips one by one, in turn. CPU seconds are compared, because other
work on the machine slows all three. The first answer is that of a new process, which imports what it needs and loads the
model; the size is that of the files that this takes beside Python's packages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from gemoclap import OnnxPredictor, Predictor
from gemoclap.audio import SAMPLE_RATE
from gemoclap.corpora.manifest import read_manifest
from gemoclap.encoders.embedded import EMBEDDED, FOLDER
from gemoclap.errors import GemoclapError
from gemoclap.inference.exporting import export_onnx
from gemoclap.inference.model_folder import model_source

FIRST = {
    "torch": "import torch; torch.set_num_threads(1)\n"
    "from gemoclap import Predictor; p = Predictor.from_pretrained({model!r}, 'cpu')",
    "onnx": "from gemoclap import OnnxPredictor; p = OnnxPredictor({model!r}, threads=1)",
}
"""Program -> what it does until it can predict."""
TIMED = "import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument(
        "--model", default="default", help="folder of a model, or the name of one that comes with gemoclap"
    )
    parser.add_argument("--clips", type=int, default=40, help="drawn from the manifest")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        predictor = Predictor.from_pretrained(options.model, device="cpu")
        rows = read_manifest(options.manifest)
        drawn = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[: options.clips]]
        clips = [predictor.load(row) for row in drawn]
        with tempfile.TemporaryDirectory() as folder:
            compare(predictor, clips, drawn[0].path, Path(folder), options)
    except GemoclapError as error:
        parser.error(str(error))


def compare(
    predictor: Predictor, clips: list[np.ndarray], first: str, folder: Path, options: argparse.Namespace
) -> None:
    files = {"ONNX": folder / "m.onnx", "ONNX, 8 bits": folder / "m8.onnx"}
    for name, path in files.items():
        export_onnx(predictor.model, path, options.model, int8="8" in name)
    ways: dict[str, Callable] = {"torch": predictor, **{name: OnnxPredictor(path, 1) for name, path in files.items()}}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            began = process_time()
            for clip in clips:
                way(clip)
            seconds[name].append(process_time() - began)
    heard = sum(map(len, clips)) / SAMPLE_RATE
    models = {"torch": str(Path(options.model)), **{name: str(path) for name, path in files.items()}}
    table = Table("", "times real time", "of torch's CPU time", "MB", "CPU s to the first answer", "of torch's")
    starts = {name: median(start(name, model, first) for _ in range(options.rounds)) for name, model in models.items()}
    for name, times in seconds.items():
        megabytes = size(predictor, options.model) if name == "torch" else files[name].stat().st_size / 1e6
        table.add_row(
            name, f"{heard / median(times):.0f}", f"{100 * median(times) / median(seconds['torch']):.0f} %", f"{megabytes:.1f}",
            f"{starts[name]:.1f}", f"{100 * starts[name] / starts['torch']:.0f} %",
        )  # fmt: skip
    Console().print(table)


def start(name: str, model: str, clip: str) -> float:
    """Return the CPU seconds of a new process that predicts one clip."""
    program = FIRST["torch" if name == "torch" else "onnx"].format(model=model)
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\np({clip!r}); {TIMED}"], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def size(predictor: Predictor, model: str) -> float:
    """Return the megabytes of a model's weights, with those of an encoder that it takes from the package."""
    folders = [Path(model_source(model)), *([FOLDER] if predictor.model.config.audio_weights == EMBEDDED else [])]
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.safetensors")) / 1e6


if __name__ == "__main__":
    main()
