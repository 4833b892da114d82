"""The pages' pieces of Python are run, in a folder with the files that they name; calls in lines fit their signatures."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import PAGES, ROOT, Block, blocks_of, spans_of, text_of
from sound import write
from walking import Walk
from world import Voices

from gemoclap import Predictor
from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.text import TextEncoder
from gemoclap.inference.frames import FrameLabeler
from gemoclap.inference.stream import EmotionStream, StreamState

ELSEWHERE = {
    ("docs/serving.md", "import httpx2"): "tests/serving/test_serving_docs.py",
    ("docs/serving.md", "import json"): "tests/serving/test_serving_docs.py",
    ("docs/export.md", "from gemoclap import OnnxPredictor"): "tests/docs/test_walk_pages.py",
    ("docs/extending.md", "# src/gemoclap/"): "tests/test_extending.py",
    ("docs/extending.md", "import json\nfrom pathlib"): "tests/test_extending.py",
    ("docs/extending.md", "import sys\n\nimport lookback"): "tests/test_extending.py",
}
"""Page and start of a snippet -> the test that runs it."""
HERE = {
    ("README.md", "from gemoclap import Predictor"),
    ("docs/quickstart.md", "from gemoclap import Predictor\n\nstream ="),
    ("docs/quickstart.md", "from gemoclap import Predictor\n\npredictor ="),
    ("docs/export.md", "import gemoclap\nfrom transformers"),
    ("docs/api.md", "# whisper_third_layer.py"),
}
"""Those that are run below."""
OTHERS_CALLS = {"pipeline", "AutoModelForAudioClassification.from_pretrained", "push_to_hub", "objective", "classifier"}
"""Calls of the API page to what is transformers', or has a form that any function may have."""
INSTANCES = {
    "predictor": [Predictor], "encoder": [SpeechEncoder, TextEncoder], "labeler": [FrameLabeler], "state": [StreamState],
    "stream": [EmotionStream],
}  # fmt: skip
"""Names of objects on the pages -> what they are."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A folder with a clip, and a model of one's own."""
    folder = tmp_path_factory.mktemp("snippets")
    voices = Voices(folder / "made")
    voices.save(folder / "clip.wav")
    for run in ("all", "ravdess-all"):
        shutil.copytree(small_model, folder / "runs" / run / "model")
    return folder


def snippets() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page) if block.language == "python"]


def snippet(page: str, start: str) -> Block:
    (found,) = [block for block in snippets() if block.page == page and block.text.startswith(start)]
    return found


def test_every_snippet_is_run_somewhere() -> None:
    known = [*ELSEWHERE, *HERE]
    for block in snippets():
        assert any(block.page == page and block.text.startswith(start) for page, start in known), block.where
    for page, start in known:
        assert any(block.page == page and block.text.startswith(start) for block in snippets()), f"{page}: {start}"
    for page, _ in ELSEWHERE:
        test = (ROOT / ELSEWHERE[page, _]).read_text(encoding="utf-8")
        assert Path(page).name in test, f"{ELSEWHERE[page, _]} does not read {page}"


def run(block: Block, place: Path, **names: Any) -> dict[str, Any]:
    """Run a snippet, and return its names; a line that is an expression is kept as ``shown``, in a list."""
    return Walk(block.page, place).python(block.text, **names)


def test_readme(place: Path) -> None:
    block = snippet("README.md", "from gemoclap import Predictor")
    predictor = run(block, place)["predictor"]
    (emotion,) = re.findall(r"\.emotion  # '(\w+)'", block.text)
    assert emotion in predictor.labels


def test_prediction_with_a_model_of_ones_own(place: Path) -> None:
    names = run(snippet("docs/quickstart.md", "from gemoclap import Predictor\n\npredictor ="), place)
    assert sum(names["prediction"].probabilities.values()) == pytest.approx(1)


def test_a_stream(place: Path) -> None:
    sound = Voices(place / "spoken").sound(0, "happy")
    chunks = np.array_split(np.concatenate([sound, sound])[::2], 5)  # at 8 kHz
    names = run(snippet("docs/quickstart.md", "from gemoclap import Predictor\n\nstream ="), place, microphone=chunks)
    assert isinstance(names["stream"], EmotionStream)
    data = names["stream"].state.to_dict()
    assert StreamState.from_dict(data).to_dict() == data  # as the page says below


def test_the_pipeline_of_transformers(place: Path) -> None:
    one, other = (Voices(place / f"heard{number}").sound(number, "sad").astype(np.float32) for number in range(2))
    names = run(snippet("docs/export.md", "import gemoclap\nfrom transformers"), place, one=one, other=other)
    (found,) = [names["classify"]({"raw": one, "sampling_rate": SAMPLE_RATE})]
    write(place / "one.wav", one, SAMPLE_RATE)
    expected = Predictor.from_pretrained(place / "runs" / "all" / "model")(one).probabilities
    assert {answer["label"]: answer["score"] for answer in found} == pytest.approx(expected, abs=1e-4)


def test_a_class_for_xares(place: Path) -> None:
    """Its sound is tests/encoders/test_xares.py's business; here the class of the page can be made."""
    made = run(snippet("docs/api.md", "# whisper_third_layer.py"), place)["WhisperThirdLayerEncoder"]
    assert all(hasattr(made.__mro__[1], name) for name in ("audio_encoder", "layers"))


# Calls in lines of text.


def imported(text: str) -> dict[str, Any]:
    """Return what the imports of a text give."""
    found = re.findall(r"from (gemoclap[\w.]*) import (\w+(?:, \w+)*)", text)
    pairs = [(import_module(module), name) for module, names in found for name in names.split(", ")]
    return {
        name: getattr(module, name) if hasattr(module, name) else import_module(f"{module.__name__}.{name}")
        for module, name in pairs
    }


def calls(code: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the dotted name and the arguments of every call in a piece of code, which may have shapes behind arguments."""
    for found in re.finditer(r"((?:\w+\.)*[a-zA-Z_]\w*)\(", code):
        depth, parts = 1, [""]
        for sign in code[found.end() :]:
            depth += (sign in "([{") - (sign in ")]}")
            if depth == 0:
                yield found[1], [part.strip() for part in parts if part.strip()]
                break
            if sign == "," and depth == 1:
                parts.append("")
            else:
                parts[-1] += sign


def candidates(name: str, names: dict[str, Any]) -> list[Any]:
    """Return what a dotted name may be: of the imports, a method of an object, or of one of the imported classes."""
    first, *others = name.split(".")
    found: list[Any] = [names[first]] if first in names else []
    if first in INSTANCES:
        found = [getattr(one, "__call__" if not others else others[0], None) for one in INSTANCES[first]]
        others = others[1:]
    elif first not in names and not others:
        found = [getattr(one, first) for one in names.values() if inspect.isclass(one) and hasattr(one, first)]
    for other in others:
        found = [getattr(one, other) for one in found if hasattr(one, other)]
    return [one for one in found if one is not None]


def fits(target: Any, arguments: list[str]) -> bool:
    """Whether a callable takes as many arguments, and the named ones by these names; a dataclass has the fields given."""
    named = [found[1] for one in arguments if (found := re.match(r"(\w+)=", one))]
    count = len(arguments) - len(named)
    is_method = inspect.isfunction(target) and "." in target.__qualname__
    try:
        inspect.signature(target).bind_partial(*[None] * (count + is_method), **dict.fromkeys(named))
    except TypeError:
        return False
    if target is Predictor.stream and not {*named} <= {*inspect.signature(EmotionStream).parameters}:
        return False  # it hands its options on
    fields = set(inspect.signature(target).parameters)
    return not is_dataclass(target) or all(one in fields for one in arguments if one.isidentifier())


def test_calls_of_the_api_page_fit_their_signatures() -> None:
    everything = imported(text_of("docs/api.md"))
    checked = 0
    problems = []
    for row in re.findall(r"^\| .*$", text_of("docs/api.md"), re.MULTILINE):
        names = {**everything, **imported(row)}
        of_row = imported(row)
        for code in re.findall(r"`([^`]+)`", row):
            for name, arguments in calls(code):
                if name in OTHERS_CALLS or code.startswith("from "):
                    continue
                found = candidates(name, of_row) or candidates(name, names)
                checked += 1
                if not any(fits(one, arguments) for one in found):
                    problems.append(f"{name}({', '.join(arguments)})")
    assert not problems, problems
    assert checked > 25


def test_calls_in_lines_fit_their_signatures() -> None:
    found = [
        (span.where, name, arguments)
        for page in PAGES
        if page != "docs/api.md"
        for span in spans_of(page)
        if span.text.startswith(("predictor.", "stream.", "state."))
        for name, arguments in calls(span.text)
        if name.partition(".")[0] in INSTANCES
    ]
    assert len(found) > 3
    for where, name, arguments in found:
        assert any(fits(one, arguments) for one in candidates(name, {})), f"{where}: {name}"


@pytest.mark.parametrize(
    "call", ["predictor.strem(8000)", "predictor.stream(8000, labls=None)", "predictor(1, 2, 3, 4)"]
)
def test_a_stale_call_is_noticed(call: str) -> None:
    ((name, arguments),) = calls(call)
    assert not any(fits(one, arguments) for one in candidates(name, {}))
