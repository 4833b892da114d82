"""The ways to pre-train that are compared, and which of them tell what when set side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gemoclap.config.ems import FOLLOW_INTENSITY, LOG_MEL, ScoreHead


@dataclass(frozen=True)
class Variant:
    """A way to come by an encoder.

    Attributes
    ----------
    title : in tables and pictures.
    encoder : None where there is none, but log-mel frames alone.
    masking, score_head, add_intensity : as in `PretrainModelSettings`.
    mask_size : of npc, in frames.
    trained : False leaves the encoder as it was initialised.
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
        """Whether pre-training looks at intensity curves."""
        return self.masking in FOLLOW_INTENSITY or self.score_head != "none" or self.add_intensity

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the encoder's config. EMS widens npc's mask by two frames where the emotion is intense.

        The kernel is two frames longer than the papers' 15, so that the last of the four blocks, whose mask has grown by
        8, sees something at a mask size of 7 [C]; at 9 it does not.
        """
        if self.mask_size is None:
            return {}
        return {"kernel_size": 17, "mask_size": self.mask_size, "wide_mask_size": self.mask_size + 2}


def _ways(
    title: str, encoder: Literal["mockingjay", "npc"], plain: Any, mask_size: int | None = None
) -> dict[str, Variant]:
    """Return plain and EMS pre-training, each without and with our score head, by what their names end in.

    ``_source`` is EMS with the additions of its authors' code in place of that head [S]; NPC's masks stay ours [C].
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
    "mockingjay_shifted": Variant("MockingJay, EMS's spans, shifted at random", "mockingjay", "shifted"),
    "npc5_untrained": Variant("NPC 5, untrained", "npc", mask_size=5, trained=False),
    **{f"npc5{end}": one for end, one in _ways("NPC 5", "npc", "none", 5).items()},
    "npc5_random": Variant("NPC 5, as many frames wide, at random", "npc", "random", mask_size=5),
    **{f"npc7{end}": one for end, one in _ways("NPC 7", "npc", "none", 7).items()},
    "npc7_random": Variant("NPC 7, as many frames wide, at random", "npc", "random", mask_size=7),
}
"""All that can be compared, by name; NPC's number is its mask size."""

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
"""The two parts of EMS, its masks and our score head, each beside what lacks it, and EMS as a whole beside plain pre-training.
Its masks change more than where they are: MockingJay's spans overlap at the intense frames, so that fewer frames are hidden,
and some of NPC's masks are wider, for which see `CONTROLS`."""
CONTROLS = (
    ("mockingjay_ems", "mockingjay_shifted"),
    ("npc5_ems", "npc5_random"),
    ("npc7_ems", "npc7_random"),
    ("npc5_ems", "npc7"),
)
"""What else could explain a difference: fewer frames hidden, or some wider masks, wherever they are; wider masks everywhere."""
