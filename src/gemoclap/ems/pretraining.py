"""MockingJay and NPC with their heads for self-supervised pre-training, plain or emotion-aware (EMS).

``model(waveforms, lengths, intensity, intensity_lengths, intensity_shift)`` returns tensors by name, which `ems.losses`
compares:

    prediction, target                 (B, F, M) mel features
    positions                          bool (B, F), the frames to be predicted
    mask                               bool (B, F), the valid frames; of MockingJay
    predicted_intensity, intensity     (B, F), with a score head
    predicted_sum, sum                 (B, F, M), with NPC's second head: mel features + intensity
    masked_share, fallbacks, ...       0-dim, to be logged

Once trained, ``model.encoder.save_pretrained(folder)`` saves the encoder without the heads.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gemoclap.config.ems import FOLLOW_INTENSITY, SCORE_HEADS, ScoreHead
from gemoclap.ems.masking import SpanRule, mask_spans, resample_intensity, share_of, shift_intensity, wide_frames
from gemoclap.encoders.mockingjay import MockingJayConfig, MockingJayModel
from gemoclap.encoders.npc import NPCModel
from gemoclap.encoders.padding import valid_positions
from gemoclap.errors import GemoclapError


class SpectralHead(nn.Sequential):
    """Hidden states -> mel features: dense, GELU, layer norm, linear, as S3PRL's [S]."""

    def __init__(self, config: MockingJayConfig) -> None:
        size = config.hidden_size
        super().__init__(
            nn.Linear(size, size),
            nn.GELU(),
            nn.LayerNorm(size, eps=config.layer_norm_eps),
            nn.Linear(size, config.input_size),
        )


class _Pretraining(nn.Module):
    """The common part of MockingJay and NPC: the frames and the intensity of a clip, and how masks are chosen.

    A subclass sets `encoder`, `masking` and `score_head`, and predicts in `_predict`.
    """

    encoder: Any
    masking: str
    score_head: nn.Module | None
    add_intensity = False

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        intensity: Tensor | None = None,
        intensity_lengths: Tensor | None = None,
        intensity_shift: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Hide frames and predict them; the module's page lists what comes back.

        Parameters
        ----------
        waveforms, lengths : raw audio ``(B, T)``, zero-padded, and its samples ``(B,)``.
        intensity, intensity_lengths : curves ``(B, F')`` in [0, 1] at any frame rate, and their valid values ``(B,)``.
        intensity_shift : ``(B,)`` in [0, 1), shift of shifted masks as a share of each clip; it is the same in every
            epoch, like EMS's masks.
        """
        frames, mask = self.encoder.features(waveforms, valid_positions(lengths, waveforms.shape[1]))
        is_needed = self.masking in FOLLOW_INTENSITY or self.score_head is not None or self.add_intensity
        curve = _curve(intensity, intensity_lengths, mask) if is_needed else None
        return self._predict(frames, mask, curve, _followed(curve, mask, self.masking, intensity_shift))

    def _predict(
        self, frames: Tensor, mask: Tensor, curve: Tensor | None, followed: Tensor | None
    ) -> dict[str, Tensor]:
        """Predict ``frames (B, F, M)``, valid where `mask` is; `followed` is the curve ``(B, F)`` that masks follow."""
        raise NotImplementedError


class MockingJayForPretraining(_Pretraining):
    """MockingJay that predicts the frames of hidden spans, and with a score head their intensity too.

    EMS as in its authors' code is ``score_head="intensity_track"`` with `add_intensity` [S]. The saved encoder
    takes speech only, without its intensity [C].

    Parameters
    ----------
    encoder : is trained in place.
    score_head : a linear layer [C: its form] that predicts the intensity of hidden frames. ``"speech"`` = from the encoder's
        output for the masked features [C]. ``"intensity_track"`` = from its output in a second run, whose input is the masked
        intensity in every dimension [S; C: the form of this input]. ``"none"`` = no head. The losses of both runs are added
        before one backward pass, which is equivalent to the source's two.
    add_intensity : add the masked intensity to every dimension of the masked features [S].
    masking : ``"intensity"`` hides spans at the most intense frames (EMS), ``"random"`` at random (plain); ``"shifted"``
        hides those of EMS, all moved by the same random distance: as many and equally close together.
    rule : None = MockingJay's [S].

    Raises
    ------
    GemoclapError : in a call without the intensity that `masking`, the score head or `add_intensity` needs.
    """

    encoder: MockingJayModel

    def __init__(
        self,
        encoder: MockingJayModel,
        score_head: ScoreHead = "none",
        masking: Literal["intensity", "shifted", "random"] = "intensity",
        rule: SpanRule | None = None,
        add_intensity: bool = False,
    ) -> None:
        super().__init__()
        _check_choice("masking", masking, ("intensity", "shifted", "random"))
        _check_choice("score_head", score_head, SCORE_HEADS)
        config = encoder.config
        self.encoder, self.masking, self.rule = encoder, masking, rule or SpanRule()
        self.scores_from, self.add_intensity = score_head, add_intensity
        self.spectral_head = SpectralHead(config)
        self.score_head = nn.Linear(config.hidden_size, 1) if score_head != "none" else None
        for head in (self.spectral_head, self.score_head):
            if head is not None:
                _initialize(head, config.initializer_range)

    def _predict(
        self, frames: Tensor, mask: Tensor, curve: Tensor | None, followed: Tensor | None
    ) -> dict[str, Tensor]:
        # Masked together, so that the intensity is hidden at the same frames and in the same way as the features.
        both = frames if curve is None else torch.cat([frames, curve.unsqueeze(-1)], dim=-1)
        masked = mask_spans(both, mask, followed, self.rule)
        seen, track = masked.frames.split([frames.shape[-1], both.shape[-1] - frames.shape[-1]], dim=-1)
        hidden = self.encoder.encode(seen + track if self.add_intensity else seen, mask).last_hidden_state
        outputs = {"prediction": self.spectral_head(hidden), "target": frames, "positions": masked.positions}
        outputs["mask"] = mask
        if self.score_head is not None and curve is not None:
            if self.scores_from == "intensity_track":
                hidden = self.encoder.encode(track.expand_as(frames), mask).last_hidden_state
            outputs |= {"predicted_intensity": self.score_head(hidden).squeeze(-1), "intensity": curve}
        return outputs | {"masked_share": masked.share, "fallbacks": masked.fallbacks}


class GroupedQuantizer(nn.Module):
    """NPC's bottleneck: each of several groups of dimensions is replaced by one of the group's own codes [S].

    A linear layer scores the codes. In training a code is drawn by Gumbel-softmax, with a straight-through gradient; in
    evaluation the best one is used.
    """

    def __init__(self, size: int, groups: int, codes: int, temperature: float) -> None:
        super().__init__()
        if size % groups:
            raise ValueError(f"hidden_size ({size}) must be a multiple of the number of code groups ({groups})")
        self.groups, self.temperature = groups, temperature
        self.scores = nn.ModuleList(nn.Linear(size // groups, codes) for _ in range(groups))
        self.codebooks = nn.ModuleList(nn.Linear(codes, size // groups, bias=False) for _ in range(groups))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes that replace ``hidden (B, F, D)``, and their choice: one-hot ``(B, F, G, C)``."""
        parts = hidden.chunk(self.groups, dim=-1)
        scores = torch.stack([score(part) for score, part in zip(self.scores, parts, strict=True)], dim=2).float()
        if self.training:
            chosen = nn.functional.gumbel_softmax(scores, self.temperature, hard=True)
        else:
            chosen = nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores)
        codes = [codebook(one) for codebook, one in zip(self.codebooks, chosen.unbind(2), strict=True)]
        return torch.cat(codes, dim=-1), chosen


class NPCForPretraining(_Pretraining):
    """NPC that predicts every frame, and with a score head its intensity, from the frames around it.

    How intensity enters is not published; both readings are ours [C]. Compare with plain NPC at both mask sizes
    (``NPCConfig(mask_size=7)``); otherwise the mask size confounds the comparison.

    Parameters
    ----------
    encoder : is trained in place.
    score_head : a second linear layer on the representation [C]. ``"speech"`` = it predicts the intensity curve [C].
        ``"intensity_track"`` = it predicts features + intensity in every dimension, as in the EMS authors' code [S].
        ``"none"`` = no head.
    masking : ``"none"`` is plain NPC. ``"intensity"`` treats the most intense frames as `reading` says (EMS). ``"random"``
        does this to the same number of random frames, and ``"shifted"`` to those of EMS moved by a random distance; both
        are controls.
    reading : ``"wide"`` = predict those frames with the config's `wide_mask_size`; ``"spans"`` = hide MockingJay's spans in
        the input.
    rule : of the spans; None = MockingJay's [S].
    wide_share : share of a clip's frames that are wide [C].
    groups, codes, temperature : of the quantiser [S].

    Raises
    ------
    GemoclapError : in a call without the intensity that `masking` or the score head needs.
    """

    encoder: NPCModel

    def __init__(
        self,
        encoder: NPCModel,
        score_head: ScoreHead = "none",
        masking: Literal["intensity", "shifted", "random", "none"] = "intensity",
        reading: Literal["wide", "spans"] = "wide",
        rule: SpanRule | None = None,
        wide_share: float = 0.15,
        groups: int = 4,
        codes: int = 64,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        _check_choice("masking", masking, ("intensity", "shifted", "random", "none"))
        _check_choice("reading", reading, ("wide", "spans"))
        _check_choice("score_head", score_head, SCORE_HEADS)
        config = encoder.config
        self.encoder, self.masking, self.reading = encoder, masking, reading
        self.rule, self.wide_share = rule or SpanRule(), wide_share
        self.quantizer = GroupedQuantizer(config.hidden_size, groups, codes, temperature)
        self.spectral_head = nn.Linear(config.hidden_size, config.n_mels)
        self.scores_from = score_head
        outputs = {"none": 0, "speech": 1, "intensity_track": config.n_mels}[score_head]
        self.score_head = nn.Linear(config.hidden_size, outputs) if outputs else None

    def _predict(
        self, frames: Tensor, mask: Tensor, curve: Tensor | None, followed: Tensor | None
    ) -> dict[str, Tensor]:
        # ``positions`` are all valid frames: NPC predicts each from those around it.
        seen, wide, shares = self._hide(frames, mask, followed)
        hidden = self.encoder.encode(seen, mask, wide=wide).last_hidden_state
        codes, chosen = self.quantizer(hidden)
        outputs = {"prediction": self.spectral_head(codes), "target": frames, "positions": mask}
        if self.score_head is not None and curve is not None:
            second = self.score_head(hidden)
            if self.scores_from == "intensity_track":
                outputs |= {"predicted_sum": second, "sum": frames + curve.unsqueeze(-1)}
            else:
                outputs |= {"predicted_intensity": second.squeeze(-1), "intensity": curve}
        return outputs | shares | {"code_perplexity": code_perplexity(chosen, mask)}

    def _hide(
        self, frames: Tensor, mask: Tensor, curve: Tensor | None
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return the input, the wide frames if any, and the diagnostics."""
        if self.masking == "none":
            zero = frames.new_zeros(())
            return frames, None, {"masked_share": zero, "fallbacks": zero}
        if self.reading == "wide":
            wide, fell_back = wide_frames(mask, curve, self.wide_share)
            return frames, wide, {"masked_share": share_of(wide, mask), "fallbacks": fell_back.sum()}
        masked = mask_spans(frames, mask, curve, self.rule)
        return masked.frames, None, {"masked_share": masked.share, "fallbacks": masked.fallbacks}


def code_perplexity(chosen: Tensor, mask: Tensor) -> Tensor:
    """Return the perplexity of the use of codes, mean over groups; 0-dim.

    It is the number of codes if all are used equally, and 1 if only one is used.

    Parameters
    ----------
    chosen : one-hot ``(B, F, G, C)``; counted where ``mask (B, F)`` is True.
    """
    use = (chosen.detach() * mask[:, :, None, None]).sum((0, 1)) / mask.sum()
    return torch.special.entr(use).sum(-1).exp().mean()


def _curve(intensity: Tensor | None, lengths: Tensor | None, mask: Tensor) -> Tensor:
    """Return the intensity at the encoder's frames."""
    if intensity is None:
        raise GemoclapError(
            "pre-training with masking 'intensity' or 'shifted', with a score head or with add_intensity needs the "
            "intensity of every clip; make it with 'gemoclap intensity', or choose plain masking and none of the others"
        )
    if lengths is None:
        lengths = torch.full((len(intensity),), intensity.shape[1], device=intensity.device)
    return resample_intensity(intensity.float(), lengths, mask)


def _followed(curve: Tensor | None, mask: Tensor, masking: str, shifts: Tensor | None) -> Tensor | None:
    """Return the curve that masks follow, or None."""
    if curve is None or masking not in FOLLOW_INTENSITY:
        return None
    if masking == "intensity":
        return curve
    if shifts is None:
        raise GemoclapError("masking 'shifted' needs intensity_shift, how far each clip's masks are moved")
    return shift_intensity(curve, mask, shifts)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise GemoclapError(f"{name}: {value!r} is not known; choose {' or '.join(choices)}")


def _initialize(head: nn.Module, deviation: float) -> None:
    """Draw the weights of linear layers as BERT does [S]."""
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=deviation)
            nn.init.zeros_(module.bias)
