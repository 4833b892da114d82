"""The commands of the pages that no test starts, each with the reason. Everything else on a walked page is run."""

from __future__ import annotations

SERVER = "is a server, which does not end; tests/serving/test_serving_docs.py asks one what the page asks"
RAY = "starts a Ray cluster, or wants one; tests/inference/test_ray.py predicts with two workers"
TORCHRUN = "wants several GPUs or machines; tests/training/test_two_nodes.py starts the script as on two"

ONLY_PARSED: dict[str, dict[str, str]] = {
    "README.md": {
        "gemoclap serve": SERVER,
        "gemoclap predict calls.jsonl --engine ray": RAY,
        "gemoclap export": "is the first command of docs/export.md, which is run",
    },
    "docs/quickstart.md": {
        "gemoclap predict demo/clip.txt": "wants what stands in the file; test_the_demo gives it that",
        "gemoclap table1 iemocap.jsonl --estimate": "times four large encoders; tests/recipes/test_table1.py times small ones",
        "gemoclap table1 iemocap.jsonl -o": "is the same without --estimate, which takes days",
    },
    "docs/scaling.md": {
        "gemoclap predict recordings.jsonl --engine ray": RAY,
        "srun ray": RAY,
        "srun torchrun": TORCHRUN,
        "torchrun": TORCHRUN,
        "accelerate launch": TORCHRUN,
    },
    "docs/search.md": {},
    "docs/export.md": {},
    "docs/corpora.md": {},
}
"""Page that is walked -> start of a command that is left out -> why."""

OTHER_PAGES = {
    "docs/extending.md": "tests/test_extending.py follows the page in a copy of the package",
    "docs/results.md": "hours of training on real corpora; README.md has the same commands with other values",
    "docs/serving.md": SERVER,
}
"""Pages with commands of gemoclap in blocks that are not walked -> why."""

OTHER_PROGRAMS = {
    "make": "test_walk_quickstart.py runs what 'make demo' lists; its targets are looked up",
    "pip": "would install packages; the extras are looked up",
    "python": "benchmarks measure for minutes to hours; their arguments are read by their own parsers",
    "taskset": "stands before a benchmark",
    "source": "is for the shell that somebody types in",
    "arecord": "wants a microphone",
    "curl": "tests/serving/test_serving_docs.py runs the lines",
    "openssl": "tests/serving/test_serving_docs.py runs the line",
    "cat": "test_walk_pages.py runs the line, or it stands inside another command",
    "split": "test_walk_pages.py runs the line",
    "podman": "wants podman",
    "srun": "is Slurm's; tests/training/test_two_nodes.py starts the script with a stand-in",
    "scontrol": "is Slurm's, as srun",
    "sed": "stands inside a Slurm script",
    "torchrun": TORCHRUN,
    "accelerate": TORCHRUN,
}
"""Other programs that the pages start -> what a test does about them."""
