"""The reconstruction loss against a naive float64 loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gemoclap.data.targets import Targets
from gemoclap.ems.losses import Reconstruction, masked_l1

NOBODY = Targets(torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long))


def outputs_of(score_head: bool, seed: int = 0) -> dict[str, Tensor]:
    """Return what a model of `ems.pretraining` returns; not a number where there is nothing to predict."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(3, 11, generator=generator) < 0.3
    outputs = {
        "prediction": torch.randn(3, 11, 4, generator=generator, requires_grad=True),
        "target": torch.randn(3, 11, 4, generator=generator).masked_fill(~positions.unsqueeze(-1), float("nan")),
        "positions": positions,
        "masked_share": torch.tensor(0.25),
        "fallbacks": torch.tensor(2),
    }
    if score_head:
        outputs["predicted_intensity"] = torch.randn(3, 11, generator=generator, requires_grad=True)
        outputs["intensity"] = torch.rand(3, 11, generator=generator)
    return outputs


def naive(prediction: Tensor, target: Tensor, positions: Tensor) -> float:
    total, values = 0.0, 0
    for row, frame in positions.nonzero().tolist():
        for one, other in zip(
            prediction[row, frame].double().flatten().tolist(),
            target[row, frame].double().flatten().tolist(),
            strict=True,
        ):
            total += abs(one - other)
            values += 1
    return total / values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_losses_equal_a_naive_loop(seed: int, weight: float) -> None:
    outputs = outputs_of(True, seed)
    losses = Reconstruction(weight)(outputs, NOBODY)
    spectral = naive(outputs["prediction"], outputs["target"], outputs["positions"])
    intensity = naive(outputs["predicted_intensity"], outputs["intensity"], outputs["positions"])
    assert losses["spectral_l1"].item() == pytest.approx(spectral, rel=1e-5)
    assert losses["intensity_l1"].item() == pytest.approx(intensity, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(spectral + weight * intensity, rel=1e-5)


def test_without_a_score_head_the_loss_is_the_spectral_one_and_diagnostics_come_along() -> None:
    losses = Reconstruction()(outputs_of(False), NOBODY)
    assert list(losses) == ["loss", "spectral_l1", "masked_share", "fallbacks"]
    assert torch.equal(losses["loss"], losses["spectral_l1"])
    stacked = torch.stack([loss.detach() for loss in losses.values()])  # as the loop fetches them
    assert stacked[2:].tolist() == [0.25, 2.0]
    assert Reconstruction.row_outputs == ()


def test_only_the_frames_to_predict_have_a_gradient() -> None:
    outputs = outputs_of(True)
    Reconstruction()(outputs, NOBODY)["loss"].backward()
    for name in ("prediction", "predicted_intensity"):
        gradient = outputs[name].grad.reshape(3, 11, -1)
        assert torch.equal(gradient.abs().sum(-1) > 0, outputs["positions"])
        torch.testing.assert_close(gradient.abs().sum(), torch.tensor(1.0))


def test_a_batch_without_anything_to_predict_has_zero_loss_and_zero_gradient() -> None:
    outputs = outputs_of(True)
    outputs["positions"] = torch.zeros(3, 11, dtype=torch.bool)
    loss = Reconstruction()(outputs, NOBODY)["loss"]
    loss.backward()
    assert loss.item() == 0.0 and not outputs["prediction"].grad.any()


def test_half_precision_is_compared_in_float32() -> None:
    target = torch.randn(2, 500, 8, generator=torch.Generator().manual_seed(0))
    prediction, positions = (target + 0.3).bfloat16(), torch.ones(2, 500, dtype=torch.bool)
    loss = masked_l1(prediction, target, positions)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive(prediction, target, positions), rel=1e-5)
