"""Raters' votes on their way from the manifest to the objective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gemoclap.config import TrainSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.dataset import TrainBatches
from gemoclap.data.targets import Targets, vote_shares
from gemoclap.labels import Vocabulary
from gemoclap.training.gradients import Gradients

THREE = Vocabulary("three", ("angry", "happy", "sad"), {"excited": "happy"})


class Lengths:
    """A source of inputs that are the places of the letters of the ids."""

    at_hand = is_exact = True

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        return np.ones(len(utterances), dtype=np.int64)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        return {"place": torch.tensor([float(ord(row.id)) for row in utterances])}


def row(id: str, emotion: str, votes: dict[str, float] | None, corpus: str = "one") -> Utterance:
    return Utterance(id, "x.wav", corpus=corpus, emotion=emotion, votes=votes)


ROWS = [
    row("a", "angry", {"angry": 3, "sad": 1}),
    row("b", "excited", {"happy": 1, "excited": 0.5, "surprised": 7}),  # merged, and one that is no class
    row("c", "sad", {"surprised": 2}),  # no vote for a class: the label
    row("d", "happy", None),
    row("e", "sad", {"angry": 2, "happy": 2}),  # the label need not have a vote
]
SHARES = [[0.75, 0, 0.25], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0.5, 0.5, 0]]


def test_votes_are_shares_of_the_classes() -> None:
    found = vote_shares(ROWS, THREE)
    assert found.tolist() == SHARES and found.dtype == np.float32


def test_votes_for_a_class_that_the_corpus_does_not_have_are_left_out() -> None:
    classes = np.array([[True, True, True], [True, False, True], [True, False, False]])
    votes = {"angry": 1, "happy": 2, "sad": 1}
    rows = [row("a", "angry", votes), row("b", "sad", votes), row("c", "angry", {"happy": 3})]
    assert vote_shares(rows, THREE, classes).tolist() == [[0.25, 0.5, 0.25], [0.5, 0, 0.5], [1, 0, 0]]


def test_batches_carry_them_if_asked_through_every_change() -> None:
    settings = TrainSettings(batch_size=5, batching="shuffled", epochs=1)
    (without,) = TrainBatches(ROWS, Lengths(), THREE, settings).epoch(0)
    assert without.targets.votes is None and without.targets.classes is None
    rows = [*ROWS, row("f", "angry", {"happy": 1}, "two")]
    (batch,) = TrainBatches(rows, Lengths(), THREE, TrainSettings(batch_size=6, batching="shuffled"), votes=True).epoch(
        0
    )
    expected = dict(zip("abcdef", [*SHARES, [1, 0, 0]], strict=True))
    assert [expected[one] for one in batch.ids] == batch.targets.votes.tolist()
    parts = batch.to("cpu").split(4)
    assert torch.equal(torch.cat([part.targets.votes for part in parts]), batch.targets.votes)
    assert torch.equal(torch.cat([part.targets.classes for part in parts]), batch.targets.classes)
    assert [part.ids for part in parts] == [batch.ids[:4], batch.ids[4:]]


@pytest.mark.parametrize("given", [(), ("classes",), ("votes",), ("classes", "votes")])
def test_the_objective_gets_the_targets_of_the_batch(given: tuple[str, ...]) -> None:
    seen: list[Targets] = []

    class Objective:
        row_outputs = ("logits",)

        def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
            seen.append(targets)
            return {"loss": outputs["logits"].sum()}

    rows = [*ROWS, row("f", "angry", None, "two" if "classes" in given else "one")]
    (batch,) = TrainBatches(rows, Lengths(), THREE, TrainSettings(batch_size=6), votes="votes" in given).epoch(0)
    gradients = Gradients(None, nn.Identity(), Objective(), TrainSettings(gather=True))  # type: ignore[arg-type]
    gradients._losses({"logits": batch.inputs["place"]}, batch)
    found = seen[0].tensors()
    assert set(found) == {"emotions", "genders", *given}
    assert all(one is getattr(batch.targets, name) for name, one in found.items())
