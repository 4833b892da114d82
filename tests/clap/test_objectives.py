"""The three objectives against METHODS section 1 written out as loops over raw embeddings, labels and temperatures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import save_speech_encoder, save_text_encoder
from torch import Tensor

from gemoclap.clap.losses import Normalizer
from gemoclap.clap.model import GEmoClapModel
from gemoclap.clap.objectives import GENDER_HEAD, OBJECTIVES
from gemoclap.config import METHODS, ModelSettings, ObjectiveSettings
from gemoclap.data.targets import Targets
from gemoclap.labels import UNKNOWN_GENDER, get_vocabulary

EMOTIONS = torch.tensor([0, 1, 1, 3, 0, 3, 1, 0])
GENDERS = {
    "known": torch.tensor([0, 0, 1, 1, 1, 0, 1, 0]),
    "some unknown": torch.tensor([0, -1, 1, 1, -1, 0, -1, 0]),
    "all unknown": torch.full((8,), UNKNOWN_GENDER),
}
SETTINGS = [ObjectiveSettings(alpha, target) for alpha in (0.9, 0.5) for target in ("softmax", "row_sum")]
ids = [f"alpha={settings.alpha},{settings.target}" for settings in SETTINGS]

Embedding = list[float]


def outputs_of(seed: int = 0) -> dict[str, Tensor]:
    """Return what a model of four emotions with a gender head says of eight clips, float64."""
    generator = torch.Generator().manual_seed(seed)

    def unit(rows: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(rows, 6, dtype=torch.float64, generator=generator), dim=1)

    scales = {"audio_scale": 14.0, "text_scale": 5.0, "gender_audio_scale": 2.0, "gender_text_scale": 30.0}
    outputs = {
        "audio_embedding": unit(8),
        "text_embedding": unit(4),
        "gender_audio_embedding": unit(8),
        "gender_text_embedding": unit(2),
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in scales.items()},
    }
    return {name: value.requires_grad_() for name, value in outputs.items()}


def naive_kl(scale: float, one: list[Embedding], other: list[Embedding], matrix: list[list[float]], by: str) -> float:
    """KL(C, M) with C[i, j] = scale * cosine(one_i, other_j)."""
    total = 0.0
    for x, row in zip(one, matrix, strict=True):
        norm_x = math.sqrt(sum(a * a for a in x))
        logits = []
        for y in other:
            norm_y = math.sqrt(sum(b * b for b in y))
            logits.append(scale * sum(a * b for a, b in zip(x, y, strict=True)) / (norm_x * norm_y))
        log_sum = math.log(sum(math.exp(logit) for logit in logits))
        weights = [math.exp(value) for value in row] if by == "softmax" else row
        for weight, logit in zip(weights, logits, strict=True):
            wanted = weight / sum(weights)
            if wanted > 0:
                total += wanted * (math.log(wanted) - (logit - log_sum))
    return total / len(one)


def naive_symmetric(
    outputs: dict[str, Tensor], prefix: str, labels: list[int], rows: list[int], matrix: list[list[float]], by: str
) -> float:
    """1/2 (KL(C_a, M) + KL(C_t, M)) over the utterances `rows`, each beside the prompt of its label."""
    plain = {name: value.tolist() for name, value in outputs.items()}
    audio = [plain[f"{prefix}audio_embedding"][row] for row in rows]
    text = [plain[f"{prefix}text_embedding"][labels[row]] for row in rows]
    by_audio = naive_kl(plain[f"{prefix}audio_scale"], audio, text, matrix, by)
    by_text = naive_kl(plain[f"{prefix}text_scale"], text, audio, matrix, by)
    return (by_audio + by_text) / 2


def matrix_of(rows: list[int], agree: Callable[[int, int], float]) -> list[list[float]]:
    return [[agree(i, j) for j in rows] for i in rows]


def naive_loss(method: str, outputs: dict[str, Tensor], gender_tensor: Tensor, settings: ObjectiveSettings) -> float:
    emotions, genders = EMOTIONS.tolist(), gender_tensor.tolist()
    alpha, by, everyone = settings.alpha, settings.target, list(range(len(EMOTIONS)))

    def same_emotion(i: int, j: int) -> float:
        return 1.0 if emotions[i] == emotions[j] else 0.0

    def same_gender(i: int, j: int) -> float:
        if genders[i] == UNKNOWN_GENDER:
            return 1.0 if i == j else 0.0
        return 1.0 if genders[i] == genders[j] else 0.0

    def mixed(i: int, j: int) -> float:
        return alpha * same_emotion(i, j) + (1 - alpha) * same_gender(i, j)

    emotion = naive_symmetric(outputs, "", emotions, everyone, matrix_of(everyone, same_emotion), by)
    if method == "emo_clap":
        return emotion
    if method == "sl_gemo_clap":
        return naive_symmetric(outputs, "", emotions, everyone, matrix_of(everyone, mixed), by)
    known = [row for row in everyone if genders[row] != UNKNOWN_GENDER]
    gender = naive_symmetric(outputs, "gender_", genders, known, matrix_of(known, same_gender), by) if known else 0.0
    return alpha * emotion + (1 - alpha) * gender


@pytest.mark.parametrize("genders", GENDERS)
@pytest.mark.parametrize("settings", SETTINGS, ids=ids)
@pytest.mark.parametrize("method", METHODS)
def test_loss_equals_the_loop(method: str, settings: ObjectiveSettings, genders: str) -> None:
    outputs = outputs_of()
    losses = OBJECTIVES[method](settings)(outputs, Targets(EMOTIONS, GENDERS[genders]))
    expected = naive_loss(method, outputs, GENDERS[genders], settings)
    # alpha M_e + (1 - alpha) M_g is made in float32.
    assert losses["loss"].item() == pytest.approx(expected, abs=1e-7)
    assert all(loss.shape == () for loss in losses.values())


@pytest.mark.parametrize("genders", GENDERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_output_that_is_used_has_a_gradient_of_its_own(method: str, genders: str) -> None:
    outputs = outputs_of()
    OBJECTIVES[method](ObjectiveSettings())(outputs, Targets(EMOTIONS, GENDERS[genders]))["loss"].backward()
    for name, output in outputs.items():
        if name.startswith("gender_") and method not in GENDER_HEAD:
            assert output.grad is None
        else:
            reaches = not (name.startswith("gender_") and genders == "all unknown")
            assert output.grad is not None
            assert bool(output.grad.abs().sum() > 0) is reaches


def test_an_utterance_of_unknown_gender_takes_no_part_in_the_gender_loss() -> None:
    objective = OBJECTIVES["ml_gemo_clap"](ObjectiveSettings(alpha=0.5))
    outputs, genders = outputs_of(), GENDERS["some unknown"]
    objective(outputs, Targets(EMOTIONS, genders))["gender"].backward()
    moved = outputs["gender_audio_embedding"].grad.abs().sum(1) > 0
    assert torch.equal(moved, genders != UNKNOWN_GENDER)


@pytest.mark.parametrize("target", ["softmax", "row_sum"])
@pytest.mark.parametrize("genders", GENDERS)
def test_alpha_one_leaves_emo_clap(genders: str, target: Normalizer) -> None:
    settings, outputs = ObjectiveSettings(alpha=1.0, target=target), outputs_of(1)
    emo, soft, multi = (OBJECTIVES[name](settings)(outputs, Targets(EMOTIONS, GENDERS[genders])) for name in METHODS)
    torch.testing.assert_close(soft["loss"], emo["loss"], rtol=0, atol=1e-12)
    torch.testing.assert_close(multi["loss"], emo["loss"], rtol=0, atol=1e-12)
    torch.testing.assert_close(multi["emotion"], emo["loss"], rtol=0, atol=1e-12)


def test_parts_add_up_and_cross_entropies_stand_above_them() -> None:
    outputs, settings = outputs_of(), ObjectiveSettings(alpha=0.7)
    for method in METHODS:
        losses = OBJECTIVES[method](settings)(outputs, Targets(EMOTIONS, GENDERS["known"]))
        crosses = {name: loss.item() for name, loss in losses.items() if name.endswith("cross_entropy")}
        assert crosses and all(value > losses["loss"].item() for value in crosses.values())
        if method in GENDER_HEAD:
            total = 0.7 * losses["emotion"] + 0.3 * losses["gender"]
            torch.testing.assert_close(losses["loss"], total)


def test_the_order_of_the_batch_does_not_matter() -> None:
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    for method in METHODS:
        objective, outputs = OBJECTIVES[method](ObjectiveSettings(alpha=0.6)), outputs_of()
        moved = {name: value[order] if name in objective.row_outputs else value for name, value in outputs.items()}
        genders = GENDERS["some unknown"]
        torch.testing.assert_close(
            objective(moved, Targets(EMOTIONS[order], genders[order]))["loss"],
            objective(outputs, Targets(EMOTIONS, genders))["loss"],
        )


def model_of(folder: Path, method: str) -> Any:
    torch.manual_seed(0)
    settings = ModelSettings(projection_dim=8, freeze_text=False)
    speech, text = save_speech_encoder(folder / "speech"), save_text_encoder(folder / "text")
    return GEmoClapModel.from_audio_text_pretrained(
        str(speech), str(text), get_vocabulary("iemocap4"), settings, method=method, gender_head=method in GENDER_HEAD
    )


@pytest.mark.parametrize("method", METHODS)
def test_row_outputs_are_the_models_outputs_with_a_row_an_utterance(tmp_path: Path, method: str) -> None:
    model = model_of(tmp_path, method)
    outputs = model(torch.randn(5, 900), torch.tensor([900, 500, 700, 70, 300]))
    objective = OBJECTIVES[method](ObjectiveSettings())
    assert set(objective.row_outputs) == {
        name for name, value in outputs.items() if len(value.shape) and len(value) == 5
    }
    losses = objective(outputs, Targets(torch.tensor([0, 1, 2, 1, 0]), torch.tensor([0, 1, 1, -1, 0])))
    losses["loss"].backward()
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert unused <= {"audio_encoder.model.masked_spec_embed"}


def test_methods_have_an_objective_each() -> None:
    assert tuple(OBJECTIVES) == METHODS and set(METHODS) >= GENDER_HEAD
