"""Trains any method on one training set, and saves the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gemoclap.config import Settings
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import InputSource
from gemoclap.data.folds import Fold, undivided
from gemoclap.data.reading import left_out, one_class_corpora, read_data, unused_merges
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.labels import Vocabulary
from gemoclap.models import EmotionModel
from gemoclap.recipes import gmp
from gemoclap.recipes.calibration import predictions_of_run, set_calibration
from gemoclap.recipes.early_checks import check_needs, has_votes, one_gender
from gemoclap.recipes.gmp import Step, check_step, run_gmp_step, train_gmp_tl
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.recipes.run_folder import (
    claim,
    drop_checkpoint,
    on_main_process,
    refuse_other_run,
    run_config,
    say,
    say_all,
)
from gemoclap.recipes.supervised import is_trained, save_model, train_in_one_stage
from gemoclap.training.calibration import calibrate
from gemoclap.wording import counted


@holds_output
def train(
    settings: Settings,
    method: str,
    output: Path,
    step: Step | None = None,
    store: AudioStore | None = None,
    calibrate_on: Path | None = None,
) -> Path:
    """Train `method` on all speakers of the manifest, except development speakers; return the folder of the model.

    An interrupted training is resumed. A finished one is not changed.

    Parameters
    ----------
    step : a step of gmp_tl. Only this step is run, and its folder is returned. The steps before it must be finished.
    store : the audio of the corpus, if several trainings share it. It must be prepared as ``settings.data.audio`` says.
    calibrate_on : folder of a finished cross-validation with the same settings. The model's temperature is fitted on its
        predictions of unseen speakers. Without it, the temperature is fitted on development speakers, or not at all if there
        are none. A model that is already trained gets its temperature too.

    Raises
    ------
    GemoclapError : a fault in the manifest, the settings, the output folder or `calibrate_on`.
    """
    utterances, vocabulary, data = read_data(settings.data, has_folds=False)
    settings = replace(settings, data=data)
    everyone = undivided(utterances, data, vocabulary)
    say(left_out(utterances, vocabulary))
    say(unused_merges(data, utterances))
    say_all(one_class_corpora([everyone], vocabulary))
    config = {**run_config(settings, [method]), "method": method}
    refuse_other_run(output, config)
    unseen = predictions_of_run(calibrate_on, config, method, vocabulary.emotions) if calibrate_on else None
    if step not in (None, "finetune") or not is_trained(output):
        store = store or load_audio_store(settings.cache, data.audio, [*everyone.train, *everyone.dev])
        say_all(refuse_same_audio([everyone], store, data))
        sources = InputSources(store, settings)
        if step is not None:
            check_step(step, settings, output)
        check_folds(settings, method, {output: everyone}, vocabulary, store, step)
        if settings.objective.votes:
            say(without_votes([everyone], vocabulary))
        say_all(one_gender(settings, method, [everyone]))
        claim(output, config)
        if step is not None and step != "finetune":
            return run_gmp_step(step, settings, everyone, vocabulary, sources, output)
        model, source = train_method(settings, method, everyone, vocabulary, sources, output)
        calibrate(model, () if unseen else everyone.dev, source)
        save_model(model, output / "model", settings, method, everyone, store)
    if unseen is not None:
        on_main_process(lambda: set_calibration(output / "model", unseen))
    drop_checkpoint(output)
    return output / "model"


def check_folds(
    settings: Settings,
    method: str,
    folds: Mapping[Path, Fold],
    vocabulary: Vocabulary,
    store: AudioStore,
    step: Step | None = None,
) -> None:
    """Check early what would otherwise fail late in the training of a method. `folds` is folder -> fold."""
    check_needs(settings, method, folds.values(), vocabulary)
    if method == "gmp_tl":
        gmp.check_folds(settings, folds, store, step)


def without_votes(folds: Sequence[Fold], vocabulary: Vocabulary) -> str:
    """Return a sentence with the number of training utterances whose votes cannot be trained on; empty if there are none."""
    rows = list({row.id: row for fold in folds for row in fold.train}.values())
    lacking = sum(not has_votes(row, vocabulary) for row in rows)
    if not lacking:
        return ""
    have = "has" if lacking == 1 else "have"
    return (
        f"objective.votes: {lacking:,} of {counted(len(rows), 'training utterance')} {have} no votes for any of the classes: "
        "the label takes their place"
    )


def train_method(
    settings: Settings, method: str, fold: Fold, vocabulary: Vocabulary, sources: InputSources, output: Path
) -> tuple[EmotionModel, InputSource]:
    """Train `method` on the training part of a fold. Logs, checkpoints and results of single steps go to `output`.

    Returns
    -------
    The model, and the source of its inputs for scoring, prepared for every utterance of the fold.
    """
    train_one = train_gmp_tl if method == "gmp_tl" else train_in_one_stage
    return train_one(settings, method, fold, vocabulary, sources, output)
