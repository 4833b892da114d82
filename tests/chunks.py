"""Sound for streams in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from gemoclap.inference.stream import EmotionStream, EmotionWindow


def cut(sound: np.ndarray, longest: int, seed: int) -> Iterator[np.ndarray]:
    """Yield chunks of random lengths, some of them empty."""
    rng = np.random.default_rng(seed)
    place = 0
    while place < len(sound):
        length = int(rng.integers(0, longest + 1))
        yield sound[place : place + length]
        place += length


def run(stream: EmotionStream, chunks: Iterable[np.ndarray]) -> list[EmotionWindow]:
    windows = [window for chunk in chunks for window in stream.add(chunk)]
    return windows + stream.finish()
