"""Shows the progress of a training: a bar on a terminal, one line per epoch elsewhere, and curves in trackers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gemoclap.running import running_seconds

PROJECT = "gemoclap"
NOTED: set[str] = set()
"""Lines that `TrainingProgress.note_once` has printed in this process already."""


class TrainingProgress:
    """Shows the progress of one training on standard error.

    Parameters
    ----------
    label : name of the training, such as ``"emo_clap fold 2"``.
    epochs, batches : number of epochs, and of batches per epoch in each process.
    done : number of epochs that were finished before the training was resumed.
    enabled : whether this process prints. Only the main process should.
    """

    def __init__(self, label: str, epochs: int, batches: int, *, done: int = 0, enabled: bool = True) -> None:
        self.label, self.epochs, self.batches, self.enabled = label, epochs, batches, enabled
        self.done, self.began = done, running_seconds()
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.development = ""

    def __enter__(self) -> TrainingProgress:
        console = Console(stderr=True)
        if self.enabled and console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=console)
            self.task = self.bar.add_task(self.label, total=self.epochs * self.batches, detail="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def batch(self, epoch: int, batch: int, loss: float, utterances_per_second: float) -> None:
        """Show that `batch` batches of epoch number `epoch` (from 1) are finished."""
        if self.bar is None or self.task is None:
            return
        detail = f"batch {batch}/{self.batches}  loss {loss:.4f}  {utterances_per_second:.1f} utterances/s"
        self.bar.update(
            self.task,
            completed=(epoch - 1) * self.batches + batch,
            description=f"{self.label} epoch {epoch}/{self.epochs}".strip(),
            detail=detail + self.development,
        )

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Show the row of an epoch, as in the log."""
        if "dev_uar" in row:
            self.development = f"  dev UAR {100 * row['dev_uar']:.1f}"
        if not self.enabled or self.bar is not None:
            return
        pace = (running_seconds() - self.began) / max(1, row["epoch"] - self.done)
        left = timedelta(seconds=round(pace * (self.epochs - row["epoch"])))
        self._line(
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}{self.development}  lr {row['lr']:.2e}  "
            f"{row['utterances_per_second']:.1f} utterances/s  {left} left"
        )

    def note_once(self, text: str) -> None:
        """Print a line, unless an earlier training of this process has printed it. Folds and methods have the same settings."""
        if self.enabled and text not in NOTED:
            NOTED.add(text)
            self._print(text)

    def note(self, text: str) -> None:
        """Print one line, above the bar where there is one."""
        if self.enabled:
            self._line(text)

    def _line(self, text: str) -> None:
        self._print(f"{self.label}: {text}" if self.label else text)

    def _print(self, text: str) -> None:
        if self.bar is not None:
            self.bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


class Trackers:
    """The trackers of `settings.trackers`. They start with the rows that a resumed training has already.

    For W&B and MLflow each start is a new run, so it gets the whole history. In TensorBoard, the rows that were written to the
    same folder before the interruption are hidden. Only the main process logs.
    """

    def __init__(
        self, accelerator: Accelerator, label: str, config: Mapping[str, Any], history: Iterable[Mapping[str, Any]]
    ) -> None:
        self.accelerator, self.label, self.config, self.history = accelerator, label, config, list(history)

    def __enter__(self) -> Trackers:
        name = {"name": self.label} if self.label else {}
        run_name = {"run_name": self.label} if self.label else {}
        self.accelerator.init_trackers(
            PROJECT, init_kwargs={"tensorboard": {"purge_step": 0}, "wandb": name, "mlflow": run_name}
        )
        for tracker in self.accelerator.trackers:
            # The page of hyper-parameters in TensorBoard would need a new folder for every start.
            if tracker.name != "tensorboard":
                tracker.store_init_configuration(dict(self.config))
        for row in self.history:
            self.log(row)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self.accelerator.trackers:  # not `end_training`, which would also end the process group
            tracker.finish()

    def log(self, row: Mapping[str, Any]) -> None:
        """Log the row of an epoch."""
        self.accelerator.log({name: value for name, value in row.items() if name != "epoch"}, step=row["epoch"])
