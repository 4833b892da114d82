"""Runs the commands of a page one after another, as a reader would, and says at which line one fails."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

from checked import name_of
from matplotlib.figure import Figure
from only_parsed import ONLY_PARSED
from pages import Command, commands_of, gemoclap_of

from gemoclap.cli import main

EPOCH = ("--train.epochs", "1", "--train.warmup_epochs", "0")
FOLDS = ("--data.folds", "kfold", "--data.n_folds", "2")
CLUSTERS = ("--gmp.frame_epochs", "1", "--gmp.feature_epochs", "1", "--gmp.scales", "4,8")
MOCKINGJAY = (
    "--model.options",
    '{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "n_mels": 20}',
)
COMPACT = ("--model.audio_options", '{"hidden_size": 16, "num_hidden_layers": 3, "stem_channels": 4}')
TEXT = ("--model.text_encoder", "roberta-base")
"""A tiny one lies in the hub's cache under this name; the default takes longer to load than everything else."""
SMALLER: Mapping[str, Sequence[str]] = {
    "train": EPOCH,
    "crossval": (*EPOCH, *FOLDS),
    "crosscorpus": EPOCH,
    "table1": (*EPOCH, *FOLDS),
    "sweep": (*EPOCH, *FOLDS),
    "pretrain intensity": EPOCH,
    "pretrain ems": (*EPOCH, *MOCKINGJAY),
    "probe": ("--train.steps", "2", "--train.seeds", "0,1", *FOLDS),
    "compare ems": (*("--seeds", "0", "--variants", "mockingjay,mockingjay_ems", "--probe.train.steps", "2"),),
    **{f"gmp {step}": EPOCH for step in ("features", "cluster", "pretrain", "finetune")},
}
"""Command -> what is added to make it short. The last value of an option counts, so all other words are those of the page."""
TRAINED = ("train", "crossval", "crosscorpus", "sweep", "gmp features", "gmp cluster", "gmp pretrain", "gmp finetune")


def shorter(words: Sequence[str]) -> list[str]:
    """Return a command that does the same with less: one epoch, two folds, two methods, one seed, small encoders.

    A matrix of corpora is made without its diagonal.
    """
    name = name_of(words)
    found = []
    for before, word in zip(["", *words], words, strict=False):
        if "--within" in (before, word):
            continue  # needs a whole corpus; tests/recipes/test_corpora_together.py cross-validates inside the matrix
        if before == "--methods":
            word = ",".join(word.split(",")[:2])
        elif before == "--seeds":
            word = word.partition(",")[0]
        elif before == "--over":
            word = ",".join(word.split(",")[:2])
        found.append(word)
    if name in ("crossval", "table1") and "--methods" not in words:
        found += ["--methods", "emo_clap,sl_gemo_clap"]
    found += SMALLER.get(name, ())
    if name in (*TRAINED, "table1"):
        found += TEXT
    if name in TRAINED and not {"whisper", "whisper_finetuned", "paper", "demo", "--model.audio_encoder"} & {*words}:
        found += COMPACT
    if name in TRAINED and ("gmp_tl" in " ".join(words) or name.startswith("gmp ")):
        found += CLUSTERS
    return found


def undrawn(self: Figure, file: BinaryIO, **options: Any) -> None:
    """Stand in for matplotlib's savefig, which takes longer than all else here; tests/reports looks at pictures."""
    file.write(f"undrawn {options['format']}".encode())


@dataclass
class Walk:
    """A page and a folder in which its commands are run.

    Attributes
    ----------
    printed : line -> what the command on it printed.
    """

    page: str
    place: Path
    printed: dict[int, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    def go(self, first: int = 1, last: int = 10**6) -> None:
        """Run the commands from one line to another; fail at the first that does not end well."""
        for command in commands_of(self.page, self.place):
            words = gemoclap_of(command.words)
            if words is None or not first <= command.line <= last or self.is_left_out(command):
                continue
            self.run(command, words)

    def is_left_out(self, command: Command) -> bool:
        return any(" ".join(command.words).startswith(start) for start in ONLY_PARSED.get(self.page, {}))

    def run(self, command: Command, words: Sequence[str]) -> str:
        """Run a command in the walk's folder, and return what it prints."""
        with chdir(self.place), redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as errors:
            status = main(shorter(words))
        shown = f"{command.where}: {' '.join(command.words)}"
        assert status == 0, f"{shown}: left with {status}: {errors.getvalue()}{out.getvalue()}"
        self.check_output(words, shown)
        self.printed[command.line] = out.getvalue()
        self.commands.append(command)
        return out.getvalue()

    def python(self, code: str, **names: Any) -> dict[str, Any]:
        """Run a snippet of the page in the walk's folder, and return the names that it has made."""
        with chdir(self.place), redirect_stdout(StringIO()):
            exec(compile(code, self.page, "exec"), names)
        return names

    def check_output(self, words: Sequence[str], shown: str) -> None:
        """Check that everything named after ``-o`` is there."""
        if "--estimate" in words or "-o" not in words:
            return
        for name in words[words.index("-o") + 1 :]:
            if name.startswith("-"):
                break
            path = self.place / name
            assert path.exists() and (path.is_file() or os.listdir(path)), f"{shown}: there is no {name}"

    def text(self, name: str) -> str:
        return (self.place / name).read_text(encoding="utf-8")
