"""Does emotion-aware masking help? Encoders are pre-trained in every way with several seeds, then probed and fine-tuned.

All are pre-trained on the same speech, for the same number of steps and with the same order of batches. For each seed, all
encoders of a kind start from the same weights. Corpora that are tested on are left out of the speech. They are recognised by
the name of the corpus in the manifest and by the path of the file. So a copy of a corpus under another name is not recognised.
Each step is one of the other recipes, in a folder of its own below that of the comparison: pretrain/VARIANT/seed_N,
probe/CORPUS/VARIANT/seed_N, finetune/CORPUS/VARIANT/seed_N.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from gemoclap.config import TRAINED, DataSettings, ModelSettings, Settings
from gemoclap.config.ems import CompareSettings, PretrainModelSettings, PretrainSettings
from gemoclap.config.probe import ProbeSettings
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.corpora.speakers import common_speakers, natural, speaker_name
from gemoclap.data.folds import make_folds
from gemoclap.data.reading import read_data
from gemoclap.ems.variants import VARIANTS
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import Vocabulary
from gemoclap.predictions import PREDICTIONS, concatenate, read_predictions
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.holding import holding
from gemoclap.recipes.pretrain import build, load_intensity_model, pretrain, read_source, save_encoder
from gemoclap.recipes.probe import probe
from gemoclap.recipes.run_files import last_row
from gemoclap.recipes.run_folder import claim, refuse_other_run, save_folder
from gemoclap.recipes.sharing import claim_together, refuse_torchrun, share
from gemoclap.recipes.supervised import is_trained
from gemoclap.training.evaluate import headline_scores
from gemoclap.wording import counted


@dataclass(frozen=True)
class Score:
    """Score of one encoder on one corpus, all folds together; `task` is ``"probe"`` or a method of GEmo-CLAP."""

    task: str
    corpus: str
    variant: str
    seed: int
    war: float
    uar: float


@dataclass(frozen=True)
class EmsComparison:
    """All scores, the last row of each pre-training's log by variant and seed, and notes for the reader.

    `warnings` say why a result may be wrong. `facts` say what was compared.
    """

    scores: list[Score]
    pretraining: dict[tuple[str, int], dict[str, Any]]
    warnings: list[str]
    facts: list[str]


def compare(
    settings: CompareSettings,
    output: str | os.PathLike,
    say: Callable[[str], None] = print,
    show: Callable[[EmsComparison], object] = lambda comparison: None,
) -> EmsComparison:
    """Pre-train, probe and fine-tune. Finished work is not repeated.

    If the same command is started again while this one runs, both share the work. Variants, seeds and tests can be added to a
    comparison. The settings of pre-training cannot change.

    Parameters
    ----------
    say : called with a line at the start of each piece of work.
    show : called with the results so far, after each of the two kinds of tests.

    Raises
    ------
    GemoclapError : there is no speech; a variant is unknown; some speech is also tested on; it is one distributed run; a
        setting is given that the comparison chooses itself; the folder has another run; or as the recipes that are called.
    """
    output = Path(output)
    names = _check(settings)
    learnt_from = _speakers_of_intensity_model(settings, names)
    by_manifest = _read_tested(settings)
    tested = [row for rows in by_manifest.values() for row in rows]
    leave_out = _leave_out(settings, tested) if settings.speech else []
    warnings = _warnings(learnt_from, tested)
    for warning in warnings:
        say(f"beware: {warning}")
    claim_together(output, _lasting(settings), names)
    encoders = [(name, seed) for seed in settings.seeds for name in names]
    places = {one: _place(one, output) for one in encoders}
    pretrained = {one: place for one, place in places.items() if VARIANTS[one[0]].encoder}
    logs = share(
        {
            f"pretrain {name} seed {seed}": partial(_pretrain, settings, name, seed, leave_out, place)
            for (name, seed), place in pretrained.items()
        },
        output,
        say,
    )
    last_rows = {one: row for one, row in zip(pretrained, logs, strict=True) if row is not None}
    probed = share(
        {
            f"probe {Path(manifest).stem} {name} seed {seed}": partial(
                _probe, settings, manifest, name, seed, place, output
            )
            for manifest in settings.probe.manifests
            for (name, seed), place in places.items()
        },
        output,
        say,
    )
    facts = _facts(settings, leave_out, by_manifest)
    show(EmsComparison(probed, last_rows, warnings, facts))
    finetuned = settings.seeds if settings.finetune.seeds is None else settings.finetune.seeds
    tuned = share(
        {
            f"fine-tune {Path(manifest).stem} {name} seed {seed}": partial(
                _finetune, settings, manifest, name, seed, place, output
            )
            for manifest in settings.finetune.manifests
            for (name, seed), place in pretrained.items()
            if seed in finetuned
        },
        output,
        say,
    )
    comparison = EmsComparison([*probed, *chain.from_iterable(tuned)], last_rows, warnings, facts)
    show(comparison)
    return comparison


def _check(settings: CompareSettings) -> list[str]:
    """Check everything that would otherwise fail after hours of pre-training; return the names of the variants."""
    refuse_torchrun("a comparison")
    names = list(VARIANTS) if settings.variants is None else settings.variants
    _check_known("variants", names, VARIANTS)
    _check_known("finetune.methods", settings.finetune.methods, TRAINED)
    encoders = [name for name in names if VARIANTS[name].encoder]
    if not (
        settings.probe.manifests and names or settings.finetune.manifests and encoders and settings.finetune.methods
    ):
        raise GemoclapError(
            "no encoder would be scored; give --probe.manifests or --finetune.manifests, and --variants and "
            "--finetune.methods that are not empty"
        )
    if not settings.speech and any(VARIANTS[name].trained for name in encoders):
        raise GemoclapError("no speech; name manifests, or folders of audio files, with --speech")
    for stage, manifests in (("probe", settings.probe.manifests), ("finetune", settings.finetune.manifests)):
        if len({Path(manifest).stem for manifest in manifests}) < len(manifests):
            raise GemoclapError(
                f"{stage}.manifests: two have the same name, which is the name of their folder; rename one"
            )
        for manifest in manifests:
            make_folds(*_data(settings, manifest))
    return names


def _check_known(setting: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise GemoclapError(f"{setting}: there is no {name!r}{hint}; known: {', '.join(known)}")


def _speakers_of_intensity_model(settings: CompareSettings, names: Sequence[str]) -> set[str]:
    """Return the speakers that the intensity model was trained on; none if no variant needs such a model."""
    needing = [name for name in names if VARIANTS[name].needs_intensity]
    if not needing:
        return set()
    if settings.intensity_model is None:
        raise GemoclapError(
            f"intensity_model: {', '.join(needing)} need one; train it with 'gemoclap pretrain intensity', or leave them "
            "out of --variants"
        )
    return set(load_intensity_model(settings.intensity_model).config.trained_speakers or [])


def _data(settings: CompareSettings, manifest: str) -> tuple[list[Utterance], DataSettings, Vocabulary]:
    utterances, vocabulary, data = read_data(DataSettings(manifest=manifest, audio=settings.audio))
    return utterances, data, vocabulary


def _read_tested(settings: CompareSettings) -> dict[str, list[Utterance]]:
    """Return all rows of each test manifest, including those whose class is not tested."""
    return {name: read_manifest(name) for name in [*settings.probe.manifests, *settings.finetune.manifests]}


def _leave_out(settings: CompareSettings, tested: Sequence[Utterance]) -> list[str]:
    """Return the names of the test corpora that are in the speech. Raise an error if a single file is in both."""
    speech = [row for name in settings.speech for row in read_source(Path(name))]
    corpora = {row.corpus for row in tested if row.corpus}
    files = {Path(row.path).resolve() for row in tested}
    for row in speech:
        if row.corpus not in corpora and Path(row.path).resolve() in files:
            raise GemoclapError(
                f"speech: {row.path} is tested on; name its corpus by a manifest, or leave its folder out"
            )
    return sorted(corpora & {str(row.corpus) for row in speech})


def _warnings(learnt_from: set[str], tested: Sequence[Utterance]) -> list[str]:
    both = sorted(common_speakers(learnt_from, map(speaker_name, tested)), key=natural)
    if not both:
        return []
    few = ", ".join(both[:4]) + (" ..." if len(both) > 4 else "")
    return [f"the intensity model was trained with the labels of speakers who are tested on: {few}"]


def _facts(settings: CompareSettings, leave_out: Sequence[str], manifests: Collection[str]) -> list[str]:
    speech = ", ".join(Path(name).stem for name in settings.speech) or "nothing"
    without = f", without {', '.join(leave_out)}, which are tested on" if leave_out else ""
    train = settings.train
    passes = f"{train.epochs:g} {'pass' if train.epochs == 1 else 'passes'} in batches of {train.batch_size}"
    facts = [
        f"pre-trained on {speech}{without}; size {settings.size}, {passes}, learning rates "
        + ", ".join(f"{name} {rate:g}" for name, rate in settings.lr.items())
    ]
    for manifest in manifests:
        rows, data, vocabulary = _data(settings, manifest)
        tested = [row for fold in make_folds(rows, data, vocabulary) for row in fold.test]
        speakers = len({speaker_name(row) for row in tested})
        facts.append(
            f"tested on {Path(manifest).stem}: {counted(len(tested), 'utterance')}, {counted(speakers, 'speaker')}, "
            f"{len(vocabulary.emotions)} classes"
        )
    return [*facts, "all settings: [config.yaml](config.yaml), and in the folder of each step"]


def _lasting(settings: CompareSettings) -> dict[str, Any]:
    """Return the settings that cannot change within a comparison, as plain data.

    Variants, seeds and tests can be added. The settings of a test are fixed in its own folder.
    """
    may_grow = ("variants", "seeds", "probe", "finetune")
    return {name: value for name, value in asdict(settings).items() if name not in may_grow}


def _place(encoder: tuple[str, int], output: Path) -> Path:
    """Return the encoder's folder, for `gemoclap probe`; for log-mel frames their name."""
    name, seed = encoder
    return output / "pretrain" / name / f"seed_{seed}" / "model" if VARIANTS[name].encoder else Path(name)


def _pretrain(
    settings: CompareSettings, name: str, seed: int, leave_out: list[str], place: Path
) -> dict[str, Any] | None:
    """Return the last row of the log; None for an encoder that is not trained."""
    asked = pretrain_settings(settings, name, seed, leave_out)
    if VARIANTS[name].trained:
        pretrain(asked, place.parent)
        return last_row(place.parent / "log.jsonl")
    config = asdict(asked)
    with holding(place.parent):
        refuse_other_run(place.parent, config)
        if not is_trained(place.parent):
            claim(place.parent, config)
            save_folder(place, lambda folder: save_encoder(build(asked), folder, asked))
    return None


def pretrain_settings(settings: CompareSettings, name: str, seed: int, leave_out: list[str]) -> PretrainSettings:
    """Return the settings with which `gemoclap pretrain ems` would pre-train this variant with this seed."""
    variant = VARIANTS[name]
    assert variant.encoder is not None
    return PretrainSettings(
        speech=settings.speech,
        leave_out=leave_out,
        held_out=settings.held_out,
        audio=settings.audio,
        model=PretrainModelSettings(
            encoder=variant.encoder,
            size=settings.size,
            options=variant.options,
            masking=variant.masking,
            score_head=variant.score_head,
            add_intensity=variant.add_intensity,
            intensity_model=settings.intensity_model if variant.needs_intensity else None,
        ),
        train=replace(settings.train, lr=settings.lr[variant.encoder], seed=seed),
        cache=settings.cache,
    )


def _probe(settings: CompareSettings, manifest: str, name: str, seed: int, place: Path, output: Path) -> Score:
    corpus = Path(manifest).stem
    asked = ProbeSettings(
        data=DataSettings(manifest=manifest, audio=settings.audio),
        encoders=[f"{name}={place}"],
        head=settings.probe.head,
        train=replace(settings.probe.train, seeds=[seed]),
        cache=settings.cache,
    )
    figures = probe(asked, output / "probe" / corpus / name / f"seed_{seed}")[name]
    (war,), (uar,) = figures["war"].values, figures["uar"].values
    return Score("probe", corpus, name, seed, war, uar)


def _finetune(settings: CompareSettings, manifest: str, name: str, seed: int, place: Path, output: Path) -> list[Score]:
    corpus = Path(manifest).stem
    asked = Settings(
        data=DataSettings(manifest=manifest, audio=settings.audio),
        model=ModelSettings(audio_encoder=str(place)),
        train=replace(settings.finetune.train, seed=seed),
        cache=settings.cache,
    )
    folder = output / "finetune" / corpus / name / f"seed_{seed}"
    folds = cross_validate(asked, settings.finetune.methods, folder, keep_models=False)
    scores = []
    for method in settings.finetune.methods:
        tables = [read_predictions(folder / method / fold.name / PREDICTIONS) for fold in folds]
        scores.append(Score(method, corpus, name, seed, **headline_scores(concatenate(tables))))
    return scores
