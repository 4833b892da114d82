"""Train, test and pack the models that come with this package: one command, from four manifests and a Whisper.

    python scripts/build_models.py --whisper openai/whisper-base --cremad cremad.jsonl --emodb emodb.jsonl \
        --ravdess ravdess.jsonl --nemo nemo.jsonl -o runs/models

In order: the first three layers of Whisper base in half precision (src/gemoclap/weights/encoder); a speaker-disjoint
cross-validation of each model's recipe; each model on all speakers, its temperature fitted on the cross-validation; the recipe
trained without each corpus and tested on that; and the folders in src/gemoclap/weights with their cards. Finished trainings are
not repeated.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from gemoclap.clap.model import TEXT_PREFIX
from gemoclap.cli import main as gemoclap
from gemoclap.config import CacheSettings, Settings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.cards import head, usage
from gemoclap.encoders.embedded import FOLDER, WEIGHTS
from gemoclap.group_statistics import adapt
from gemoclap.models import classifier_of, load_emotion_model
from gemoclap.predictions import PredictionTable, concatenate, read_predictions
from gemoclap.recipes.inputs import InputSources, load_audio_store
from gemoclap.reports.results import score_table
from gemoclap.training.evaluate import table_of
from gemoclap.writing import atomic_write, folder_written_beside

LAYERS = 3
CORPORA = ("cremad", "emodb", "ravdess", "nemo")
TITLES = {"cremad": "CREMA-D", "emodb": "EmoDB", "ravdess": "RAVDESS", "nemo": "nEMO"}
MODELS = {
    "default": (("cremad", "emodb"), "neutral,happy,sad,angry,fearful,disgusted"),
    "research": (CORPORA, "neutral,calm,happy,sad,angry,fearful,disgusted,surprised"),
}
"""Model -> its corpora and its classes."""
METHOD = "emo_clap"
KEPT = ("LICENSE",)
"""Files of a packed model that nobody generates."""
LICENCES = {
    "cremad": "ODbL",
    "emodb": "CC0 or CC BY 4.0, sources differ",
    "ravdess": "CC BY-NC-SA 4.0",
    "nemo": "CC BY-NC-SA 4.0",
}
LICENCE_OF = {
    "default": "MIT, as this package; the corpora allow sharing and use",
    "research": "CC BY-NC-SA 4.0, as the corpora ask: research, not business",
}

LICENCE_OF["small"] = LICENCE_OF["default"]
LICENCE_ON_THE_HUB = {"default": "mit", "small": "mit", "research": "cc-by-nc-sa-4.0"}


HOW_MADE = (
    "- Encoder: the outputs of the first three layers of Whisper base (OpenAI, MIT licence) side by side, frozen; mean and "
    "deviation over frames.",
    f"- Head: {METHOD} (Emo-CLAP), prompts through all-MiniLM-L6-v2 (Apache 2.0).",
)
ONE_COPY = "one perturbed copy of each clip (speed, room, microphone, noise, telephone line, codec)"
THREE_COPIES = f"{ONE_COPY}, one with noise added, and one with its background removed"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--whisper", help="hub id or folder of Whisper base; needed only to make the encoder anew")
    for corpus in CORPORA:
        parser.add_argument(f"--{corpus}", required=True, help="its manifest")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="which; default: all")
    options = parser.parse_args()
    if options.whisper:
        pack_encoder(options.whisper)
    manifests = {corpus: Path(getattr(options, corpus)) for corpus in CORPORA}
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        corpora, emotions = MODELS[name]
        joint = joined(manifests, corpora, options.output / f"{name}.jsonl")
        train(joint, emotions, options.output / name)
        within = scores_within(options.output / f"{name}-crossval", joint, corpora)
        elsewhere = test_elsewhere(name, manifests, options.output)
        pack(options.output / name / "model", FOLDER.parent / name)
        write_card(
            FOLDER.parent / name / "README.md", name, emotions, HOW_MADE, THREE_COPIES, corpora, within, elsewhere
        )


def pack_encoder(whisper: str) -> None:
    """Write the first layers of a Whisper, in half precision."""
    encoder = load_audio_encoder(whisper, LAYERS, keep_layers=LAYERS)
    encoder.model.half().save_pretrained(FOLDER)
    encoder.feature_extractor.save_pretrained(FOLDER)


def joined(manifests: dict[str, Path], corpora: Sequence[str], target: Path) -> Path:
    """Write one manifest of several corpora."""
    write_manifest([row for corpus in corpora for row in read_manifest(manifests[corpus])], target)
    return target


def train(manifest: Path, emotions: str, output: Path) -> None:
    """Cross-validate the recipe, then train it on all speakers and fit its temperature on the cross-validation."""
    settings = settings_of(manifest, emotions)
    checked = output.with_name(f"{output.name}-crossval")
    run("crossval", *settings, "--methods", METHOD, "-o", str(checked))
    run("train", *settings, "--method", METHOD, "--calibrate_on", str(checked), "-o", str(output))


def settings_of(manifest: Path, emotions: str) -> list[str]:
    return [str(manifest), "--config", "default_model", "--cache.audio", "disk", "--data.emotions", emotions]


def test_elsewhere(name: str, manifests: dict[str, Path], output: Path) -> dict[str, dict[str, Score]]:
    """Return corpus -> way of adapting -> scores, on corpora that were not trained on.

    Those are the corpora that a model never saw, and each of the others, left out for it.
    """
    corpora, emotions = MODELS[name]
    found: dict[str, dict[str, Score]] = {}
    for corpus in CORPORA:
        folder = output / name
        if corpus in corpora:
            if len(corpora) == 2:
                continue  # with one corpus of two left there is little of the recipe
            others = [other for other in corpora if other != corpus]
            folder = output / f"{name}-without-{corpus}"
            joint = joined(manifests, others, output / f"{folder.name}.jsonl")
            left = {row.emotion for row in read_manifest(joint)}
            classes = ",".join(word for word in emotions.split(",") if word in left)
            run("train", *settings_of(joint, classes), "--method", METHOD, "-o", str(folder))
        found[corpus] = tested(folder / "model", manifests[corpus])
        for way, score in found[corpus].items():
            print(f"{folder.name} on {corpus}, adapted to {way}: UAR {score.text}", flush=True)
    return found


class Score(NamedTuple):
    """UAR with its interval over speakers, and WAR, all shares from 0 to 1."""

    uar: float
    low: float
    high: float
    war: float
    classes: int

    @property
    def text(self) -> str:
        """In per cent, as a card has it."""
        return f"{100 * self.uar:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def scores_within(checked: Path, manifest: Path, corpora: Sequence[str]) -> dict[str, dict[str, Score]]:
    """Return corpus -> way of adapting -> scores of a cross-validation, whose models are kept.

    Adapting to the corpus means to the clips of its speakers that a fold tests.
    """
    rows = read_manifest(manifest)
    of_corpora = {corpus: [row for row in rows if row.corpus == corpus] for corpus in corpora}
    tables: dict[str, dict[str, list[PredictionTable]]] = {corpus: defaultdict(list) for corpus in corpora}
    for predictions in sorted((checked / METHOD).glob("fold_*/predictions.csv")):
        in_fold = set(read_predictions(predictions).ids)
        for corpus, clips in of_corpora.items():
            found = answers(predictions.with_name("model"), [row for row in clips if row.id in in_fold], clips)
            for way, table in found.items():
                tables[corpus][way].append(table)
    return {
        corpus: {way: score_of(concatenate(parts)) for way, parts in ways.items()} for corpus, ways in tables.items()
    }


def tested(folder: Path, manifest: Path) -> dict[str, Score]:
    """Return the scores of a model on a corpus, by way of adapting."""
    rows = read_manifest(manifest)
    return {way: score_of(table) for way, table in answers(folder, rows, rows).items()}


def answers(folder: Path, rows: Sequence[Utterance], of_corpus: Sequence[Utterance]) -> dict[str, PredictionTable]:
    """Return what a model says of clips: as it is, adapted to all of them, and to each speaker.

    Classes that the corpus lacks cannot be right, so the model chooses among those that both have.

    Parameters
    ----------
    of_corpus : all clips of the corpus, which say what classes it has.
    """
    model: Any = load_emotion_model(folder)
    vocabulary = model.config.emotions
    rows = [row for row in rows if vocabulary.resolve(row.emotion)]
    present = {vocabulary.resolve(row.emotion) for row in of_corpus}
    shared = tuple(word for word in vocabulary.emotions if word in present)
    settings = Settings(cache=CacheSettings(audio="disk"))
    store = load_audio_store(settings.cache, model.config.audio_settings, rows)
    clips = InputSources(store, settings).for_test(model, rows)
    classifier = classifier_of(model, shared)
    with torch.inference_mode():
        features = torch.cat(
            [model.get_audio_features(**clips.inputs(rows[first : first + 512])) for first in range(0, len(rows), 512)]
        ).numpy()
        ways = {
            "nothing": features,
            "corpus": adapt(features, ["all"] * len(rows))[0],
            "speaker": adapt(features, [speaker_name(row) for row in rows])[0],
        }
        return {
            way: table_of(
                rows,
                classifier.classify(classifier.embed_features(torch.from_numpy(adapted))).numpy(),
                shared,
                vocabulary.resolve,
                None,
            )
            for way, adapted in ways.items()
        }


def score_of(table: PredictionTable) -> Score:
    scores = score_table(table)
    return Score(scores.uar, *scores.uar_interval, scores.war, len(table.classes))


def run(*arguments: str) -> None:
    """Run a command of gemoclap, and stop where it fails."""
    print("gemoclap", *arguments, flush=True)
    if status := gemoclap(arguments):
        raise SystemExit(status)


def pack(model: Path, target: Path) -> None:
    """Copy a model in half precision; its prompts are embedded by the rounded weights."""
    loaded: Any = load_emotion_model(model)
    state = loaded.state_dict()
    # The text encoder is not saved, and is read in full precision.
    rounded = {name: tensor if name.startswith(TEXT_PREFIX) else _rounded(tensor) for name, tensor in state.items()}
    loaded.load_state_dict(rounded)
    with folder_written_beside(target) as folder:
        loaded.save_pretrained(folder)
        weights = load_file(folder / WEIGHTS)
        save_file({name: _halved(tensor) for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
        for kept in KEPT:
            if (target / kept).is_file():
                shutil.copy(target / kept, folder)
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()) / 1e6:.1f} MB")


def write_card(
    path: Path,
    name: str,
    emotions: str,
    how_made: Sequence[str],
    copies: str,
    corpora: Sequence[str],
    within: dict[str, dict[str, Score]],
    elsewhere: dict[str, dict[str, Score]],
) -> None:
    """Write the README of a model that comes with this package.

    Parameters
    ----------
    how_made : lines of a list.
    copies : what the perturbed copies of each clip were that were trained on too.
    within, elsewhere : scores of unseen speakers and of unseen corpora, by corpus and way of adapting.
    """
    tags = ["speech-emotion-recognition", "clap"]
    lines = [
        *head({"license": LICENCE_ON_THE_HUB[name], "tags": tags, "base_model": ["openai/whisper-base"]}),
        f"# The {name} model of gemoclap",
        "",
        f"Predicts {emotions.replace(',', ', ')} from speech. `gemoclap predict clip.wav --model {name}`",
        "",
        *how_made,
        f"- Trained on {', '.join(f'{TITLES[corpus]} ({LICENCES[corpus]})' for corpus in corpora)}, and on {copies}.",
        f"- Licence of these weights: {LICENCE_OF[name]}.",
        "",
        *usage(),
        "## Speakers that were not trained on",
        "",
        "Speaker-disjoint cross-validation of the same recipe in five folds, among the classes that a corpus has.",
        "UAR in per cent; the 95 % interval is over speakers. Here the folder is all clips of the corpus that a fold tests.",
        "",
        *_table(within),
        "",
        "## Corpora that were not trained on",
        "",
        "What a stranger's recordings meet. Where a corpus was trained on, the same recipe was trained without it.",
        "UAR in per cent, among the classes that both have.",
        "",
        *_table(elsewhere),
        "",
        "## Known failures, and what it is not for",
        "",
        "- All of its speech is acted, in a few languages. Spontaneous speech is harder, and other languages were not tried.",
        "- On recordings unlike those of training many answers are wrong: see the second table, and adapt to the recordings.",
        "- An emotion that it was not trained on is hardly ever recognised, and clips of other emotions can get its word.",
        "- `predict` answers `no speech` where nobody speaks. With `--speech all`, and in Python, "
        "such sound gets an emotion too.",
        "- An expressed emotion need not be the felt one. Do not use it to judge people: in hiring, school, policing, health.",
        "",
    ]
    with atomic_write(path) as file:
        file.write("\n".join(lines))


def _table(scores: dict[str, dict[str, Score]]) -> list[str]:
    return [
        "| corpus | classes | as it is | `--adapt folder` | `--adapt speaker` |",
        "|---|---|---|---|---|",
        *(
            f"| {TITLES[corpus]} | {ways['nothing'].classes} | {ways['nothing'].text} | {ways['corpus'].text} | "
            f"{ways['speaker'].text} |"
            for corpus, ways in scores.items()
        ),
    ]


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    return _halved(tensor).to(tensor.dtype)


if __name__ == "__main__":
    main()
