"""The settings of the runs of a report side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemoclap.recipes.made import read_made
from gemoclap.recipes.run_files import read_run_config
from gemoclap.recipes.run_folder import CONFIG, determining
from gemoclap.reports.records import Results
from gemoclap.reports.tables import UNDEFINED, Cells
from gemoclap.wording import spelt

VERSIONS = ("gemoclap", "torch", "transformers", "device")
"""Properties of how a run was made that are listed if they differ."""


def differing_settings(results: Results) -> Cells:
    """Return a row per setting or version in which the runs differ, and a column per run; a dash if a run has no value.

    Settings of GMP-TL are only compared among the runs that have it.
    """
    each = [_settings(read_run_config(run / CONFIG)) | _versions(results, run) for run in results.runs]
    names = dict.fromkeys(name for settings in each for name in settings)
    rows = []
    for name in names:
        having = [settings for settings in each if name in settings or not name.startswith("gmp.")]
        if len({_shown(settings.get(name)) for settings in having}) > 1:
            rows.append([name, *(_shown(settings.get(name)) for settings in each)])
    return ["setting", *map(str, results.runs)], rows


def all_settings(results: Results) -> Cells:
    """Return a row per setting of the first run."""
    return ["setting", "value"], [[name, _shown(value)] for name, value in _settings(results.config).items()]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted name -> value. Settings that a run of an earlier version did not have get the value that it used.

    Those of GMP-TL are left out of a run without it, which they say nothing about.
    """
    sections = determining(config)
    if "gmp_tl" not in config["methods"]:
        sections.pop("gmp", None)
    return dict(_flat(sections, ""))


def _flat(settings: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [(f"{prefix}{name}", value)]
    return found


def _versions(results: Results, run: Path) -> dict[str, Any]:
    folders = [
        method.folder / fold for method in results.methods for fold in method.folds if method.folder.parent == run
    ]
    made = read_made(folders)
    return {f"version of {name}" if name != "device" else name: made[name] for name in VERSIONS if made.get(name)}


def _shown(value: Any) -> str:
    if value is None:
        return UNDEFINED
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return spelt(value)
