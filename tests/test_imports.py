"""The house as docs/architecture.md draws it: imports go down only, and what the page names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "gemoclap"
FLOORS = [
    {
        "errors",
        "extras",
        "files",
        "group_statistics",
        "writing",
        "labels",
        "audio",
        "metrics",
        "predictions",
        "config",
        "terminal",
        "registering",
        "starting",
        "cores",
        "running",
        "wording",
    },
    {"corpora"},
    {"data"},
    {"encoders"},
    {"heads"},
    {"clap", "ems", "gmp"},
    {"models"},
    {"training"},
    {"recipes", "inference"},
    {"reports"},
    {"serving"},
    {"cli"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if path.name not in ("__main__.py",) and path != SOURCE / "__init__.py"
)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they go"
            names += [
                f"{node.module}.{alias.name}" if node.module == "gemoclap" else str(node.module) for alias in node.names
            ]
    return {name.split(".")[1] for name in names if name.startswith("gemoclap.")} - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path: Path) -> None:
    own = room_of(path)
    for room in imported_rooms(path) - {own}:
        on_ground = FLOOR_OF[own] == 0
        assert FLOOR_OF[room] < FLOOR_OF[own] or on_ground and FLOOR_OF[room] == 0, f"{own} imports {room}"


def test_the_ground_has_no_circles() -> None:
    graph = {name: set() for name in FLOORS[0]}
    for path in MODULES:
        if (name := room_of(path)) in graph:
            graph[name] |= imported_rooms(path) - {name}
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in MODULES} == FLOOR_OF.keys()


def test_the_files_that_the_pages_name_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`((?:\w+/)*\w+\.py)`", text) if name not in ("interop.py", "ravdess.py")}
    assert named
    missing = [name for name in named if not (SOURCE / name).is_file() and not (ROOT / name).is_file()]
    assert not missing


def test_the_tree_of_the_readme_has_every_file() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"\n    src/gemoclap/\n(.*?)\n    \w", text, re.DOTALL)
    assert tree
    named: dict[str, set[str]] = {}
    summed_up, room = set(), ""
    for line in tree[1].splitlines():
        if found := re.match(r"      (\w+/|\w+\.py)", line):
            room = found[1].rstrip("/") if found[1].endswith("/") else ""
        named.setdefault(room, set()).update(re.findall(r"(\w+\.py)\b", line))
        summed_up |= {room} if "one file per" in line else set()
    assert summed_up == {"config", "corpora", "cli"}
    for room, files in named.items():
        there = {path.name for path in (SOURCE / room).glob("*.py")} - {"__init__.py", "__main__.py"}
        assert files <= there and (room in summed_up or files == there), (room, files ^ there)
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} <= named.keys()


def test_no_two_public_classes_share_a_name() -> None:
    """A reader who meets a name in an error or a search should know which class it is."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
