"""The card of an emotion model: the README.md in its folder. It is saved and uploaded together with the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers.utils import cached_file

from gemoclap.audio import SAMPLE_RATE
from gemoclap.config import AudioSettings
from gemoclap.wording import counted

CARD = "README.md"
THIS_FOLDER = "this folder"
"""The name of the model in its card, until it is uploaded under another name."""
HUB_OPTIONS = ("cache_dir", "local_files_only", "revision", "token")
CAUTION = (
    "Acted speech is not spontaneous speech, and an expressed emotion need not be the felt one. Do not use "
    "this model to judge people."
)


def head(fields: Mapping[str, Any]) -> list[str]:
    """Return the lines of the head of a card, which the hub reads. A field without a value is left out."""
    known = {
        "library_name": "gemoclap",
        "pipeline_tag": "audio-classification",
        **{name: value for name, value in fields.items() if value},
    }
    # JSON is also YAML. It quotes text that would otherwise be read as something else.
    return ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in known.items()), "---", ""]


def usage() -> list[str]:
    """Return the lines that say how to use a model."""
    return [
        "```python",
        "from gemoclap import Predictor",
        "",
        f'print(Predictor.from_pretrained("{THIS_FOLDER}")("clip.wav").probabilities)',
        "```",
        "",
        "Or with transformers, which gives the same numbers; `import gemoclap` makes the model known to it:",
        "",
        "```python",
        "import gemoclap",
        "from transformers import pipeline",
        "",
        f'classify = pipeline("audio-classification", model="{THIS_FOLDER}")',
        f'print(classify({{"raw": waveform, "sampling_rate": {SAMPLE_RATE}}}))  # a float32 array (T,), mono',
        "```",
        "",
    ]


def input_lines(labels: Sequence[str], audio: AudioSettings) -> list[str]:
    """Return the lines that describe the input and the output of a model."""
    trimmed = (
        "nothing is cut off"
        if audio.trim_silence_db is None
        else f"head and tail more than {audio.trim_silence_db:g} dB below the loudest frame are cut off"
    )
    bounded = (
        "the rest is used as a whole"
        if audio.max_seconds is None
        else f"if more than {audio.max_seconds:g} s are left, the answer is the mean over parts"
    )
    return [
        "## Input and output",
        "",
        f"- Mono speech at {SAMPLE_RATE} Hz of one person, a clip of some seconds: {trimmed}; {bounded}.",
        f"- One probability for each of {counted(len(labels), 'class', 'classes')}: {', '.join(labels)}.",
        "",
    ]


def plain_card(title: str, labels: Sequence[str], audio: AudioSettings) -> str:
    """Return the card of a model about which only its config is known."""
    lines = [
        *head({"tags": ["speech-emotion-recognition"]}),
        f"# {title}",
        "",
        "Speech emotion recognition with gemoclap.",
        "",
        *usage(),
        *input_lines(labels, audio),
        "## Trained and tested on",
        "",
        "Not stated.",
        "",
        CAUTION,
    ]
    return "\n".join(lines) + "\n"


def read_card(name: str, options: Mapping[str, Any]) -> str | None:
    """Return the card of a folder or of a repository of the hub; None if it has none, or the hub cannot be reached.

    Parameters
    ----------
    options : options of `from_pretrained`, such as ``revision``.
    """
    path = Path(name) / CARD
    if not Path(name).is_dir():
        found = cached_file(
            name,
            CARD,
            **{option: options[option] for option in HUB_OPTIONS if option in options},
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is None:
            return None
        path = Path(found)
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def write_card(folder: str | os.PathLike, card: str) -> None:
    (Path(folder) / CARD).write_text(card, encoding="utf-8")


def published(card: str, repo_id: str, tags: Sequence[str] | None) -> str:
    """Return a card for uploading. It names the repository, and has the `tags` in addition."""
    card = card.replace(f'"{THIS_FOLDER}"', f'"{repo_id}"')
    if not tags:
        return card
    parsed = ModelCard(card, ignore_metadata_errors=True)
    data: Any = parsed.data
    data.tags = [*dict.fromkeys([*(data.get("tags") or []), *tags])]
    return str(parsed)
