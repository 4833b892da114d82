"""Estimates how long a table will take: the time of one training step of each encoder, times the number of remaining steps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gemoclap.config import HEADS, CacheSettings, Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import TrainBatches, collate
from gemoclap.data.folds import Fold
from gemoclap.data.perturb import with_copies
from gemoclap.labels import Vocabulary
from gemoclap.recipes.inputs import InputSources
from gemoclap.recipes.run_files import read_log
from gemoclap.recipes.supervised import OBJECTIVES, build_model
from gemoclap.recipes.table1 import Cell, TableRun
from gemoclap.training.timing import seconds_a_step


@dataclass(frozen=True)
class Cost:
    """Remaining work for one encoder.

    Attributes
    ----------
    encoder : name of the encoder in the table.
    timed : the method whose step was timed. A step of another method takes about as long.
    seconds : duration of that step.
    steps : method -> number of remaining steps in all folds and seeds.
    """

    encoder: str
    timed: str
    seconds: float
    steps: dict[str, int]

    @property
    def hours(self) -> dict[str, float]:
        """Remaining hours for each method."""
        return {method: steps * self.seconds / 3600 for method, steps in self.steps.items()}


def costs(run: TableRun, say: Callable[[str], None]) -> Iterator[Cost]:
    """Yield the remaining work for each encoder that is not finished.

    Only training steps are counted. Reading audio, computing frozen parts and testing are left out. The step is timed with a
    batch of average size of a remaining fold, after one step with the largest batch.

    Raises
    ------
    GemoclapError : an encoder cannot be loaded, or the settings do not fit it.
    """
    for name in run.table.encoders:
        steps: dict[str, int] = {}
        last: Cell | None = None
        for cell in run.table.cells:
            if cell.encoder == name:
                left = _steps_left(run, cell)
                steps[cell.method] = steps.get(cell.method, 0) + left
                last = cell if left else last
        if last is not None:
            say(f"timing a training step of {name}")
            seconds = _time_a_step(run, last, run.pending(last)[0])
            yield Cost(name, last.method, seconds, steps)


def _steps_left(run: TableRun, cell: Cell) -> int:
    """Return the number of remaining batches in the cell's trainings."""
    left = 0
    for fold in run.pending(cell):
        batches = TrainBatches(_learnt_from(run.settings, fold), run.store, run.vocabulary, run.settings_of(cell).train)
        epochs = run.settings.train.epochs - epochs_done(run.fold_folder(cell, fold))
        left += len(batches) * epochs
    return left


def _learnt_from(settings: Settings, fold: Fold) -> list[Utterance]:
    """Return what a training on a fold uses: its training utterances and their perturbed copies."""
    return with_copies(fold.train, settings.data.perturbed_copies)


def epochs_done(folder: Path) -> int:
    """Return how many epochs the training in a folder has finished, which is the number of rows in its log."""
    log = folder / "log.jsonl"
    return len(read_log(log)) if log.is_file() else 0


def _time_a_step(run: TableRun, cell: Cell, fold: Fold) -> float:
    seconds = _time(run.settings_of(cell), cell.method, fold, run.vocabulary, run.store)
    # Free the memory of the model and its optimiser, because the next model or the first cell needs it.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return seconds


def _time(settings: Settings, method: str, fold: Fold, vocabulary: Vocabulary, store: AudioStore) -> float:
    model = build_model(settings, method, vocabulary)
    train = replace(settings.train, gather=settings.train.gather and method not in HEADS)
    batches = TrainBatches(_learnt_from(settings, fold), store, vocabulary, train)
    largest, average = ([batches.utterances[place] for place in places] for places in _chosen(batches))
    sources = InputSources(store, replace(settings, cache=_off_the_disk(settings.cache)))
    source = sources.for_model(model, [*largest, *average])
    warm_up, timed = (collate(rows, source, vocabulary) for rows in (largest, average))
    return seconds_a_step(model, OBJECTIVES[method](settings.objective), warm_up, timed, train)


def _off_the_disk(cache: CacheSettings) -> CacheSettings:
    """Return settings with which two batches of the run can be timed without writing anything."""
    return replace(
        cache,
        layers="memory" if cache.layers == "disk" else cache.layers,
        frames="memory" if cache.frames == "disk" else cache.frames,
    )


def _chosen(batches: TrainBatches) -> tuple[list[int], list[int]]:
    """Return two batches of the first epoch: the one with the most samples, padding included, and the one nearest the mean."""
    plan = batches.plan(0)
    lengths = batches.source.lengths(batches.utterances)
    sizes = [len(places) * int(lengths[places].max()) for places in plan]
    mean = sum(sizes) / len(sizes)
    nearest = min(range(len(plan)), key=lambda place: abs(sizes[place] - mean))
    return plan[sizes.index(max(sizes))], plan[nearest]
