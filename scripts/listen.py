"""Print the emotion of each window of speech while it is being recorded: raw 16-bit mono samples on standard input.

arecord -q -t raw -f S16_LE -r 16000 -c 1 | python scripts/listen.py                                # a microphone, Linux
ffmpeg -loglevel error -i call.mp3 -f s16le -ar 16000 -ac 1 - | python scripts/listen.py            # any file
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import numpy as np

from gemoclap import Predictor
from gemoclap.inference.stream import EmotionWindow


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--rate", type=int, default=16000, help="samples per second")
    parser.add_argument("--adapt", choices=("none", "speaker"), default="none", help="adapt to the voice as it goes on")
    options = parser.parse_args()
    adapt = None if options.adapt == "none" else options.adapt
    stream = Predictor.from_pretrained(options.model).stream(options.rate, adapt=adapt)
    print("listening; stop with Ctrl-C", file=sys.stderr)
    try:
        while chunk := sys.stdin.buffer.read(options.rate):  # half a second
            # The recording may stop in the middle of a sample.
            show(stream.add(np.frombuffer(chunk[: len(chunk) // 2 * 2], np.int16)))
    except KeyboardInterrupt:
        pass
    show(stream.finish())


def show(windows: Iterable[EmotionWindow]) -> None:
    for one in windows:
        said = one.error or f"{one.emotion} {100 * one.confidence:.0f} %"
        print(f"{one.start:7.1f} to {one.end:.1f} s  {said}", flush=True)


if __name__ == "__main__":
    main()
