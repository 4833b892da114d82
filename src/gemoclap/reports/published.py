"""Figures of the papers, with their sources and what is known of how they were measured. None was measured here.

Marks as in docs/methods.md: [P] the paper says so, [S] a secondary source says so. What neither says is `UNKNOWN`. The tables
of docs/results.md have the same figures; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gemoclap.config import TITLES
from gemoclap.reports.tables import UNDEFINED

UNKNOWN = "not known to us"

TABLE_1: dict[str, dict[str, tuple[float, float]]] = {
    "HuBERT-large": {"emo_clap": (72.43, 73.79), "sl_gemo_clap": (74.29, 74.92), "ml_gemo_clap": (74.49, 74.41)},
    "wav2vec2-large": {"emo_clap": (74.39, 76.30), "sl_gemo_clap": (75.07, 76.32), "ml_gemo_clap": (75.27, 78.18)},
    "WavLM-large": {"emo_clap": (75.46, 78.07), "sl_gemo_clap": (77.22, 79.65), "ml_gemo_clap": (77.03, 80.42)},
    "data2vec-large": {"emo_clap": (74.58, 77.74), "sl_gemo_clap": (77.71, 79.96), "ml_gemo_clap": (77.32, 79.81)},
}
"""GEmo-CLAP's Table 1: encoder -> method -> (WAR, UAR) in percent, as labelled in its introduction and Table 2."""

LATER = (83.16, 81.43)
"""(WAR, UAR) of SL-GEmo-CLAP with WavLM-large in a later version of the paper."""

TABLE_2: dict[str, tuple[float | None, float | None]] = {
    "P-TAPT": (None, 80.20),
    "Wav2vec2-PT": (67.20, None),
    "UDA": (77.36, 77.76),
    "TAP": (None, 74.20),
    "Wav2Bert": (None, 76.31),
    "W2B-CA-Aux": (78.42, 79.71),
    "BAM": (75.50, 77.00),
}
"""Other systems in GEmo-CLAP's Table 2: (WAR, UAR) in percent; None where the table has none."""

GMP_TL = (80.0, 82.0)
"""(WAR, UAR) of GMP-TL in percent."""

EMS_GAIN = 7
"""Largest gain of EMS over plain pre-training in points, about [S]."""

READINGS = {"table_2": "Table 2", "table_1": "Table 1"}
"""Reading -> the table of the GEmo-CLAP paper that labels the figures of its Table 1 in this way."""

LABELS = (
    "Each cell of the paper's Table 1 has two figures, and the paper labels them in two ways. In its introduction and its "
    "Table 2 the first is WAR and the second is UAR. In the header and the discussion of Table 1 the first is UAR and the "
    "second is WAR. Both readings are shown."
)

FACTS = (
    "corpus", "classes", "utterances", "speakers", "folds", "hash of the folds", "speakers in both training and test",
    "epoch reported", "seeds", "kind of mean", "intervals", "audio encoder", "text encoder", "training", "pre-training",
    "probe", "versions",
)  # fmt: skip
"""What a protocol can say, in the order of the tables."""


@dataclass(frozen=True)
class PublishedSystem:
    """A published system.

    Attributes
    ----------
    name, encoder : the encoder is ``""`` where it is unknown.
    war, uar : in percent, None where unknown.
    source : paper and table.
    is_ambiguous : whether another part of the paper labels the two figures the other way round.
    """

    name: str
    encoder: str
    war: float | None
    uar: float | None
    source: str
    is_ambiguous: bool = False

    def read_as(self, reading: str) -> tuple[float | None, float | None]:
        """Return (WAR, UAR), labelled as one of `READINGS`; None where the paper has no such label."""
        if reading == "table_2":
            return self.war, self.uar
        return (self.uar, self.war) if self.is_ambiguous else (None, None)

    def shares(self, reading: str) -> list[float | None]:
        """Return `read_as` as shares between 0 and 1."""
        return [None if figure is None else round(figure / 100, 6) for figure in self.read_as(reading)]

    def cells(self, reading: str, decimals: int = 2) -> tuple[str, str]:
        """Return `read_as` in words; a dash where the paper has no figure."""
        war, uar = (UNDEFINED if figure is None else f"{figure:.{decimals}f}" for figure in self.read_as(reading))
        return war, uar


@dataclass(frozen=True)
class Group:
    """Systems of one source, and what is known of their protocol: a fact of `FACTS` -> words."""

    title: str
    systems: tuple[PublishedSystem, ...]
    protocol: Mapping[str, str]


@dataclass(frozen=True)
class Paper:
    """What a paper compares.

    Attributes
    ----------
    name : name on the command line.
    reference : authors and number.
    groups : its systems.
    remarks : sentences on what is missing or contradictory.
    decimals : number of decimals of its figures.
    """

    name: str
    title: str
    reference: str
    groups: tuple[Group, ...] = ()
    remarks: tuple[str, ...] = ()
    decimals: int = 2

    @property
    def systems(self) -> Iterator[PublishedSystem]:
        """All systems, group by group."""
        return (system for group in self.groups for system in group.systems)

    @property
    def has_two_readings(self) -> bool:
        """Whether the paper contradicts itself about which figure is which."""
        return any(system.is_ambiguous for system in self.systems)


_GEMO_CLAP = "Pan et al., arXiv 2306.07848"

GEMO_CLAP = Paper(
    "gemo-clap",
    "GEmo-CLAP",
    _GEMO_CLAP,
    (
        Group(
            "GEmo-CLAP, Table 1",
            tuple(
                PublishedSystem(TITLES[method], encoder, *figures, source=f"{_GEMO_CLAP}, Table 1", is_ambiguous=True)
                for encoder, methods in TABLE_1.items()
                for method, figures in methods.items()
            ),
            {
                "corpus": "IEMOCAP [P]",
                "classes": "4, excited merged into happy [P]",
                "utterances": "5,531 [P]",
                "speakers": "those of IEMOCAP's five sessions",
                "folds": "5, one session left out in each [P]",
                "epoch reported": f"{UNKNOWN}; the paper names no development set [P]",
                "audio encoder": "large models, fine-tuned [S]; the checkpoints are not named",
                "text encoder": "RoBERTa-base [P]",
                "training": "50 epochs, learning rate 1e-5, batches of 8 [P]",
            },
        ),
        Group(
            "GEmo-CLAP, a later version of the paper",
            (PublishedSystem("SL-GEmo-CLAP", "WavLM-large", *LATER, source=f"{_GEMO_CLAP}, a later version"),),
            {"corpus": "IEMOCAP [P]", "training": "the known settings are those of an early version"},
        ),
        Group(
            "other systems that the paper's Table 2 quotes",
            tuple(PublishedSystem(name, "", *pair, source=f"{_GEMO_CLAP}, Table 2") for name, pair in TABLE_2.items()),
            {"corpus": "IEMOCAP [P]", "folds": "they differ between systems; the table does not say how"},
        ),
    ),
    (
        f"{LABELS} The column WAR / UAR has the labels of the introduction and Table 2; the column of the other reading "
        "has those of Table 1's header.",
        "The later version of the paper is quoted as it labels its figures. The other systems are in Table 2 alone, with its "
        "labels; if those are exchanged, so are theirs.",
        "A dash is a figure that the paper does not give.",
    ),
)

GMP = Paper(
    "gmp-tl",
    "GMP-TL",
    "Pan et al., arXiv 2405.02151",
    (
        Group(
            "GMP-TL",
            (PublishedSystem("GMP-TL", "HuBERT-base", *GMP_TL, source="Pan et al., arXiv 2405.02151"),),
            {"corpus": "IEMOCAP [P]", "audio encoder": "HuBERT-base [S]"},
        ),
    ),
    (
        "The paper compares GMP-TL with other systems. Their names and figures are not known to us, so they are left out.",
        "The classes and folds of the paper are not known to us. Whether they are the four classes and five sessions is "
        "open.",
    ),
    decimals=1,
)

EMS = Paper(
    "ems",
    "EMS",
    "Liu and Ma, arXiv 2406.06646",
    (
        Group(
            "EMS",
            (),
            {
                "corpus": "IEMOCAP [P]",
                "audio encoder": "MockingJay and NPC [P], frozen",
                "pre-training": "plain and EMS on the same data for as many steps; in the authors' code 1,000,000 "
                "(MockingJay) and 335,000 (NPC) on ESD English, IEMOCAP itself and train-clean-360 [S]",
                "probe": "S3PRL's: linear layer of 256, mean over frames, linear layer, Adam at 1e-4 [S]",
            },
        ),
    ),
    (
        f"The paper reports that EMS is better than plain pre-training [P], by up to about {EMS_GAIN} points [S]. The scores "
        "of its encoders are not known to us, so only this gain is shown.",
    ),
)

PAPERS = {paper.name: paper for paper in (GEMO_CLAP, GMP, EMS)}
