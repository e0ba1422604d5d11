"""Unlearn what goes together with smoke but is none: chimneys, cranes, clouds.

In a frame that is labelled smoke-free every activation is known to be wrong, wherever it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.checks import check_in_unit, check_positive, check_shape
from weakseg.losses.alignment import on_grid, wide


def background_activation(cells: Sequence[Tensor], labels: Tensor, *, share: float = 1.0) -> Tensor:
    """Give how much the positions of smoke-free frames speak up.

    The mean of softplus(logit), which is the cross-entropy of the answer "no smoke", over the
    `share` of a frame's positions with the highest logits. Pooled classification asks this of a
    few positions only; here no other may take their place.

    Args:
        cells: (B, h, w) logits, one map a level.
        labels: (B,) 0 or 1; only frames of label 0 count.
        share: Of the positions, in (0, 1].

    Returns:
        () >= 0, the mean over frames and levels; 0 where no frame is smoke-free.
    """
    check_in_unit(share=share)
    check_positive(share=share)
    means = []
    for cell in cells:
        check_shape((labels.shape[0], None, None), cells=cell)
        flat = wide(cell).flatten(1)
        count = max(1, math.ceil(share * flat.shape[1]))
        means.append(F.softplus(flat.topk(count, dim=1).values).mean(dim=1))
    return masked_mean(torch.stack(means).mean(dim=0), labels == 0)


def lookalike_activation(
    cell: Tensor,
    features: Tensor,
    lookalikes: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.5,
) -> Tensor:
    """Give how much those positions of smoke frames speak up that look like known false alarms.

    A position counts by (1 - teacher) times max(0, c - margin), c its highest cosine to any of the
    look-alikes: it must look like a false alarm, whatever the rest of the frame looks like, and the
    teacher must not see smoke there. A frame without such a position costs nothing.

    Args:
        cell: (B, h, w) logits.
        features: (B, D, h', w'), of which the logits are made; no gradients reach them.
        lookalikes: (K, D) features of the strongest activations in smoke-free frames.
        teacher: (B, h'', w'') in [0, 1]; no gradients reach it.
        labels: (B,) 0 or 1; only frames of label 1 count.
        margin: Cosine up to which a position looks like anything else, in [0, 1]. Features behind
            a ReLU have none below 0, and need a higher one than others.

    Returns:
        () >= 0, the mean over frames and positions of the weighted softplus: at most 1 - margin
        times what `background_activation` would ask; 0 without any look-alike.
    """
    check_in_unit(margin=margin)
    check_shape((features.shape[0], None, None), cell=cell, teacher=teacher)
    check_shape((None, features.shape[1]), lookalikes=lookalikes)
    if lookalikes.shape[0] == 0:
        return cell.sum() * 0
    size = cell.shape[-2:]
    unit = F.normalize(wide(features.detach()), dim=1)
    known = F.normalize(wide(lookalikes.detach()), dim=1)
    likeness = torch.einsum("kd,bdhw->bkhw", known, unit).amax(dim=1, keepdim=True)
    likeness = on_grid(likeness, size)[:, 0]
    clear = 1 - on_grid(wide(teacher.detach())[:, None], size)[:, 0]
    weight = (likeness - margin).relu() * clear
    return masked_mean((weight * F.softplus(wide(cell))).mean(dim=(1, 2)), labels == 1)


def masked_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Give the mean of (B,) values over the chosen frames; 0, with a gradient of 0, over none."""
    weight = chosen.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1)
