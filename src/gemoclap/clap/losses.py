"""The contrastive losses of GEmo-CLAP, as functions of tensors only (docs/methods.md; Pan et al., arXiv 2306.07848)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Normalizer = Literal["softmax", "row_sum"]


def agreement(labels: Tensor, unknown: int | None = None) -> Tensor:
    """Return ``M (N, N)`` float32: 1 where two utterances have the same label, else 0 [P].

    An utterance whose label is `unknown` only matches itself [C].
    """
    matrix = labels.unsqueeze(1) == labels.unsqueeze(0)
    if unknown is not None:
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        matrix = torch.where((labels == unknown).unsqueeze(1), itself, matrix)
    return matrix.float()


def vote_agreement(votes: Tensor, emotions: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``M (N, N)`` of both directions for utterances with votes [C].

    ``M_ij = d_i(e_j)``: the share of utterance i's votes for the emotion of utterance j, whose prompt it is compared with. In
    the other direction, prompt i against utterance j, it is ``d_j(e_i)``. If all votes are for the labels, both are
    `agreement`. A row without any share, which cannot be made into probabilities, is that of `agreement`.

    Parameters
    ----------
    votes : ``d (N, C)``, of sum 1 in each row.
    emotions : ``e (N,)``, class indices.
    """
    shares, agreed = votes[:, emotions], agreement(emotions).to(votes.dtype)
    target, back = (torch.where(one.sum(dim=1, keepdim=True) > 0, one, agreed) for one in (shares, shares.T))
    return target, back


def normalize_target(matrix: Tensor, normalizer: Normalizer = "softmax", allowed: Tensor | None = None) -> Tensor:
    """Turn each row of a label matrix ``(N, N)`` into probabilities, by ``softmax`` [P] or ``row_sum`` [C].

    The softmax of a 0/1 matrix is flat: matching classes are e times as likely as others, so the loss is lowest at a logit
    gap of 1. `row_sum` gives all weight to the matching classes. Where ``allowed (N, N)`` is False the weight is zero.
    """
    if allowed is not None:
        matrix = matrix.masked_fill(~allowed, -torch.inf if normalizer == "softmax" else 0.0)
    if normalizer == "softmax":
        return matrix.softmax(dim=1)
    return matrix / matrix.sum(dim=1, keepdim=True)


def contrastive_kl(logits: Tensor, target: Tensor, normalizer: Normalizer = "softmax") -> Tensor:
    """Return ``KL(C, M)``, one direction: the mean over rows of KL(target row || softmax of the logit row) [P; S].

    ``mean_i sum_j T_ij (log T_ij - log_softmax(C)_ij)`` with ``T = normalize_target(M)``; 0 log 0 is 0.

    Parameters
    ----------
    logits : ``C (N, N)``, similarities times temperature; row i is compared over its columns.
    target : ``M (N, N)``, the label matrix before normalisation.
    """
    logits = _wide(logits)
    return row_cross_entropy(logits, target, normalizer) - target_entropy(target.to(logits.dtype), normalizer)


def row_cross_entropy(
    logits: Tensor, target: Tensor, normalizer: Normalizer = "softmax", allowed: Tensor | None = None
) -> Tensor:
    """Return ``mean_i - sum_j T_ij log_softmax(C)_ij``: the sum of the KL and the entropy of its target.

    Where ``allowed (N, N)`` is False, a column is left out of the row's softmax.
    """
    logits = _wide(logits)
    distribution = normalize_target(target.to(logits.dtype), normalizer, allowed)
    if allowed is None:
        return -(distribution * logits.log_softmax(dim=1)).sum(dim=1).mean()
    log_shares = logits.masked_fill(~allowed, -torch.inf).log_softmax(dim=1).masked_fill(~allowed, 0.0)
    return -(distribution * log_shares).sum(dim=1).mean()


def target_entropy(target: Tensor, normalizer: Normalizer = "softmax", allowed: Tensor | None = None) -> Tensor:
    """Return the mean entropy of the target rows, in nats, without gradient: the lowest possible `row_cross_entropy`."""
    distribution = normalize_target(_wide(target), normalizer, allowed)
    return -torch.xlogy(distribution, distribution).sum(dim=1).mean()


def _wide(tensor: Tensor) -> Tensor:
    """Half precision and whole numbers become float32; float32 and float64 stay."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass(frozen=True)
class SymmetricLoss:
    """Both directions of one contrastive comparison.

    Attributes
    ----------
    kl : ``1/2 (KL(C_a, M) + KL(C_t, M))`` [P], which is minimised.
    cross_entropy : ``kl`` plus the entropy of the target.
    """

    kl: Tensor
    cross_entropy: Tensor


def symmetric_contrastive_loss(
    audio: Tensor,
    text: Tensor,
    audio_scale: Tensor,
    text_scale: Tensor,
    target: Tensor,
    normalizer: Normalizer = "softmax",
    allowed: Tensor | None = None,
    back_target: Tensor | None = None,
) -> SymmetricLoss:
    """Compare N audio embeddings with the embeddings of their N prompts, in both directions.

    ``C_a = eps_a E_a E_t^T``, ``C_t = eps_t E_t E_a^T`` [P].

    Parameters
    ----------
    audio, text : ``(N, E)``, unit length.
    audio_scale, text_scale : the temperatures eps_a and eps_t, scalars.
    target : ``M (N, N)``, before normalisation.
    allowed : ``(N, N)`` bool, whether utterance i is compared with the prompt of utterance j [C]; None: every one is.
    back_target : M of the direction from prompts to utterances; None: it is symmetric, and `target` is both.
    """
    similarity = _wide(audio) @ _wide(text).T
    target = target.to(similarity.dtype)
    other = target if back_target is None else back_target.to(similarity.dtype)
    back = None if allowed is None else allowed.T
    cross_entropy = 0.5 * (
        row_cross_entropy(audio_scale * similarity, target, normalizer, allowed)
        + row_cross_entropy(text_scale * similarity.T, other, normalizer, back)
    )
    entropy = target_entropy(target, normalizer, allowed)
    if back is not None or back_target is not None:
        entropy = 0.5 * (entropy + target_entropy(other, normalizer, back))
    return SymmetricLoss(cross_entropy - entropy, cross_entropy)
