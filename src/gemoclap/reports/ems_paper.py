"""Puts plain and EMS pre-training of a `compare ems` beside the gain that the EMS paper reports: `gemoclap papers ems`.

The scores are those of the probes. Unlike in ems.md, their intervals are over speakers and seeds, so that they say how much a
score would change with other speakers, as in the tables of the other papers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gemoclap.ems.variants import PAIRS, VARIANTS
from gemoclap.errors import GemoclapError
from gemoclap.files import entry, read_yaml, write_json
from gemoclap.metrics import (
    Difference,
    confusion_by_seed,
    difference_over_speakers,
    holm,
    none_if_nan,
    sign_flip_p,
    speaker_shares,
    without_nan,
)
from gemoclap.predictions import PREDICTIONS, aligned
from gemoclap.recipes.run_files import REMEDY
from gemoclap.recipes.run_folder import CONFIG
from gemoclap.reports.document import Bullets, Chapter, Document, Grid, write_document
from gemoclap.reports.latex import latex_blocks
from gemoclap.reports.page import overlap_warning
from gemoclap.reports.papers import DATA_KEY, caveats, incomparable, latex_protocols
from gemoclap.reports.protocol import is_iemocap4, means, protocol_grid, protocol_of
from gemoclap.reports.published import EMS, EMS_GAIN
from gemoclap.reports.records import MethodResults, Results, Row
from gemoclap.reports.results import collect
from gemoclap.reports.rows import make_row, tables_of
from gemoclap.reports.tables import UNDEFINED, figure_cells, p_value, scores_row, share_cell, with_points, write_csv
from gemoclap.wording import counted
from gemoclap.writing import atomic_write

MINUS = "\N{MINUS SIGN}"
SHOWN = tuple(pair for kind, pairs in PAIRS.items() if "EMS" in kind for pair in pairs)
"""Pairs of an encoder with EMS and the same encoder without."""


@dataclass(frozen=True)
class Trial:
    """The probes of one corpus.

    Attributes
    ----------
    rows : variant -> its scores, mean over the seeds whose folds are all finished.
    first : the results of one of the probes.
    lacking : number of probes that are not finished.
    """

    corpus: str
    rows: Mapping[str, Row]
    first: Results
    lacking: int

    @cached_property
    def gains(self) -> list[Gain]:
        """EMS minus plain pre-training, for every pair of encoders that has finished seeds in common."""
        return _gains(self)


@dataclass(frozen=True)
class Gain:
    """UAR of EMS minus that of plain pre-training; the p-values and the interval are NaN with one speaker."""

    ems: str
    plain: str
    uar: Difference
    p: float
    p_corrected: float


@dataclass(frozen=True)
class EmsBeside:
    """A comparison of ways to pre-train: its folder, its settings, and its probes by corpus."""

    folder: Path
    config: Mapping[str, Any]
    trials: tuple[Trial, ...]


def read_ems(folders: Sequence[str]) -> EmsBeside:
    """Read the folder of a `gemoclap compare ems`, finished or not.

    Raises
    ------
    GemoclapError : there is not exactly one folder; it is not that of a comparison; or no probe in it is finished.
    """
    if len(folders) != 1:
        raise GemoclapError(f"ems: {len(folders)} folders are named; name the one that 'gemoclap compare ems' wrote")
    folder = Path(folders[0])
    config = read_yaml(folder / CONFIG, REMEDY) if (folder / CONFIG).is_file() else {}
    # Its settings are saved without variants and seeds, which can be added later; no other run has a rate for each encoder.
    if not isinstance(config.get("lr"), Mapping):
        raise GemoclapError(
            f"{folder}: is not the folder of a comparison; name the one that 'gemoclap compare ems' wrote"
        )
    trials = tuple(trial for path in sorted(folder.glob("probe/*")) if (trial := _trial(path)) is not None)
    if not trials:
        raise GemoclapError(f"{folder}: no probe is finished yet; run the same 'gemoclap compare ems' command again")
    return EmsBeside(folder, config, trials)


def _trial(path: Path) -> Trial | None:
    rows, first, lacking = {}, None, 0
    for name, variant in VARIANTS.items():
        members: dict[int, MethodResults] = {}
        for probe in sorted(path.glob(f"{name}/seed_*/{CONFIG}")):
            seed = int(probe.parent.name.removeprefix("seed_"))
            if not any(probe.parent.rglob(PREDICTIONS)):
                lacking += 1
                continue
            results = collect(probe.parent)
            first = first or results
            (method,) = results.methods
            if method.missing:
                lacking += 1
            else:
                members[seed] = method
        if members:
            rows[name] = make_row(name, variant.title, name, {seed: members[seed] for seed in sorted(members)})
    return Trial(path.name, rows, first, lacking) if first is not None and rows else None


def _gains(trial: Trial) -> list[Gain]:
    found = []
    for ems, plain in SHOWN:
        if ems not in trial.rows or plain not in trial.rows:
            continue
        members = [trial.rows[name].members for name in (ems, plain)]
        seeds = [seed for seed in members[0] if seed in members[1]]
        if not seeds:
            continue
        tables = [tables_of([of[seed] for seed in seeds]) for of in members]
        one = aligned([table for each in tables for table in each])
        by_seed = confusion_by_seed(one, tables[0][0].classes)
        with_ems, without = by_seed[: len(seeds)], by_seed[len(seeds) :]
        p = sign_flip_p(speaker_shares(without, with_ems)) if by_seed.shape[1] > 1 else math.nan
        found.append((ems, plain, difference_over_speakers(without, with_ems), p))
    corrected = holm([p for *_, p in found])
    return [Gain(*one, p_corrected) for one, p_corrected in zip(found, corrected, strict=True)]


def write_ems_beside(beside: EmsBeside, output: Path) -> Path:
    """Write ems.md, .html, .csv, .json and .tex into a folder; return the path of the page.

    Raises
    ------
    GemoclapError : the folder cannot be written.
    """
    write_csv(output / "ems.csv", _csv_rows(beside))
    write_json(output / "ems.json", _data(beside))
    with atomic_write(output / "ems.tex") as file:
        file.write(_latex(beside))
    return write_document(ems_document(beside), output / "ems")


# The page.


def ems_document(beside: EmsBeside) -> Document:
    """Return the page: scores of the probes, EMS minus plain beside the paper's gain, and the protocols."""
    warnings = []
    for trial in beside.trials:
        if not is_iemocap4(trial.first):
            warnings.append(f"**Beware: {incomparable(trial.corpus, trial.first)}.**")
        else:
            warnings += [f"**Beware: {sentence}.**" for sentence in caveats(trial.corpus, trial.first)]
        warnings += overlap_warning(trial.first)
        if trial.lacking:
            warnings.append(f"**Unfinished:** {counted(trial.lacking, 'probe')} of {trial.corpus} are left out.")
    published = {EMS.groups[0].title: EMS.groups[0].protocol}
    protocols = {trial.corpus: _protocol(beside, trial) for trial in beside.trials}
    scores = [
        Grid(f"{trial.corpus}: WAR and UAR in percent, of a linear probe on the frozen encoder.", _score_cells(trial))
        for trial in beside.trials
    ]
    differences = [
        Grid(f"{trial.corpus}: UAR in points.", _gain_cells(trial)) for trial in beside.trials if trial.gains
    ]
    return Document(
        f"EMS beside plain pre-training, and the gain of {EMS.reference}",
        tuple(dict.fromkeys(warnings)),
        (
            Chapter(
                f"EMS {MINUS} plain", (*differences, *([] if differences else ["No pair of encoders is finished yet."]))
            ),
            Chapter("Scores", tuple(scores)),
            Chapter("Protocol", (protocol_grid(protocols, published),)),
            Chapter("How to read this", (Bullets(_reading()),)),
        ),
        "Figures for programs: [ems.csv](ems.csv), [ems.json](ems.json). For a paper: [ems.tex](ems.tex). As one web page: "
        "[ems.html](ems.html).",
    )


def _score_cells(trial: Trial) -> tuple[list[str], list[list[str]]]:
    rows = []
    for row in trial.rows.values():
        assert row.scores is not None
        seeds = ", ".join(str(seed) for seed in row.members)
        rows.append([row.title, *figure_cells(row.scores), seeds])
    return ["encoder", "WAR [95 % CI]", "UAR [95 % CI]", "seeds"], rows


def _gain_cells(trial: Trial) -> tuple[list[str], list[list[str]]]:
    found = trial.gains
    rows = [[_name(one), with_points(one.uar), p_value(one.p), p_value(one.p_corrected), "here"] for one in found]
    rows.append(
        [
            f"EMS {MINUS} plain, as reported on IEMOCAP",
            f"up to about +{EMS_GAIN} [S]",
            UNDEFINED,
            UNDEFINED,
            EMS.reference,
        ]
    )
    number = f"p, Holm over {counted(len(found), 'comparison')}"
    return ["difference", "UAR difference [95 % CI]", "p over speakers", number, "source"], rows


def _name(one: Gain) -> str:
    return f"{VARIANTS[one.ems].title} {MINUS} {VARIANTS[one.plain].title}"


def _protocol(beside: EmsBeside, trial: Trial) -> dict[str, str]:
    facts = protocol_of(trial.first)
    seeds = sorted({seed for row in trial.rows.values() for seed in row.members if seed is not None})
    path = beside.folder / CONFIG
    train = entry(dict(beside.config), "train", dict, path, REMEDY)
    rates = ", ".join(f"{name} {rate:g}" for name, rate in (beside.config.get("lr") or {}).items())
    speech = ", ".join(Path(name).stem for name in beside.config.get("speech") or []) or "nothing"
    head, probe = (trial.first.config.get(name) or {} for name in ("head", "train"))
    return {
        **facts,
        **means(seeds),
        "audio encoder": f"as named in the tables, of size {beside.config.get('size')}, frozen",
        "pre-training": f"{speech}; passes: {train.get('epochs')}, in batches of {train.get('batch_size')}; learning rates: "
        f"{rates}",
        "probe": f"linear layer of {head.get('hidden_dim')}, mean over frames, linear layer; {probe.get('steps')} steps "
        f"in batches of {probe.get('batch_size')}, Adam at {probe.get('lr')}; layers: {head.get('layers')}; features "
        f"{'rescaled' if head.get('rescale') else 'as they are'}",
    }


def _reading() -> tuple[str, ...]:
    return (
        *EMS.remarks,
        "Both encoders of a pair start with the same weights and see the same batches, for each seed. Intervals resample "
        "speakers, the same for both, and the seeds of each. p comes from a permutation test over speakers.",
        "EMS changes more than the place of the masks; ems.md in the folder of the comparison has controls for that.",
        "S3PRL's own development set has speakers of the training set, and its best epoch is reported. Here the last "
        "epoch is, and no speaker is shared. For S3PRL's settings of the head use --probe.head.rescale false "
        "--probe.train.lr 1e-4 --probe.train.steps 30000.",
    )


# For programs and papers.


def _csv_rows(beside: EmsBeside) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "kind": "published",
            "difference": "EMS - plain, up to about",
            "uar_difference": EMS_GAIN / 100,
            "source": EMS.reference,
        }
    ]
    for trial in beside.trials:
        first = {"corpus": trial.corpus}
        for one in trial.gains:
            figures = {
                "uar_difference": one.uar.value,
                "uar_difference_low": one.uar.low,
                "uar_difference_high": one.uar.high,
            }
            rows.append(
                {
                    "kind": "difference",
                    **first,
                    "difference": f"{one.ems} - {one.plain}",
                    **{name: share_cell(value) for name, value in figures.items()},
                    **without_nan({"p": one.p, "p_corrected": one.p_corrected}),
                }
            )
        for name, row in trial.rows.items():
            assert row.scores is not None
            seeds = " ".join(str(seed) for seed in row.members)
            rows.append({"kind": "here", **first, "variant": name, "seeds": seeds, **scores_row(row.scores)})
    return rows


def _data(beside: EmsBeside) -> dict[str, Any]:
    return {
        "paper": EMS.title,
        "reference": EMS.reference,
        DATA_KEY: {"largest_gain_in_points": EMS_GAIN, "source": "secondary"},
        "here": {
            trial.corpus: {
                "comparable": is_iemocap4(trial.first),
                "scores": {name: row.scores.to_dict() for name, row in trial.rows.items() if row.scores is not None},
                "uar_gains": {
                    f"{one.ems} - {one.plain}": {
                        "value": one.uar.value,
                        "interval": [none_if_nan(one.uar.low), none_if_nan(one.uar.high)],
                    }
                    for one in trial.gains
                },
            }
            for trial in beside.trials
        },
        "protocols": {
            **{trial.corpus: _protocol(beside, trial) for trial in beside.trials},
            EMS.title: dict(EMS.groups[0].protocol),
        },
    }


def _latex(beside: EmsBeside) -> str:
    caption = (
        f"EMS minus plain pre-training: UAR of a linear probe in points, with 95 % intervals over speakers and seeds. "
        f"{EMS.reference} report up to about {EMS_GAIN} points on IEMOCAP (from a secondary source); other corpora cannot "
        "be compared with that."
    )
    blocks = [
        (trial.corpus, [row[:-1] for row in _gain_cells(trial)[1][:-1]]) for trial in beside.trials if trial.gains
    ]
    header = ["Difference", "UAR", "p over speakers", "corrected (Holm)"]
    return latex_blocks(caption, "published-ems", header, blocks) + latex_protocols(
        {trial.corpus: _protocol(beside, trial) for trial in beside.trials}
    )
