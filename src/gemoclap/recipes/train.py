"""One method, one training set: read, train, save; whatever the method."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gemoclap.config import Settings
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import Clips
from gemoclap.data.folds import Fold, undivided
from gemoclap.data.reading import left_out, read_data
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.labels import Vocabulary
from gemoclap.models import EmotionModel
from gemoclap.recipes import gmp
from gemoclap.recipes.calibration import calibration_of_run, set_calibration
from gemoclap.recipes.clips import ClipSource, load_audio_store
from gemoclap.recipes.gmp import Step, check_step, do_step, fit_gmp_fold
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.run_folder import claim, on_main_process, refuse_other_run, run_config, say, say_all
from gemoclap.recipes.supervised import fit_fold, is_trained, save_model
from gemoclap.training.calibration import calibrate


@holds_output
def train(
    settings: Settings,
    method: str,
    output: Path,
    step: Step | None = None,
    store: AudioStore | None = None,
    calibrate_on: Path | None = None,
) -> Path:
    """Train `method` on all speakers of the manifest but the development ones; return the model's folder.

    A training that was stopped goes on; a finished one is left as it is.

    Parameters
    ----------
    step : of gmp_tl, to do no more than that, and return its folder; the steps before it must have been done.
    store : the corpus's audio, where several trainings share it; prepared as ``settings.data.audio`` says.
    calibrate_on : a finished cross-validation with the same settings: the model's temperature is fitted on what it predicts of
        unseen speakers. Without it, development speakers give the temperature; without those, none is fitted. A model that
        is trained already gets its temperature too.

    Raises
    ------
    GemoclapError : what is wrong with the manifest, the settings, the output folder or `calibrate_on`.
    """
    utterances, vocabulary, data = read_data(settings.data)
    settings = replace(settings, data=data)
    everyone = undivided(utterances, data, vocabulary)
    say(left_out(utterances, vocabulary))
    config = {**run_config(settings, [method]), "method": method}
    refuse_other_run(output, config)
    calibration = calibration_of_run(calibrate_on, config, method, vocabulary.emotions) if calibrate_on else None
    if step not in (None, "finetune") or not is_trained(output):
        store = store or load_audio_store(settings.cache, data.audio, [*everyone.train, *everyone.dev])
        say_all(refuse_same_audio([everyone], store, data))
        source = ClipSource(store, settings)
        if step is not None:
            check_step(step, settings, output)
        check_folds(settings, method, {output: everyone}, store, step)
        claim(output, config)
        if step is not None and step != "finetune":
            return do_step(step, settings, everyone, vocabulary, source, output)
        model, clips = train_fold(settings, method, everyone, vocabulary, source, output)
        calibrate(model, () if calibration else everyone.dev, clips)
        save_model(model, output / "model", settings, method, everyone)
    if calibration is not None:
        on_main_process(lambda: set_calibration(output / "model", calibration))
    on_main_process(lambda: shutil.rmtree(output / "checkpoint", ignore_errors=True))
    return output / "model"


def check_folds(
    settings: Settings, method: str, folds: Mapping[Path, Fold], store: AudioStore, step: Step | None = None
) -> None:
    """Raise a GemoclapError for what would come to light late in a method's training; `folds` by the folder of each."""
    if method == "gmp_tl":
        gmp.check_folds(settings, folds, store, step)


def train_fold(
    settings: Settings, method: str, fold: Fold, vocabulary: Vocabulary, source: ClipSource, output: Path
) -> tuple[EmotionModel, Clips]:
    """Train `method` on a fold's training part; logs, checkpoints and what lies between its steps go to `output`.

    Returns the model, and where it gets its inputs from when it is scored, ready for every utterance of the fold.
    """
    fit = fit_gmp_fold if method == "gmp_tl" else fit_fold
    return fit(settings, method, fold, vocabulary, source, output)
