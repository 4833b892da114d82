"""Shows what `inspect` has found, for a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gemoclap.corpora.inspect import KINDS, UNKNOWN, Fault, Inspection
from gemoclap.labels import EMOTIONS
from gemoclap.wording import counted

CURES = {
    "label": f"rename them in the table ({', '.join(EMOTIONS)}), or train with them as classes, or merge them with "
    "--data.merges"
}
"""Kind of fault -> what to do, where it is the same for all rows and too long for each."""


def render(inspection: Inspection, limit: int | None = 10) -> Group:
    """Return an inspection for ``rich.print``: counts, then at most `limit` faults of each kind (None: all)."""
    length = ", ".join(f"{name} {value:.2f}" for name, value in inspection.duration.items())
    formats = [f"{rate} Hz: {rows}" for rate, rows in inspection.sample_rates.items()]
    formats += [f"{count} channel{'s' * (count > 1)}: {rows}" for count, rows in inspection.channels.items()]
    summary = [
        f"{counted(inspection.rows, 'utterance')}, {inspection.hours:.2f} h, "
        f"{counted(len(inspection.speakers.keys() - {UNKNOWN}), 'speaker')}",
        f"seconds: {length or 'nothing could be read'}",
        f"files: {', '.join(formats)}",
        f"speakers: {_in_words(inspection.speakers)}",
        f"sessions: {_in_words(inspection.sessions)}",
    ]
    if set(inspection.partitions) != {UNKNOWN}:
        summary.append(f"partitions: {_in_words(inspection.partitions)}")
    for dimension, about in inspection.dimensions.items():
        spread = ", ".join(f"{name} {about[name]:.2f}" for name in ("min", "mean", "max"))
        summary.append(f"{dimension}: {counted(round(about['rows']), 'row')}, {spread}")
    if inspection.votes:
        summary.append(f"votes: {counted(inspection.votes, 'row')}")
    return Group(*map(Text, summary), _emotion_table(inspection), *_fault_lines(inspection.faults, limit))


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {rows}" for name, rows in counts.items())


def _emotion_table(inspection: Inspection) -> Table:
    table = Table()
    table.add_column("emotion")
    for heading in (*inspection.genders, "all"):
        table.add_column(heading, justify="right")
    for emotion, row in inspection.emotion_gender.items():
        cells = (row.get(gender, 0) for gender in inspection.genders)
        table.add_row(Text(emotion), *map(str, cells), str(inspection.emotions[emotion]))
    table.add_section()
    table.add_row("all", *map(str, inspection.genders.values()), str(inspection.rows))
    return table


def _fault_lines(faults: list[Fault], limit: int | None) -> list[Text]:
    if not faults:
        return [Text("no faults")]
    lines = []
    for kind, heading in KINDS.items():
        of_kind = [fault for fault in faults if fault.kind == kind]
        if not of_kind:
            continue
        cure = f"; {CURES[kind]}" if kind in CURES else ""
        lines.append(Text(f"{heading}: {len(of_kind)}{cure}", style="bold"))
        groups = _alike(of_kind) if limit is not None else [[fault] for fault in of_kind]
        lines += [Text(f"  {_in_one_line(group)}") for group in groups[:limit]]
        if limit is not None and (more := sum(map(len, groups[limit:]))):
            lines.append(Text(f"  ... and {more} more (--all lists every row)"))
    return lines


def _alike(faults: list[Fault]) -> list[list[Fault]]:
    """Return faults in groups with the same message, in the order of their first rows."""
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(fault.message, []).append(fault)
    return list(groups.values())


def _in_one_line(alike: list[Fault]) -> str:
    first, *others = alike
    rows = f"{counted(len(alike), 'row')}, first row {first.row}" if others else f"row {first.row}"
    return f"{rows} ({first.id}): {first.message}"
