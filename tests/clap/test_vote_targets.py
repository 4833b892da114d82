"""Raters' votes as targets of the contrastive losses, against loops over the definition in docs/methods.md."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from gemoclap.clap.losses import agreement, vote_agreement
from gemoclap.clap.objectives import OBJECTIVES
from gemoclap.config import METHODS, ObjectiveSettings
from gemoclap.data.targets import Targets

EMOTIONS = torch.tensor([0, 1, 1, 2, 0, 2])
GENDERS = torch.tensor([0, 0, 1, 1, -1, 0])
CLASSES = torch.tensor([[True, True, True]] * 4 + [[True, False, True]] * 2)
VOTES = torch.tensor(
    [[2, 1, 0], [0, 3, 0], [1, 1, 1], [0, 0, 4], [1, 0, 1], [3, 0, 1]], dtype=torch.float64
)  # fmt: skip
VOTES = VOTES / VOTES.sum(dim=1, keepdim=True)
SETTINGS = [ObjectiveSettings(0.7, target) for target in ("softmax", "row_sum")]


def outputs_of() -> dict[str, Tensor]:
    """Return what a model of three emotions with a gender head says of six clips."""
    generator = torch.Generator().manual_seed(3)
    rows = {"audio_embedding": 6, "text_embedding": 3, "gender_audio_embedding": 6, "gender_text_embedding": 2}
    drawn = {name: torch.randn(count, 5, dtype=torch.float64, generator=generator) for name, count in rows.items()}
    scales = {"audio_scale": 4.0, "text_scale": 7.0, "gender_audio_scale": 2.0, "gender_text_scale": 3.0}
    found = {name: normalize(one, dim=1) for name, one in drawn.items()}
    return found | {name: torch.tensor(value, dtype=torch.float64) for name, value in scales.items()}


def naive_kl(logit: list[list[float]], matrix: list[list[float]], used: list[list[bool]], by: str) -> float:
    """Return the mean over rows of KL(target || softmax) over the columns that are used."""
    total = 0.0
    for row, wanted, columns in zip(logit, matrix, used, strict=True):
        places = [place for place, is_used in enumerate(columns) if is_used]
        log_sum = math.log(sum(math.exp(row[place]) for place in places))
        weights = {place: math.exp(wanted[place]) if by == "softmax" else wanted[place] for place in places}
        for place, weight in weights.items():
            share = weight / sum(weights.values())
            total += share * (math.log(share) - row[place] + log_sum) if share else 0.0
    return total / len(logit)


def naive_emotion_loss(
    outputs: dict[str, Tensor], votes: Tensor, alpha: float | None, by: str, classes: Tensor
) -> float:
    """Return the mean of both directions, M_ij = d_i(e_j) from utterances to prompts and d_j(e_i) back, mixed with gender."""
    emotions, genders, shares = EMOTIONS.tolist(), GENDERS.tolist(), votes.tolist()
    size = range(len(emotions))

    def mixed(share: float, one: int, other: int) -> float:
        same = one == other or (genders[one] == genders[other] != -1)
        return share if alpha is None else alpha * share + (1 - alpha) * same

    audio, text = outputs["audio_embedding"], outputs["text_embedding"]
    to_prompts = [[float(outputs["audio_scale"] * audio[i] @ text[emotions[j]]) for j in size] for i in size]
    to_audio = [[float(outputs["text_scale"] * audio[j] @ text[emotions[i]]) for j in size] for i in size]
    targets = [[mixed(shares[i][emotions[j]], i, j) for j in size] for i in size]
    back = [[mixed(shares[j][emotions[i]], i, j) for j in size] for i in size]
    used = [[bool(classes[i, emotions[j]]) for j in size] for i in size]
    used_back = [[bool(classes[j, emotions[i]]) for j in size] for i in size]
    return 0.5 * (naive_kl(to_prompts, targets, used, by) + naive_kl(to_audio, back, used_back, by))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: one.target)
@pytest.mark.parametrize("classes", [None, CLASSES], ids=["one corpus", "a class that one corpus lacks"])
def test_the_losses_are_those_of_the_definition(settings: ObjectiveSettings, classes: Tensor | None) -> None:
    votes = VOTES if classes is None else VOTES * classes
    votes = votes / votes.sum(dim=1, keepdim=True)
    outputs, seen = outputs_of(), torch.ones_like(CLASSES) if classes is None else classes
    found = {name: OBJECTIVES[name](settings)(outputs, Targets(EMOTIONS, GENDERS, classes, votes)) for name in METHODS}
    plain = naive_emotion_loss(outputs, votes, None, settings.target, seen)
    assert float(found["emo_clap"]["loss"]) == pytest.approx(plain, abs=1e-7)
    assert float(found["ml_gemo_clap"]["emotion"]) == pytest.approx(plain, abs=1e-7)
    mixed = naive_emotion_loss(outputs, votes, settings.alpha, settings.target, seen)
    assert float(found["sl_gemo_clap"]["loss"]) == pytest.approx(mixed, abs=1e-7)
    assert all(float(losses["loss"]) >= 0 for losses in found.values())


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: one.target)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_unanimous_votes_are_the_labels(method: str, settings: ObjectiveSettings, seed: int) -> None:
    emotions = torch.randint(3, (6,), generator=torch.Generator().manual_seed(seed))
    votes = one_hot(emotions, 3).double()
    assert all(torch.equal(one, agreement(emotions).double()) for one in vote_agreement(votes, emotions))
    objective, outputs = OBJECTIVES[method](settings), outputs_of()
    by_votes = objective(outputs, Targets(emotions, GENDERS, votes=votes))
    by_labels = objective(outputs, Targets(emotions, GENDERS))
    assert {name: float(one) for name, one in by_votes.items()} == pytest.approx(
        {name: float(one) for name, one in by_labels.items()},
        abs=1e-7,  # M_e is float32 there
    )


def test_a_row_without_any_share_is_that_of_the_labels() -> None:
    """Every vote for a class of which the batch has no prompt: row_sum would divide by zero."""
    emotions = torch.tensor([0, 1, 0])
    votes = torch.tensor([[0.0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]], dtype=torch.float64)
    target, back = vote_agreement(votes, emotions)
    assert target.tolist() == [[1, 0, 1], [0.5, 0.5, 0.5], [1, 0, 1]]
    assert back.tolist() == [[0, 0.5, 1], [0, 0.5, 0], [0, 0.5, 1]]
    outputs = outputs_of()
    few = outputs | {"audio_embedding": outputs["audio_embedding"][:3]}
    targets = Targets(emotions, GENDERS[:3], votes=votes)
    losses = OBJECTIVES["emo_clap"](ObjectiveSettings(target="row_sum"))(few, targets)
    assert all(torch.isfinite(one) for one in losses.values())
