"""How many rows a second one process can collect from a Ray cluster and write, and the memory that its list of clips takes.

    python benchmarks/ray_rows.py --clips 200000 --workers 1

Workers answer at once, without sound and without a model, so that only the process where the rows come together is measured:
its CPU seconds, and how much its memory grows.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from gemoclap.corpora.manifest import Utterance
from gemoclap.files import parse_json, to_json
from gemoclap.inference import ray_engine
from gemoclap.inference.job import Job, about
from gemoclap.inference.rows import RowFile, key_of

LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "calm")


class AnswersAtOnce:
    """Stands for `ray_engine.Worker`: gives every clip the same answer."""

    def __init__(self, *_: Any) -> None:
        self.answer = {"emotion": "neutral", "confidence": 0.654321, **dict.fromkeys(LABELS, 0.123456)}

    def __call__(self, table: Any) -> Any:
        import pyarrow  # a worker gets this class without the module that it stands in

        clips = [Utterance(**parse_json(one.as_py())) for one in table.column("clip")]
        answers = [to_json(about(clip) | self.answer) for clip in clips]
        return pyarrow.table(
            {"answer": answers, "features": pyarrow.array([None] * len(clips), pyarrow.large_binary())}
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    ray_engine.Worker = AnswersAtOnce  # type: ignore[assignment, misc]
    engine = ray_engine.RayEngine(Job("default"), "", workers=options.workers)
    before = memory()
    clips = [
        Utterance(
            f"corpus/speaker_{number % 1000}/clip_{number}", f"/data/corpus/speaker_{number % 1000}/clip_{number}.wav"
        )
        for number in range(options.clips)
    ]
    with tempfile.TemporaryDirectory() as folder:
        columns = ["path", "id", "emotion", "confidence", *LABELS]
        used, begun = os.times(), time.perf_counter()
        keys = [key_of(about(clip)) for clip in clips]
        with RowFile(Path(folder) / "rows.csv", {}, columns) as rows:
            for row in engine.rows(clips):
                rows.add(row)
            rows.finish(keys)
        seconds, now = time.perf_counter() - begun, os.times()
    cpu = now.user + now.system - used.user - used.system
    million = options.clips / 1e6
    print(
        f"{options.clips} rows: {cpu:.1f} CPU seconds here, {cpu / million:.0f} a million rows; {seconds:.0f} s in all"
    )
    print(f"memory: {(memory() - before) / million / 1e9:.2f} GB a million clips")


def memory() -> int:
    """Return the most memory that this process has taken, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
