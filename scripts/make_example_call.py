"""Make a telephone call of two synthetic voices, one a channel, to try `gemoclap timeline` on. No human spoke it.

    python scripts/make_example_call.py call.wav

The second voice becomes angry, and sad in the end; the first stays neutral but for a friendly word. The voices are formulas
(`gemoclap.corpora.synthetic`), and other than those of the demo's corpus. The models that come with the package learnt from
people and misjudge them; a model of such voices takes a minute. These commands made the picture in docs/quickstart.md:

    gemoclap prepare synthetic demo/synthetic -o demo/synthetic.jsonl
    gemoclap train demo/synthetic.jsonl --config whisper --model.audio_encoder default \\
        --method ce --train.epochs 15 -o runs/voices
    gemoclap timeline call.wav --model runs/voices/model --by channel --adapt speaker -o docs/images/timeline.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from gemoclap.audio import SAMPLE_RATE, load_audio
from gemoclap.corpora.synthetic import generate

CALL = (
    (0, "neutral"), (1, "neutral"), (0, "happy"), (1, "neutral"), (1, "angry"), (0, "neutral"), (1, "angry"), (1, "angry"),
    (0, "neutral"), (0, "neutral"), (1, "sad"), (0, "happy"), (1, "sad"),
)  # fmt: skip
"""Channel and emotion of each sentence, in turn."""
SEED = 7
"""Of voices other than those of the demo's corpus."""
PAUSE = 0.5
"""Seconds behind each sentence."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="WAV file to write")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        rows = generate(Path(folder), speakers=2, sentences=4, takes=2, seed=SEED)
        voices = sorted({row.speaker for row in rows})
        sentences = {
            (channel, emotion): [row.path for row in rows if (row.speaker, row.emotion) == (voice, emotion)]
            for channel, voice in enumerate(voices)
            for emotion in {row.emotion for row in rows}
        }
        parts = []
        for channel, emotion in CALL:
            sound = load_audio(sentences[channel, emotion].pop())
            both = np.zeros((len(sound) + round(PAUSE * SAMPLE_RATE), 2), np.float32)
            both[: len(sound), channel] = sound
            parts.append(both)
    soundfile.write(options.output, np.concatenate(parts), SAMPLE_RATE)


if __name__ == "__main__":
    main()
