"""The protocol of runs in words, beside that of published systems: what a reader must know before comparing two figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemoclap.config import METHODS
from gemoclap.corpora.speakers import natural
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary, get_vocabulary
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS
from gemoclap.recipes.run_files import SELECTIONS
from gemoclap.recipes.run_folder import ENCODER_WEIGHTS, MANIFEST_HASH, TEXT_WEIGHTS
from gemoclap.reports.document import Grid
from gemoclap.reports.made import made_line
from gemoclap.reports.published import FACTS, UNKNOWN
from gemoclap.reports.records import Results
from gemoclap.wording import counted, spelt

IEMOCAP_CLASSES = get_vocabulary("iemocap4")
IEMOCAP_UTTERANCES = 5531
"""Number of IEMOCAP's utterances with one of the four classes."""
NOT_RECORDED = "not recorded"
MOST_FOLDS = 8
"""With more folds, only the hash of all together is listed."""
DIVISIONS = {
    "session": "one session left out in each",
    "speaker": "one speaker left out in each",
    "kfold": "groups of speakers",
    "lists": "test speakers from a list",
    "files": "from EmoBox's files",
    "partitions": "the corpus's own partitions",
}
"""Values of `DataSettings.folds` in words."""


WHOLE = {"last": "output of the last layer", "weighted": "learned weighted sum of all layers"}
"""Values of `ModelSettings.layers` that are words."""


def protocol_of(results: Results) -> dict[str, str]:
    """Return what the folder of a run says about its protocol: facts of `published.FACTS` in words."""
    seeds = seeds_of(results)
    return {
        "corpus": _corpus(results),
        "classes": _classes(results),
        "utterances": f"{tested(results):,}",
        "speakers": _speakers(results),
        "folds": _folds(results),
        "hash of the folds": _hashes(results),
        "speakers in both training and test": _shared(results),
        "epoch reported": f"{SELECTIONS[results.selection]}; no epoch was chosen on test speakers",
        **means(seeds),
        **_model(results),
        "versions": versions(results.made),
    }


def means(seeds: Sequence[int]) -> dict[str, str]:
    """Return the facts that follow from the number of seeds."""
    over_seeds = ", then mean over seeds" if len(seeds) > 1 else ""
    return {
        "seeds": ", ".join(map(str, seeds)) or NOT_RECORDED,
        "kind of mean": f"all test utterances together{over_seeds}",
        "intervals": INTERVAL_SEEDS if len(seeds) > 1 else INTERVAL,
    }


def protocol_grid(protocols: Mapping[str, Mapping[str, str]], published: Mapping[str, Mapping[str, str]]) -> Grid:
    """Return a table with a row per fact and a column per run, then one per group of published systems."""
    columns = {**protocols, **published}
    names = [fact for fact in FACTS if any(fact in one for one in columns.values())]
    rows = [
        [fact, *(one.get(fact, UNKNOWN if title in published else "") for title, one in columns.items())]
        for fact in names
    ]
    marks = " [P]: the paper says so. [S]: a secondary source says so." if published else ""
    return Grid(f"How each figure was measured.{marks}", (["protocol", *columns], rows), text_columns=1 + len(columns))


def combined_hash(results: Results) -> str:
    """Return twelve hex digits for all folds of a run. Two runs with equal digits have the same folds."""
    return hashlib.sha256(" ".join(fold.hash for fold in results.folds).encode()).hexdigest()[:12]


def corpora_of(results: Results) -> tuple[str, ...]:
    """Return the corpora of the tested speakers, sorted; empty if the predictions do not name them."""
    tables = [method.predictions for method in results.methods if method.predictions is not None]
    names = {speaker.rpartition("/")[0] for table in tables for speaker in table.speakers if speaker}
    return tuple(sorted(names - {""}))


def is_iemocap4(results: Results) -> bool:
    """Whether a run is of IEMOCAP with the papers' four classes."""
    corpora = {name.lower() for name in corpora_of(results)}
    if results.vocabulary == IEMOCAP_CLASSES.name:
        return corpora <= {"iemocap"}  # an earlier version wrote no corpus
    vocabulary = _vocabulary(results)
    same = set(vocabulary.emotions) == set(IEMOCAP_CLASSES.emotions) and vocabulary.merges == IEMOCAP_CLASSES.merges
    return corpora == {"iemocap"} and same


def tested(results: Results) -> int:
    """Return the number of test utterances of all folds."""
    return sum(fold.n_test for fold in results.folds)


def seeds_of(results: Results) -> tuple[int, ...]:
    """Return the seeds of the trained methods."""
    several = {seed for row in results.rows for seed in row.members if seed is not None}
    own = (results.config.get("train") or {}).get("seed")
    return tuple(sorted(several)) or ((own,) if own is not None else ())


def versions(made: Mapping[str, Any]) -> str:
    """Return versions, machine, date and seconds in words."""
    return "".join(made_line(made)).removeprefix("- Made with: ") or NOT_RECORDED


def _corpus(results: Results) -> str:
    named = ", ".join(corpora_of(results)) or "not named in the predictions"
    digits = results.config.get(MANIFEST_HASH)
    return f"{named}; manifest {Path(results.manifest).name}{f', SHA-256 {str(digits)[:12]}' if digits else ''}"


def _vocabulary(results: Results) -> Vocabulary:
    try:
        return get_vocabulary(results.vocabulary)
    except GemoclapError:
        merges = (results.config.get("data") or {}).get("merges") or {}
        return Vocabulary(results.vocabulary, results.classes, merges)


def _classes(results: Results) -> str:
    merged = "".join(f"; {one}" for one in merged_labels(results))
    return f"{len(results.classes)}: {', '.join(results.classes)}{merged}"


def merged_labels(results: Results) -> list[str]:
    """Return which labels were merged into a class, in words; nothing if none was."""
    merges = {label: into for label, into in _vocabulary(results).merges.items() if label != into}
    return [", ".join(f"{label} merged into {into}" for label, into in merges.items())] if merges else []


def tested_speakers(results: Results) -> tuple[int, int]:
    """Return the number of known speakers that were tested, and of utterances whose speaker is unknown."""
    speakers = max((one.predictions.speakers for one in results.scored if one.predictions is not None), key=len)
    return len({*speakers} - {None}), speakers.count(None)


def _speakers(results: Results) -> str:
    known, unknown = tested_speakers(results)
    return str(known) + (f"; unknown for {counted(unknown, 'utterance')}" if unknown else "")


def _folds(results: Results) -> str:
    division = (results.config.get("data") or {}).get("folds")
    words = DIVISIONS.get(str(division), "")
    return f"{len(results.folds)}{f', {words}' if words else ''}"


def _hashes(results: Results) -> str:
    each = ", ".join(f"{fold.name} {fold.hash}" for fold in results.folds)
    whole = f"{combined_hash(results)} for all"
    return f"{whole}: {each}" if len(results.folds) <= MOST_FOLDS else whole


def _shared(results: Results) -> str:
    shared = sorted({speaker for fold in results.folds for speaker in fold.shared_speakers}, key=natural)
    if shared:
        return f"{counted(len(shared), 'speaker')}: the figures are not speaker-independent"
    return "unknown: some speakers have no name" if results.speaker_overlap else "none"


def _model(results: Results) -> dict[str, str]:
    model, train = results.config.get("model") or {}, results.config.get("train") or {}
    facts = {}
    for fact, name, key in (
        ("audio encoder", "audio_encoder", ENCODER_WEIGHTS),
        ("text encoder", "text_encoder", TEXT_WEIGHTS),
    ):
        if model.get(name):
            digits = results.config.get(key)
            facts[fact] = f"{model[name]}{f', weights {digits[:12]}' if isinstance(digits, str) else ''}"
    if "text encoder" in facts and not any(method.folder.name in METHODS for method in results.methods):
        facts["text encoder"] = "none"  # the settings have one for the methods that compare with prompts
    if "audio encoder" in facts:
        facts["audio encoder"] = ", ".join([facts["audio encoder"], *use_of_encoder(model)])
    if train.get("epochs") is not None:
        parts = [counted(train["epochs"], "epoch"), f"learning rate {train.get('lr')}"]
        if train.get("batch_seconds") is not None:
            parts.append(f"batches of {train['batch_seconds']} seconds")
        elif train.get("batch_size") is not None:
            parts.append(f"batches of {train['batch_size']}")
        facts["training"] = ", ".join(parts)
    return facts


def use_of_encoder(model: Mapping[str, Any]) -> list[str]:
    """Return in words what is trained of the audio encoder, and which of its output is used, as far as `model` says.

    Parameters
    ----------
    model : names and values of `config.ModelSettings`.
    """
    frozen, layers = model.get("freeze"), model.get("layers")
    words = [] if frozen is None else ["fine-tuned" if frozen == "none" else f"frozen: {frozen}"]
    if model.get("lora_rank") is not None:
        words.append(f"LoRA adapters of rank {model['lora_rank']}")
    if isinstance(layers, str):
        words.append(WHOLE.get(layers, f"layers {layers}"))
    elif layers is not None:
        words.append(f"output of {'layers' if isinstance(layers, list) else 'layer'} {spelt(layers)}")
    if model.get("pooling"):
        words.append(f"pooling {model['pooling']}")
    if model.get("standardize") == "speaker":
        words.append("features standardised by speaker, in tests too")
    return words


def differing_folds(each: Mapping[str, Results]) -> list[str]:
    """Return a sentence if runs of the same corpus and classes have different folds; empty otherwise."""
    hashes: dict[tuple[Sequence[str], ...], set[str]] = {}
    for one in each.values():
        hashes.setdefault((corpora_of(one), one.classes), set()).add(combined_hash(one))
    if all(len(found) == 1 for found in hashes.values()):
        return []
    return ["the runs do not have the same folds, so a difference between two of them can come from the folds"]
