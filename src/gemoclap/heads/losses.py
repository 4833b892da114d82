"""Losses of plain heads; all in float32 or wider, whatever precision the model ran in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def widened(values: Tensor) -> Tensor:
    """Return `values` in float32, or as they are where they are wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(logits: Tensor, classes: Tensor, unknown: int) -> Tensor:
    """Return the mean cross-entropy of ``logits (N, C)`` over the rows whose class ``(N,)`` is not `unknown`.

    Without such a row it is zero, but joined to the graph, so that every process has a gradient for every weight.
    """
    if not (classes != unknown).any():
        return 0.0 * widened(logits).sum()
    return functional.cross_entropy(widened(logits), classes, ignore_index=unknown)


def am_softmax(cosines: Tensor, classes: Tensor, scale: float, margin: float) -> Tensor:
    """Return the additive-margin softmax loss (Wang et al., arXiv 1801.05599), mean over the rows [S].

    ``-log( e^{s(cos_y - m)} / (e^{s(cos_y - m)} + sum_{j != y} e^{s cos_j}) )``

    Parameters
    ----------
    cosines : ``(N, C)``, between embeddings and class weights.
    classes : ``(N,)``, y of each row.
    scale, margin : s and m.
    """
    cosines = widened(cosines)
    margins = margin * functional.one_hot(classes, cosines.shape[1]).to(cosines.dtype)
    return functional.cross_entropy(scale * (cosines - margins), classes)
