"""Losses of plain heads, computed in float32 or wider at any precision of the model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def widened(values: Tensor) -> Tensor:
    """Return `values` in float32, or unchanged if they are wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(logits: Tensor, classes: Tensor, unknown: int, allowed: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of ``logits (N, C)`` over the rows whose class ``(N,)`` is not `unknown`.

    Without such a row it is zero, but part of the graph, so that every process has a gradient for every weight.
    Where ``allowed (N, C)`` is False, a class is left out of the row's softmax.
    """
    if not (classes != unknown).any():
        return 0.0 * widened(logits).sum()
    return functional.cross_entropy(_of_allowed(widened(logits), allowed), classes, ignore_index=unknown)


def soft_cross_entropy(logits: Tensor, shares: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return the mean over the rows of ``-sum_c d_c log softmax(z)_c``, d the target distribution [C].

    Parameters
    ----------
    logits : ``z (N, C)``.
    shares : ``d (N, C)``, of sum 1 in each row, and zero where ``allowed (N, C)`` is False.
    """
    log_shares = _of_allowed(widened(logits), allowed).log_softmax(dim=1)
    if allowed is not None:
        log_shares = log_shares.masked_fill(~allowed, 0.0)
    return -(shares * log_shares).sum(dim=1).mean()


def _of_allowed(logits: Tensor, allowed: Tensor | None) -> Tensor:
    return logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)


def am_softmax(cosines: Tensor, classes: Tensor, scale: float, margin: float, allowed: Tensor | None = None) -> Tensor:
    """Return the additive-margin softmax loss (Wang et al., arXiv 1801.05599), mean over the rows [S].

    ``-log( e^{s(cos_y - m)} / (e^{s(cos_y - m)} + sum_{j != y} e^{s cos_j}) )``

    Parameters
    ----------
    cosines : ``(N, C)``, between embeddings and class weights.
    classes : ``(N,)``, y of each row.
    scale, margin : s and m.
    allowed : ``(N, C)`` bool, which classes are used in each row; None = all.
    """
    cosines = widened(cosines)
    margins = margin * functional.one_hot(classes, cosines.shape[1]).to(cosines.dtype)
    return functional.cross_entropy(_of_allowed(scale * (cosines - margins), allowed), classes)
