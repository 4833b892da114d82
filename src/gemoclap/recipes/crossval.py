"""Cross-validates several methods over the same speaker-disjoint folds, and saves every prediction."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from gemoclap.config import BASELINES, TRAINED, AudioSettings, Settings, check_methods
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import Fold, make_folds, rows_of
from gemoclap.data.reading import labels_left_out, left_out, one_class_corpora, read_data, unused_merges
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.encoders import UNTRAINED, audio_encoder_source
from gemoclap.encoders.pretrained import load_config
from gemoclap.encoders.provenance import known_speakers, warnings_of
from gemoclap.errors import GemoclapError
from gemoclap.files import write_json
from gemoclap.labels import Vocabulary
from gemoclap.predictions import EMBEDDINGS, PREDICTIONS, PredictionTable, write_embeddings
from gemoclap.recipes.baseline import EgemapsFeatures, opensmile_package, run_fold
from gemoclap.recipes.calibration import CALIBRATION
from gemoclap.recipes.early_checks import one_gender
from gemoclap.recipes.gmp import ENCODERS
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.recipes.made import begun_at, write_made
from gemoclap.recipes.run_files import read_plan
from gemoclap.recipes.run_folder import (
    FOLDS,
    claim,
    on_main_process,
    refuse_other_run,
    run_config,
    say,
    say_all,
    seed_folders,
)
from gemoclap.recipes.supervised import is_trained, save_model
from gemoclap.recipes.train import check_folds, train_method, without_votes
from gemoclap.running import running_seconds
from gemoclap.terminal import progress_bar
from gemoclap.training.calibration import calibrate
from gemoclap.training.checkpoint import CHECKPOINT
from gemoclap.training.evaluate import headline_scores, predict_table, table_of
from gemoclap.wording import counted, roughly

LISTED_FOLDS = 30
"""Largest number of folds for which folds.json lists the training utterances."""


@holds_output
def cross_validate(
    settings: Settings,
    methods: Sequence[str],
    output: str | os.PathLike,
    *,
    keep_models: bool = True,
    store: AudioStore | None = None,
) -> list[Fold]:
    """Train and test every method in every fold. Finished folds are not repeated, and an interrupted one is resumed.

    `output` gets config.yaml, folds.json and, for each method and fold, predictions.csv, log.jsonl, made.json,
    embeddings.safetensors (of the test utterances) and model/. If there are development speakers, the model's temperature is
    fitted on them and saved in calibration.json and in the model's config.json.

    Parameters
    ----------
    store : the audio of the corpus, if several runs share it. It must be prepared as ``settings.data.audio`` says.

    Raises
    ------
    GemoclapError : an unknown method, or one given twice; a fault in manifest, audio, settings, folds or the output folder.
    """
    output = Path(output)
    check_methods(methods, (*TRAINED, *BASELINES), "cross-validate")
    utterances, vocabulary, data = read_data(settings.data)
    settings = replace(settings, data=data)
    folds = make_folds(utterances, data, vocabulary)
    say(left_out(utterances, vocabulary))
    say(unused_merges(data, utterances))
    if set(methods) - set(BASELINES):  # baselines compare every utterance with every class
        say_all(one_class_corpora(folds, vocabulary))
    config = run_config(settings, methods)
    encoder = settings.model.audio_encoder
    lacking = labels_left_out(utterances, vocabulary)
    plan = plan_of(folds, vocabulary, str(data.manifest), {encoder: encoder_config(encoder)}, lacking)
    refuse_other_run(output, config, plan)
    pending = {method: [fold for fold in folds if not _is_done(output / method / fold.name)] for method in methods}
    trained = [method for method in methods if method not in BASELINES and pending[method]]
    if any(pending[method] for method in methods if method in BASELINES):
        opensmile_package()  # before the other methods take hours
    # Read all audio before anything is written, so that a faulty file leaves no run behind.
    rows = rows_of(folds) if any(pending.values()) else []
    sources = InputSources(store or load_audio_store(settings.cache, data.audio, rows), settings)
    say_all(refuse_same_audio(folds if rows else (), sources.store, data))
    for method in trained:
        unfinished = {output / method / fold.name: fold for fold in pending[method]}
        check_folds(settings, method, unfinished, vocabulary, sources.store)
        say_all(one_gender(settings, method, pending[method]))
    if settings.objective.votes and trained:
        say(without_votes(folds, vocabulary))
    claim(output, config, methods, plan)
    outlook = _Outlook(sum(len(pending[method]) for method in trained), len(trained))
    for method in methods:
        _finish_off([output / method / fold.name for fold in folds if fold not in pending[method]], keep_models)
        if method in BASELINES:
            _baseline(pending[method], vocabulary, data.audio, output / method)
        for fold in pending[method] if method in TRAINED else ():
            _train_and_test(settings, method, fold, vocabulary, sources, output / method / fold.name, keep_models)
            outlook.one_done()
    return folds


class _Outlook:
    """Prints first how many trainings there are, and after the second one how long the others will probably take.

    The first training is not used for this: with a frozen encoder it also encodes the corpus, so it takes longer.
    """

    def __init__(self, trainings: int, methods: int) -> None:
        self.left = trainings
        self.done = 0
        self.begun = running_seconds()
        if trainings:
            say(f"{counted(trainings, 'training')}: {counted(methods, 'method')}, one for each fold")

    def one_done(self) -> None:
        """Count a finished training. After the second one, print how long the others will probably take."""
        self.left, self.done = self.left - 1, self.done + 1
        if self.done == 2 and self.left:
            seconds = self.left * (running_seconds() - self.begun)
            others = f"other {counted(self.left, 'training')}" if self.left > 1 else "last training"
            say(f"the {others} will take {roughly(seconds)}, if like the second")
        self.begun = running_seconds()


def cross_validate_seeds(
    settings: Settings, methods: Sequence[str], folders: Mapping[int, str | os.PathLike], *, keep_models: bool = True
) -> Iterator[Path]:
    """Cross-validate with one seed after the other, and yield the folder of each when it is finished.

    Baselines have no seed, so only the first folder has them, or that of a seed which an earlier command has trained.

    Parameters
    ----------
    settings : `train.seed` is ignored.
    folders : seed -> the folder of its run, see `run_folder.seed_folder`.

    Raises
    ------
    GemoclapError : as `cross_validate`; no method is trained; or a run of another seed, which is in the same place and would be
        reported together with these, has other settings.
    """
    check_methods(methods, (*TRAINED, *BASELINES), "cross-validate")
    if all(method in BASELINES for method in methods):
        raise GemoclapError(f"{', '.join(methods)}: does not use seeds; leave --seeds out, or add a method that does")
    others = _other_seeds(settings, methods, folders)
    places = [*others, *map(Path, folders.values())]
    known = {name for name in BASELINES if any(_is_finished(place, name) for place in places)}
    methods = [method for method in methods if method not in known]
    for seed, folder in folders.items():
        seeded = replace(settings, train=replace(settings.train, seed=seed))
        cross_validate(seeded, methods, folder, keep_models=keep_models)
        yield Path(folder)
        methods = [method for method in methods if method not in BASELINES]


def _is_finished(run: Path, method: str) -> bool:
    """Whether a run has the predictions of a method for all its folds."""
    if not (run / FOLDS).is_file():
        return False
    return all(_is_done(run / method / fold["name"]) for fold in read_plan(run / FOLDS)["folds"])


def _other_seeds(settings: Settings, methods: Sequence[str], folders: Mapping[int, str | os.PathLike]) -> list[Path]:
    """Return the runs of other seeds beside these. Raise a GemoclapError if one has other settings."""
    settings = replace(settings, data=read_data(settings.data)[2])
    given = {Path(folder) for folder in folders.values()}
    others = []
    for place in sorted({folder.parent for folder in given}):
        for other in seed_folders(place):
            if other not in given:
                seed = int(other.name.removeprefix("seed_"))
                seeded = replace(settings, train=replace(settings.train, seed=seed))
                refuse_other_run(other, run_config(seeded, methods))
                others.append(other)
    return others


def plan_of(
    folds: Sequence[Fold],
    vocabulary: Vocabulary,
    manifest: str,
    encoders: Mapping[str, PreTrainedConfig | None],
    lacking: Mapping[str, int],
) -> dict[str, Any]:
    """Return the ids of the training, development and test utterances of each fold, as plain data.

    With more than `LISTED_FOLDS` folds the training parts are not listed, because the file would grow with the number of
    folds times the number of utterances. A training part has all utterances that are in neither of the other parts. The hash
    of a fold covers its training part too.

    `encoders` that were trained on test speakers are listed by name, and a warning is printed at once. `lacking` is
    `reading.labels_left_out`, for the report.
    """
    rows = [
        {
            "name": fold.name,
            "hash": fold.hash,
            "shared_speakers": list(fold.shared_speakers),
            **({"train": [row.id for row in fold.train]} if len(folds) <= LISTED_FOLDS else {}),
            "dev": [row.id for row in fold.dev],
            "test": [row.id for row in fold.test],
        }
        for fold in folds
    ]
    # Without the names of speakers, nobody can tell whether the parts share some.
    unknown = any(row.speaker is None for row in rows_of(folds))
    overlap = unknown or any(fold.shared_speakers for fold in folds)
    tested = [row for fold in folds for row in fold.test]
    known = {name: known_speakers(config, tested) for name, config in encoders.items()}
    known = {name: found for name, found in known.items() if found}
    for warning in warnings_of(known):
        say(f"beware: {warning}")
    return {
        "vocabulary": vocabulary.to_dict(),
        "manifest": manifest,
        "speaker_overlap": overlap,
        "encoder_speakers": known,
        "left_out": dict(lacking),
        "folds": rows,
    }


def encoder_config(name: str) -> PreTrainedConfig | None:
    """Return the config of an encoder, which lists its training speakers; None for an untrained one."""
    return None if name in UNTRAINED else load_config(audio_encoder_source(name))


def _is_done(folder: Path) -> bool:
    return (folder / PREDICTIONS).is_file()


def _train_and_test(
    settings: Settings,
    method: str,
    fold: Fold,
    vocabulary: Vocabulary,
    sources: InputSources,
    folder: Path,
    keep_models: bool,
) -> None:
    begun = begun_at(folder, filter(is_trained, (folder / name for name in ENCODERS)))
    model, source = train_method(settings, method, fold, vocabulary, sources, folder)
    # The table has the probabilities before the temperature; the report applies it.
    table = predict_table(model, fold.test, source, fold=fold.name)
    calibrate(model, fold.dev, source)
    calibration = model.config.calibration
    if calibration is not None:
        on_main_process(lambda: write_json(folder / CALIBRATION, calibration))
    if keep_models:
        save_model(model, folder / "model", settings, method, fold, sources.store, headline_scores(table))
    write_made(folder, begun)
    _finish(table, folder, *(() if keep_models else ENCODERS))


def _baseline(folds: Sequence[Fold], vocabulary: Vocabulary, audio: AudioSettings, folder: Path) -> None:
    if not folds:
        return
    features = EgemapsFeatures(folder, audio.max_seconds)
    with progress_bar("eGeMAPS functionals") as progress:
        features.preload([row for fold in folds for row in (*fold.train, *fold.test)], progress)
    for fold in folds:
        begun = running_seconds()
        scores = run_fold(fold, features, vocabulary)
        table = table_of(fold.test, scores, vocabulary.emotions, vocabulary.resolve, fold.name)
        write_made(folder / fold.name, begun)
        _finish(table, folder / fold.name)


def _finish_off(folders: Sequence[Path], keep_models: bool) -> None:
    """Remove the training state of finished folds. It is still there if a process was killed before it removed it."""

    def remove() -> None:
        for folder in folders:
            for name in (CHECKPOINT, *(() if keep_models else ENCODERS)):
                shutil.rmtree(folder / name, ignore_errors=True)

    on_main_process(remove)


def _finish(table: PredictionTable, folder: Path, *others: str) -> None:
    """Write the predictions, which marks the fold as finished. Then delete the training state and the other given folders."""

    def write() -> None:
        if table.embeddings is not None:
            write_embeddings(folder / EMBEDDINGS, table.embeddings)
        table.write(folder / PREDICTIONS)
        for name in (CHECKPOINT, *others):
            shutil.rmtree(folder / name, ignore_errors=True)

    on_main_process(write)
