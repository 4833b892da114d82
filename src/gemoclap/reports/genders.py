"""What a report says of scores by gender if they do not cover all utterances or all classes."""

from __future__ import annotations

from gemoclap.labels import GENDERS
from gemoclap.predictions import PredictionTable
from gemoclap.wording import counted


def gender_remarks(table: PredictionTable) -> list[str]:
    """Return sentences on utterances without a gender, and on classes that one gender lacks; nothing if no gender is known."""
    known = [gender for gender in table.genders if gender in GENDERS]
    if not known:
        return []
    remarks = []
    if len(known) < len(table):
        remarks.append(
            f"the gender of {len(table) - len(known):,} of {counted(len(table), 'utterance')} is not known: they count in "
            "neither UAR by gender, and methods that learn gender cannot learn it from them"
        )
    classes_of: dict[str, set[str]] = {gender: set() for gender in GENDERS}
    for gender, label in zip(table.genders, table.truth, strict=True):
        if gender in classes_of:
            classes_of[gender].add(label)
    for gender, other in (GENDERS, GENDERS[::-1]):
        lacking = [name for name in table.classes if name in classes_of[other] - classes_of[gender]]
        if classes_of[gender] and lacking:
            remarks.append(
                f"no utterance of a {gender} speaker is {', '.join(lacking)}: the gap compares UARs over different classes"
            )
    return remarks
