"""The prompts folded into one matrix against cosine similarities computed clip by clip and prompt by prompt."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import save_text_encoder
from torch import Tensor

from gemoclap.clap.classifier import PromptClassifier
from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import ModelSettings
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary

LENGTHS = torch.tensor([3000, 900, 1, 2000])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> GEmoClapModel:
    torch.manual_seed(0)
    settings = ModelSettings(
        audio_options={"n_mels": 16, "stem_channels": 4, "hidden_size": 12}, projection_dim=8, initial_temperature=30.0
    )
    text = save_text_encoder(tmp_path_factory.mktemp("text"))
    vocabulary = get_vocabulary("iemocap4")
    model = GEmoClapModel.from_audio_text_pretrained("compact", str(text), vocabulary, settings, gender_head=True)
    with torch.no_grad():  # only the emotion head's audio temperature stays at 30
        for name, parameter in model.named_parameters():
            if name.endswith("log_scale") and name != "emotion_head.audio_log_scale":
                parameter.fill_(math.log(3.0))
    return model.eval()


@pytest.fixture(scope="module")
def clips() -> Tensor:
    noise = torch.randn(len(LENGTHS), 3000, generator=torch.Generator().manual_seed(0))
    return noise * (torch.arange(3000) < LENGTHS.unsqueeze(1))


def by_hand(model: GEmoClapModel, clips: Tensor, prompts: list[str]) -> np.ndarray:
    """Return softmax over the prompts of 30 x cosine, one clip and one prompt at a time, in float64: ``(B, C)``."""
    head = model.emotion_head
    rows = []
    with torch.no_grad():
        texts = [head.text_projection(model.text_encoder([prompt]))[0].double().numpy() for prompt in prompts]
        for clip, length in zip(clips, LENGTHS, strict=True):
            features = model.get_audio_features(clip[None, :length], length[None])
            audio = head.audio_projection(features)[0].double().numpy()
            cosines = [audio @ text / math.sqrt((audio @ audio) * (text @ text)) for text in texts]
            weights = [math.exp(30.0 * cosine) for cosine in cosines]
            rows.append([weight / sum(weights) for weight in weights])
    return np.array(rows)


def test_probabilities_are_those_of_scaled_cosines(model: GEmoClapModel, clips: Tensor) -> None:
    classifier = PromptClassifier(model)
    assert classifier.labels == model.config.emotions.emotions
    with torch.no_grad():
        probabilities = classifier(clips, LENGTHS).numpy()
    expected = by_hand(model, clips, [f"The emotion is {label}" for label in classifier.labels])
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert (probabilities.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_arg_max_is_the_nearest_prompt(model: GEmoClapModel, clips: Tensor) -> None:
    with torch.no_grad():
        outputs = model(clips, LENGTHS)
        nearest = (outputs["audio_embedding"] @ outputs["text_embedding"].T).argmax(1)
        assert torch.equal(PromptClassifier(model)(clips, LENGTHS).argmax(1), nearest)


def test_any_labels_and_any_prompts(model: GEmoClapModel, clips: Tensor) -> None:
    labels, prompts = ["bored", "a bit tired", "sad"], ["x", "y y", "z"]
    with torch.no_grad():
        found = PromptClassifier(model, labels)(clips, LENGTHS).numpy()
        by_prompt = PromptClassifier(model, labels, prompts)
        np.testing.assert_allclose(by_prompt(clips, LENGTHS).numpy(), by_hand(model, clips, prompts), atol=1e-4)
    assert (by_prompt.labels, by_prompt.prompts) == (tuple(labels), tuple(prompts))
    expected = by_hand(model, clips, [f"The emotion is {label}" for label in labels])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_order_of_the_labels_does_not_matter(model: GEmoClapModel, clips: Tensor) -> None:
    with torch.no_grad():
        one = PromptClassifier(model, ["sad", "angry", "happy"])(clips, LENGTHS)
        other = PromptClassifier(model, ["happy", "sad", "angry"])(clips, LENGTHS)
    torch.testing.assert_close(one, other[:, [1, 2, 0]])


def test_the_prompts_are_not_among_the_weights(model: GEmoClapModel) -> None:
    classifier = PromptClassifier(model)
    assert set(classifier.state_dict()) == {f"model.{name}" for name in model.state_dict()}
    assert not classifier.weight.requires_grad


@pytest.mark.parametrize(
    ("labels", "prompts", "message"),
    [
        ([], None, "not none"),
        (["sad"], None, "not sad"),
        ("sad", None, "a list of two or more different words, not sad"),
        (["sad", "angry", "sad"], None, "not sad, angry, sad"),
        (["sad", "angry"], ["one"], "1 prompts for 2 labels"),
        (["sad", "angry"], [], "0 prompts for 2 labels"),
        (["sad", "very " * 40 + "sad"], None, "60"),
    ],
)
def test_labels_that_cannot_be_told_apart(
    model: GEmoClapModel, labels: list[str], prompts: list[str] | None, message: str
) -> None:
    with pytest.raises(GemoclapError, match=message) as raised:
        PromptClassifier(model, labels, prompts)
    assert "\n" not in str(raised.value)
