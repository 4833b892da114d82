"""MockingJay and NPC with their heads: shapes, masks, losses, learning, padding, and a few steps of the loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gemoclap.data.targets import Targets
from gemoclap.ems.losses import Reconstruction
from gemoclap.ems.masking import SpanRule, mask_spans, resample_intensity, shift_intensity, wide_frames
from gemoclap.ems.pretraining import MockingJayForPretraining, NPCForPretraining
from gemoclap.encoders.mockingjay import MockingJayConfig, MockingJayModel
from gemoclap.encoders.npc import NPCConfig, NPCModel
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError

MELS = {"n_mels": 12, "hidden_size": 16, "num_hidden_layers": 2}
LENGTHS = torch.tensor([16000, 7000, 11000, 500])
CURVE_LENGTHS = torch.tensor([60, 25, 40, 1])
LEFT = SpanRule(zeroed=0.0, copied=0.0)
NOBODY = Targets(torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long))


def mockingjay(*, dropout: float = 0.0, **options: Any) -> MockingJayForPretraining:
    torch.manual_seed(0)
    config = MockingJayConfig(
        **MELS, num_attention_heads=2, intermediate_size=24, dropout=dropout, attention_dropout=dropout
    )
    return MockingJayForPretraining(MockingJayModel(config), **options)


def npc(*, dropout: float = 0.0, mask_size: int = 5, **options: Any) -> NPCForPretraining:
    torch.manual_seed(0)
    config = NPCConfig(**MELS, dropout=dropout, mask_size=mask_size)
    return NPCForPretraining(NPCModel(config), **{"codes": 8, **options})


FORMS: dict[str, Any] = {
    "mockingjay": lambda **options: mockingjay(score_head="speech", **options),
    "mockingjay plain": lambda **options: mockingjay(masking="random", **options),
    "npc": lambda **options: npc(masking="none", **options),
    "npc wide": lambda **options: npc(score_head="speech", **options),
    "npc spans": lambda **options: npc(reading="spans", **options),
    "mockingjay source": lambda **options: mockingjay(score_head="intensity_track", add_intensity=True, **options),
    "npc source": lambda **options: npc(score_head="intensity_track", **options),
    "npc random": lambda **options: npc(masking="random", **options),
}

every_form = pytest.mark.parametrize("form", FORMS)


def batch(padding: int = 0) -> dict[str, Tensor]:
    """Return four clips with intensity curves, zero-padded."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(16000)
    waveforms = torch.randn(4, 16000, generator=generator) * (time / 1500).sin() * (time < LENGTHS.unsqueeze(1))
    curves = torch.rand(4, 60, generator=generator) * (torch.arange(60) < CURVE_LENGTHS.unsqueeze(1))
    return {
        "waveforms": nn.functional.pad(waveforms, (0, padding)),
        "lengths": LENGTHS,
        "intensity": nn.functional.pad(curves, (0, padding // 100)),
        "intensity_lengths": CURVE_LENGTHS,
    }


def clip(row: int) -> dict[str, Tensor]:
    """Return one of the clips alone, without padding."""
    whole, samples, values = batch(), int(LENGTHS[row]), int(CURVE_LENGTHS[row])
    return {
        "waveforms": whole["waveforms"][row : row + 1, :samples],
        "lengths": LENGTHS[row : row + 1],
        "intensity": whole["intensity"][row : row + 1, :values],
        "intensity_lengths": CURVE_LENGTHS[row : row + 1],
    }


def features_of(model: Any) -> tuple[Tensor, Tensor]:
    return model.encoder.features(batch()["waveforms"], torch.arange(16000) < LENGTHS.unsqueeze(1))


@every_form
def test_the_outputs_are_tensors_of_the_shapes_promised(form: str) -> None:
    model = FORMS[form]().train()
    outputs = model(**batch())
    frames, mask = features_of(model)
    assert all(isinstance(output, Tensor) for output in outputs.values())
    assert torch.equal(outputs["target"], frames) and outputs["prediction"].shape == frames.shape
    assert frames.shape == (4, 98, 36 if "mockingjay" in form else 12)
    assert outputs["positions"].dtype == torch.bool and not (outputs["positions"] & ~mask).any()
    if "npc" in form:
        assert torch.equal(outputs["positions"], mask)
    if form == "npc source":
        assert outputs["sum"].shape == outputs["predicted_sum"].shape == frames.shape and "intensity" not in outputs
    elif model.score_head is not None:
        expected = resample_intensity(batch()["intensity"], CURVE_LENGTHS, mask)
        assert torch.equal(outputs["intensity"], expected)
        assert outputs["predicted_intensity"].shape == mask.shape
    else:
        assert "intensity" not in outputs
    scalars = {name for name, output in outputs.items() if output.ndim == 0}
    assert scalars == {"masked_share", "fallbacks"} | ({"code_perplexity"} if "npc" in form else set())
    assert outputs["masked_share"].item() < 0.3 and (outputs["masked_share"].item() == 0) == (form == "npc")


def test_mockingjay_encodes_the_masked_frames_and_predicts_those_in_spans() -> None:
    model, inputs = mockingjay(score_head="speech").eval(), batch()
    frames, mask = features_of(model)
    torch.manual_seed(3)
    outputs = model(**inputs)
    torch.manual_seed(3)
    masked = mask_spans(frames, mask, resample_intensity(inputs["intensity"], CURVE_LENGTHS, mask))
    hidden = model.encoder.encode(masked.frames, mask).last_hidden_state
    assert torch.equal(outputs["positions"], masked.positions)
    assert (outputs["masked_share"], outputs["fallbacks"]) == (masked.share, masked.fallbacks)
    dense, norm, last = model.spectral_head[0], model.spectral_head[2], model.spectral_head[3]
    inner = nn.functional.gelu(hidden @ dense.weight.T + dense.bias)
    inner = nn.functional.layer_norm(inner, (16,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(outputs["prediction"], inner @ last.weight.T + last.bias)
    score = hidden @ model.score_head.weight[0] + model.score_head.bias
    torch.testing.assert_close(outputs["predicted_intensity"], score)


def masked_apart(model: Any, rule: SpanRule) -> tuple[Tensor, Tensor, Tensor]:
    """Return the masked features, the intensity masked by itself with the same draws, and the mask of valid frames."""
    frames, mask = features_of(model)
    curve = resample_intensity(batch()["intensity"], CURVE_LENGTHS, mask)
    masked = []
    for series in (frames, curve.unsqueeze(-1)):
        torch.manual_seed(3)
        masked.append(mask_spans(series, mask, curve, rule).frames)
    return masked[0], masked[1], mask


RULES = pytest.mark.parametrize(
    "rule", [SpanRule(), SpanRule(zeroed=1.0, copied=0.0), SpanRule(zeroed=0.0, copied=1.0)]
)


@RULES
def test_the_source_adds_the_masked_intensity_to_every_dimension_of_the_masked_input(rule: SpanRule) -> None:
    model = mockingjay(add_intensity=True, rule=rule).eval()
    torch.manual_seed(3)
    outputs = model(**batch())
    features, track, mask = masked_apart(model, rule)
    summed = features.clone()
    for dimension in range(features.shape[-1]):
        summed[..., dimension] += track[..., 0]
    hidden = model.encoder.encode(summed, mask).last_hidden_state
    torch.testing.assert_close(outputs["prediction"][mask], model.spectral_head(hidden)[mask])
    assert torch.equal(outputs["target"], features_of(model)[0])  # the features alone
    torch.manual_seed(3)
    without = mockingjay(rule=rule).eval()(**batch())
    assert torch.equal(without["positions"], outputs["positions"])
    assert not torch.allclose(without["prediction"], outputs["prediction"])


@RULES
def test_the_source_asks_for_the_intensity_in_a_second_run_without_speech(rule: SpanRule) -> None:
    model = mockingjay(score_head="intensity_track", rule=rule).eval()
    torch.manual_seed(3)
    outputs = model(**batch())
    _, track, mask = masked_apart(model, rule)
    hidden = model.encoder.encode(track.repeat(1, 1, 36), mask).last_hidden_state
    score = hidden @ model.score_head.weight[0] + model.score_head.bias
    torch.testing.assert_close(outputs["predicted_intensity"][mask], score[mask])
    elsewhere = {**batch(), "waveforms": torch.randn(4, 16000) * (torch.arange(16000) < LENGTHS.unsqueeze(1))}
    torch.manual_seed(3)
    other = model(**elsewhere)
    assert torch.equal(other["predicted_intensity"], outputs["predicted_intensity"])
    assert not torch.allclose(other["prediction"], outputs["prediction"])


def test_a_score_head_on_speech_hears_it() -> None:
    model = mockingjay(score_head="speech").eval()
    scores = []
    for waveforms in (batch()["waveforms"], batch()["waveforms"].flip(-1)):
        torch.manual_seed(3)
        scores.append(model(**{**batch(), "waveforms": waveforms})["predicted_intensity"][0])
    assert not torch.allclose(*scores)


def test_two_backward_passes_as_the_sources_come_to_one_of_the_sum() -> None:
    gradients = []
    for together in (True, False):
        model = FORMS["mockingjay source"]()
        torch.manual_seed(3)
        losses = Reconstruction()(model(**batch()), NOBODY)
        for loss in [losses["loss"]] if together else [losses["spectral_l1"], losses["intensity_l1"]]:
            loss.backward(retain_graph=not together)
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_npcs_second_output_is_held_against_features_and_intensity() -> None:
    model = FORMS["npc source"]().eval()
    outputs = model(**batch())
    frames, mask = features_of(model)
    curve = resample_intensity(batch()["intensity"], CURVE_LENGTHS, mask)
    for row, frame in mask.nonzero()[::7].tolist():
        expected = [value + curve[row, frame].item() for value in frames[row, frame].tolist()]
        assert outputs["sum"][row, frame].tolist() == pytest.approx(expected, abs=1e-5)
    losses = Reconstruction()(outputs, NOBODY)
    assert losses["sum_l1"].item() == pytest.approx(
        (outputs["predicted_sum"] - outputs["sum"])[mask].abs().mean().item(), rel=1e-5
    )
    assert losses["loss"].item() == pytest.approx((losses["spectral_l1"] + losses["sum_l1"]).item(), rel=1e-6)


def test_random_masking_ignores_the_curve() -> None:
    for model in (mockingjay(masking="random"), npc(masking="random"), npc(masking="none")):
        outputs = []
        for changes in ({}, {"intensity": torch.rand(4, 60)}, {"intensity": None, "intensity_lengths": None}):
            torch.manual_seed(1)
            outputs.append(model.eval()(**{**batch(), **changes}))
        for other in outputs[1:]:
            assert all(torch.equal(outputs[0][name], other[name]) for name in outputs[0])
        assert outputs[0]["fallbacks"].item() == 0


def test_shifted_masks_follow_the_shifted_curve_and_the_score_head_learns_the_true_one() -> None:
    model, inputs = mockingjay(masking="shifted", score_head="speech").eval(), batch()
    with pytest.raises(GemoclapError, match="needs intensity_shift"):
        model(**inputs)
    inputs["intensity_shift"] = torch.tensor([0.3, 0.5, 0.7, 0.9])
    frames, mask = features_of(model)
    torch.manual_seed(3)
    outputs = model(**inputs)
    torch.manual_seed(3)
    curve = resample_intensity(inputs["intensity"], CURVE_LENGTHS, mask)
    masked = mask_spans(frames, mask, shift_intensity(curve, mask, inputs["intensity_shift"]))
    assert torch.equal(outputs["positions"], masked.positions) and torch.equal(outputs["intensity"], curve)
    torch.manual_seed(3)
    assert not torch.equal(mask_spans(frames, mask, curve).positions, masked.positions)


def test_plain_masking_with_a_score_head_learns_the_curve_all_the_same() -> None:
    outputs = mockingjay(masking="random", score_head="speech")(**batch())
    assert outputs["intensity"].any()


@pytest.mark.parametrize(
    "model", [mockingjay(), npc(), npc(reading="spans"), npc(masking="none", score_head="speech"),
              mockingjay(masking="random", add_intensity=True)],
    ids=["mockingjay", "npc wide", "npc spans", "npc score", "added"],
)  # fmt: skip
def test_without_the_curve_it_needs_a_model_says_so(model: nn.Module) -> None:
    with pytest.raises(GemoclapError, match="needs the intensity of every clip"):
        model(batch()["waveforms"], LENGTHS)


@pytest.mark.parametrize("masking", ["intensity", "random", "none"])
def test_npc_widens_the_mask_at_the_most_intense_frames(masking: str) -> None:
    model, inputs = npc(masking=masking).eval(), batch()
    frames, mask = features_of(model)
    torch.manual_seed(3)
    outputs = model(**inputs)
    torch.manual_seed(3)
    curve = resample_intensity(inputs["intensity"], CURVE_LENGTHS, mask) if masking == "intensity" else None
    wide = None if masking == "none" else wide_frames(mask, curve)[0]
    hidden = model.encoder.encode(frames, mask, wide=wide).last_hidden_state
    codes, _ = model.quantizer(hidden)
    torch.testing.assert_close(outputs["prediction"], model.spectral_head(codes))
    if masking == "intensity":
        assert outputs["fallbacks"].item() == 1  # the curve of one value
        assert outputs["masked_share"].item() == pytest.approx(0.15, abs=0.02)


def test_npcs_second_reading_hides_spans_at_the_input() -> None:
    model, inputs = npc(reading="spans", rule=SpanRule(zeroed=1.0, copied=0.0)).eval(), batch()
    frames, mask = features_of(model)
    torch.manual_seed(3)
    outputs = model(**inputs)
    torch.manual_seed(3)
    curve = resample_intensity(inputs["intensity"], CURVE_LENGTHS, mask)
    masked = mask_spans(frames, mask, curve, model.rule)
    hidden = model.encoder.encode(masked.frames, mask).last_hidden_state
    torch.testing.assert_close(outputs["prediction"], model.spectral_head(model.quantizer(hidden)[0]))
    assert torch.equal(outputs["target"], frames) and not masked.frames[masked.positions].any()
    assert torch.equal(outputs["masked_share"], masked.share)


@every_form
def test_a_padded_batch_equals_each_clip_alone_where_nothing_is_drawn(form: str) -> None:
    options = {} if form == "npc" else {"rule": LEFT}
    model = FORMS[form](**options).eval()
    outputs = model(**batch(padding=3000))
    for row in range(4):
        alone = model(**clip(row))
        frames = alone["target"].shape[1]
        same = ["target", "intensity"] if "intensity" in alone else ["target"]
        if row < 3 and "random" not in form and "plain" not in form:  # the last clip's curve has one value: no order
            if "npc" in form:
                same.append("prediction")
            else:
                assert outputs["positions"][row, :frames].sum() == alone["positions"].sum()
        if "mockingjay" in form:  # its spans are left as they are, so they change no prediction
            same.append("prediction")
        for name in same:
            torch.testing.assert_close(outputs[name][row, :frames], alone[name][0], atol=1e-4, rtol=0)


@every_form
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_the_losses_equal_a_naive_float64_loop(form: str, weight: float) -> None:
    outputs = FORMS[form]()(**batch())
    losses = Reconstruction(weight)(outputs, NOBODY)
    spectral, intensity = [], []
    for row, frame in outputs["positions"].nonzero().tolist():
        difference = outputs["prediction"][row, frame].double() - outputs["target"][row, frame].double()
        spectral += [abs(value) for value in difference.tolist()]
        if "sum" in outputs:
            difference = outputs["predicted_sum"][row, frame].double() - outputs["sum"][row, frame].double()
            intensity += [abs(value) for value in difference.tolist()]
        elif "intensity" in outputs:
            guess, truth = outputs["predicted_intensity"][row, frame], outputs["intensity"][row, frame]
            intensity.append(abs(guess.item() - truth.item()))
    expected = sum(spectral) / len(spectral)
    assert losses["spectral_l1"].item() == pytest.approx(expected, rel=1e-5)
    if intensity:
        expected += weight * sum(intensity) / len(intensity)
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-5)


@every_form
def test_steps_on_one_batch_lower_the_loss_and_every_weight_takes_part(form: str) -> None:
    model, objective, inputs = FORMS[form]().train(), Reconstruction(), batch()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(0)  # the same spans and codes, so that the loss can be compared from step to step
        loss = objective(model(**inputs), NOBODY)["loss"]
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0] and losses[-1] == pytest.approx(min(losses), rel=0.03)


def test_the_trained_encoder_is_kept_without_its_heads(tmp_path: Any) -> None:
    for model in (mockingjay(), npc()):
        model.train()(**batch())
        speech = SpeechEncoder(model.encoder, do_normalize=False).eval()
        model.encoder.save_pretrained(tmp_path)
        speech.feature_extractor.save_pretrained(tmp_path)
        again = SpeechEncoder.from_pretrained(str(tmp_path)).eval()
        with torch.no_grad():
            frames, mask = again(batch()["waveforms"], LENGTHS)
            expected = model.encoder.encode(*features_of(model)).last_hidden_state
        torch.testing.assert_close(frames[mask], expected[mask])


@pytest.mark.parametrize("form", ["mockingjay", "npc wide"])
def test_autocast_trains_in_bfloat16(form: str) -> None:
    model = FORMS[form]().train()
    torch.manual_seed(0)
    exact = Reconstruction()(model(**batch()), NOBODY)["spectral_l1"]
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(**batch())
    losses = Reconstruction()(outputs, NOBODY)
    losses["loss"].backward()
    assert losses["loss"].dtype == torch.float32
    assert losses["spectral_l1"].item() == pytest.approx(exact.item(), rel=0.05)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_heads_start_as_the_encoder_does() -> None:
    model = mockingjay(score_head="speech")
    assert model.spectral_head[3].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.spectral_head[0].bias.any() and not model.score_head.bias.any()


def test_words_that_are_not_known() -> None:
    heads = (lambda: mockingjay(score_head="all"), lambda: npc(score_head="all"))
    for build in (
        lambda: mockingjay(masking="all"), lambda: npc(masking="all"), lambda: npc(reading="all"), *heads
    ):  # fmt: skip
        with pytest.raises(GemoclapError, match="'all' is not known; choose "):
            build()
