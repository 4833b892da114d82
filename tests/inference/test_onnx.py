"""An exported model says what the model says, alone and in any batch, also where torch cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from small import complaint, run
from sound import noise, write
from tiny import SPEECH_FORMS, save_family, save_text_encoder

from gemoclap import GemoclapError, OnnxPredictor, Prediction, Predictor
from gemoclap.audio import silence
from gemoclap.clap.model import GEmoClapModel
from gemoclap.cli import exporting as command
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.encoders.mel import LogMel
from gemoclap.encoders.portable import portable
from gemoclap.encoders.whisper import WhisperSpeechConfig, WhisperSpeechModel
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.inference import exporting
from gemoclap.inference.contract import Contract
from gemoclap.inference.exporting import export_onnx
from gemoclap.inference.model_folder import EMBEDDED_MODELS, model_source
from gemoclap.labels import get_vocabulary
from gemoclap.models import EmotionModel

AUDIO = AudioSettings(max_seconds=0.4, trim_silence_db=30.0)
OWN: dict[str, dict[str, Any]] = {
    "compact": {"n_mels": 16, "stem_channels": 4, "hidden_size": 12},
    "mockingjay": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "npc": {"hidden_size": 16},
    "small": {"block_size": 12, "num_hidden_layers": 1},
}
"""Our own encoders, small."""
FORMS = [*((family, "layer") for family in (*OWN, "whisper", "w2v-bert")), *SPEECH_FORMS]


@pytest.fixture(autouse=True)
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny encoder makes eight times as many frames of a second as a real one."""
    monkeypatch.setattr(exporting, "TRIED_SECONDS", 0.5)


def fifty_clips(longest: float = 0.6) -> list[np.ndarray]:
    """From one sample to more than the model uses of a clip, at levels from -60 dB up, some with silence around."""
    draw = np.random.default_rng(1)
    lengths = [1, 2, 69, 70, 71, 399, 400, 401, 6400, 6401, *draw.integers(1, round(16000 * longest), 40)]
    clips = [10 ** draw.uniform(-3, -0.5) * draw.standard_normal(length) for length in lengths]
    clips[20:25] = [np.concatenate([np.zeros(3000), clip, np.zeros(2000)]) for clip in clips[20:25]]
    return [clip.astype(np.float32) for clip in clips]


def model_of(
    place: Path, family: str, norm: str = "layer", plain: bool = False, audio: AudioSettings = AUDIO, **settings: Any
) -> EmotionModel:
    """Return a tiny random model with a fitted temperature."""
    torch.manual_seed(0)
    encoder = family if family in OWN else str(save_family(place / "encoder", family, norm))
    own = {"audio_options": OWN.get(family, {}), "pooling": "mean_std"}
    chosen = ModelSettings(projection_dim=8, initial_temperature=50.0, **{**own, **settings})
    vocabulary = get_vocabulary("iemocap4")
    model: EmotionModel
    if plain:
        model = SpeechClassifier.from_audio_pretrained(
            encoder, vocabulary, chosen, audio=audio, head="cosine", scale=9.0
        )
    else:
        text = str(save_text_encoder(place / "text"))
        model = GEmoClapModel.from_audio_text_pretrained(encoder, text, vocabulary, chosen, audio=audio)
    model.config.calibration = {"temperature": 0.4, "fitted_on": "nothing", "utterances": 1}
    return model.eval()


def agree(one: Any, other: Any, tolerance: float = 1e-4) -> bool:
    assert isinstance(one, Prediction) and isinstance(other, Prediction)
    assert one.probabilities == pytest.approx(other.probabilities, abs=tolerance)
    np.testing.assert_allclose(one.embedding, other.embedding, atol=tolerance)
    # Without the remark that an answer is close, which may round to other digits.
    assert (one.remarks.clip, one.has_speech, one.seconds, one.parts) == (
        other.remarks.clip, other.has_speech, other.seconds, other.parts,
    )  # fmt: skip
    for answer in (one, other):
        second, first = sorted(answer.probabilities.values())[-2:]
        assert ("close: " in (answer.remark or "")) == (answer.has_speech and first - second <= 0.05)
    return True


@pytest.mark.parametrize(("family", "norm"), FORMS)
def test_fifty_clips_in_every_family(family: str, norm: str, tmp_path: Path) -> None:
    model = model_of(tmp_path, family, norm)
    contract, difference = export_onnx(model, tmp_path / "m.onnx", "a model")
    assert difference < 1e-5 and contract.normalizes == (family not in (*OWN, "whisper", "w2v-bert"))
    file, clips = OnnxPredictor(tmp_path / "m.onnx"), fifty_clips()
    batched = list(file.predict_many(clips, batch_size=16))
    for found, wanted in zip(batched, Predictor(model).predict_many(clips), strict=True):
        assert agree(found, wanted)
    for number in range(0, 50, 5):
        assert agree(file(clips[number]), batched[number], 1e-5)  # alone as in a batch


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_models_that_come_with_the_package(name: str, tmp_path: Path) -> None:
    assert run("export", "--model", name, "-o", tmp_path / "m.onnx") == 0
    file, model, clips = OnnxPredictor(tmp_path / "m.onnx"), Predictor.from_pretrained(name, "cpu"), fifty_clips()
    assert file.labels == model.labels
    for found, wanted in zip(file.predict_many(clips), model.predict_many(clips), strict=True):
        assert agree(found, wanted)
    if name == "default":
        page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
        assert all(f"    {line}\n" in page for line in file.contract.words())
        samples = f"FRAME = {silence.FRAME}, HOP = {silence.HOP}, MARGIN = {silence.MARGIN};"
        settings = f"BELOW_DB = {file.contract.trim_silence_db:g}, LONGEST = {file.contract.longest_seconds:g} * RATE;"
        assert samples in page and settings in page and f"labels = {json.dumps(file.labels)};" in page
    card = (Path(model_source(name)) / "README.md").read_text(encoding="utf-8")
    assert f'license: "{file.contract.licence}"' in card and file.contract.title == name


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("hubert", {"plain": True}),
        ("wavlm", {"layers": "weighted", "pooling": "attention", "pooling_heads": 2}),
        ("whisper", {"layers": 2, "pooling": "mean", "standardize": True, "freeze": "all"}),
        ("whisper", {"layers": [1, 2], "pooling": "mean_std", "standardize": True, "freeze": "all"}),
        ("whisper", {"layers": [1, 2], "pooling": "quantiles", "standardize": True, "freeze": "all"}),
        ("whisper", {"audio_options": {"padded": True}}),
        ("compact", {"plain": True, "project_plain_heads": True}),
    ],
)
def test_heads_layers_and_poolings(family: str, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("whisper", "portable"):  # 30 s would take long
        monkeypatch.setattr(f"gemoclap.encoders.{module}.CHUNK_SECONDS", 1)
    model = model_of(tmp_path, family, **options)
    contract, difference = export_onnx(model, tmp_path / "m.onnx", "a model")
    file, clips = OnnxPredictor(tmp_path / "m.onnx"), fifty_clips()[::12]
    assert difference < 1e-5 and (contract.embedding_size, contract.temperature) == (len(file(clips[0]).embedding), 0.4)
    for found, wanted in zip(file.predict_many(clips), Predictor(model).predict_many(clips), strict=True):
        assert agree(found, wanted)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Predictor]:
    """The file of a model, and the model."""
    place = tmp_path_factory.mktemp("exported")
    model = model_of(place, "compact")
    export_onnx(model, str(place / "m.onnx"), "small")
    return place / "m.onnx", Predictor(model)


def test_labels_are_some_of_those_of_the_file(exported: tuple[Path, Predictor]) -> None:
    file, clip = OnnxPredictor(exported[0]), fifty_clips()[15]
    assert agree(file(clip, labels=["sad", "angry"]), exported[1](clip, labels=["sad", "angry"]))
    renamed = file(clip, labels=["Sad", " ANGER "])
    plain = file(clip, labels=["sad", "angry"])
    assert [*renamed.probabilities] == ["Sad", " ANGER "] and renamed.emotion in renamed.probabilities
    assert [*renamed.probabilities.values()] == [*plain.probabilities.values()]
    for labels, said in (
        (["bored", "sad"], "only has the classes .*, not bored; leave labels out, or use the model's folder"),
        (["Anger", "angry", "sad"], "Anger and angry are the same class, angry"),
        ("sad", "a list"),
        (["sad"], "two or more"),
    ):
        with pytest.raises(GemoclapError, match=said):
            file(clip, labels=labels)


def test_files_and_clips_that_cannot_be_read(exported: tuple[Path, Predictor], tmp_path: Path) -> None:
    file = OnnxPredictor(exported[0])
    given = [write(tmp_path / "a.wav", noise(0.6, 44100), 44100), tmp_path / "none.wav",
             {"array": noise(0.5, 8000), "sampling_rate": 8000}, np.zeros(4000, np.float32)]  # fmt: skip
    found = list(file.predict_many(given))
    for one, wanted in zip(found, exported[1].predict_many(given), strict=True):
        assert isinstance(one, GemoclapError) and str(one) == str(wanted) or agree(one, wanted)
    assert isinstance(found[1], GemoclapError) and not found[3].has_speech  # type: ignore[union-attr]


def test_the_file_says_how_it_is_used(exported: tuple[Path, Predictor]) -> None:
    graph = onnx.load(str(exported[0]))
    onnx.checker.check_model(graph, full_check=True)
    about = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(about["labels"]) == ["angry", "happy", "neutral", "sad"] and about["sampling_rate"] == "16000"
    contract = Contract.read(about, exported[0])
    assert contract.audio_settings == AUDIO and (contract.title, contract.quantized) == ("small", False)
    assert about["contract"].splitlines() == contract.words()
    for part in ("angry, happy, neutral, sad", "30 dB", "more than 0.4 s", "temperature 0.4", "as it was recorded"):
        assert part in about["contract"]
    shapes = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in (*graph.graph.input, *graph.graph.output)}  # fmt: skip
    assert shapes["waveforms"] == ["batch", "samples"] and shapes["lengths"] == ["batch"]


def test_without_torch_the_answers_are_the_same(exported: tuple[Path, Predictor], tmp_path: Path) -> None:
    """In a process in which only numpy, soundfile, soxr and onnxruntime can be imported."""
    clip = write(tmp_path / "a.wav", noise(2.2, 22050, seed=3), 22050)
    code = f"""
import sys
ABSENT = ("torch", "transformers", "safetensors", "huggingface_hub", "yaml", "scipy", "sklearn", "jsonargparse", "rich",
          "filelock", "psutil", "accelerate", "tokenizers", "pandas", "onnx")
sys.modules.update(dict.fromkeys(ABSENT))  # None: importing it is an ImportError
from gemoclap import GemoclapError, OnnxPredictor
predictor = OnnxPredictor({str(exported[0])!r}, threads=1)
print({{**predictor({str(clip)!r}).probabilities}})
predictor.check_speech = True
try:
    predictor({str(clip)!r})
except GemoclapError as error:
    print(error, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0 and done.stderr == "looking for speech needs the package torch: pip install torch\n"
    assert json.loads(done.stdout.replace("'", '"')) == pytest.approx(exported[1](clip).probabilities, abs=1e-5)


def test_int8_of_matrix_products_alone(tmp_path: Path) -> None:
    model = model_of(tmp_path, "hubert")
    export_onnx(model, tmp_path / "m.onnx", "small")
    contract, _ = export_onnx(model, tmp_path / "m8.onnx", "small", int8=True)
    kinds = [{node.op_type for node in onnx.load(str(tmp_path / name)).graph.node} for name in ("m.onnx", "m8.onnx")]
    assert contract.quantized and "MatMulInteger" in kinds[1] and "ConvInteger" not in kinds[1]
    assert "Conv" in kinds[1] and not any("Integer" in kind for kind in kinds[0])
    clips, file = fifty_clips()[10:20], OnnxPredictor(tmp_path / "m8.onnx")
    for clip, one in zip(clips, file.predict_many(clips), strict=True):
        assert isinstance(one, Prediction) and file(clip).probabilities == one.probabilities
    for found, wanted in zip(
        OnnxPredictor(tmp_path / "m8.onnx").predict_many(clips), Predictor(model).predict_many(clips), strict=True
    ):  # noqa: E501
        assert agree(found, wanted, 0.1)


def test_int8_that_costs_too_much_is_refused(
    small_model: Path,
    small_manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def spoil(path: Path) -> None:
        graph = onnx.load(str(path))
        for weight in graph.graph.initializer:
            values = onnx.numpy_helper.to_array(weight)
            if values.dtype == np.float32 and values.ndim == 2:
                weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(values), weight.name))
        onnx.save(graph, str(path))

    given = ("export", "--model", small_model, "-o", tmp_path / "m.onnx", "--int8")
    with monkeypatch.context() as patched:
        patched.setattr(exporting, "_quantize", spoil)
        patched.setattr(command, "MOST_LOST", -1.0)
        said = complaint(capsys, *given, "--check_on", small_manifest)
    assert "--int8 lowers UAR from" in said and "leave --int8 out" in said and not list(tmp_path.iterdir())
    assert run(*given, "--check_on", small_manifest) == 0
    assert f"UAR on {small_manifest}:" in capsys.readouterr().out
    assert run(*given, "--overwrite") == 0
    assert "was not measured" in capsys.readouterr().out


def test_check_on_takes_labels_in_any_spelling_as_evaluate_does(
    small_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Clips of the label Anger were in no class: each counted as wrong, and all of them as a class more."""
    spelt = {"angry": "Anger", "happy": "JOY", "sad": "sad", "neutral": "Neutral "}
    rows = [replace(row, emotion=spelt[str(row.emotion)]) for row in read_manifest(small_manifest)]
    write_manifest(rows, tmp_path / "m.jsonl")
    assert run("export", "--model", small_model, "-o", tmp_path / "m.onnx", "--check_on", tmp_path / "m.jsonl") == 0
    said = [one.emotion for one in Predictor.from_pretrained(small_model).predict_many(rows)]
    wanted = balanced_accuracy_score([row.emotion for row in read_manifest(small_manifest)], said)
    assert f"the model's own: {100 * wanted:.1f} %" in capsys.readouterr().out


def test_a_file_that_gives_other_answers_is_not_kept(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(exporting, "largest_difference", lambda *_: float("nan"))
    said = complaint(capsys, "export", "--model", small_model, "-o", tmp_path / "m.onnx")
    assert "compact encoder cannot be exported" in said and not list(tmp_path.iterdir())


def test_what_is_asked_for_in_vain(
    small_model: Path,
    small_manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    assert "ends in .onnx" in complaint(capsys, "export", "-o", tmp_path / "m.bin")
    assert "no such folder" in complaint(capsys, "export", "--model", "./none", "-o", tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    assert "--overwrite" in complaint(capsys, "export", "--model", small_model, "-o", tmp_path / "m.onnx")
    with pytest.raises(GemoclapError, match="cannot be loaded"):
        OnnxPredictor(tmp_path / "m.onnx")
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(
        GemoclapError, match=f"is a folder, not an ONNX file; 'gemoclap export --model {folder} -o model.onnx'"
    ):
        OnnxPredictor(folder)
    with pytest.raises(GemoclapError, match="no such file; 'gemoclap export -o none.onnx'"):
        OnnxPredictor(tmp_path / "none.onnx")
    said = complaint(capsys, "predict", tmp_path / "a.wav", "--model", tmp_path / "m.onnx")
    assert "OnnxPredictor in Python" in said
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)  # type: ignore[arg-type]
            said = complaint(capsys, "export", "--model", small_model, "-o", tmp_path / "n.onnx")
        assert f"needs the package {package}: pip install {package}\n" in said


def test_a_graph_of_somebody_else_is_refused(exported: tuple[Path, Predictor], tmp_path: Path) -> None:
    graph = onnx.load(str(exported[0]))
    entry = next(entry for entry in graph.metadata_props if entry.key == "gemoclap")
    for value, said in (
        ('{"version": 2}', "has version 2"),
        ('{"version": 1}', "damaged"),
        ("[", "damaged"),
        (None, "was not written"),
    ):
        if value is None:
            del graph.metadata_props[:]
        entry.value = value or ""
        onnx.save(graph, str(tmp_path / "m.onnx"))
        with pytest.raises(GemoclapError, match=said):
            OnnxPredictor(tmp_path / "m.onnx")


@pytest.mark.parametrize("seconds", [None, 31.0])
def test_whisper_takes_thirty_seconds(seconds: float | None, tmp_path: Path) -> None:
    model = model_of(tmp_path, "whisper", audio=AudioSettings(seconds, None))
    with pytest.raises(GemoclapError, match="max_seconds 30 or less"):
        export_onnx(model, tmp_path / "m.onnx", "long")


@pytest.mark.parametrize("samples", [1, 399, 640, 5000, 47999])
def test_portable_parts_compute_the_same(samples: int) -> None:
    """The Fourier transform as a convolution, beside torch's own."""
    waveforms = torch.from_numpy(np.stack([noise(3.0, seed=seed) for seed in (0, 1)])[:, :samples]).float()
    lengths = torch.tensor([samples, max(1, samples // 2)])
    mel = LogMel(24, n_fft=1024, window=640, hop=320)
    whisper = WhisperSpeechModel(WhisperSpeechConfig(d_model=16, encoder_layers=1, encoder_attention_heads=2)).eval()

    def results() -> list[torch.Tensor]:
        with whisper.batch_lengths.of(lengths, None), torch.no_grad():
            return [mel(waveforms, lengths)[0], whisper.feature_extractor(waveforms)]

    wanted = results()
    with portable(torch.nn.ModuleList([mel, whisper])):
        found = results()
    for one, other in zip(found, wanted, strict=True):
        frames = min(one.shape[1] if one.shape[2] == 24 else one.shape[2], *other.shape[1:])
        shorter = (
            (one[:, :frames], other[:, :frames]) if one.shape[2] == 24 else (one[..., :frames], other[..., :frames])
        )
        torch.testing.assert_close(*shorter, atol=1e-4, rtol=1e-4)
    assert mel(waveforms, lengths)[0].equal(wanted[0])  # put back
