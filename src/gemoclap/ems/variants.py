"""The ways to pre-train that are compared, and the pairs whose difference is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gemoclap.config.ems import FOLLOW_INTENSITY, ScoreHead
from gemoclap.config.probe import LOG_MEL


@dataclass(frozen=True)
class Variant:
    """A way to get an encoder.

    Attributes
    ----------
    title : name in tables and pictures.
    encoder : None = no encoder, only log-mel frames.
    masking, score_head, add_intensity : as in `PretrainModelSettings`.
    mask_size : of npc, in frames.
    trained : False = the encoder keeps its initial weights.
    """

    title: str
    encoder: Literal["mockingjay", "npc"] | None
    masking: Literal["intensity", "shifted", "random", "none"] = "none"
    score_head: ScoreHead = "none"
    mask_size: int | None = None
    add_intensity: bool = False
    trained: bool = True

    @property
    def needs_intensity(self) -> bool:
        """Whether pre-training uses intensity curves."""
        return self.masking in FOLLOW_INTENSITY or self.score_head != "none" or self.add_intensity

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the encoder's config. With EMS npc's mask is two frames wider where the emotion is intense.

        The kernel is two frames longer than the papers' 15, so that the last of the four blocks, whose mask has grown by
        8, sees something at a mask size of 7 [C]; at 9 it does not.
        """
        if self.mask_size is None:
            return {}
        return {"kernel_size": 17, "mask_size": self.mask_size, "wide_mask_size": self.mask_size + 2}


def _ways(
    title: str, encoder: Literal["mockingjay", "npc"], plain: Any, mask_size: int | None = None
) -> dict[str, Variant]:
    """Return plain and EMS pre-training, each without and with our score head, by the suffix of their names.

    ``_source`` is EMS with the additions of its authors' code in place of our head [S]; NPC's masks are ours [C].
    """
    is_mockingjay = encoder == "mockingjay"
    return {
        "": Variant(title, encoder, plain, mask_size=mask_size),
        "_ems": Variant(f"{title}, EMS", encoder, "intensity", mask_size=mask_size),
        "_score": Variant(f"{title}, score head", encoder, plain, "speech", mask_size),
        "_ems_score": Variant(f"{title}, EMS, score head", encoder, "intensity", "speech", mask_size),
        "_source": Variant(
            f"{title}, EMS as its authors' code", encoder, "intensity", "intensity_track", mask_size, is_mockingjay
        ),
    }


VARIANTS: dict[str, Variant] = {
    LOG_MEL: Variant("log-mel, no encoder", None),
    "mockingjay_untrained": Variant("MockingJay, untrained", "mockingjay", "random", trained=False),
    **{f"mockingjay{end}": one for end, one in _ways("MockingJay", "mockingjay", "random").items()},
    "mockingjay_shifted": Variant("MockingJay, EMS's spans shifted at random (control)", "mockingjay", "shifted"),
    "npc5_untrained": Variant("NPC 5, untrained", "npc", mask_size=5, trained=False),
    **{f"npc5{end}": one for end, one in _ways("NPC 5", "npc", "none", 5).items()},
    "npc5_random": Variant("NPC 5 with randomly placed wide masks (control)", "npc", "random", mask_size=5),
    **{f"npc7{end}": one for end, one in _ways("NPC 7", "npc", "none", 7).items()},
    "npc7_random": Variant("NPC 7 with randomly placed wide masks (control)", "npc", "random", mask_size=7),
}
"""All variants by name; NPC's number is its mask size."""

PAIRS = {
    "MockingJay, EMS \N{MINUS SIGN} plain": (
        ("mockingjay_ems", "mockingjay"),
        ("mockingjay_ems_score", "mockingjay_score"),
    ),
    "NPC, EMS \N{MINUS SIGN} plain": (
        ("npc5_ems", "npc5"),
        ("npc5_ems_score", "npc5_score"),
        ("npc7_ems", "npc7"),
        ("npc7_ems_score", "npc7_score"),
    ),
    "score head \N{MINUS SIGN} without": (
        ("mockingjay_score", "mockingjay"),
        ("mockingjay_ems_score", "mockingjay_ems"),
        ("npc5_score", "npc5"),
        ("npc5_ems_score", "npc5_ems"),
        ("npc7_score", "npc7"),
        ("npc7_ems_score", "npc7_ems"),
    ),
    "EMS as its authors' code \N{MINUS SIGN} plain": (
        ("mockingjay_source", "mockingjay"),
        ("npc5_source", "npc5"),
        ("npc7_source", "npc7"),
    ),
}
"""Pairs that show the effect of EMS's masks, of our score head, and of EMS as a whole.
EMS changes more than the places of masks: MockingJay's spans overlap at intense frames, so that fewer frames are hidden, and
some of NPC's masks are wider. `CONTROLS` are for this."""
CONTROLS = (
    ("mockingjay_ems", "mockingjay_shifted"),
    ("npc5_ems", "npc5_random"),
    ("npc7_ems", "npc7_random"),
    ("npc5_ems", "npc7"),
)
"""Pairs that test other explanations: fewer hidden frames, some wider masks at any place, and wider masks everywhere."""
