"""The composite model: what it returns, padding, prompts, freezing, and its way to disk and back."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import SPEECH_FORMS, save_speech_encoder, save_text_encoder
from torch import Tensor
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer

from gemoclap.clap.model import TEXT_PREFIX, GEmoClapModel
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.encoders.clip_extractor import ClipExtractor
from gemoclap.encoders.text import TextEncoder
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary

COMPACT = {"n_mels": 16, "stem_channels": 4, "hidden_size": 12, "num_hidden_layers": 2}
VOCABULARY = get_vocabulary("iemocap4")
LENGTHS = torch.tensor([3000, 1100, 70, 2500, 700])


def build(text: Path | str, audio: Path | str = "compact", gender_head: bool = False, **settings: Any) -> GEmoClapModel:
    """Return an untrained model, small unless `text` is minilm; norms and biases are moved off where they start."""
    options = {"audio_options": COMPACT} if audio == "compact" else {}
    torch.manual_seed(0)
    model = GEmoClapModel.from_audio_text_pretrained(
        str(audio),
        str(text),
        VOCABULARY,
        ModelSettings(**{"projection_dim": 8, **options, **settings}),
        audio=AudioSettings(max_seconds=3.0, trim_silence_db=None),
        method="ml_gemo_clap" if gender_head else "emo_clap",
        gender_head=gender_head,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def clips(seed: int = 0) -> Tensor:
    """Return five zero-padded clips of `LENGTHS` samples."""
    noise = 0.3 * torch.randn(len(LENGTHS), 3000, generator=torch.Generator().manual_seed(seed))
    return noise * (torch.arange(3000) < LENGTHS.unsqueeze(1))


def answer(model: GEmoClapModel) -> dict[str, Tensor]:
    with torch.no_grad():
        return model(clips(), LENGTHS)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def saved_keys(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def error_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_encoder(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def with_roberta(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[GEmoClapModel, Path]:
    """A model whose text encoder is trained too, and the folder it was saved to."""
    speech = save_speech_encoder(tmp_path_factory.mktemp("speech"), "wavlm", "layer")
    model = build(text, speech, gender_head=True, freeze_text=False, layers="weighted", pooling="mean")
    folder = tmp_path_factory.mktemp("with_roberta")
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def with_minilm(tmp_path_factory: pytest.TempPathFactory) -> tuple[GEmoClapModel, Path]:
    """A model with the embedded text encoder, frozen, and the folder it was saved to."""
    model = build("minilm")
    folder = tmp_path_factory.mktemp("with_minilm")
    model.save_pretrained(folder)
    return model, folder


@pytest.mark.parametrize("gender_head", [False, True])
def test_outputs(text: Path, gender_head: bool) -> None:
    outputs = answer(build(text, gender_head=gender_head))
    shapes = {"audio_embedding": (5, 8), "text_embedding": (4, 8), "audio_scale": (), "text_scale": ()}
    if gender_head:
        shapes |= {f"gender_{name}": shape for name, shape in shapes.items()} | {"gender_text_embedding": (2, 8)}
    assert {name: tuple(value.shape) for name, value in outputs.items()} == shapes
    for name, value in outputs.items():
        if name.endswith("embedding"):
            torch.testing.assert_close(value.norm(dim=1), torch.ones(len(value)))


def test_heads_share_the_encoders_and_nothing_else(text: Path) -> None:
    model = build(text, gender_head=True, freeze_text=False)
    model(clips(), LENGTHS)["gender_audio_embedding"].sum().backward()
    assert all(parameter.grad is None for parameter in model.emotion_head.parameters())
    assert model.audio_encoder.model.projection.weight.grad.abs().sum() > 0


def test_a_temperature_beyond_its_clamp_can_come_back(text: Path) -> None:
    head = build(text).emotion_head
    with torch.no_grad():
        head.audio_log_scale.fill_(math.log(1000.0))
    optimizer = torch.optim.SGD([head.audio_log_scale], lr=0.001)
    head.scales()[0].backward()
    optimizer.step()
    assert head.scales()[0].item() == pytest.approx(100 * math.exp(-0.1), rel=1e-4)


def test_temperatures_start_where_they_are_set_and_are_clamped_on_the_log_scale(text: Path) -> None:
    head = build(text, initial_temperature=20.0, max_temperature=100.0).emotion_head
    with torch.no_grad():
        head.audio_log_scale.fill_(math.log(20.0))
        head.text_log_scale.fill_(math.log(1000.0))
    audio_scale, text_scale = head.scales()
    assert (audio_scale.item(), text_scale.item()) == pytest.approx((20.0, 100.0))
    (audio_scale + text_scale).backward()
    assert head.audio_log_scale.grad.item() == pytest.approx(20.0)  # d exp(x) / dx
    with torch.no_grad():
        head.audio_log_scale.fill_(math.log(0.01))
    assert head.scales()[0].item() == pytest.approx(1.0)


def test_temperatures_start_at_the_setting_exactly(text: Path) -> None:
    for start in (1.0, 1 / 0.07, 100.0):
        settings = ModelSettings(audio_options=COMPACT, initial_temperature=start)
        model = GEmoClapModel.from_audio_text_pretrained("compact", str(text), VOCABULARY, settings)
        assert [scale.item() for scale in model.emotion_head.scales()] == pytest.approx([start, start])


@pytest.mark.parametrize(
    ("layers", "pooling"), [("last", "mean"), ("weighted", "mean_std"), (1, "quantiles"), ([0, 1], "attention")]
)
@pytest.mark.parametrize("form", [*SPEECH_FORMS, ("compact", "")], ids="-".join)
def test_a_clip_has_one_embedding_alone_and_among_longer_ones(
    text: Path, tmp_path: Path, form: tuple[str, str], layers: Any, pooling: str
) -> None:
    audio = "compact" if form[0] == "compact" else save_speech_encoder(tmp_path, *form)
    model = build(text, audio, layers=layers, pooling=pooling)
    batch = clips()
    with torch.no_grad():
        features = model.get_audio_features(batch, LENGTHS)
        embeddings = model(batch, LENGTHS)["audio_embedding"]
        for row, length in enumerate(LENGTHS.tolist()):
            alone = batch[row : row + 1, :length], LENGTHS[row : row + 1]
            torch.testing.assert_close(model.get_audio_features(*alone)[0], features[row], atol=1e-4, rtol=0)
            torch.testing.assert_close(model(*alone)["audio_embedding"][0], embeddings[row], atol=1e-4, rtol=0)
    spread = (embeddings - embeddings.mean(0)).norm(dim=1)
    assert spread.min() > 1e-3  # the clips do differ


def test_round_trip_with_a_trained_text_encoder(with_roberta: tuple[GEmoClapModel, Path]) -> None:
    model, folder = with_roberta
    state = model.state_dict()
    assert saved_keys(folder) == set(state)
    assert any(name.startswith(TEXT_PREFIX) for name in state)
    again = GEmoClapModel.from_pretrained(folder)
    assert not again.training
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    assert same(answer(again), answer(model))
    assert all(parameter.requires_grad for parameter in again.text_encoder.parameters())
    assert without_places(again.config.to_dict()) == without_places(model.config.to_dict())


def without_places(value: Any) -> Any:
    """Of both encoders too, config.json does not keep where they were loaded from."""
    if isinstance(value, dict):
        return {name: without_places(one) for name, one in value.items() if name != "_name_or_path"}
    return value


def test_round_trip_with_the_embedded_text_encoder_frozen(with_minilm: tuple[GEmoClapModel, Path]) -> None:
    model, folder = with_minilm
    keys = saved_keys(folder)
    assert keys == {name for name in model.state_dict() if not name.startswith(TEXT_PREFIX)}
    again = GEmoClapModel.from_pretrained(folder)
    assert same(answer(again), answer(model))
    trained = {name for name, parameter in again.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in again.named_parameters() if not name.startswith(TEXT_PREFIX)}
    again.train()
    assert not again.text_encoder.model.training


def test_a_trained_embedded_text_encoder_is_saved(tmp_path: Path) -> None:
    model = build("minilm", freeze_text=False)
    model.save_pretrained(tmp_path)
    assert saved_keys(tmp_path) == set(model.state_dict())
    assert same(answer(GEmoClapModel.from_pretrained(tmp_path)), answer(model))


def test_saving_a_loaded_model_writes_the_same_again(with_minilm: tuple[GEmoClapModel, Path], tmp_path: Path) -> None:
    _, folder = with_minilm
    GEmoClapModel.from_pretrained(folder).save_pretrained(tmp_path)
    first, again = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert (tmp_path / "config.json").read_text() == (folder / "config.json").read_text()


def test_loading_is_silent(with_minilm: tuple[GEmoClapModel, Path], with_roberta: tuple[GEmoClapModel, Path]) -> None:
    code = "import sys, gemoclap\nfor folder in sys.argv[1:]: gemoclap.GEmoClapModel.from_pretrained(folder)"
    folders = [str(with_minilm[1]), str(with_roberta[1])]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_folder_is_one_that_other_tools_read(with_minilm: tuple[GEmoClapModel, Path]) -> None:
    model, folder = with_minilm
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "angry", "1": "happy", "2": "neutral", "3": "sad"}
    assert config["label2id"] == {"angry": 0, "happy": 1, "neutral": 2, "sad": 3}
    assert config["architectures"] == ["GEmoClapModel"]
    assert config["vocabulary"]["merges"] == {"excited": "happy"}
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert type(extractor) is ClipExtractor and extractor.sampling_rate == 16000
    assert AudioSettings(extractor.max_seconds, extractor.trim_silence_db) == model.config.audio_settings
    tokens = AutoTokenizer.from_pretrained(folder)(list(model.emotion_prompts), padding=True)["input_ids"]
    assert tokens == model.text_encoder.tokenizer(list(model.emotion_prompts), padding=True)["input_ids"]
    suffixes = {path.suffix for path in folder.iterdir()}
    assert suffixes <= {".json", ".safetensors", ".txt"}  # nothing pickled


def test_auto_classes_load_it(with_minilm: tuple[GEmoClapModel, Path]) -> None:
    model, folder = with_minilm
    assert AutoConfig.from_pretrained(folder).id2label == dict(enumerate(VOCABULARY.emotions))
    again = AutoModel.from_pretrained(folder)
    assert type(again) is GEmoClapModel
    assert same(answer(again), answer(model))


def test_config_keeps_classes_preparation_and_normalisation(with_roberta: tuple[GEmoClapModel, Path]) -> None:
    config = GEmoClapModel.from_pretrained(with_roberta[1]).config
    assert config.emotions == VOCABULARY
    assert config.audio_settings == AudioSettings(max_seconds=3.0, trim_silence_db=None)
    assert (config.audio_normalize, config.audio_layers, config.audio_pooling) == (True, "weighted", "mean")
    assert (config.method, config.gender_head) == ("ml_gemo_clap", True)
    assert (config.audio_config.model_type, config.text_config.model_type) == ("wavlm", "roberta")


def test_the_seed_decides_the_new_weights(text: Path) -> None:
    def heads(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        settings = ModelSettings(audio_options=COMPACT, projection_dim=8)
        model = GEmoClapModel.from_audio_text_pretrained("compact", str(text), VOCABULARY, settings)
        return [parameter for name, parameter in model.named_parameters() if not name.startswith(TEXT_PREFIX)]

    first, again, other = heads(1), heads(1), heads(2)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))


class Counted:
    """Counts the prompts that a text encoder is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, ...]] = []
        forward = TextEncoder.forward

        def counting(encoder: TextEncoder, prompts: list[str]) -> Tensor:
            self.calls.append(tuple(prompts))
            return forward(encoder, prompts)

        monkeypatch.setattr(TextEncoder, "forward", counting)


def test_prompts_of_a_frozen_text_encoder_are_encoded_once(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, counted = build(text, gender_head=True), Counted(monkeypatch)
    first = answer(model)
    model.train()
    outputs = model(clips(), LENGTHS)
    outputs["text_embedding"].sum().backward()
    assert counted.calls == [
        tuple(f"The emotion is {word}" for word in VOCABULARY.emotions),
        ("The gender is female", "The gender is male"),
    ]
    assert torch.equal(outputs["text_embedding"], first["text_embedding"])
    assert model.emotion_head.text_projection[1].weight.grad.abs().sum() > 0


def test_prompts_of_a_trained_text_encoder_are_encoded_each_step(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, counted = build(text, freeze_text=False), Counted(monkeypatch)
    first = answer(model)["text_embedding"]
    with torch.no_grad():
        for parameter in model.text_encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert not torch.allclose(answer(model)["text_embedding"], first, atol=1e-3)
    assert len(counted.calls) == 2


def test_training_may_follow_inference_mode(text: Path) -> None:
    model = build(text)
    with torch.inference_mode():
        model(clips(), LENGTHS)
    model.train()
    model(clips(), LENGTHS)["text_embedding"].sum().backward()


def test_prompt_templates_are_settings(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    answer(build(text, gender_head=True, emotion_prompt="{} speech", gender_prompt="a {} voice"))
    assert counted.calls[0][0] == "angry speech" and counted.calls[1] == ("a female voice", "a male voice")
    for name in ("emotion_prompt", "gender_prompt"):
        for template in ("no place", "{} and {}", "{word}"):
            assert template in error_of(build, text, **{name: template})


def test_freezing_reaches_the_encoders(text: Path, tmp_path: Path) -> None:
    speech = save_speech_encoder(tmp_path)
    model = build(text, speech, freeze="front_end", freeze_text=False)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if "feature_extractor." in name}
    model = build(text, speech, freeze="all")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("emotion_head.")}
    assert "choose 0 to 3" in error_of(build, text, speech, freeze=4)


def test_temperatures_that_would_stick_are_refused(text: Path) -> None:
    for start in (0.07, 0.0, -3.0, 101.0):
        assert "1 / 0.07" in error_of(build, text, initial_temperature=start)


@pytest.mark.parametrize("lost", ["emotion_head.audio_projection.1.weight", "text_encoder.model."])
def test_weights_that_are_not_all_there_are_refused(
    with_roberta: tuple[GEmoClapModel, Path], tmp_path: Path, lost: str
) -> None:
    with_roberta[0].save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith(lost)}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    message = error_of(GEmoClapModel.from_pretrained, tmp_path)
    assert str(tmp_path) in message and lost in message and str(len(weights) - len(kept)) in message


def test_what_is_not_a_model_is_refused_in_one_line(
    with_minilm: tuple[GEmoClapModel, Path], text: Path, tmp_path: Path
) -> None:
    load = GEmoClapModel.from_pretrained
    assert "no such folder" in error_of(load, tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "config.json" in error_of(load, tmp_path / "empty")
    speech = save_speech_encoder(tmp_path / "speech", "hubert")
    assert "hubert" in error_of(load, speech) and "gemoclap train" in error_of(load, speech)
    assert "roberta" in error_of(load, text)
    with_minilm[0].save_pretrained(tmp_path / "bare")
    cut = tmp_path / "bare" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:2000])
    assert "bare" in error_of(load, tmp_path / "bare")
    cut.rename(cut.with_name("pytorch_model.bin"))
    assert "model.safetensors" in error_of(load, tmp_path / "bare")


def test_config_json_names_no_place_of_the_machine_that_trained(with_roberta: tuple, tmp_path: Path) -> None:
    """Neither at the top nor in the configs of both encoders, which were loaded from folders."""
    _, folder = with_roberta
    for path in (folder, tmp_path / "again"):
        if path != folder:
            GEmoClapModel.from_pretrained(folder).save_pretrained(path)
        assert "name_or_path" not in (path / "config.json").read_text()
