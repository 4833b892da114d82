import io
import json
import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_standins import (
    ContrastiveObjective,
    MeanObjective,
    TinyBatches,
    development_uar,
    make_batch,
    tiny_model,
)

from gemoclap.config import TrainSettings
from gemoclap.errors import GemoclapError
from gemoclap.training import distributed, progress, run
from gemoclap.training.loop import run_epochs

PLAIN = TrainSettings(
    epochs=2, lr=0.05, weight_decay=0, warmup_epochs=0, schedule="constant", clip_norm=None, precision="no"
)


def train(output, settings=PLAIN, *, model=None, objective=None, batches=None, key="key", **options):
    model = tiny_model() if model is None else model
    history = run_epochs(
        model,
        objective or ContrastiveObjective(),
        TinyBatches(12, 4) if batches is None else batches,
        settings,
        output,
        run_key=key,
        **options,
    )
    return model, history


def test_log_holds_the_means_of_a_loop_written_out(tmp_path):
    _, history = train(tmp_path)
    model, objective = tiny_model(), ContrastiveObjective()
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    expected = []
    for epoch in range(2):
        losses = []
        for batch in TinyBatches(12, 4).epoch(epoch):
            losses.append(objective(model(**batch.inputs), batch.targets))
            adam.zero_grad()
            losses[-1]["loss"].backward()
            adam.step()
        expected.append({name: sum(float(loss[name].detach()) for loss in losses) / 3 for name in losses[0]})
    for epoch, row in enumerate(history):
        assert (row["epoch"], row["step"], row["lr"]) == (epoch + 1, 3 * (epoch + 1), 0.05)
        for name in ("loss", "audio_loss", "text_loss"):
            assert row[name] == pytest.approx(expected[epoch][name], rel=1e-6)
        assert row["seconds"] >= row["data_wait_seconds"] >= 0
        assert row["utterances_per_second"] == pytest.approx(12 / row["seconds"])
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == history


def test_it_learns_and_leaves_the_frozen_alone(tmp_path):
    before = tiny_model()
    model, history = train(tmp_path, replace(PLAIN, epochs=15))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert not model.training
    assert torch.equal(model.front_end.weight, before.front_end.weight)
    assert not any("front_end" in name for name in load_file(next(tmp_path.glob("checkpoint/*/model.safetensors"))))


@pytest.mark.parametrize("count", [24, 20])
def test_accumulated_batches_step_as_one(tmp_path, count):
    """Of 20 utterances the last group has one batch of four: it must weigh as much as it would alone."""
    small, _ = train(
        tmp_path / "a", replace(PLAIN, accumulate=2), objective=MeanObjective(), batches=TinyBatches(count, 4)
    )
    large, history = train(tmp_path / "b", objective=MeanObjective(), batches=TinyBatches(count, 8))
    assert history[-1]["step"] == 6
    for (name, first), second in zip(small.named_parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=2e-5, msg=name)


def test_clipping_bounds_the_gradient(tmp_path, monkeypatch):
    norms = []
    original = torch.optim.Adam.step

    def step(self, *arguments):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    train(tmp_path / "free")
    free, norms[:] = list(norms), []
    train(tmp_path / "clipped", replace(PLAIN, clip_norm=1e-3))
    assert min(free) > 2e-3 and norms == pytest.approx([1e-3] * 6, rel=1e-3)


def test_the_first_of_equally_good_epochs_is_kept(tmp_path):
    scores, weights = [0.2, 0.7, 0.7, 0.3], []
    model = tiny_model()

    def evaluate():
        assert not model.training and not torch.is_grad_enabled()
        weights.append(model.audio.weight.detach().clone())
        return {"uar": scores[len(weights) - 1], "war": 0.5}

    settings = replace(PLAIN, epochs=4, select="dev")
    _, history = train(tmp_path, settings, model=model, evaluate=evaluate)
    assert [row["dev_uar"] for row in history] == scores
    assert [row["selected"] for row in history] == [False, True, False, False]
    assert torch.equal(model.audio.weight, weights[1]) and not torch.equal(weights[1], weights[2])


def test_development_scores_are_logged_without_choosing(tmp_path):
    model = tiny_model()
    _, history = train(tmp_path, model=model, evaluate=development_uar(model))
    assert all({"dev_uar", "dev_war"} <= row.keys() and "selected" not in row for row in history)


def test_selecting_needs_a_development_set_with_a_uar(tmp_path):
    settings = replace(PLAIN, select="dev")
    with pytest.raises(GemoclapError, match=r"--data\.dev_speakers"):
        train(tmp_path / "a", settings)
    for scores in ({"war": 0.5}, {"uar": math.nan}):
        with pytest.raises(GemoclapError, match="no UAR"):
            train(tmp_path / "b", settings, evaluate=lambda scores=scores: scores)


def test_a_complete_run_is_restored_without_a_batch(tmp_path):
    model, history = train(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    batches, other = TinyBatches(12, 4), tiny_model()
    _, again = train(tmp_path, model=other, batches=batches)
    assert batches.drawn == [] and again == history
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert not list(tmp_path.glob("checkpoint/*/optimizer.safetensors")), "a complete run needs no moments"


def test_another_run_is_refused_and_left_as_it_is(tmp_path):
    train(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(GemoclapError, match="holds another run"):
        train(tmp_path, key="other")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


class Breaking(ContrastiveObjective):
    """Goes wrong at the given call."""

    def __init__(self, call, factor):
        self.calls, self.call, self.factor = 0, call, factor

    def __call__(self, outputs, targets):
        self.calls += 1
        losses = super().__call__(outputs, targets)
        return {**losses, "loss": losses["loss"] * (self.factor if self.calls == self.call else 1.0)}


def test_short_epochs_are_not_kept_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "KEEP_SECONDS", 1e9)
    written = []
    monkeypatch.setattr(run, "write_checkpoint", lambda *where, **what: written.append(what["state"]["run"]["epoch"]))
    _, history = train(tmp_path)
    assert len(history) == 2 and written == [2]  # the complete training alone
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_loss_that_is_not_finite_names_the_batch(tmp_path):
    batches = TinyBatches(12, 4)
    expected = list(batches.epoch(1))[1].ids
    with pytest.raises(GemoclapError) as error:
        train(tmp_path, objective=Breaking(5, math.nan), batches=batches, label="fold 1")
    message = str(error.value)
    assert "fold 1: the loss is nan in epoch 2, step 5" in message and ", ".join(expected) in message
    assert "--train.lr" in message and "\n" not in message
    assert [path.name for path in tmp_path.glob("checkpoint/*")] == ["step-00000003"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    class InfiniteGradient(ContrastiveObjective):
        def __call__(self, outputs, targets):
            losses = super().__call__(outputs, targets)
            zero = (outputs["audio_embedding"] - outputs["audio_embedding"].detach()).sum()
            return {**losses, "loss": losses["loss"] + zero.clamp(min=0).sqrt()}  # finite, with an infinite slope

    with pytest.raises(GemoclapError, match="is not finite after step 1"):
        train(tmp_path, objective=InfiniteGradient(), batches=TinyBatches(4, 4))
    assert list(tmp_path.glob("checkpoint/step-*")) == []


def test_no_batches(tmp_path):
    with pytest.raises(GemoclapError, match="no batch"):
        train(tmp_path, batches=TinyBatches(0, 4))


def test_fits_of_different_precision_in_one_process(tmp_path):
    model, _ = train(tmp_path / "a", replace(PLAIN, precision="no"))
    batch = make_batch(range(4))
    before = model(**batch.inputs)["audio_embedding"]
    _, coarse = train(tmp_path / "b", replace(PLAIN, precision="bf16"))
    _, fine = train(tmp_path / "c", replace(PLAIN, precision="auto"))
    _, first = train(tmp_path / "a")
    assert [row["loss"] for row in fine] == [row["loss"] for row in first]
    assert 1e-6 < abs(coarse[0]["loss"] - fine[0]["loss"]) < 0.05
    assert torch.equal(model(**batch.inputs)["audio_embedding"], before)


def test_the_models_own_forward_stays_in_float32(tmp_path):
    model, _ = train(tmp_path, replace(PLAIN, precision="bf16"))
    batch = make_batch(range(4))
    clean = tiny_model().eval()
    clean.load_state_dict(model.state_dict())
    assert torch.equal(*(m(**batch.inputs)["audio_embedding"] for m in (model, clean)))


def test_fp16_on_a_cpu_is_refused(tmp_path):
    if torch.accelerator.is_available():
        pytest.skip("this machine trains in fp16")
    with pytest.raises(GemoclapError, match="fp16"):
        train(tmp_path, replace(PLAIN, precision="fp16"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_resumes_on_a_gpu(tmp_path, precision):
    settings = replace(PLAIN, epochs=4, precision=precision, checkpoint_steps=1)
    whole, _ = train(tmp_path / "whole", settings)
    with pytest.raises(GemoclapError):
        train(tmp_path / "stopped", settings, objective=Breaking(8, math.nan))
    resumed, _ = train(tmp_path / "stopped", settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_tracker_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "get_available_trackers", list)
    with pytest.raises(GemoclapError, match="wandb is not installed; pip install wandb, or"):
        train(tmp_path, replace(PLAIN, trackers=["wandb"]))


def test_tensorboard_has_one_point_an_epoch_after_a_resume(tmp_path):
    settings = replace(PLAIN, epochs=4, trackers=["tensorboard"])
    with pytest.raises(GemoclapError):
        train(tmp_path, settings, objective=Breaking(8, math.nan))
    _, history = train(tmp_path, settings)
    events = EventAccumulator(str(tmp_path / "tensorboard" / progress.PROJECT), purge_orphaned_data=True)
    events.Reload()
    for name in ("loss", "audio_loss", "lr"):
        points = events.Scalars(name)
        assert [point.step for point in points] == [1, 2, 3, 4]
        assert [point.value for point in points] == pytest.approx([row[name] for row in history], rel=1e-6)


def test_one_plain_line_an_epoch_without_a_terminal(tmp_path, capsys):
    train(tmp_path, label="emo_clap fold 1")
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert len(lines) == 2 and all(line.startswith("emo_clap fold 1: epoch ") for line in lines)
    assert "epoch 2/2" in lines[1] and "utterances/s" in lines[1]


def test_a_bar_on_a_terminal(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(file=screen, force_terminal=True, width=160, color_system=None)
    )
    model = tiny_model()
    train(tmp_path, replace(PLAIN, select="dev"), model=model, evaluate=development_uar(model), label="fold 1")
    shown = screen.getvalue()
    assert "fold 1 epoch 2/2" in shown and "batch 3/3" in shown and "utterances/s" in shown
    assert "fold 1: kept epoch " in shown


def test_a_warm_up_beyond_the_epochs_is_said_once_whatever_the_number_of_trainings(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "NOTED", set())
    settings = replace(PLAIN, warmup_epochs=3)
    for fold in ("one", "two"):
        train(tmp_path / fold, settings, label=f"ce {fold}")
    train(tmp_path / "three", replace(settings, warmup_epochs=4), label="ce three")
    lines = [line for line in capsys.readouterr().err.splitlines() if "warm-up" in line]
    assert [line.split("warmup_epochs ")[1][0] for line in lines] == ["3", "4"]
    assert lines[0].startswith("the warm-up") and "never reaches its peak" in lines[0]
