"""The pages that the site of the documentation adds; `make docs` itself checks links and names."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import yaml

from gemoclap import __version__
from gemoclap.metrics.comparisons import ALL_SIGNS, DRAWS

ROOT = Path(__file__).parents[1]


def test_reports_and_glossary_have_one_name_for_the_test_of_a_difference() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    (row,) = (line for line in glossary.splitlines() if line.startswith("| permutation test"))
    assert f"up to {ALL_SIGNS} speakers, otherwise {DRAWS:,} random ones" in row
    pages = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "src/gemoclap/reports").glob("*.py")}
    assert not [
        name for name, text in pages.items() if re.search("\\bp (comes )?from (a )?sign.flip|\\bp: sign.flip", text)
    ]
    assert sum("permutation test over speakers" in text for text in pages.values()) >= 4


def test_how_to_cite_names_the_version_and_every_paper() -> None:
    page = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8").replace("{", "").replace("}", "")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"version = {__version__}," in page and citation["version"] == __version__
    assert citation["references"]
    for paper in citation["references"]:
        authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
        assert paper["title"] in page and f"= {authors}," in page
        assert paper["url"].removeprefix("https://arxiv.org/abs/") in page


def test_every_import_of_the_api_page_works() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    imports = re.findall(r"from (gemoclap[\w.]*) import (\w+(?:, \w+)*)", page)
    assert len(imports) > 30
    for module, names in imports:
        for name in names.split(", "):
            assert hasattr(import_module(module), name) or find_spec(f"{module}.{name}"), f"{module}: {name}"


def test_links_of_the_first_pages_lead_to_files() -> None:
    for page in ("README.md", "CHANGELOG.md", "docs/index.md", "docs/citing.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
        missing = [target for target in targets if not ((ROOT / page).parent / target).exists()]
        assert targets and not missing, f"{page}: {missing}"


def test_what_is_on_the_api_page_takes_the_name_of_a_file_as_text() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    found = {
        f"{module}.{name}": getattr(import_module(module), name, None)  # None: a module of this package
        for module, names in re.findall(r"`from (gemoclap[\w.]*) import ([\w, ]+)`", page)
        for name in names.split(", ")
    }
    functions = {name: one for name, one in found.items() if callable(one) and not is_dataclass(one)}
    assert len(functions) > 40
    wants_paths = {
        name: parameter.name
        for name, one in functions.items()
        for parameter in signature(one).parameters.values()
        if "Path" in re.split(r"[^\w.]+", str(parameter.annotation)) and "str" not in str(parameter.annotation)
    }
    assert not wants_paths
