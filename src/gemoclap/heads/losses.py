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


def concordance_loss(values: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over the columns of ``1 - CCC``, each over the rows of the batch where the value is known [S].

    ``CCC = 2 s_tp / (s_t^2 + s_p^2 + (mean t - mean p)^2)``. A column with fewer than two known values is left out. Without any
    column it is zero, but part of the graph.

    Parameters
    ----------
    values : predictions, ``(N, D)``.
    wanted : ``(N, D)``, NaN where unknown.
    """
    values, losses = widened(values), []
    for predicted, true in zip(values.T, wanted.to(values.dtype).T, strict=True):
        known = ~true.isnan()
        if known.sum() > 1:
            p, t = predicted[known], true[known]
            spread = p.var(correction=0) + t.var(correction=0) + (p.mean() - t.mean()) ** 2
            shared = ((p - p.mean()) * (t - t.mean())).mean()
            losses.append(1 - 2 * shared / spread.clamp_min(torch.finfo(spread.dtype).eps))
    return torch.stack(losses).mean() if losses else 0.0 * values.sum()


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
