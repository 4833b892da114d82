"""Pooling against NumPy over each clip's own frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from gemoclap.encoders.pooling import (
    POOLINGS,
    QUANTILES,
    AttentionPooling,
    RunningStandardizer,
    Standardizer,
    make_pooling,
    make_standardizer,
    masked_mean,
    masked_mean_std,
    masked_quantiles,
    pooled_dim,
)
from gemoclap.errors import GemoclapError

COUNTS = [7, 1, 4]
FRAMES = torch.randn(3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(7) < torch.tensor(COUNTS).unsqueeze(1)


def test_mean_and_deviation_over_the_valid_frames() -> None:
    mean, both = masked_mean(FRAMES, MASK).numpy(), masked_mean_std(FRAMES, MASK).numpy()
    for row, count in enumerate(COUNTS):
        frames = FRAMES[row, :count].numpy()
        np.testing.assert_allclose(mean[row], frames.mean(0), atol=1e-12)
        np.testing.assert_allclose(both[row], [*frames.mean(0), *np.sqrt(frames.var(0) + 1e-5)], atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11, 101])
def test_quantiles_are_numpys(count: int) -> None:
    frames = torch.randn(2, 120, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    mask = torch.arange(120) < torch.tensor([[count], [120]])
    found = masked_quantiles(frames, mask).numpy()
    for row, own in ((0, count), (1, 120)):
        np.testing.assert_allclose(
            found[row], np.quantile(frames[row, :own].numpy(), QUANTILES, axis=0).ravel(), atol=1e-5
        )


def test_a_click_moves_quantiles_less_than_mean_and_deviation() -> None:
    clean = torch.randn(1, 100, 5, generator=torch.Generator().manual_seed(0))
    click, mask = clean.clone(), torch.ones(1, 100, dtype=torch.bool)
    click[0, 50] = 100.0
    moved = {name: float((POOLINGS[name](click, mask) - POOLINGS[name](clean, mask)).abs().max()) for name in POOLINGS}
    assert moved["quantiles"] < 0.2 and moved["mean"] > 0.9 and moved["mean_std"] > 8


@pytest.mark.parametrize("name", POOLINGS)
def test_what_lies_in_the_padding_does_not_matter(name: str) -> None:
    pooled = POOLINGS[name](FRAMES, MASK)
    filled = FRAMES.masked_fill(~MASK.unsqueeze(-1), 1e6)
    torch.testing.assert_close(POOLINGS[name](filled, MASK), pooled, rtol=0, atol=1e-9)
    assert pooled.shape == (3, pooled_dim(name, 5))


@pytest.mark.parametrize("name", POOLINGS)
def test_frames_all_alike_have_a_finite_gradient(name: str) -> None:
    frames = torch.ones(2, 3, 4, requires_grad=True)
    POOLINGS[name](frames, torch.tensor([[True] * 3, [True, False, False]])).sum().backward()
    assert torch.isfinite(frames.grad).all() and (frames.grad[1, 1:] == 0).all()


def attentive(heads: int = 2) -> AttentionPooling:
    torch.manual_seed(1)
    pooling = AttentionPooling(6, heads).double()
    torch.nn.init.normal_(pooling.score.weight)
    return pooling


def test_attention_against_a_loop() -> None:
    pooling, frames = attentive(), torch.randn(3, 7, 6, dtype=torch.float64)
    found = pooling(frames, MASK).detach().numpy()
    assert found.shape == (3, pooled_dim("attention", 6))
    weight, bias = (one.detach().numpy() for one in (pooling.hidden.weight, pooling.hidden.bias))
    scorer = pooling.score.weight.detach().numpy()
    for row, count in enumerate(COUNTS):
        clip = frames[row, :count].numpy()
        means, deviations = [], []
        for head in range(2):
            scores = np.array([scorer[head] @ np.tanh(weight @ frame + bias) for frame in clip])
            shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            own = clip[:, 3 * head : 3 * head + 3]
            mean = sum(share * frame for share, frame in zip(shares, own, strict=True))
            variance = sum(share * (frame - mean) ** 2 for share, frame in zip(shares, own, strict=True))
            means.append(mean)
            deviations.append(np.sqrt(variance + 1e-5))
        np.testing.assert_allclose(found[row], np.concatenate([*means, *deviations]), atol=1e-12)


def test_attention_starts_as_the_plain_mean_and_deviation() -> None:
    frames = torch.randn(3, 7, 6)
    torch.testing.assert_close(AttentionPooling(6, 3)(frames, MASK), masked_mean_std(frames, MASK))


def test_attention_does_not_look_into_the_padding() -> None:
    pooling, frames = attentive(), torch.randn(3, 7, 6, dtype=torch.float64).requires_grad_()
    pooled = pooling(frames, MASK)
    filled = frames.detach().masked_fill(~MASK.unsqueeze(-1), 1e6)
    torch.testing.assert_close(pooling(filled, MASK), pooled, rtol=0, atol=1e-9)
    pooled.sum().backward()
    assert torch.isfinite(frames.grad).all() and not frames.grad[~MASK].any()


def test_heads_share_a_frame_evenly() -> None:
    with pytest.raises(GemoclapError, match="4 heads cannot share frames of 6 values"):
        make_pooling("attention", 6, 4)


def test_standardised_features_have_zero_mean_and_unit_variance() -> None:
    features = torch.randn(50, 3) * torch.tensor([1e3, 1e-2, 0.0]) + torch.tensor([5e3, 0.0, 7.0])
    standardizer = Standardizer(3)
    torch.testing.assert_close(standardizer(features), features)
    standardizer.fit(features)
    expected = StandardScaler().fit_transform(features.double().numpy())
    np.testing.assert_allclose(standardizer(features).numpy()[:, :2], expected[:, :2], atol=1e-2)
    assert not standardizer(features)[:, 2].any()


def test_a_running_standardizer_is_that_of_the_batch_in_training_and_of_all_batches_after_it() -> None:
    random = np.random.default_rng(0)
    batches = [torch.from_numpy(random.normal(5, 3, (64, 4))).float() for _ in range(200)]
    standardizer = make_standardizer("running", 4)
    assert isinstance(standardizer, RunningStandardizer)
    for batch in batches:
        found = standardizer.train()(batch)
        np.testing.assert_allclose(found.numpy(), StandardScaler().fit_transform(batch.numpy()), atol=1e-4)
    clips = torch.from_numpy(random.normal(5, 3, (5000, 4))).float()
    after = standardizer.eval()(clips)
    np.testing.assert_allclose(after.mean(0), np.zeros(4), atol=0.15)
    np.testing.assert_allclose(after.std(0), np.ones(4), atol=0.15)
    alone = standardizer.train()(clips[:1])
    np.testing.assert_allclose(alone.numpy(), after[:1].numpy(), atol=1e-5)
    assert make_standardizer(False, 4) is None and isinstance(make_standardizer(True, 4), Standardizer)
