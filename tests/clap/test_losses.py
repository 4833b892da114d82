"""The contrastive losses against loops in Python floats, and what METHODS' formula implies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gemoclap.clap.losses import (
    Normalizer,
    agreement,
    contrastive_kl,
    normalize_target,
    row_cross_entropy,
    symmetric_contrastive_loss,
    target_entropy,
)

NORMALIZERS: tuple[Normalizer, ...] = ("softmax", "row_sum")
LABELS = {
    "mixed": torch.tensor([0, 1, 1, 3, 0, 2, 1]),
    "one class": torch.tensor([2, 2, 2, 2, 2, 2, 2]),
    "all different": torch.arange(7),
}


def softmax(row: Sequence[float]) -> list[float]:
    highest = max(row)
    powers = [math.exp(value - highest) for value in row]
    return [power / sum(powers) for power in powers]


def distribution(row: Sequence[float], normalizer: Normalizer) -> list[float]:
    return softmax(row) if normalizer == "softmax" else [value / sum(row) for value in row]


def naive_kl(logits: Tensor, target: Tensor, normalizer: Normalizer) -> float:
    """The formula of METHODS section 1, term by term."""
    total = 0.0
    for logit_row, target_row in zip(logits.tolist(), target.tolist(), strict=True):
        predicted = softmax(logit_row)
        for wanted, found in zip(distribution(target_row, normalizer), predicted, strict=True):
            if wanted > 0:
                total += wanted * (math.log(wanted) - math.log(found))
    return total / len(logits)


def naive_entropy(target: Tensor, normalizer: Normalizer) -> float:
    rows = [distribution(row, normalizer) for row in target.tolist()]
    return -sum(share * math.log(share) for row in rows for share in row if share > 0) / len(rows)


def random_logits(n: int = 7, scale: float = 4.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def soft_labels(n: int = 7) -> Tensor:
    """Positive, not symmetric, rows that do not add up to one."""
    return torch.rand(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.05


@pytest.fixture(params=[*LABELS, "soft"])
def target(request: pytest.FixtureRequest) -> Tensor:
    return soft_labels() if request.param == "soft" else agreement(LABELS[request.param])


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_kl_equals_the_double_loop(target: Tensor, normalizer: Normalizer) -> None:
    for seed in range(3):
        logits = random_logits(seed=seed)
        expected = naive_kl(logits, target, normalizer)
        assert contrastive_kl(logits, target, normalizer).item() == pytest.approx(expected, abs=1e-12)
        single = contrastive_kl(logits.float(), target.float(), normalizer)
        assert single.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_gradient_is_that_of_finite_differences(target: Tensor, normalizer: Normalizer) -> None:
    logits = random_logits(scale=2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contrastive_kl(x, target, normalizer), logits)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_cross_entropy_is_the_kl_and_the_entropy(target: Tensor, normalizer: Normalizer) -> None:
    logits = random_logits()
    entropy = target_entropy(target.double(), normalizer)
    assert entropy.item() == pytest.approx(naive_entropy(target, normalizer), abs=1e-12)
    expected = naive_kl(logits, target, normalizer) + naive_entropy(target, normalizer)
    assert row_cross_entropy(logits, target, normalizer).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_row_cross_entropy_equals_pytorchs_with_probabilities(target: Tensor, normalizer: Normalizer) -> None:
    logits = random_logits()
    wanted = normalize_target(target.double(), normalizer)
    torch.testing.assert_close(wanted.sum(1), torch.ones(7, dtype=torch.float64))
    expected = torch.nn.functional.cross_entropy(logits, wanted)
    torch.testing.assert_close(row_cross_entropy(logits, target, normalizer), expected)


def test_kl_is_zero_where_the_logits_softmax_is_the_target_and_nowhere_else() -> None:
    target = agreement(LABELS["mixed"]).double()
    shifted = target + torch.arange(7.0).unsqueeze(1)  # the softmax does not see an offset of a whole row
    assert abs(contrastive_kl(shifted, target).item()) < 1e-12
    assert contrastive_kl(1.5 * target, target).item() > 1e-3
    assert contrastive_kl(0.5 * target, target).item() > 1e-3
    by_row_sum = normalize_target(soft_labels(), "row_sum")
    assert abs(contrastive_kl(by_row_sum.log(), soft_labels(), "row_sum").item()) < 1e-12


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_kl_is_never_below_zero(target: Tensor, normalizer: Normalizer) -> None:
    for seed in range(20):
        logits = random_logits(scale=10.0 ** (seed % 5 - 2), seed=seed)
        assert contrastive_kl(logits, target, normalizer).item() > -1e-12


def test_softmax_target_has_its_optimum_at_a_logit_gap_of_one() -> None:
    target = agreement(LABELS["mixed"]).double()
    gap = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(contrastive_kl(gap * target, target), gap)[0] > 0.01
    nearest = min(range(301), key=lambda hundredths: contrastive_kl(hundredths / 100 * target, target).item())
    assert nearest == 100
    falling = [contrastive_kl(gap * target, target, "row_sum").item() for gap in (1, 2, 4, 8, 16)]
    assert falling == sorted(falling, reverse=True)


def test_one_class_has_the_uniform_target_under_either_normaliser() -> None:
    target = agreement(LABELS["one class"]).double()
    for normalizer in NORMALIZERS:
        torch.testing.assert_close(normalize_target(target, normalizer), torch.full((7, 7), 1 / 7).double())
        assert target_entropy(target, normalizer).item() == pytest.approx(math.log(7))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_large_logits_stay_finite(normalizer: Normalizer) -> None:
    target = agreement(LABELS["mixed"])
    logits = (1e4 * random_logits()).float().requires_grad_()
    loss = contrastive_kl(logits, target, normalizer)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert loss.item() == pytest.approx(naive_large(logits, target, normalizer), rel=1e-5)


def naive_large(logits: Tensor, target: Tensor, normalizer: Normalizer) -> float:
    """`naive_kl` with log softmax in place of log of softmax, which is zero here."""
    total = 0.0
    for logit_row, target_row in zip(logits.tolist(), target.tolist(), strict=True):
        log_sum = max(logit_row) + math.log(sum(math.exp(value - max(logit_row)) for value in logit_row))
        for wanted, logit in zip(distribution(target_row, normalizer), logit_row, strict=True):
            if wanted > 0:
                total += wanted * (math.log(wanted) - (logit - log_sum))
    return total / len(logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, target = random_logits().to(dtype), agreement(LABELS["mixed"])
    loss = contrastive_kl(logits, target.to(dtype))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive_kl(logits.double(), target, "softmax"), abs=1e-5)


def test_agreement_against_a_loop() -> None:
    labels = torch.tensor([0, 1, -1, 0, -1, 1, 1])
    plain, lone = agreement(labels), agreement(labels, unknown=-1)
    for row, first in enumerate(labels.tolist()):
        for column, second in enumerate(labels.tolist()):
            assert plain[row, column] == float(first == second)
            assert lone[row, column] == float(first == second if first != -1 else row == column)
    assert torch.equal(lone, lone.T)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_symmetric_loss_is_the_mean_of_both_directions(target: Tensor, normalizer: Normalizer) -> None:
    generator = torch.Generator().manual_seed(2)
    audio, text = (torch.randn(7, 5, dtype=torch.float64, generator=generator) for _ in range(2))
    audio_scale, text_scale = torch.tensor(14.0).double(), torch.tensor(3.0).double()
    loss = symmetric_contrastive_loss(audio, text, audio_scale, text_scale, target, normalizer)
    rows = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in text.tolist()] for x in audio.tolist()]
    similarity = torch.tensor(rows, dtype=torch.float64)
    by_audio = naive_kl(14.0 * similarity, target, normalizer)
    by_text = naive_kl(3.0 * similarity.T, target, normalizer)
    assert loss.kl.item() == pytest.approx((by_audio + by_text) / 2, rel=1e-12)
    entropy = naive_entropy(target, normalizer)
    assert (loss.cross_entropy - loss.kl).item() == pytest.approx(entropy, abs=1e-10)


# Corpora that lack a class.


def naive_masked_kl(logits: Tensor, target: Tensor, allowed: Tensor, normalizer: Normalizer) -> float:
    """The formula over the allowed columns of each row alone."""
    total = 0.0
    for logit_row, target_row, kept in zip(logits.tolist(), target.tolist(), allowed.tolist(), strict=True):
        columns = [place for place, is_kept in enumerate(kept) if is_kept]
        predicted = softmax([logit_row[place] for place in columns])
        wanted = distribution([target_row[place] for place in columns], normalizer)
        total += sum(w * (math.log(w) - math.log(p)) for w, p in zip(wanted, predicted, strict=True) if w > 0)
    return total / len(logits)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_class_that_a_corpus_lacks_takes_no_part(normalizer: Normalizer) -> None:
    generator = torch.Generator().manual_seed(3)
    audio, text = (
        torch.nn.functional.normalize(torch.randn(n, 5, dtype=torch.float64, generator=generator), dim=-1)
        for n in (7, 4)
    )
    emotions = torch.tensor([0, 1, 2, 3, 0, 1, 0])
    # The last three are of a corpus with the classes 0 and 1 alone.
    classes = torch.tensor([[True] * 4] * 4 + [[True, True, False, False]] * 3)
    allowed = classes[:, emotions]
    target = agreement(emotions)
    audio.requires_grad_()
    found = symmetric_contrastive_loss(
        audio, text[emotions], torch.tensor(3.0), torch.tensor(5.0), target, normalizer, allowed
    )
    similarity = (audio @ text[emotions].T).detach()
    wanted = 0.5 * (
        naive_masked_kl(3 * similarity, target, allowed, normalizer)
        + naive_masked_kl(5 * similarity.T, target, allowed.T, normalizer)
    )
    assert found.kl.item() == pytest.approx(wanted, rel=1e-9)
    found.kl.backward()
    assert torch.isfinite(audio.grad).all()  # type: ignore[arg-type]

    # Moving an utterance of the small corpus along the prompts it is not compared with changes nothing.
    def loss_with(prompt: int) -> float:
        moved = text.clone()
        moved[prompt] += 0.7
        return float(
            symmetric_contrastive_loss(
                audio[4:],
                moved[emotions[4:]],
                torch.tensor(3.0),
                torch.tensor(5.0),
                agreement(emotions[4:]),
                normalizer,
            ).kl
        )

    assert loss_with(2) == loss_with(3) != loss_with(1)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_where_all_is_allowed_nothing_changes(normalizer: Normalizer) -> None:
    logits, target = random_logits(), soft_labels()
    every = torch.ones(7, 7, dtype=torch.bool)
    assert float(row_cross_entropy(logits, target, normalizer, every)) == pytest.approx(
        float(row_cross_entropy(logits, target, normalizer)), rel=1e-12
    )
    assert float(target_entropy(target, normalizer, every)) == pytest.approx(float(target_entropy(target, normalizer)))
