"""What the site of the documentation has besides docs/*.md, for mkdocs.yml: `make docs`.

- the introduction of README.md at the top of the first page, CHANGELOG.md as a page, and CITATION.cff, so that none is copied
- a page of docstrings for each package, with the names that docs/api.md imports
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
INTRODUCTION = "<!-- introduction of README.md -->"
IMPORT = re.compile(r"from (gemoclap[\w.]*) import (\w+(?:, \w+)*)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    changes = from_root((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "changes.md", content=changes))
    files.append(File.generated(config, "CITATION.cff", abs_src_path=str(ROOT / "CITATION.cff")))
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for package, names in imported_names(api).items():
        files.append(File.generated(config, f"reference/{package}.md", content=reference_page(package, names)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if INTRODUCTION in markdown:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        introduction, found, _ = readme.partition("\n## ")
        assert found, "README.md has no section after its introduction"
        markdown = markdown.replace(INTRODUCTION, from_root(introduction.partition("\n")[2].strip()))
    return markdown.replace("](../CHANGELOG.md", "](changes.md").replace("](../CITATION.cff", "](CITATION.cff")


def from_root(markdown: str) -> str:
    """Turn links that start at the repository's root into links that start in docs/."""
    return markdown.replace("](docs/", "](").replace("[docs/", "[").replace("](CHANGELOG.md", "](changes.md")


def imported_names(api: str) -> dict[str, list[str]]:
    """Return package -> the names of it that docs/api.md imports, in its order; ``gemoclap`` has those of the top level."""
    found: dict[str, list[str]] = {}
    for module, names in IMPORT.findall(api):
        package = (module.split(".") + ["gemoclap"])[1]
        found.setdefault(package, [])
        found[package] += [f"{module}.{name}" for name in names.split(", ")]
    return {package: list(dict.fromkeys(names)) for package, names in found.items()}


def reference_page(package: str, names: list[str]) -> str:
    blocks = "\n\n".join(f"::: {name}" for name in names)
    return f"# {package}\n\nFrom the docstrings; [the overview](../api.md) says what each is for.\n\n{blocks}\n"
