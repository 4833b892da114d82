"""Puts the rows of runs beside the published systems of a paper, each with its protocol: `gemoclap papers`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemoclap.config import TRAINED
from gemoclap.errors import GemoclapError
from gemoclap.files import json_or_empty, write_json
from gemoclap.metrics import INTERVAL_SEEDS
from gemoclap.reports.document import Bullets, Chapter, Document, Grid, write_document
from gemoclap.reports.latex import latex_blocks
from gemoclap.reports.page import adapted_remark, overlap_warning
from gemoclap.reports.protocol import (
    IEMOCAP_UTTERANCES,
    combined_hash,
    corpora_of,
    differing_folds,
    is_iemocap4,
    protocol_grid,
    protocol_of,
    tested,
)
from gemoclap.reports.published import PAPERS, READINGS, UNKNOWN, Paper, PublishedSystem
from gemoclap.reports.records import Results, Row
from gemoclap.reports.result_tables import label_with_seeds
from gemoclap.reports.systems import read_run
from gemoclap.reports.tables import UNDEFINED, figure_cells, scores_row, share_cell, with_sd, write_csv
from gemoclap.wording import counted
from gemoclap.writing import atomic_write, refuse_used_folder

DATA_KEY = "published"
"""Key in NAME.json by which a folder is known to have an earlier table of this kind."""
OTHER_READING = "WAR / UAR in the other reading of Table 1"


@dataclass(frozen=True)
class Beside:
    """A paper, and the runs beside it, by the name that the user gave."""

    paper: Paper
    runs: Mapping[str, Results]

    @property
    def comparable(self) -> dict[str, Results]:
        """The runs of the paper's corpus and classes."""
        return {name: one for name, one in self.runs.items() if is_iemocap4(one)}

    @property
    def others(self) -> dict[str, Results]:
        """The runs of another corpus or of other classes."""
        return {name: one for name, one in self.runs.items() if not is_iemocap4(one)}


def read_beside(paper: str, folders: Sequence[str]) -> Beside:
    """Read the runs that stand beside a paper.

    Parameters
    ----------
    paper : one of `published.PAPERS`, except ``"ems"`` (`reports.ems_paper`).
    folders : folders of cross-validations, of several seeds of one, or of probes, finished or not.

    Raises
    ------
    GemoclapError : a folder is named twice; or as `systems.read_run`.
    """
    runs: dict[str, Results] = {}
    for folder in folders:
        name = os.path.normpath(folder)
        if any(os.path.realpath(name) == os.path.realpath(other) for other in runs):
            raise GemoclapError(f"{folder}: is named twice; name each run once")
        runs[name] = read_run(Path(folder))
    return Beside(PAPERS[paper], runs)


def write_beside(beside: Beside, output: str | os.PathLike) -> Path:
    """Write NAME.md, .html, .csv, .json and .tex into a folder, where NAME is the paper's; return the path of the page.

    Raises
    ------
    GemoclapError : the folder has other files, or cannot be written.
    """
    output = Path(output)
    name = beside.paper.name
    write_json(output / f"{name}.json", _data(beside, output))
    write_csv(output / f"{name}.csv", [*map(_published_row, beside.paper.systems), *_own_rows(beside)])
    with atomic_write(output / f"{name}.tex") as file:
        file.write(_latex(beside))
    return write_document(document(beside), output / name)


def refuse_other_files(output: Path) -> None:
    """Raise a GemoclapError if a folder has files, but no earlier table of a paper."""
    if not any(DATA_KEY in json_or_empty(output / f"{name}.json") for name in PAPERS):
        refuse_used_folder(output)


def incomparable(name: str, results: Results) -> str:
    """Return the sentence that a run is of another corpus or of other classes than the papers."""
    corpora = ", ".join(corpora_of(results)) or "an unnamed corpus"
    return (
        f"{name} is of {corpora} with {len(results.classes)} classes ({results.vocabulary}). The published figures are for "
        "IEMOCAP with the four classes angry, happy (with excited), neutral and sad, so they cannot be compared with it"
    )


def caveats(name: str, results: Results) -> list[str]:
    """Return sentences on what a run of the papers' corpus does in another way than they do."""
    found = []
    if tested(results) != IEMOCAP_UTTERANCES:
        found.append(
            f"{name} tests {tested(results):,} utterances, not the {IEMOCAP_UTTERANCES:,} of IEMOCAP's four classes"
        )
    if (results.config.get("data") or {}).get("folds", "session") != "session":
        found.append(f"{name} does not leave one session out in each fold, as is usual on IEMOCAP")
    return found


# The page.


def document(beside: Beside) -> Document:
    """Return the page: published systems and our rows, then the protocols of all."""
    warnings = [f"**Beware: {incomparable(name, one)}.**" for name, one in beside.others.items()]
    for name, one in beside.runs.items():
        warnings += [f"{name}: {sentence}" for sentence in (*overlap_warning(one), *adapted_remark(one))]
        warnings += [f"**Beware: {name}: {warning}.**" for warning in one.encoder_warnings]
    for name, one in beside.comparable.items():
        warnings += [f"**Beware: {sentence}.**" for sentence in caveats(name, one)]
    warnings += [f"**Beware: {sentence}.**" for sentence in differing_folds(beside.runs)]
    protocols = {name: protocol_of(one) for name, one in beside.runs.items()}
    name = beside.paper.name
    return Document(
        f"{counted(len(beside.runs), 'run')} beside the published figures of {beside.paper.title}",
        tuple(warnings),
        (
            Chapter("Figures", tuple(figure_grids(beside))),
            Chapter("Protocol", (protocol_grid(protocols, {one.title: one.protocol for one in beside.paper.groups}),)),
            Chapter("How to read this", (Bullets(tuple(_reading(beside))),)),
        ),
        f"Figures for programs: [{name}.csv]({name}.csv), [{name}.json]({name}.json). For a paper: "
        f"[{name}.tex]({name}.tex). As one web page: [{name}.html]({name}.html).",
    )


def figure_grids(beside: Beside) -> list[Grid]:
    """Return the tables: published systems with the runs that compare with them, and the other runs apart."""

    def own_cells(runs: Mapping[str, Results]) -> list[list[str]]:
        lines = [line for name, one in runs.items() for line in _own_lines(name, one, beside.paper)]
        return [replace(line, system=f"{line.system} (here)").cells for line in lines]

    header = _header(beside.paper)
    published = [_published_line(one, beside.paper).cells for one in beside.paper.systems]
    about = (
        f"IEMOCAP, four classes. In percent; brackets are 95 % intervals over speakers (and seeds, if a row has several). "
        f"Published figures: {beside.paper.reference}."
    )
    grids = [Grid(about, (header, [*published, *own_cells(beside.comparable)]), text_columns=2)]
    rows = own_cells(beside.others)
    if rows:
        about = "Other corpora or classes: not to be compared with the published figures."
        grids.append(Grid(about, (header, rows), text_columns=2))
    return grids


def _header(paper: Paper) -> list[str]:
    readings = [OTHER_READING] if paper.has_two_readings else []
    return ["system", "audio encoder", "WAR / UAR", *readings, "WAR / UAR, mean of folds", "source"]


@dataclass(frozen=True)
class Line:
    """A system of a table, in words.

    Attributes
    ----------
    readings : (WAR, UAR); if the paper has two readings, both.
    by_fold : WAR and UAR as a mean of folds.
    source : a paper and its table, or the folder of a run.
    """

    system: str
    encoder: str
    readings: tuple[tuple[str, str], ...]
    by_fold: str
    source: str

    @property
    def cells(self) -> list[str]:
        """The cells of the page, which has WAR and UAR in one column."""
        pairs = (UNDEFINED if set(pair) == {UNDEFINED} else " / ".join(pair) for pair in self.readings)
        return [self.system, self.encoder, *pairs, self.by_fold, self.source]

    @property
    def latex_cells(self) -> list[str]:
        """The cells for LaTeX, which has WAR and UAR in a column each."""
        return [self.system, self.encoder, *(figure for pair in self.readings for figure in pair)]


def _published_line(one: PublishedSystem, paper: Paper) -> Line:
    readings = READINGS if paper.has_two_readings else ["table_2"]
    source = one.source.removeprefix(f"{paper.reference}, ")
    return Line(
        one.name,
        one.encoder or UNDEFINED,
        tuple(one.cells(reading, paper.decimals) for reading in readings),
        UNDEFINED,
        source,
    )


def _own_lines(name: str, results: Results, paper: Paper) -> list[Line]:
    found = []
    for row in results.scored_rows:
        assert row.scores is not None and row.mean is not None
        mean = row.mean
        war, uar = figure_cells(row.scores)
        readings = [(war, uar)]
        if paper.has_two_readings:
            readings.append((UNDEFINED, UNDEFINED))  # only the paper labels its figures in two ways
        by_fold = f"{with_sd(mean.war, mean.war_sd)} / {with_sd(mean.uar, mean.uar_sd)}"
        found.append(Line(label_with_seeds(row), encoder_of(row, results), tuple(readings), by_fold, name))
    return found


def encoder_of(row: Row, results: Results) -> str:
    """Return the name of a row's audio encoder: the last part of its id or folder; a dash if the row has none."""
    kind = row.first.folder.name
    if "encoders" in results.config:
        return kind  # a probe's rows are its encoders
    encoder = (results.config.get("model") or {}).get("audio_encoder")
    return Path(encoder).name if encoder and kind in TRAINED else UNDEFINED


def _reading(beside: Beside) -> list[str]:
    return [
        "**WAR** (weighted average recall) is the share of utterances that are predicted correctly, **UAR** (unweighted "
        "average recall) the mean of the recalls of the classes.",
        *beside.paper.remarks,
        *(["Our rows have one reading, in the column WAR / UAR."] if beside.paper.has_two_readings else []),
        "Our figures are those of all test utterances together; for each fold alone and then averaged they are in the column "
        f"'mean of folds'. Which of the two a paper has is {UNKNOWN}.",
        "The papers' figures have no intervals, and were not measured here.",
        f"Intervals of a mean over seeds: {INTERVAL_SEEDS}.",
        "Twelve digits are the beginning of a SHA-256: of the manifest, of an encoder's weights, of the utterances in "
        "each part of a fold.",
    ]


# For programs and papers.


def _published_row(one: PublishedSystem) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": "published", "system": one.name, "audio_encoder": one.encoder, "source": one.source}
    for reading in READINGS:
        if reading == "table_2" or one.is_ambiguous:
            end = "" if reading == "table_2" else "_other_reading"
            row |= {
                f"{name}{end}": share_cell(share)
                for name, share in zip(("war", "uar"), one.shares(reading), strict=True)
            }
    return row


def _own_rows(beside: Beside) -> list[dict[str, Any]]:
    return [
        {
            "kind": "here" if name in beside.comparable else "here, not comparable",
            "system": row.title,
            "audio_encoder": encoder_of(row, results),
            "source": name,
            "corpus": " ".join(corpora_of(results)),
            "folds_hash": combined_hash(results),
            "seeds": " ".join(map(str, row.seeds)),
            **scores_row(row.scores),
            "n_speakers": row.scores.n_clusters,
        }
        for name, results in beside.runs.items()
        for row in results.scored_rows
        if row.scores is not None
    ]


def _data(beside: Beside, output: Path) -> dict[str, Any]:
    return {
        "paper": beside.paper.title,
        "reference": beside.paper.reference,
        DATA_KEY: [_published_row(one) for one in beside.paper.systems],
        "here": [
            {
                "system": row.title,
                "run": os.path.relpath(name, output),
                "comparable": name in beside.comparable,
                "seeds": list(row.seeds),
                "scores": row.scores.to_dict() if row.scores else None,
            }
            for name, results in beside.runs.items()
            for row in results.scored_rows
        ],
        "protocols": {
            **{name: protocol_of(one) for name, one in beside.runs.items()},
            **{one.title: dict(one.protocol) for one in beside.paper.groups},
        },
        "remarks": list(beside.paper.remarks),
    }


def _latex(beside: Beside) -> str:
    paper = beside.paper
    columns = ["System", "Audio encoder", "WAR", "UAR"]
    if paper.has_two_readings:
        columns += ["WAR (other reading)", "UAR (other reading)"]
    published = ((one.title, [_published_line(system, paper) for system in one.systems]) for one in paper.groups)
    blocks = [(title, [line.latex_cells for line in lines]) for title, lines in published if lines]
    for heading, runs in (("Here", beside.comparable), ("Here, not comparable", beside.others)):
        rows = [line.latex_cells for name, one in runs.items() for line in _own_lines(name, one, paper)]
        blocks += [(heading, rows)] if rows else []
    return latex_blocks(_caption(beside), f"published-{paper.name}", columns, blocks) + latex_protocols(
        {name: protocol_of(one) for name, one in beside.runs.items()}
    )


def _caption(beside: Beside) -> str:
    sentences = [
        f"Published figures of {beside.paper.title} ({beside.paper.reference}) and rows measured here, in percent; ours "
        "are all test utterances together, with 95 % intervals over speakers (and seeds, if there are several)."
    ]
    if beside.paper.has_two_readings:
        sentences.append(
            "The paper labels the figures of its Table 1 in two ways: as in its Table 2 (WAR, UAR), or as in the header "
            "of its Table 1 (other reading). Ours have one reading."
        )
    if beside.others:
        sentences.append("Rows of other corpora or classes cannot be compared with the published figures.")
    return " ".join(sentences)


def latex_protocols(protocols: Mapping[str, Mapping[str, str]]) -> str:
    """Return the protocol of each run as LaTeX comments, to be quoted in the text of a paper."""
    lines = [
        f"% Protocol of {name}: " + "; ".join(f"{fact}: {words}" for fact, words in one.items())
        for name, one in protocols.items()
    ]
    return "\n".join(" ".join(line.split()) for line in lines) + "\n"
