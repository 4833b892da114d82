"""How commands start: what they import, and what Python need not go through again and again."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from sound import noise, write

from gemoclap.starting import many_imports

TEXT_ENCODER = "transformers.models.bert.modeling_bert"
HEAVY = (
    "sklearn", "opensmile", "matplotlib", "pandas", "pyarrow", "tensorboard", "audformat", "faiss", "scipy.stats", "ray",
    "onnx", "onnxruntime", "umap", "peft", "fastapi", TEXT_ENCODER,
)  # fmt: skip
RUN = """
import gc, importlib, json, sys
from gemoclap.cli import main
steps, unwanted = json.loads(sys.argv[1])
for step in steps:
    try:
        status = importlib.import_module(step) and 0 if isinstance(step, str) else main(step)
    except SystemExit as end:
        status = end.code
    print("##", json.dumps([status, [name for name in unwanted if name in sys.modules]]))
print("##", json.dumps([gc.isenabled(), gc.get_freeze_count()]))
"""


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look like a process that has not imported torch, and take back what was left out of the search for garbage."""
    monkeypatch.delitem(sys.modules, "torch")
    yield
    gc.unfreeze()


def is_found(make: weakref.ref) -> bool:
    gc.collect()
    return make() is None


def test_no_garbage_is_looked_for_during_imports(new_process: None) -> None:
    with many_imports():
        assert not gc.isenabled()
        imported = weakref.ref(Cycle())
    assert gc.isenabled()
    later = weakref.ref(Cycle())
    assert is_found(later)
    assert not is_found(imported)
    gc.unfreeze()
    assert is_found(imported)


def test_the_search_is_on_again_after_an_error(new_process: None) -> None:
    with pytest.raises(ModuleNotFoundError), many_imports():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_a_process_that_is_at_work_is_left_alone() -> None:
    """As in a notebook, or where the caller has switched the search off."""
    import torch  # noqa: F401

    frozen = gc.get_freeze_count()
    with many_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_a_search_that_is_off_stays_off(new_process: None) -> None:
    frozen = gc.get_freeze_count()
    gc.disable()
    try:
        with many_imports():
            pass
        assert not gc.isenabled() and gc.get_freeze_count() == frozen
    finally:
        gc.enable()


def loaded(steps: list, unwanted: tuple[str, ...]) -> list:
    """Run commands (lists) and import modules (words) in a new process. Return the status of each, and which of the unwanted
    modules were imported by then; and last whether the search for garbage is on, and how many objects it leaves out."""
    given = json.dumps([steps, unwanted])
    done = subprocess.run([sys.executable, "-c", RUN, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line[2:]) for line in done.stdout.splitlines() if line.startswith("##")]


def test_help_imports_no_library_of_numbers() -> None:
    unwanted = ("torch", "transformers", "numpy", "scipy", "soundfile", "fastapi")
    assert loaded([["--help"], ["predict", "--help"], ["serve", "--help"]], unwanted)[:-1] == [[0, []]] * 3


def test_commands_import_nothing_that_they_do_not_need(tmp_path: Path) -> None:
    """No scikit-learn, openSMILE, matplotlib or pandas; and no text encoder, unless labels ask for it."""
    clip = str(write(tmp_path / "clip.wav", noise(2.0)))
    steps = [
        ["predict", clip],
        ["timeline", clip],
        "gemoclap.cli.searching",
        "gemoclap.training.evaluate",
        ["predict", clip, "--labels", "bored,excited"],
        "gemoclap.serving.app",
    ]
    *found, (is_on, left_out) = loaded(steps, HEAVY)
    assert found == [[0, []]] * 4 + [[0, [TEXT_ENCODER]], [0, ["fastapi", TEXT_ENCODER]]]
    assert is_on and left_out > 100_000
