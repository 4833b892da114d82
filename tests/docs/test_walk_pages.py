"""docs/search.md, docs/export.md and docs/scaling.md, typed from their first command to their last."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import BASH, blocks_of, text_of
from walking import Walk
from world import prepared

from gemoclap.corpora.manifest import read_manifest
from gemoclap.inference.model_folder import model_source


def place_of(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    place = tmp_path_factory.mktemp(name)
    assert not [*prepared(place)]  # recordings alone
    return place


def test_search(tmp_path_factory: pytest.TempPathFactory) -> None:
    walk = Walk("docs/search.md", place_of(tmp_path_factory, "search"))
    walk.go()
    assert len(walk.commands) == 3
    shown = next(block.text for block in blocks_of(walk.page) if block.text.lstrip().startswith("1  0.14  "))
    line = re.compile(r" *\d+  +-?\d\.\d\d  +\S+\.wav  +\d+:\d\d\.\d to \d+:\d\d\.\d  +[a-z]+ \d\.\d\d")
    assert all(line.fullmatch(one.strip("\n")) for one in shown.splitlines())
    words, like = (walk.printed[command.line].splitlines() for command in walk.commands[1:])
    assert len([one for one in words if line.fullmatch(one)]) == 5
    assert [one for one in like if line.fullmatch(one)]
    assert (walk.place / "gemoclap-index").is_dir()


def test_export(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, small_model: Path) -> None:
    walk = Walk("docs/export.md", place_of(tmp_path_factory, "export"))
    shutil.copytree(small_model, walk.place / "runs" / "all" / "model")
    # What 8 bits cost on these eight clips depends on the processor; tests/inference/test_onnx.py looks at the limit.
    monkeypatch.setattr("gemoclap.cli.exporting.MOST_LOST", 1.0)
    walk.go()
    assert len(walk.commands) == 3
    shown = next(block.text for block in blocks_of(walk.page) if block.text.startswith("default.onnx: "))
    printed = walk.printed[walk.commands[0].line]
    size = re.compile(r"differ from the model's by \S+ at most")
    assert size.sub("", printed).split() == size.sub("", shown).split()
    assert "UAR on test.jsonl: " in walk.printed[walk.commands[2].line]
    mib = (walk.place / "int8.onnx").stat().st_size / 1e6
    assert f"{mib:.0f} MB" in text_of(walk.page)
    run_snippet_of_export(walk)


def run_snippet_of_export(walk: Walk) -> None:
    """Run the page's snippet beside the file that its first command wrote."""
    (snippet,) = [
        block for block in blocks_of(walk.page) if block.language == "python" and "OnnxPredictor" in block.text
    ]
    answer = walk.python(snippet.text)["predictor"](str(walk.place / "clip.wav"))
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_constants_of_the_page_for_browsers_are_those_of_the_model() -> None:
    (page,) = [block.text for block in blocks_of("docs/export.md") if block.language == "html"]
    config = json.loads((Path(model_source("default")) / "config.json").read_text(encoding="utf-8"))
    labels = json.loads(re.findall(r"const labels = (\[.*?\]);", page)[0])
    assert labels == [config["id2label"][str(number)] for number in range(len(labels))]
    assert float(re.findall(r"LONGEST = ([\d.]+) \* RATE", page)[0]) == pytest.approx(config["clip_seconds"], abs=0.005)
    margin, frame, hop, rate = (
        int(re.findall(rf"{name} = (\d+)", page)[0]) for name in ("MARGIN", "FRAME", "HOP", "RATE")
    )
    contract = text_of("docs/export.md")
    assert f"up to {1000 * margin // rate} ms around" in contract
    assert f"a frame of {1000 * frame // rate} ms, every {1000 * hop // rate} ms" in contract
    (below,) = re.findall(r"BELOW_DB = (\d+)", page)
    assert f"at most {below} dB below" in contract


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_for_browsers_cuts_clips_into_parts(tmp_path: Path) -> None:
    """In node, with a session that says what it is given: silence is cut off, and a long clip is cut into equal parts."""
    (page,) = [block.text for block in blocks_of("docs/export.md") if block.language == "html"]
    script = re.findall(r"<script>\n(.*?)</script>", page, re.DOTALL)[0]
    beside = """
globalThis.ort = {
  Tensor: class { constructor(kind, data, shape) { Object.assign(this, { kind, data, shape }); } },
  InferenceSession: { create: async () => ({}) },
};
globalThis.document = { getElementById: () => ({}) };
"""
    ask = """
const wave = new Float32Array(32000 + 160000).fill(0.5);
wave.fill(0, 0, 32000);
const given = [];
const session = { run: async ({ waveforms, lengths }) => {
  given.push([waveforms.kind, ...waveforms.shape, Number(lengths.data[0])]);
  return { probabilities: { data: labels.map((_, place) => place) } };
} };
predict(session, wave).then((found) => console.log(JSON.stringify({ given, found })));
"""
    (tmp_path / "page.cjs").write_text(beside + script + ask)
    done = subprocess.run(["node", tmp_path / "page.cjs"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    lengths = [length for _, _, _, length in answer["given"]]
    assert len(lengths) == 3 and max(lengths) - min(lengths) <= 1  # 10 s, of which a part may have 4.21
    assert 160000 + 800 <= sum(lengths) <= 160000 + 800 + 400
    assert [*answer["found"].values()] == pytest.approx(range(6))


def test_scaling(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the page says about sharing a manifest without a cluster; its other commands want one."""
    walk = Walk("docs/scaling.md", place_of(tmp_path_factory, "scaling"))
    (block,) = [block for block in blocks_of(walk.page) if block.text.startswith("split ")]
    split, predict, join = block.text.splitlines()
    assert BASH
    subprocess.run([BASH, "-c", split], cwd=walk.place, check=True)
    walk.go(block.line, block.line + 2)
    assert len(walk.commands) == 1 and "predict" in predict
    subprocess.run([BASH, "-c", join], cwd=walk.place, check=True)
    rows = [json.loads(line) for line in walk.text("emotions.jsonl").splitlines()]
    first = read_manifest(walk.place / "part-00.jsonl")
    assert [row["id"] for row in rows] == [row.id for row in first] and all(row["emotion"] for row in rows)
    parts = sorted(path.name for path in walk.place.glob("part-??.jsonl"))
    assert len(parts) == 16
    text = "".join(walk.text(name) for name in parts)
    assert text == walk.text("recordings.jsonl")
