"""Does emotion-aware masking help? Encoders pre-trained in every way with several seeds, then probed and fine-tuned.

All are pre-trained on the same speech, for as many steps, from the same initial weights a seed and in batches of the same
order; the corpora that are tested on are left out of the speech. Each step below is one of the other recipes, in a folder
of its own below the comparison's: pretrain/VARIANT/seed_N, probe/CORPUS/VARIANT/seed_N, finetune/CORPUS/VARIANT/seed_N.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from gemoclap.config import TRAINED, DataSettings, ModelSettings, Settings
from gemoclap.config_ems import LOG_MEL, CompareSettings, PretrainModelSettings, PretrainSettings, ProbeSettings
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.data.folds import Fold, speaker_name
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import atomic_write
from gemoclap.predictions import concatenate, read_predictions
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.pretrain import build, load_intensity_model, pretrain, read_source, save_encoder
from gemoclap.recipes.probe import probe
from gemoclap.recipes.run_folder import CONFIG, save_folder
from gemoclap.recipes.supervised import is_trained
from gemoclap.training.distributed import process_state
from gemoclap.training.evaluate import headline_scores

Say = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """A way to come by an encoder.

    Attributes
    ----------
    title : in tables and pictures.
    encoder : None where there is none, but log-mel frames alone.
    masking, score_head : as in `PretrainModelSettings`.
    mask_size : of npc, in frames.
    trained : False leaves the encoder as it was initialised.
    """

    title: str
    encoder: Literal["mockingjay", "npc"] | None
    masking: Literal["intensity", "random", "none"] = "none"
    score_head: bool = False
    mask_size: int | None = None
    trained: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the encoder's config. EMS widens npc's mask by two frames where the emotion is intense.

        The kernel is two frames longer than the papers' 15, so that the last of the four blocks, whose mask has grown by
        8, sees something at a mask size of 7 [C]; at 9 it does not.
        """
        if self.mask_size is None:
            return {}
        return {"kernel_size": 17, "mask_size": self.mask_size, "wide_mask_size": self.mask_size + 2}


def _ways(
    title: str, encoder: Literal["mockingjay", "npc"], plain: Any, mask_size: int | None = None
) -> dict[str, Variant]:
    """Return plain and EMS pre-training, each without and with the score head, by what their names end in."""
    return {
        "": Variant(title, encoder, plain, mask_size=mask_size),
        "_ems": Variant(f"{title}, EMS", encoder, "intensity", mask_size=mask_size),
        "_score": Variant(f"{title}, score head", encoder, plain, True, mask_size),
        "_ems_score": Variant(f"{title}, EMS, score head", encoder, "intensity", True, mask_size),
    }


VARIANTS: dict[str, Variant] = {
    LOG_MEL: Variant("log-mel, no encoder", None),
    "mockingjay_untrained": Variant("MockingJay, untrained", "mockingjay", "random", trained=False),
    **{f"mockingjay{end}": one for end, one in _ways("MockingJay", "mockingjay", "random").items()},
    "npc5_untrained": Variant("NPC 5, untrained", "npc", mask_size=5, trained=False),
    **{f"npc5{end}": one for end, one in _ways("NPC 5", "npc", "none", 5).items()},
    "npc5_random": Variant("NPC 5, as many frames wide as in EMS, at random", "npc", "random", mask_size=5),
    **{f"npc7{end}": one for end, one in _ways("NPC 7", "npc", "none", 7).items()},
}
"""All that can be compared, by name; NPC's number is its mask size."""

PAIRS = (
    ("mockingjay_ems", "mockingjay"),
    ("mockingjay_ems_score", "mockingjay_score"),
    ("npc5_ems", "npc5"),
    ("npc5_ems_score", "npc5_score"),
    ("npc7_ems", "npc7"),
    ("npc7_ems_score", "npc7_score"),
)
"""EMS and what it is to be better than, all else being equal."""
CONTROLS = (("npc5_ems", "npc5_random"), ("npc5_ems", "npc7"))
"""What else could explain a gain of NPC's: some wider masks wherever they are, or wider masks everywhere."""


@dataclass(frozen=True)
class Score:
    """What one encoder came to on one corpus, all folds together; `task` is ``"probe"`` or a method of GEmo-CLAP."""

    task: str
    corpus: str
    variant: str
    seed: int
    war: float
    uar: float


@dataclass(frozen=True)
class Comparison:
    """All scores, the last row of each pre-training's log by variant and seed, and what a reader must be told first."""

    scores: list[Score]
    pretraining: dict[tuple[str, int], dict[str, Any]]
    warnings: list[str]


def compare(settings: CompareSettings, output: Path, say: Say = print) -> Comparison:
    """Pre-train, probe and fine-tune; nothing finished is done again, what was stopped goes on.

    The same command started again while this one runs shares the work: each takes what the other has not begun.

    Parameters
    ----------
    say : is told of each piece of work as it begins.

    Raises
    ------
    GemoclapError : no speech, an unknown variant, speech that is also tested on, several processes, and whatever the
        recipes below raise.
    """
    names = _checked(settings)
    tested = _read_tested(settings)
    leave_out = _leave_out(settings, tested)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / CONFIG) as file:
        yaml.safe_dump(json.loads(json.dumps(asdict(settings))), file, sort_keys=False, allow_unicode=True)
    encoders = [(name, seed) for seed in settings.seeds for name in names]
    places = {one: _place(one, output) for one in encoders}
    pretrained = {one: place for one, place in places.items() if VARIANTS[one[0]].encoder}
    _share({f"pretrain {_said(one)}": _pretraining(settings, one, leave_out, place) for one, place in pretrained.items()},
           output, say)  # fmt: skip
    scores: dict[tuple[str, str, str, int], Score] = {}
    _share(
        {
            f"probe {Path(manifest).stem} {_said(one)}": _probing(settings, manifest, one, place, output, scores)
            for manifest in settings.probe.manifests
            for one, place in places.items()
        },
        output,
        say,
    )
    finetuned = settings.seeds if settings.finetune.seeds is None else settings.finetune.seeds
    _share(
        {
            f"fine-tune {Path(manifest).stem} {_said(one)}": _finetuning(settings, manifest, one, place, output, scores)
            for manifest in settings.finetune.manifests
            for one, place in pretrained.items()
            if one[1] in finetuned
        },
        output,
        say,
    )
    logs = {one: _last_row(place.parent / "log.jsonl") for one, place in pretrained.items() if VARIANTS[one[0]].trained}
    return Comparison(list(scores.values()), logs, _warnings(settings, tested))


def _checked(settings: CompareSettings) -> list[str]:
    if process_state().num_processes > 1:
        raise GemoclapError(
            "a comparison shares its work without torchrun or 'accelerate launch'; start the same command once a device"
        )
    names = list(VARIANTS) if settings.variants is None else settings.variants
    _check_known("variants", names, VARIANTS)
    _check_known("finetune.methods", settings.finetune.methods, TRAINED)
    if not settings.probe.manifests and not settings.finetune.manifests:
        raise GemoclapError("nothing to compare the encoders on; give --probe.manifests or --finetune.manifests")
    for stage, manifests in (("probe", settings.probe.manifests), ("finetune", settings.finetune.manifests)):
        if len({Path(manifest).stem for manifest in manifests}) < len(manifests):
            raise GemoclapError(
                f"{stage}.manifests: two have the same name, which is the name of their folder; rename one"
            )
    return names


def _check_known(setting: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise GemoclapError(f"{setting}: there is no {name!r}{hint}; known: {', '.join(known)}")


def _read_tested(settings: CompareSettings) -> list[Utterance]:
    manifests = dict.fromkeys([*settings.probe.manifests, *settings.finetune.manifests])
    return [row for manifest in manifests for row in read_manifest(manifest)]


def _leave_out(settings: CompareSettings, tested: Sequence[Utterance]) -> list[str]:
    """Return the corpora that are in the speech and are tested on; what else is in both is refused."""
    speech = [row for name in settings.speech for row in read_source(Path(name))]
    corpora = {row.corpus for row in tested if row.corpus}
    files = {Path(row.path).resolve() for row in tested}
    for row in speech:
        if row.corpus not in corpora and Path(row.path).resolve() in files:
            raise GemoclapError(
                f"speech: {row.path} is tested on; name its corpus by a manifest, or leave its folder out"
            )
    return sorted(corpora & {str(row.corpus) for row in speech})


def _warnings(settings: CompareSettings, tested: Sequence[Utterance]) -> list[str]:
    if settings.intensity_model is None:
        return []
    heard: set[str] = set(load_intensity_model(settings.intensity_model).config.trained_speakers or [])
    both = sorted(heard & {str(speaker_name(row)) for row in tested})
    if not both:
        return []
    few = ", ".join(both[:4]) + (" ..." if len(both) > 4 else "")
    return [f"the intensity model was trained with the labels of speakers who are tested on: {few}"]


def _share(jobs: Mapping[str, Callable[[], object]], output: Path, say: Say) -> None:
    """Do all jobs: first those that no other process is at, then, when it is done with them, a look at the others'."""
    locks = output / "locks"
    locks.mkdir(exist_ok=True)
    left = dict(jobs)
    for waits in (False, True):
        for name in list(left):
            lock = FileLock(locks / f"{name.replace(' ', '_')}.lock")
            try:
                lock.acquire(blocking=waits)
            except Timeout:
                continue
            try:
                say(f"{len(jobs) - len(left) + 1} of {len(jobs)}: {name}")
                left.pop(name)()
            finally:
                lock.release()


def _said(encoder: tuple[str, int]) -> str:
    return f"{encoder[0]} seed {encoder[1]}"


def _place(encoder: tuple[str, int], output: Path) -> Path:
    """Return where the encoder is, which `gemoclap probe` takes; for log-mel frames their name."""
    name, seed = encoder
    return output / "pretrain" / name / f"seed_{seed}" / "model" if VARIANTS[name].encoder else Path(name)


def _pretraining(
    settings: CompareSettings, encoder: tuple[str, int], leave_out: list[str], place: Path
) -> Callable[[], object]:
    asked = pretrain_settings(settings, *encoder, leave_out)
    if VARIANTS[encoder[0]].trained:
        return lambda: pretrain(asked, place.parent)

    def save_untrained() -> None:
        if not is_trained(place.parent):
            save_folder(place, lambda folder: save_encoder(build(asked), folder))

    return save_untrained


def pretrain_settings(settings: CompareSettings, name: str, seed: int, leave_out: list[str]) -> PretrainSettings:
    """Return what `gemoclap pretrain ems` would be told to pre-train this variant with this seed.

    Raises
    ------
    GemoclapError : the variant needs an intensity model and there is none.
    """
    variant = VARIANTS[name]
    assert variant.encoder is not None
    needs_intensity = variant.masking == "intensity" or variant.score_head
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
            intensity_model=settings.intensity_model if needs_intensity else None,
        ),
        train=replace(settings.train, lr=settings.lr[variant.encoder], seed=seed),
        cache=settings.cache,
    )


def _probing(
    settings: CompareSettings, manifest: str, encoder: tuple[str, int], place: Path, output: Path, scores: dict
) -> Callable[[], None]:
    name, seed = encoder
    corpus = Path(manifest).stem

    def run() -> None:
        asked = ProbeSettings(
            data=DataSettings(manifest=manifest, audio=settings.audio),
            encoders=[str(place)],
            head=settings.probe.head,
            train=replace(settings.probe.train, seeds=[seed]),
            cache=settings.cache,
        )
        (figures,) = probe(asked, output / "probe" / corpus / name / f"seed_{seed}").values()
        (war,), (uar,) = figures["war"].values, figures["uar"].values
        scores["probe", corpus, name, seed] = Score("probe", corpus, name, seed, war, uar)

    return run


def _finetuning(
    settings: CompareSettings, manifest: str, encoder: tuple[str, int], place: Path, output: Path, scores: dict
) -> Callable[[], None]:
    name, seed = encoder
    corpus = Path(manifest).stem

    def run() -> None:
        asked = Settings(
            data=DataSettings(manifest=manifest, audio=settings.audio),
            model=ModelSettings(audio_encoder=str(place)),
            train=replace(settings.finetune.train, seed=seed),
            cache=settings.cache,
        )
        folder = output / "finetune" / corpus / name / f"seed_{seed}"
        folds = cross_validate(asked, settings.finetune.methods, folder, keep_models=False)
        for method in settings.finetune.methods:
            war, uar = _scored(folder / method, folds)
            scores[method, corpus, name, seed] = Score(method, corpus, name, seed, war, uar)

    return run


def _scored(folder: Path, folds: Sequence[Fold]) -> tuple[float, float]:
    table = concatenate([read_predictions(folder / fold.name / "predictions.csv") for fold in folds])
    figures = headline_scores(table)
    return figures["war"], figures["uar"]


def _last_row(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
