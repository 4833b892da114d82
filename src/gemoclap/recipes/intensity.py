"""Trains the model of emotion intensity: ranks utterances, trains on the ranks, and computes the curves of other clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from gemoclap.config.ems import IntensitySettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import TrainBatches, eval_batches
from gemoclap.data.folds import Fold, undivided
from gemoclap.data.reading import read_data
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.data.shards import Shards
from gemoclap.ems.intensity import SIZES, IntensityConfig, IntensityModel, IntensityObjective, intensity_curves
from gemoclap.ems.ranking import StrengthRankers, check_neutral, fit_rankers
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import file_hash, write_json
from gemoclap.labels import Vocabulary
from gemoclap.metrics import unweighted_average_recall, weighted_average_recall
from gemoclap.recipes.baseline import EgemapsFeatures
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.inputs import cache_folder, load_audio_store
from gemoclap.recipes.model_card import write_intensity_card
from gemoclap.recipes.run_files import last_row
from gemoclap.recipes.run_folder import (
    MANIFEST_HASH,
    claim,
    drop_checkpoint,
    on_main_process,
    refuse_other_run,
    save_folder,
    say_all,
    training_key,
)
from gemoclap.recipes.supervised import is_trained
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.training.loop import run_epochs

CURVES = 2
"""Version of the curves. It is raised when the same weights and samples give other curves."""
CLIPS_AT_A_TIME = 16


class StrengthInputs:
    """A source of model inputs (`InputSource`): the waveforms of a store, and the strength of each utterance."""

    at_hand, is_exact = False, True

    def __init__(self, store: AudioStore, strengths: Mapping[str, float]) -> None:
        self.store, self.strengths = store, strengths

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the number of samples of each clip, (N,) int64."""
        return self.store.lengths(utterances)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return ``waveforms`` (B, T), ``lengths`` (B,) and ``strength`` (B,) float32."""
        strength = torch.tensor([self.strengths[row.id] for row in utterances], dtype=torch.float32)
        return {**self.store.inputs(utterances), "strength": strength}


@holds_output
def train_intensity(settings: IntensitySettings, output: Path) -> Path:
    """Rank the utterances of a manifest by the strength of their emotion, train a model on the ranks, and return its folder.

    `output` gets config.yaml, ranking.json (id -> strength), log.jsonl and model/. An interrupted training is resumed. A
    finished one is not changed.

    Raises
    ------
    GemoclapError : no class is neutral; a fault in manifest, audio, settings or the output folder.
    """
    utterances, vocabulary, data = read_data(settings.data, has_folds=False)
    settings = replace(settings, data=data)
    check_neutral(utterances, vocabulary, settings.ranking.neutral)
    everyone = undivided(utterances, data, vocabulary)
    config = {**asdict(settings), MANIFEST_HASH: file_hash(str(data.manifest))}
    refuse_other_run(output, config)
    if not is_trained(output):
        model = build_intensity_model(settings, vocabulary)
        rankers, strengths = rank(settings, everyone, vocabulary)
        store = load_audio_store(settings.cache, data.audio, [*everyone.train, *everyone.dev])
        say_all(refuse_same_audio([everyone], store, data))
        claim(output, config)
        on_main_process(lambda: write_json(output / "ranking.json", _as_data(rankers, strengths)))
        _fit(settings, model, everyone, vocabulary, StrengthInputs(store, strengths), output)
        _save(model, settings, everyone, output)
    drop_checkpoint(output)
    return output / "model"


def rank(settings: IntensitySettings, fold: Fold, vocabulary: Vocabulary) -> tuple[StrengthRankers, dict[str, float]]:
    """Fit rankers to the training part; return them, and id -> strength for every utterance of both parts.

    Raises
    ------
    GemoclapError : no class is neutral, or an audio file cannot be read.
    """
    check_neutral(fold.train, vocabulary, settings.ranking.neutral)  # fail before the long work, not after it
    rows = [*fold.train, *fold.dev]
    functionals = EgemapsFeatures(cache_folder(settings.cache), settings.data.audio.max_seconds)
    with progress_bar("eGeMAPS functionals") as progress:
        functionals.preload(rows, progress)
    chosen = settings.ranking
    rankers = fit_rankers(
        functionals(fold.train),
        fold.train,
        vocabulary,
        neutral=chosen.neutral,
        cost=chosen.cost,
        max_pairs=chosen.max_pairs,
        center=chosen.center_speakers,
        seed=settings.train.seed,
    )
    strengths = rankers(functionals(rows), rows)
    return rankers, dict(zip((row.id for row in rows), strengths.tolist(), strict=True))


def _as_data(rankers: StrengthRankers, strengths: Mapping[str, float]) -> dict[str, Any]:
    pairs = {
        emotion: {
            "ordered": len(ranker.pairs.ordered),
            "similar": len(ranker.pairs.similar),
            "across_speakers": ranker.pairs.across_speakers,
        }
        for emotion, ranker in rankers.rankers.items()
    }
    return {"neutral": rankers.neutral, "pairs": pairs, "scores": dict(strengths)}


def build_intensity_model(settings: IntensitySettings, vocabulary: Vocabulary) -> IntensityModel:
    """Return the untrained model; its weights depend on the seed alone.

    Raises
    ------
    GemoclapError : `model.options` has an unknown field or a wrong value.
    """
    known = list(IntensityConfig.__annotations__)
    for option in settings.model.options:
        if option not in known:
            raise GemoclapError(f"model.options: the intensity model has no {option!r}{did_you_mean(option, known)}")
    torch.manual_seed(settings.train.seed)
    try:
        config = IntensityConfig(
            **{**SIZES[settings.model.size], **settings.model.options},
            vocabulary=vocabulary.to_dict(),
            preparation=asdict(settings.data.audio),
        )
        return IntensityModel(config)
    except (TypeError, ValueError) as error:
        raise GemoclapError(f"model.options: {str(error).splitlines()[0]}") from error


def _fit(
    settings: IntensitySettings,
    model: IntensityModel,
    fold: Fold,
    vocabulary: Vocabulary,
    source: StrengthInputs,
    output: Path,
) -> None:
    state = process_state()
    batches = TrainBatches(fold.train, source, vocabulary, settings.train, state.process_index, state.num_processes)
    run_epochs(
        model,
        IntensityObjective(),
        batches,
        # The loss of an utterance does not depend on other utterances, so processes only have to average gradients.
        replace(settings.train, gather=False),
        output,
        run_key=training_key(asdict(settings), fold.hash),
        evaluate=(lambda: score_intensity(model, fold.dev, source)) if fold.dev else None,
        label="intensity",
    )


def score_intensity(model: IntensityModel, utterances: Sequence[Utterance], source: StrengthInputs) -> dict[str, float]:
    """Compare a model with the strengths of held-out utterances; it is left in evaluation mode.

    Returns
    -------
    ``mae``, the mean absolute error of the scores of utterances; ``rank_correlation``, Spearman's correlation with the
    strengths; ``uar`` and ``war``, the scores of the model's emotion predictions.
    """
    model.eval()
    vocabulary = model.config.emotions
    found: list[tuple[float, float, str, str]] = []
    with torch.inference_mode():
        for batch in eval_batches(utterances, source, vocabulary, CLIPS_AT_A_TIME):
            outputs = model(**batch.to(model.device).inputs)
            named = (vocabulary.emotions[index] for index in outputs["logits"].argmax(1).tolist())
            true = (vocabulary.emotions[index] for index in batch.targets.emotions.tolist())
            found += zip(outputs["score"].tolist(), outputs["strength"].tolist(), true, named, strict=True)
    scores, strengths, truth, prediction = zip(*found, strict=True)
    return {
        "mae": float(np.mean(np.abs(np.subtract(scores, strengths)))),
        "rank_correlation": float(spearmanr(scores, strengths).statistic),
        "uar": unweighted_average_recall(truth, prediction),
        "war": weighted_average_recall(truth, prediction),
    }


def _save(model: IntensityModel, settings: IntensitySettings, fold: Fold, output: Path) -> None:
    model.config.trained_speakers = sorted({speaker_name(row) for row in (*fold.train, *fold.dev)})
    last = last_row(output / "log.jsonl")
    scores = {name.removeprefix("dev_"): value for name, value in last.items() if name.startswith("dev_")}

    def write(folder: Path) -> None:
        with readable_errors(str(folder)):
            model.save_pretrained(folder)
        write_intensity_card(folder / "README.md", settings, fold, scores)

    on_main_process(lambda: save_folder(output / "model", write))


def curves(model: IntensityModel, store: AudioStore, utterances: Sequence[Utterance], folder: Path) -> Shards:
    """Return the intensity curves of clips, computed once for all runs; the model is left in evaluation mode.

    Parameters
    ----------
    model : it is moved to the device of this process.
    store : the clips, prepared as in the training of the model (``model.config.audio_settings``).
    folder : folder of all caches on disk. Each model has a folder of its own for curves below it.

    Returns
    -------
    Shards whose ``[store.content_key(utterance)]`` is the scores (F,) float32; ``model.frame_times(F)`` are their times.

    Raises
    ------
    GemoclapError : an audio file cannot be read, or the folder cannot be written.
    """
    state = process_state()
    model.to(state.device)  # type: ignore[arg-type]  # transformers' wrapper is typed as a plain function
    config = model.config
    kept = Shards(folder / "intensity" / fingerprint(model, CURVES, config.hop, config.mel_stride, config.log_mel))
    rows = {store.content_key(row): row for row in utterances}
    missing = kept.missing(rows)[state.process_index :: state.num_processes]
    lengths = store.lengths([rows[key] for key in missing])
    by_length = [missing[place] for place in np.argsort(lengths, kind="stable")]
    with progress_bar("intensity curves") as progress, kept.writer() as shards:
        for first in range(0, len(by_length), CLIPS_AT_A_TIME):
            keys = by_length[first : first + CLIPS_AT_A_TIME]
            for key, (_, scores) in zip(keys, intensity_curves(model, [store(rows[key]) for key in keys]), strict=True):
                shards[key] = torch.from_numpy(scores)
            progress(first + len(keys), len(missing))
    state.wait_for_everyone()
    kept.refresh()
    return kept
