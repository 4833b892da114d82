"""Speed of encoding with a frozen Whisper: this project, and the common use of transformers.

    python benchmarks/whisper_encoding.py ravdess.jsonl --encoder openai/whisper-base --layer 3

Four variants run alternately on the same clips:

- transformers: WhisperFeatureExtractor pads every clip to 30 s, the whole encoder runs, `hidden_states[N]` is taken
- transformers, without layers above N: one more than N runs, because the final norm follows the last layer
- here, padded: the same output from this project, with `{"padded": true}`; the largest difference from transformers is shown
- here: every clip at its own length

The result for a clip is the mean over its frames. For all variants, silence is trimmed and clips are cut as in `gemoclap`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import WhisperFeatureExtractor, WhisperModel

from gemoclap.audio import SAMPLE_RATE
from gemoclap.config import AudioSettings, CacheSettings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.data.audio_store import pad_waveforms
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.pooling import masked_mean
from gemoclap.errors import GemoclapError
from gemoclap.recipes.inputs import load_audio_store

Encode = Callable[[list[np.ndarray]], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--encoder", required=True, help="hub id or folder of a Whisper")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--clips", type=int, default=64, help="drawn from the manifest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-seconds", type=float, default=80, help="audio of a batch, padding included")
    options = parser.parse_args()
    try:
        clips = draw_clips(options.manifest, options.clips)
        ways = ways_of(options.encoder, options.layer)
    except GemoclapError as error:
        parser.error(str(error))
    compare(ways, clips, options)


def draw_clips(manifest: str, number: int) -> list[np.ndarray]:
    """Return prepared clips, shortest first, so that little is padding wherever a batch is padded to its longest."""
    rows = read_manifest(manifest)
    drawn = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[:number]]
    store = load_audio_store(CacheSettings(), AudioSettings(), drawn)
    return sorted((store(row) for row in drawn), key=len)


def ways_of(name: str, layer: int) -> dict[str, tuple[Encode, float]]:
    """Return by name how a batch becomes means of frames ``(B, D)``, and the seconds that a clip takes in it at least."""
    whole = WhisperModel.from_pretrained(name, dtype=torch.float32).eval().encoder
    cut = WhisperModel.from_pretrained(name, dtype=torch.float32).eval().encoder
    cut.layers = cut.layers[: layer + 1]
    extractor = WhisperFeatureExtractor.from_pretrained(name)

    def plainly(encoder: torch.nn.Module) -> Encode:
        def encode(clips: list[np.ndarray]) -> torch.Tensor:
            arrays = list(clips)
            features = extractor(arrays, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
            return encoder(features, output_hidden_states=True).hidden_states[layer].mean(1)

        return encode

    def here(options: dict) -> Encode:
        encoder = load_audio_encoder(name, layer, options).eval()
        return lambda clips: masked_mean(*encoder(*pad_waveforms(clips)))

    return {
        "transformers": (plainly(whole), 30),
        f"transformers, layers above {layer} left out": (plainly(cut), 30),
        "here, padded": (here({"padded": True}), 30),
        "here": (here({}), 0),
    }


def compare(ways: dict[str, tuple[Encode, float]], clips: list[np.ndarray], options: argparse.Namespace) -> None:
    """Time the ways in turns and print a row each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for encode, _ in ways.values():
            encode(clips[:1])
        for _ in range(options.rounds):
            for name, (encode, least) in ways.items():
                began = perf_counter()
                found[name] = torch.cat([encode(batch) for batch in batches(clips, options.batch_seconds, least)])
                seconds[name].append(perf_counter() - began)
    audio = sum(map(len, clips)) / SAMPLE_RATE
    table = Table("way", "seconds", "audio a second", "ratio", "largest difference")
    plain = np.median(seconds["transformers"])
    for name, times in seconds.items():
        time = float(np.median(times))
        difference = float((found[name] - found["transformers"]).abs().max())
        shown = f"{difference:.1e}" if name != "here" else "other frames"
        table.add_row(name, f"{time:.1f}", f"{audio / time:.0f} s", f"{plain / time:.2f}", shown)
    Console().print(
        f"{len(clips)} clips, {audio:.0f} s, median of {options.rounds} rounds, {torch.get_num_threads()} threads"
    )
    Console().print(table)


def batches(clips: list[np.ndarray], seconds: float, least: float) -> list[list[np.ndarray]]:
    """Divide clips in their order into batches that hold at most `seconds`, a clip counting `least` at least."""
    result: list[list[np.ndarray]] = [[]]
    for clip in clips:
        longest = max(least, len(clip) / SAMPLE_RATE)
        if result[-1] and (len(result[-1]) + 1) * longest > seconds:
            result.append([])
        result[-1].append(clip)
    return result


if __name__ == "__main__":
    main()
