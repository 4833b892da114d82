"""The README of a saved model: what it was trained on, how it was tested, and what it may be used for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from gemoclap.config import HEADS, TITLES, Settings
from gemoclap.corpora import CORPORA
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.files import atomic_write

CAUTION = (
    "Acted speech is not spontaneous speech, and a face value of an emotion is not what a person feels: do not use "
    "this model to judge people."
)


def write_model_card(
    path: Path, settings: Settings, method: str, fold: Fold, scores: Mapping[str, float] | None = None
) -> None:
    """Write the card: corpora with their licences, the split and its hash, settings that matter, scores where known."""
    lines = [
        "---",
        "library_name: gemoclap",
        "pipeline_tag: audio-classification",
        f"tags: [speech-emotion-recognition{'' if method in HEADS else ', clap'}]",
        "---",
        "",
        *_what(settings, method),
        "",
        "```python",
        "from gemoclap import Predictor",
        'print(Predictor.from_pretrained("this folder")("clip.wav").probabilities)',
        "```",
        "",
        "## Trained on",
        "",
        *_corpora(fold),
        f"- {len(fold.train)} utterances of {_speakers(fold.train)}; development: {_speakers(fold.dev)}",
        f"- fold `{fold.name}`, hash `{fold.hash}`; {settings.train.epochs} epochs, seed {settings.train.seed}, "
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


def _what(settings: Settings, method: str) -> list[str]:
    if method in HEADS:
        what = f"Speech emotion recognition by a plain head ({TITLES[method]}) on a speech encoder."
        return [f"# {TITLES[method]}: {settings.model.audio_encoder}", "", what]
    what = "Speech emotion recognition by contrastive language-audio pretraining (Pan et al., arXiv 2306.07848)."
    return [f"# {TITLES[method]}: {settings.model.audio_encoder} and {settings.model.text_encoder}", "", what]


def _corpora(fold: Fold) -> list[str]:
    counts = Counter(row.corpus for row in fold.train)
    return [
        f"- {name or 'unnamed corpus'}: {count} utterances; licence of the corpus: {_licence(name)}"
        for name, count in counts.items()
    ]


def _licence(corpus: str | None) -> str:
    return CORPORA[corpus].licence if corpus in CORPORA else "see its publisher"


def _scores(fold: Fold, scores: Mapping[str, float] | None) -> list[str]:
    if not scores:
        return ["No test part was held out of this training; a cross-validation says what to expect."]
    figures = ", ".join(f"{name.upper()} {100 * value:.1f} %" for name, value in scores.items())
    overlap = " (speakers shared with the training set)" if fold.shared_speakers else ""
    return [f"{len(fold.test)} utterances of {_speakers(fold.test)}{overlap}: {figures}."]


def _speakers(rows: Sequence[Utterance]) -> str:
    number = len({row.speaker for row in rows if row.speaker})
    return f"{number} speaker{'' if number == 1 else 's'}"
