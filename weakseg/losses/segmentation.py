"""Learn masks that leave pixels undecided: cross-entropy and soft Dice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from weakseg.checks import check_at_least, check_in_unit, check_shape
from weakseg.labels import IGNORE

DICE_SMOOTHING_PIXELS = 1.0


def segmentation_loss(
    logits: Tensor,
    mask: Tensor,
    *,
    weight: Tensor | None = None,
    dice_weight: float = 0.5,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return cross-entropy plus `dice_weight` times soft Dice, ignored pixels left out.

    Args:
        logits: (B, K, H, W), K at least 2.
        mask: (B, H, W) int64 class ids; 255 is ignored.
        weight: (B, H, W) >= 0, how much each pixel counts; None counts all alike.
        dice_weight: Share of Dice beside the 1 of cross-entropy, >= 0.
        class_weights: K numbers > 0 for the cross-entropy; None for 1 each.
        label_smoothing: Share of the cross-entropy's target that is spread over all classes
            alike, in [0, 1]; Dice keeps to the mask.

    Returns:
        () loss, >= 0; 0, with gradients of 0, if every pixel is ignored.

    Raises:
        ValueError: If shapes or settings do not fit.
    """
    check_at_least(0, dice_weight=dice_weight)
    loss = masked_cross_entropy(
        logits,
        mask,
        weight=weight,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )
    if dice_weight == 0:
        return loss
    return loss + dice_weight * soft_dice(logits, mask, weight=weight)


def masked_cross_entropy(
    logits: Tensor,
    mask: Tensor,
    *,
    weight: Tensor | None = None,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean cross-entropy of the pixels that are not ignored.

    A pixel's `weight` scales its own part only and not the mean's divisor, so doubtful pixels
    make a quieter loss. Without weights this is torch's `cross_entropy(ignore_index=255)`,
    but 0 where that is NaN. Arguments as in `segmentation_loss`.
    """
    check_in_unit(label_smoothing=label_smoothing)
    wide = _checked(logits, mask, weight)
    if class_weights is None:
        of_class = wide.new_ones(wide.shape[1])
    else:
        of_class = wide.new_tensor(list(class_weights))
        check_shape((wide.shape[1],), class_weights=of_class)
    each = functional.cross_entropy(
        wide,
        mask,
        weight=of_class,
        ignore_index=IGNORE,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    if weight is not None:
        each = each * weight
    valid = mask != IGNORE
    divisor = (of_class[torch.where(valid, mask, 0)] * valid).sum()
    return each.sum() / torch.where(divisor > 0, divisor, 1.0)


def soft_dice(logits: Tensor, mask: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return 1 - Dice of the classes above background, a mean over frames and classes.

    Frames without the class count too: there the loss falls as the false area shrinks. One pixel
    is added above and below, so that nothing found where nothing is costs nothing. Frames that
    are all ignored are left out. Arguments as in `segmentation_loss`.

    References:
        Milletari et al., "V-Net", 3DV 2016. We do not square the denominator's terms.
    """
    wide = _checked(logits, mask, weight)
    classes = wide.shape[1]
    valid = mask != IGNORE
    counts = valid.to(wide.dtype) if weight is None else valid * weight.to(wide.dtype)
    counts = counts[:, None]  # (B, 1, H, W)
    # (B, H, W) -> (B, K, H, W)
    truth = functional.one_hot(torch.where(valid, mask, 0), classes).movedim(-1, 1)
    truth = truth[:, 1:] * counts
    found = wide.softmax(dim=1)[:, 1:]
    overlap = (found * truth).sum(dim=(2, 3))
    areas = (found * counts + truth).sum(dim=(2, 3))
    dice = (2 * overlap + DICE_SMOOTHING_PIXELS) / (areas + DICE_SMOOTHING_PIXELS)  # (B, K - 1)
    has_pixels = valid.flatten(1).any(dim=1).to(wide.dtype)
    return ((1 - dice).mean(dim=1) * has_pixels).sum() / has_pixels.sum().clamp(min=1)


def _checked(logits: Tensor, mask: Tensor, weight: Tensor | None) -> Tensor:
    """Refuse shapes that do not fit; return the logits in at least 32 bits."""
    check_shape((None, None, None, None), logits=logits)
    batch, classes, height, width = logits.shape
    check_at_least(2, classes=classes)
    check_shape((batch, height, width), mask=mask)
    if weight is not None:
        check_shape((batch, height, width), weight=weight)
    return logits if logits.dtype.itemsize >= 4 else logits.float()
