"""The page of docs/export.md does what the contract says, in a real browser whose onnxruntime is that of this process."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import launched
from small import run
from sound import noise, write

from gemoclap import OnnxPredictor
from gemoclap.inference.contract import INPUTS, OUTPUTS

STANDIN = """
class Session {
  async run({ waveforms, lengths }) {
    if (waveforms.type !== "float32" || lengths.type !== "int64") throw new Error("types");
    return { probabilities: { data: await answer_of([...waveforms.data], waveforms.dims, Number(lengths.data[0])) } };
  }
}
window.ort = {
  Tensor: class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } },
  InferenceSession: { create: async (name) => { window.loaded = name; return new Session(); } },
};
"""
DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0)), transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""
DONE = "#answer:not(:text-is('waiting')):not(:text-is('listening'))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def file(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxPredictor:
    path = tmp_path_factory.mktemp("exported") / "m.onnx"
    assert run("export", "--model", small_model, "-o", path) == 0
    return OnnxPredictor(path, threads=1)


def page_for(file: OnnxPredictor) -> str:
    """Return the page of the docs with the numbers of another contract."""
    docs = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (page,) = re.findall(r"```html\n(.*?)```", docs, re.DOTALL)
    contract = file.contract
    own = f"BELOW_DB = {contract.trim_silence_db:g}, LONGEST = {contract.longest_seconds:g} * RATE"
    page, changed = re.subn(r"BELOW_DB = [\d.]+, LONGEST = [\d.]+ \* RATE", own, page)
    page, named = re.subn(r"labels = \[.*?\]", f"labels = {json.dumps(file.labels)}", page)
    assert (changed, named) == (1, 1)
    return page


def test_the_page_says_what_the_file_says(browser: Any, file: OnnxPredictor, tmp_path: Path) -> None:
    lengths: list[int] = []

    def answer_of(samples: list[float], shape: list[int], length: int) -> list[float]:
        assert shape == [1, len(samples)] == [1, length]
        lengths.append(length)
        given = np.array(samples, np.float32)[None], np.array([length])
        return file._session.run(OUTPUTS[:1], dict(zip(INPUTS, given, strict=True)))[0][0].tolist()

    longest = file.contract.longest_seconds
    silent = np.zeros(8000)
    stereo = np.stack([noise(0.7, seed=4), noise(0.7, seed=5, rms=0.03)], axis=1)
    clips = [
        write(tmp_path / "plain.wav", noise(0.5, seed=1)),
        write(tmp_path / "quiet_ends.wav", np.concatenate([silent, noise(0.4, seed=2), silent, silent])),
        write(tmp_path / "long.wav", np.concatenate([silent, noise(2.4 * longest, seed=3)])),
        write(tmp_path / "stereo.wav", stereo),
        write(tmp_path / "zeros.wav", silent),
    ]
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.expose_function("answer_of", answer_of)
    page.route("**/*", lambda route: route.fulfill(body=page_for(file), content_type="text/html"))
    page.route("**/ort.wasm.min.js", lambda route: route.fulfill(body=STANDIN, content_type="text/javascript"))
    page.goto("http://localhost/")
    assert page.evaluate("window.loaded") == "int8.onnx"
    for path in clips:
        lengths.clear()
        page.evaluate("document.getElementById('answer').textContent = 'waiting'")
        page.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
        page.wait_for_selector(DONE, timeout=20_000)
        shown = dict(re.findall(r"(\w+): ([\d.]+) %", page.inner_text("#answer")))
        wanted = file(path)
        assert [*shown] == [*file.labels]
        assert {name: float(value) for name, value in shown.items()} == pytest.approx(
            {name: 100 * value for name, value in wanted.probabilities.items()}, abs=0.06
        )
        assert (sum(lengths), len(lengths)) == (round(wanted.seconds * 16000), wanted.parts), path.name
        assert max(lengths) - min(lengths) <= 1 and (path.name != "long.wav" or len(lengths) == 3)
    page.evaluate(DROP, ["text.wav", base64.b64encode(b"no sound").decode()])
    page.wait_for_selector("#answer:text-matches('^no answer: ')", timeout=20_000)
    assert not complaints
    page.close()
