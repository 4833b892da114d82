"""Gradients of a batch in chunks against those of the batch in one piece."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import SMALL, complaint
from tiny import save_speech_encoder, save_text_encoder
from torch import Tensor, nn
from training_standins import ContrastiveObjective, TinyModel, finish, make_batch, start, tiny_model, train_exact

from gemoclap.clap.model import GEmoClapModel
from gemoclap.clap.objectives import GENDER_HEAD, OBJECTIVES
from gemoclap.config import ModelSettings, ObjectiveSettings, TrainSettings
from gemoclap.data.audio_store import pad_waveforms
from gemoclap.data.dataset import Batch
from gemoclap.data.targets import Targets
from gemoclap.labels import get_vocabulary
from gemoclap.training.distributed import start_accelerator
from gemoclap.training.gradients import Gradients

SETTINGS = TrainSettings(precision="no")


def add(
    model: nn.Module, objective, batch, chunk_size: int | None, share: float = 1.0
) -> tuple[dict, dict[str, Tensor]]:
    """Return losses and gradients of one batch."""
    accelerator = start_accelerator(SETTINGS, Path("."))
    gradients = Gradients(accelerator, model, objective, replace(SETTINGS, chunk_size=chunk_size))
    model.zero_grad()
    losses = gradients.add(batch, share, True, lambda values: None)
    return losses, {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 8])
def test_chunks_give_the_gradients_of_the_whole_batch(chunk_size: int) -> None:
    model, batch = tiny_model().double(), make_batch(range(7), torch.float64)
    expected_losses, expected = add(model, ContrastiveObjective(), batch, None, share=0.25)
    losses, found = add(model, ContrastiveObjective(), batch, chunk_size, share=0.25)
    assert losses == pytest.approx(expected_losses, rel=1e-12)
    assert_same(found, expected, 1e-12)


@pytest.mark.parametrize("method", list(OBJECTIVES))
def test_every_method_with_real_encoders(tmp_path: Path, method: str) -> None:
    settings = ModelSettings(freeze_text=False, text_pooling="first", pooling="mean", augment=False, projection_dim=8)
    model = GEmoClapModel.from_audio_text_pretrained(
        str(save_speech_encoder(tmp_path / "speech", "wavlm")),
        str(save_text_encoder(tmp_path / "text")),
        get_vocabulary("iemocap4"),
        settings,
        gender_head=method in GENDER_HEAD,
    ).eval()
    generator = torch.Generator().manual_seed(0)
    clips = [0.1 * torch.randn(n, generator=generator).numpy() for n in (900, 1700, 400, 2500, 700)]
    waveforms, lengths = pad_waveforms(clips)
    emotions, genders = torch.tensor([0, 1, 3, 1, 0]), torch.tensor([0, 1, 0, -1, 1])
    inputs = {"waveforms": waveforms, "lengths": lengths}
    batch = Batch(inputs, Targets(emotions, genders), ("a", "b", "c", "d", "e"))
    objective = OBJECTIVES[method](ObjectiveSettings())
    expected_losses, expected = add(model, objective, batch, None)
    losses, found = add(model, objective, batch, 2)
    assert losses == pytest.approx(expected_losses, abs=1e-5)
    assert_same(found, expected, 1e-5)


class WithoutAndAgain(TinyModel):
    """Keeps what every forward pass gave."""

    def __init__(self) -> None:
        super().__init__(dropout=0.5)
        self.seen: list[Tensor] = []

    def forward(self, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        outputs = super().forward(waveforms, lengths)
        self.seen.append(outputs["audio_embedding"].detach().clone())
        return outputs


def test_both_passes_of_a_chunk_draw_the_same_dropout() -> None:
    torch.manual_seed(0)
    model = WithoutAndAgain().train()
    add(model, ContrastiveObjective(), make_batch(range(6)), 2)
    first, second = model.seen[:3], model.seen[3:]
    assert len(second) == 3 and all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])
    after = torch.rand(3)
    torch.manual_seed(0)
    other = WithoutAndAgain().train()
    for chunk in make_batch(range(6)).split(2):
        other(**chunk.inputs)
    assert torch.equal(torch.rand(3), after)  # the second pass leaves no trace in the generators


def test_the_check_comes_before_any_gradient() -> None:
    def refuse(losses: dict[str, float]) -> None:
        assert losses["loss"] > 0
        raise ArithmeticError

    for chunk_size in (None, 2):
        model = tiny_model()
        accelerator = start_accelerator(SETTINGS, Path("."))
        gradients = Gradients(accelerator, model, ContrastiveObjective(), replace(SETTINGS, chunk_size=chunk_size))
        with pytest.raises(ArithmeticError):
            gradients.add(make_batch(range(6)), 1.0, True, refuse)
        assert all(parameter.grad is None for parameter in model.parameters())


def test_batch_norm_is_refused(capsys: pytest.CaptureFixture, small_manifest: Path, tmp_path: Path) -> None:
    out = ("--data.manifest", small_manifest, *SMALL, "-o", tmp_path / "run")
    assert "train.chunk_size" in complaint(capsys, "train", *out, "--train.chunk_size", "2")


def test_two_processes_in_chunks_train_as_one_without(tmp_path: Path) -> None:
    finish(start(train_in_chunks, tmp_path / "two", 2, chunk_size=2))
    finish(start(train_in_chunks, tmp_path / "one", 1))
    expected = load_file(tmp_path / "one" / "final-0.safetensors")
    for process in (0, 1):
        assert_same(load_file(tmp_path / "two" / f"final-{process}.safetensors"), expected, 1e-10)


def train_in_chunks(output: Path, process: int = 0, processes: int = 1, chunk_size: int | None = None) -> None:
    train_exact(output, process, processes, {"chunk_size": chunk_size})
