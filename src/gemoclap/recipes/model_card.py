"""Writes the README of a saved model: what it was trained on, how it was tested, and what it may be used for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from gemoclap.config import METHODS, TITLES, Settings
from gemoclap.config.ems import IntensitySettings, PretrainSettings
from gemoclap.corpora import CORPORA
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import shown_speakers
from gemoclap.data.folds import Fold
from gemoclap.encoders.cards import CAUTION, head, input_lines, usage
from gemoclap.encoders.speech_model import LabelledConfig
from gemoclap.files import read_text
from gemoclap.metrics import unweighted_average_recall, weighted_average_recall
from gemoclap.predictions import PredictionTable
from gemoclap.wording import counted
from gemoclap.writing import atomic_write

BY_SPEAKER = (
    "It was trained and tested on clips that were adapted to their speakers, without labels, and is worse on single clips. "
    "Give it several recordings of each person, and say who speaks: `gemoclap predict manifest.jsonl --adapt speaker`, or "
    "`Predictor.predict_adapted`.",
    "",
)
"""What the card of a model of `model.standardize: speaker` says beside how it is used."""
NOT_HELD_OUT = "No test part was held out of this training."
ENCODERS = {"mockingjay": "MockingJay", "npc": "NPC"}


def write_model_card(
    path: Path,
    settings: Settings,
    method: str,
    fold: Fold,
    scores: Mapping[str, float] | None = None,
    config: LabelledConfig | None = None,
) -> None:
    """Write the card: corpora with their licences, the split and its hash, the main settings, and the scores if there are any.

    Parameters
    ----------
    config : config of the model. None leaves out the section on its input and output.
    """
    title, *about = _what(settings, method)
    lines = [
        *head(_head(settings, method, fold, scores, title.removeprefix("# "))),
        title,
        *about,
        "",
        *usage(),
        *(BY_SPEAKER if settings.model.standardize == "speaker" else ()),
        *(input_lines(config.emotions.emotions, config.clip_settings) if config else ()),
        "## Trained on",
        "",
        *_corpora(fold.train),
        f"- {counted(len(fold.train), 'utterance')} of {_speakers(fold.train)}; development: {_speakers(fold.dev)}",
        f"- fold `{fold.name}`, hash `{fold.hash}`; {counted(settings.train.epochs, 'epoch')}, seed {settings.train.seed}, "
        f"epoch reported: {settings.train.select}",
        "",
        "## Tested on",
        "",
        *_scores(fold, scores),
        "",
        CAUTION,
    ]
    with atomic_write(path) as file:
        file.write("\n".join(lines) + "\n")


def write_expected_scores(path: Path, table: PredictionTable, manifest: str, speaker_overlap: bool) -> None:
    """Write into the card of a model of all speakers the scores of a cross-validation with the same settings.

    Parameters
    ----------
    table : the predictions for test speakers, of all folds and seeds.
    manifest, speaker_overlap : of the cross-validation, as in `calibration.Unseen`.
    """
    lines = read_text(path).split("\n") if path.is_file() else []
    war, uar = (
        figure(table.truth, table.prediction) for figure in (weighted_average_recall, unweighted_average_recall)
    )
    speakers = counted(len({one for one in table.speakers if one is not None}), "speaker")
    of_whom = (
        "speakers shared with the training set" if speaker_overlap else "each by a model that had not heard the speaker"
    )
    sentence = (
        f"{NOT_HELD_OUT} A cross-validation with the same settings tested {counted(len(set(table.ids)), 'utterance')} of "
        f"{speakers} in `{manifest}` ({of_whom}): WAR {100 * war:.1f} %, UAR {100 * uar:.1f} %."
    )
    written = [sentence if line.startswith(NOT_HELD_OUT) else line for line in lines]
    if written != lines:
        with atomic_write(path) as file:
            file.write("\n".join(written))


def _head(
    settings: Settings, method: str, fold: Fold, scores: Mapping[str, float] | None, title: str
) -> dict[str, Any]:
    """Return the head, which the hub reads: tags, the encoders that are from the hub, and the scores in the form of the hub."""
    encoders = [settings.model.audio_encoder, *([settings.model.text_encoder] if method in METHODS else [])]
    return {
        "tags": ["speech-emotion-recognition", *(["clap"] if method in METHODS else [])],
        "base_model": [name for name in map(public_name, encoders) if "/" in name],
        "metrics": ["recall", "accuracy"] if scores else [],
        "model-index": [{"name": title, "results": [_result(fold, scores)]}] if scores else [],
    }


def _result(fold: Fold, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return scores in the form of the hub's model index."""
    corpora = sorted({row.corpus or "unnamed corpus" for row in fold.test})
    kinds = {"uar": "recall", "war": "accuracy"}
    return {
        "task": {"type": "audio-classification", "name": "speech emotion recognition"},
        "dataset": {"type": "+".join(corpora), "name": f"{', '.join(corpora)}, {fold.name}"},
        "metrics": [
            {"type": kinds.get(name, name), "name": name.upper(), "value": round(100 * value, 2)}
            for name, value in scores.items()
        ],
    }


def write_intensity_card(path: Path, settings: IntensitySettings, fold: Fold, scores: Mapping[str, float]) -> None:
    """Write the card of a model of emotion intensity. `scores` are those on the development speakers; None without any."""
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items())
    lines = [
        "---",
        "library_name: gemoclap",
        "tags: [speech-emotion-recognition, emotion-intensity]",
        "---",
        "",
        "# Intensity of emotion over time",
        "",
        "A network like StrengthNet (Liu et al., arXiv 2110.03156). It was trained on ranks of whole utterances: how much "
        f"each differs from the {settings.ranking.neutral} ones of its speaker in openSMILE's eGeMAPS functionals. Within an "
        "utterance the curve is nearly flat, because the loss pulls all frames to the score of the utterance.",
        "",
        "    gemoclap intensity THIS_FOLDER clip.wav -o clip.png",
        "",
        "## Trained on",
        "",
        *_corpora(fold.train),
        f"- {counted(len(fold.train), 'utterance')} of {_speakers(fold.train)}; development: {_speakers(fold.dev)}",
        "",
        "## Tested on",
        "",
        f"{counted(len(fold.dev), 'utterance')} of {_speakers(fold.dev)}, against their ranks and emotions: {figures}."
        if figures
        else "No speakers were held out.",
        "",
        CAUTION,
    ]
    with atomic_write(path) as file:
        file.write("\n".join(lines) + "\n")


def write_encoder_card(path: Path, settings: PretrainSettings, rows: Sequence[Utterance]) -> None:
    """Write the card of a pre-trained speech encoder. `rows` are its training utterances, including the held-out clips."""
    model = settings.model
    ways = {
        "intensity": "masks that follow the intensity of emotion (EMS)",
        "shifted": "the masks of EMS moved round each clip at random (a control)",
        "random": "random masks",
        "none": "plain masks",
    }
    heads = {"none": "", "speech": ", with a score head", "intensity_track": ", with the score head of EMS's authors"}
    added = ", the intensity added to its input" if model.add_intensity else ""
    passes = counted(settings.train.epochs, "pass", "passes")
    labels = (
        "Emotion labels were only used to train the intensity model, whose curves were used here."
        if settings.needs_intensity
        else "No labels were used."
    )
    lines = [
        "---",
        "library_name: transformers",
        "tags: [speech-emotion-recognition, feature-extraction]",
        "---",
        "",
        f"# {ENCODERS[model.encoder]}, pre-trained with {ways[model.masking]}",
        "",
        f"Size {model.size}{heads[cast(str, model.score_head)]}{added}; {passes} over the speech below, seed "
        f"{settings.train.seed}. {labels}",
        "",
        "    gemoclap crossval --model.audio_encoder THIS_FOLDER --data.manifest labelled.jsonl -o runs/crossval",
        "",
        "## Trained on",
        "",
        *_corpora(rows),
    ]
    with atomic_write(path) as file:
        file.write("\n".join(lines) + "\n")


def _what(settings: Settings, method: str) -> list[str]:
    if method not in METHODS:
        what = (
            "Speech emotion recognition by multi-scale pseudo-labels of frames and fine-tuning in two stages (Pan et al., "
            "arXiv 2405.02151)."
            if method == "gmp_tl"
            else f"Speech emotion recognition by a plain head ({TITLES[method]}) on a speech encoder."
        )
        return [f"# {TITLES[method]}: {public_name(settings.model.audio_encoder)}", "", what]
    what = "Speech emotion recognition by contrastive language-audio pretraining (Pan et al., arXiv 2306.07848)."
    encoders = " and ".join(map(public_name, (settings.model.audio_encoder, settings.model.text_encoder)))
    return [f"# {TITLES[method]}: {encoders}", "", what]


def public_name(encoder: str) -> str:
    """Return an encoder's name as a card may show it. Of a folder this is its name only, because the path is private.

    The name "model" says nothing. Such a folder is called by the name of the folder above: ``"runs/mockingjay/model"`` becomes
    ``"mockingjay"``.
    """
    is_folder = (
        Path(encoder).is_dir() or encoder.startswith((".", "/", "~")) or encoder.count("/") > 1 or "\\" in encoder
    )
    if not is_folder:
        return encoder
    parts = [part for part in Path(encoder).absolute().parts if part != "model"]
    return parts[-1]


def _corpora(rows: Sequence[Utterance]) -> list[str]:
    counts = Counter(row.corpus for row in rows)
    return [
        f"- {name or 'unnamed corpus'}: {counted(count, 'utterance')}; licence of the corpus: {_licence(name)}"
        for name, count in counts.items()
    ]


def _licence(corpus: str | None) -> str:
    return CORPORA[corpus].licence if corpus in CORPORA else "see its publisher"


def _scores(fold: Fold, scores: Mapping[str, float] | None) -> list[str]:
    if not scores:
        return [f"{NOT_HELD_OUT} A cross-validation shows what scores to expect."]
    figures = ", ".join(f"{name.upper()} {100 * value:.1f} %" for name, value in scores.items())
    overlap = " (speakers shared with the training set)" if fold.shared_speakers else ""
    return [f"{counted(len(fold.test), 'utterance')} of {_speakers(fold.test)}{overlap}: {figures}."]


def _speakers(rows: Sequence[Utterance]) -> str:
    return counted(len(shown_speakers(rows)), "speaker")
