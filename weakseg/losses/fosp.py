"""Judge what FoSp says on the way to its mask: its focus, its foreground, its background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from weakseg.checks import check_at_least, check_shape
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.losses.segmentation import masked_cross_entropy

IOU_SMOOTHING_PIXELS = 1.0

SMOKE_FREE_SIDE: Final = "background"
"""The side of what was separated from the smoke: nowhere may it show any."""


def fosp_side_loss(
    sides: Mapping[str, Tensor],
    mask: Tensor,
    *,
    weight: Tensor | None = None,
    iou_weight: float = 0.0,
) -> dict[str, Tensor]:
    """Return a loss for each side output: binary cross-entropy and, if asked for, soft IoU.

    All sides are held against the mask but "background", where no pixel may look like smoke; it
    takes no IoU, which has nothing to say where nothing is.

    Args:
        sides: Logits of smoke by name, (B, H, W) each.
        mask: (B, H, W) int64 class ids; 255 is ignored.
        weight: (B, H, W) >= 0, how much each pixel counts; None counts all alike.
        iou_weight: Of 1 - soft IoU beside the 1 of cross-entropy, >= 0.

    Returns:
        A loss of shape () for each name, >= 0; 0 if every pixel is ignored.

    Raises:
        ValueError: If shapes or settings do not fit.
    """
    check_at_least(0, iou_weight=iou_weight)
    smoke_free = torch.where(mask == IGNORE, IGNORE, BACKGROUND)
    losses = {}
    for name, logits in sides.items():
        truth = smoke_free if name == SMOKE_FREE_SIDE else mask
        losses[name] = binary_cross_entropy(logits, truth, weight=weight)
        if iou_weight > 0 and name != SMOKE_FREE_SIDE:
            losses[name] = losses[name] + iou_weight * soft_iou(logits, truth, weight=weight)
    return losses


def binary_cross_entropy(logits: Tensor, mask: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy of the pixels that are not ignored.

    A logit of smoke beside a background of 0, and so `masked_cross_entropy` with two classes; 0
    if every pixel is ignored. Arguments as in `fosp_side_loss`, with the logits of one side.
    """
    check_shape((None, None, None), logits=logits)
    both = torch.stack([torch.zeros_like(logits), logits], dim=1)  # (B, 2, H, W)
    return masked_cross_entropy(both, mask, weight=weight)


def soft_iou(logits: Tensor, mask: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return 1 - IoU of soft smoke masks, a mean over frames.

    One pixel is added above and below, so that nothing found where nothing is costs nothing.
    Frames that are all ignored are left out. Arguments as in `fosp_side_loss`, with the logits of
    one side.

    References:
        Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
        Segmentation", ISVC 2016.
    """
    check_shape((None, None, None), logits=logits)
    check_shape(tuple(logits.shape), mask=mask)
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    counts = (mask != IGNORE).to(wide.dtype)
    has_pixels = counts.flatten(1).any(dim=1).to(wide.dtype)
    if weight is not None:
        counts = counts * weight
    found, truth = wide.sigmoid(), (mask == SMOKE).to(wide.dtype)
    shared = (counts * found * truth).sum(dim=(1, 2))
    covered = (counts * (found + truth - found * truth)).sum(dim=(1, 2))
    iou = (shared + IOU_SMOOTHING_PIXELS) / (covered + IOU_SMOOTHING_PIXELS)
    return ((1 - iou) * has_pixels).sum() / has_pixels.sum().clamp(min=1)
