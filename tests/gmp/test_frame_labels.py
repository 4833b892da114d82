"""Hidden frames by their properties; logits and losses against loops; the frames of a layer, kept."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import HOP, RECEPTIVE_FIELD, save_speech_encoder
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from gemoclap.config import AudioSettings, GmpSettings
from gemoclap.config.files import FOLDER as CONFIGS
from gemoclap.corpora.manifest import read_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.targets import Targets
from gemoclap.encoders.feature_cache import LayerFrames
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.gmp.frame_labels import FrameLabelModel, FramePseudoLabels, draw_hidden, span_rule

NOBODY = Targets(torch.zeros(2), torch.zeros(2))
"""Pseudo-labels come from the model's outputs, so the labels are not used."""

LENGTHS = torch.tensor([RECEPTIVE_FIELD + 59 * HOP, RECEPTIVE_FIELD + 24 * HOP])
COUNTS = [60, 25]
IEMOCAP = Path(__file__).parents[2].parent / "shared" / "iemocap" / "utterances.tsv"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_spans_are_whole_but_at_the_end_and_lie_in_the_clip() -> None:
    counts = torch.tensor([200, 90, 15, 3])
    hidden = draw_hidden(counts, span=15, start=0.03, generator=generator())
    assert hidden.shape == (4, 200)
    for row, count in zip(hidden.tolist(), counts.tolist(), strict=True):
        assert any(row) and not any(row[count:])
        runs, run = [], 0
        for place, value in enumerate([*row[:count], False]):
            if value:
                run += 1
            elif run:
                runs.append((place, run))
                run = 0
        assert all(length >= 15 or end == count for end, length in runs)


def test_as_many_frames_are_hidden_as_the_probability_says() -> None:
    """A frame well inside is seen with probability (1 - p) ** span."""
    hidden = draw_hidden(torch.full((400,), 300), span=15, start=0.06, generator=generator())
    assert hidden[:, 20:].float().mean().item() == pytest.approx(1 - 0.94**15, abs=0.02)


@pytest.mark.parametrize("frame_seconds", [0.01, 0.02, 0.08, 0.5])
def test_as_much_is_hidden_at_any_frame_rate(frame_seconds: float) -> None:
    span, start = span_rule(0.3, 0.6, frame_seconds)
    assert span == max(1, round(0.3 / frame_seconds))
    hidden = draw_hidden(torch.full((600,), 300), span, start, generator=generator())
    assert hidden[:, 40:].float().mean().item() == pytest.approx(0.6, abs=0.02)
    if frame_seconds == 0.02:
        assert (span, round(start, 2)) == (15, 0.06)


@pytest.mark.skipif(not IEMOCAP.is_file(), reason=f"IEMOCAP's public durations are not at {IEMOCAP}")
def test_as_much_is_hidden_as_by_p_tapt() -> None:
    """Of IEMOCAP's frames, against transformers' own masks: a share of 0.06, spans of 15, two a clip at least."""
    with IEMOCAP.open(encoding="utf-8") as file:
        counts = [int(50 * float(row["duration_s"])) for row in csv.DictReader(file, delimiter="\t")]
    np.random.seed(0)
    theirs = sum(_compute_mask_indices((1, count), 0.06, 15, min_masks=2).sum() for count in counts) / sum(counts)
    settings = yaml.safe_load((CONFIGS / "gmp_tl" / "p_tapt_share.yaml").read_text(encoding="utf-8"))["gmp"]
    span, start = span_rule(GmpSettings().span_seconds, settings["hidden_share"], 0.02)
    ours = draw_hidden(torch.tensor(counts), span, start, generator()).sum().item() / sum(counts)
    assert span == 15 and theirs == pytest.approx(0.13, abs=0.005) and ours == pytest.approx(theirs, abs=0.015)


def test_the_same_seed_hides_the_same() -> None:
    counts = torch.tensor([50, 40])
    first, again, other = (draw_hidden(counts, 15, 0.06, generator=generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def model_of(folder: Path, *scales: int) -> FrameLabelModel:
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(folder, "hubert")))
    torch.manual_seed(0)
    return FrameLabelModel(encoder, scales, span_seconds=0.0375)  # 15 frames of 2.5 ms


def labels_for(*scales: int) -> torch.Tensor:
    columns = [torch.randint(k, (2, max(COUNTS)), generator=generator(k)) for k in scales]
    labels = torch.stack(columns, dim=-1)
    return labels


def test_each_scale_names_the_hidden_frames(tmp_path: Path) -> None:
    model, labels = model_of(tmp_path, 4, 9).eval(), labels_for(4, 9)
    waveforms = torch.randn(2, int(LENGTHS[0]), generator=generator())
    torch.manual_seed(5)
    outputs = model(labels, torch.tensor(COUNTS), waveforms, LENGTHS)
    torch.manual_seed(5)
    hidden = draw_hidden(torch.tensor(COUNTS), model.span, model.start)
    frames, _ = model.encoder(waveforms, LENGTHS, hidden)
    places = hidden.nonzero().tolist()
    assert outputs["hidden_share"].item() == pytest.approx(len(places) / sum(COUNTS))
    total = 0.0
    losses = FramePseudoLabels((4, 9))(outputs, NOBODY)
    for place, (k, head) in enumerate(zip((4, 9), model.heads, strict=True)):
        terms, right = [], 0
        for row, frame in places:
            logits = head(frames[row, frame]).double().tolist()
            label = int(labels[row, frame, place])
            terms.append(math.log(sum(math.exp(value) for value in logits)) - logits[label])
            right += logits.index(max(logits)) == label
        assert losses[f"frame_cross_entropy_{k}"].item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
        assert losses[f"frame_accuracy_{k}"].item() == pytest.approx(right / len(terms))
        total += sum(terms) / len(terms)
    assert losses["loss"].item() == pytest.approx(total, rel=1e-5)


def test_it_learns_the_labels_of_frames_it_does_not_see(tmp_path: Path) -> None:
    """Labels that follow from the neighbours: one for the first clip, one for the second."""
    model = model_of(tmp_path, 2).train()
    labels = torch.tensor([0, 1])[:, None, None].expand(2, max(COUNTS), 1).clone()
    tone = torch.sin(torch.arange(int(LENGTHS[0])) * 0.5)
    waveforms = torch.stack([tone, torch.randn(len(tone), generator=generator())])
    optimizer, objective = torch.optim.Adam(model.parameters(), 1e-2), FramePseudoLabels((2,))
    seen = []
    for _ in range(30):
        losses = objective(model(labels, torch.tensor(COUNTS), waveforms, LENGTHS), NOBODY)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(losses["loss"].item())
    assert sum(seen[-5:]) / 5 < 0.5 * seen[0]


def test_a_front_end_in_place_of_the_waveforms_changes_nothing(tmp_path: Path) -> None:
    model, labels = model_of(tmp_path, 4).eval(), labels_for(4)
    waveforms = torch.randn(2, int(LENGTHS[0]), generator=generator())
    front_end, counts = model.encoder.front_end(waveforms, LENGTHS)
    torch.manual_seed(5)
    expected = model(labels, torch.tensor(COUNTS), waveforms, LENGTHS)
    torch.manual_seed(5)
    found = model(labels, torch.tensor(COUNTS), frozen_frames=front_end, frame_counts=counts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_labels_of_another_frame_rate_are_refused(tmp_path: Path) -> None:
    model = model_of(tmp_path, 4)
    with pytest.raises(GemoclapError, match="same frame rate"):
        model(labels_for(4)[:, :-3], torch.tensor(COUNTS) - 3, torch.randn(2, int(LENGTHS[0])), LENGTHS)


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_frames_of_a_layer_are_kept(tmp_path: Path, small_manifest: Path, on_disk: bool) -> None:
    encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path / "encoder", "hubert"))).eval()
    rows = read_manifest(small_manifest)[:5]
    store = AudioStore(AudioSettings())
    store.preload(rows)
    kept = LayerFrames(encoder, store, -3, torch.float32, tmp_path / "cache" if on_disk else None)
    kept.encode(rows)
    for row in rows:
        waveform = torch.from_numpy(store(row)).unsqueeze(0)
        expected, _ = encoder.layer_frames(waveform, torch.tensor([waveform.shape[1]]), -3)
        torch.testing.assert_close(kept.of(row), expected[0].detach(), atol=1e-5, rtol=0)
    inputs = kept.inputs(rows)
    assert inputs["frame_counts"].tolist() == [len(kept.of(row)) for row in rows]
    assert inputs["frames"].shape[:2] == (5, int(inputs["frame_counts"].max()))
    other = LayerFrames(encoder, store, -2, torch.float32, tmp_path / "cache" if on_disk else None)
    with pytest.raises(GemoclapError, match="nothing is cached"):
        other.of(rows[0])
