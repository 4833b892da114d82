"""transformers' pipeline "audio-classification" on a model's folder says what the predictor says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soxr
import torch
from fakehub import accepting_uploads, offline_hub
from huggingface_hub import ModelCard
from sound import noise, tone
from tiny import save_family, save_text_encoder
from transformers import AutoConfig, AutoModelForAudioClassification, pipeline
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from gemoclap import GemoclapError, Predictor, registering
from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.encoders.clip_extractor import ClipExtractor
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.inference.model_folder import EMBEDDED_MODELS, model_source
from gemoclap.labels import get_vocabulary

TASK = "audio-classification"
AUDIO = AudioSettings(max_seconds=1.0, trim_silence_db=30.0)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(16000 * seconds))


CLIPS = [
    clip.astype(np.float32)
    for clip in (
        noise(0.4, seed=1),
        noise(2.5, seed=2, rms=0.03),  # longer than the model uses of a clip
        np.concatenate([silence(0.5), tone(300, 0.7), silence(0.6)]),  # trimmed
        noise(0.02, seed=3),
        0.3 + noise(0.9, seed=4),  # an offset, which an encoder may take away
    )
]


@pytest.fixture(scope="module", params=["compact", "hubert", "whisper", "w2v-bert", "plain wav2vec2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model: with prompts or a plain head, on an encoder that normalises clips or does not."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("model")
    *plain, family = request.param.split()
    encoder = family if family == "compact" else str(save_family(place / "encoder", family))
    options = {"n_mels": 16, "stem_channels": 4, "hidden_size": 12} if family == "compact" else {}
    settings = ModelSettings(audio_options=options, projection_dim=8, initial_temperature=50.0)
    vocabulary = get_vocabulary("iemocap4")
    if plain:
        model = SpeechClassifier.from_audio_pretrained(encoder, vocabulary, settings, audio=AUDIO)
    else:
        text = str(save_text_encoder(place / "text"))
        model = GEmoClapModel.from_audio_text_pretrained(encoder, text, vocabulary, settings, audio=AUDIO)
    model.config.calibration = {"temperature": 0.3, "fitted_on": "nothing", "utterances": 1}
    model.save_pretrained(place / "model")
    (place / "model" / "README.md").write_text('---\nlibrary_name: gemoclap\n---\n\n# A model\n\n"this folder"\n')
    return place / "model"


def agree(answers: Sequence[list[dict]], folder: Path | str, clips: Sequence[np.ndarray]) -> bool:
    wanted = [Predictor.from_pretrained(folder, device="cpu")(clip) for clip in clips]
    for answer, one in zip(answers, wanted, strict=True):
        assert answer[0]["label"] == one.emotion
        assert {row["label"]: row["score"] for row in answer} == pytest.approx(one.probabilities, abs=5e-5)
    return True


def test_a_batch_of_clips_of_different_lengths(folder: Path) -> None:
    classify = pipeline(TASK, model=str(folder), device="cpu")
    assert agree(classify(CLIPS, batch_size=len(CLIPS)), folder, CLIPS)
    assert agree([classify(clip) for clip in CLIPS], folder, CLIPS)
    assert len(classify(CLIPS[0], top_k=2)) == 2


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_models_that_come_with_the_package(name: str) -> None:
    clips = [noise(0.5, seed=1), noise(16.0, seed=2), np.concatenate([silence(1), tone(200, 1), silence(1)])]
    clips = [clip.astype(np.float32) for clip in clips]
    classify = pipeline(TASK, model=model_source(name), device="cpu", top_k=None)
    assert agree(classify(clips, batch_size=3), name, clips)


def test_other_rates_are_resampled_by_the_pipeline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchaudio, which the pipeline resamples with, is stood in for by soxr."""
    torchaudio, functional = ModuleType("torchaudio"), ModuleType("torchaudio.functional")
    resampled = lambda samples, old, new: torch.from_numpy(soxr.resample(samples.numpy(), old, new))  # noqa: E731
    functional.resample = torchaudio.functional = resampled  # type: ignore[attr-defined]
    torchaudio.functional = functional  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchaudio", torchaudio)
    monkeypatch.setattr("transformers.pipelines.audio_classification.is_torchaudio_available", lambda: True)
    recorded = [noise(0.5, 44100, seed=5).astype(np.float32), noise(1.2, 44100, seed=6).astype(np.float32)]
    given = [{"raw": clip, "sampling_rate": 44100} for clip in recorded]
    answers = pipeline(TASK, model=str(folder), device="cpu")(given, batch_size=2)
    assert agree(answers, folder, [soxr.resample(clip, 44100, 16000) for clip in recorded])


def test_saved_again_it_is_the_same_model_with_its_card(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()
    assert agree(pipeline(TASK, model=str(tmp_path), device="cpu")(CLIPS, batch_size=2), folder, CLIPS)


def test_uploaded_it_is_loaded_by_its_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline_hub(tmp_path / "hub", monkeypatch)
    accepting_uploads(tmp_path / "hub", monkeypatch)
    AutoModelForAudioClassification.from_pretrained(folder).push_to_hub("me/moods", tags=["german"])
    assert agree(pipeline(TASK, model="me/moods", device="cpu")(CLIPS, batch_size=3), folder, CLIPS)
    loaded = AutoModelForAudioClassification.from_pretrained("me/moods").classifier.model
    assert '"me/moods"' in loaded.card and "this folder" not in loaded.card and "# A model" in loaded.card
    assert ModelCard(loaded.card).data.tags == ["german"]


def test_a_model_without_a_card_is_uploaded_with_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline_hub(tmp_path / "hub", monkeypatch)
    accepting_uploads(tmp_path / "hub", monkeypatch)
    model = AutoModelForAudioClassification.from_pretrained(folder).classifier.model
    model.card = None
    model.push_to_hub("me/new")
    card = ModelCard(type(model).from_pretrained("me/new").card)
    assert card.data.pipeline_tag == TASK and card.data.library_name == "gemoclap"
    assert "angry, happy, neutral, sad" in card.text and 'pipeline("audio-classification", model="me/new")' in card.text
    with pytest.raises(GemoclapError, match="call push_to_hub"):
        model.save_pretrained(tmp_path / "again", push_to_hub=True)


def test_the_card_of_a_trained_model_is_true(small_model: Path, small_manifest: Path, tmp_path: Path) -> None:
    """The program on it, word for word, in a process that has imported nothing yet."""
    card = ModelCard((small_model / "README.md").read_text())
    program = next(part for part in card.text.split("```python\n")[1:] if "pipeline" in part).split("```")[0]
    given = "import numpy, sys\nwaveform = numpy.linspace(-0.5, 0.5, 9000, dtype=numpy.float32)\n"
    check = "import gemoclap\nassert not {'torch', 'transformers'} & sys.modules.keys()\n"
    done = subprocess.run(
        [sys.executable, "-c", given + check + program.replace("this folder", str(small_model))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    wanted = Predictor.from_pretrained(small_model, device="cpu")(np.linspace(-0.5, 0.5, 9000, dtype=np.float32))
    found = json.loads(done.stdout.replace("'", '"'))
    assert {row["label"]: row["score"] for row in found} == pytest.approx(wanted.probabilities, abs=1e-5)


def test_its_card_has_what_the_hub_lists(small_model: Path) -> None:
    card = ModelCard((small_model / "README.md").read_text())
    assert card.data.pipeline_tag == TASK and "speech-emotion-recognition" in card.data.tags
    for part in (
        "## Input and output",
        "16000 Hz",
        "35 dB",
        "s are left, the answer is the mean over parts",
        "## Trained on",
        "licence",
        "judge people",
    ):
        assert part in card.text
    for name, licence in (("default", "mit"), ("small", "mit"), ("research", "cc-by-nc-sa-4.0")):
        data = ModelCard((Path(model_source(name)) / "README.md").read_text()).data
        assert (data.license, data.pipeline_tag, data.base_model) == (licence, TASK, ["openai/whisper-base"])


def test_the_extractor_prepares_clips_and_refuses_what_is_none(folder: Path, tmp_path: Path) -> None:
    extractor = ClipExtractor.from_pretrained(folder)
    assert (extractor.max_seconds, extractor.trim_silence_db) == (1.0, 30.0)
    found = extractor([CLIPS[0], CLIPS[1]], sampling_rate=16000, return_tensors="pt")
    assert found["attention_mask"].sum(1).tolist() == [6400, 40000]
    assert found["input_values"].shape == (2, 40000) and not found["input_values"][0, 6400:].any()
    for given, rate in ((CLIPS[0], 8000), (np.zeros((2, 100), np.float32)[:, None], None), ([], None)):
        with pytest.raises(GemoclapError, match="Hz"):
            extractor(given, sampling_rate=rate)
    with pytest.raises(GemoclapError, match="NaN"):
        extractor(np.array([0.1, np.nan], np.float32))


def test_every_config_is_known_before_its_module_is_imported() -> None:
    ours = {name for name in CONFIG_MAPPING._extra_content if name.startswith("gemoclap")}
    assert ours == registering.HOMES.keys()
    for name, home in registering.HOMES.items():
        __import__(home)
        assert CONFIG_MAPPING[name].__module__ == home and CONFIG_MAPPING[name].model_type == name


def test_a_stand_in_imports_the_config_that_it_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange_home.py").write_text(
        "from transformers import AutoConfig, PreTrainedConfig\n"
        "class StrangeConfig(PreTrainedConfig):\n    model_type = 'gemoclap-strange'\n    size: int = 3\n"
        "AutoConfig.register('gemoclap-strange', StrangeConfig)\n"
    )
    (tmp_path / "config.json").write_text('{"model_type": "gemoclap-strange", "size": 5}')
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("gemoclap-strange", "gemoclap-other"):
        monkeypatch.setitem(CONFIG_MAPPING._extra_content, name, None)  # so that it is taken away again
        monkeypatch.delitem(CONFIG_MAPPING._extra_content, name)
    monkeypatch.setitem(registering.HOMES, "gemoclap-strange", "strange_home")
    registering.register_with_transformers()
    assert "strange_home" not in sys.modules
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config).__name__ == "StrangeConfig" and config.size == 5
    assert AutoConfig.for_model("gemoclap-strange", size=7).size == 7
    sys.modules.pop("strange_home")


def test_a_model_is_not_built_from_its_config_alone(folder: Path) -> None:
    with pytest.raises(GemoclapError, match="use from_pretrained"):
        AutoModelForAudioClassification.from_config(AutoConfig.from_pretrained(folder))
