"""Learn masks that are partly wrong: leave out what cannot be learnt, put right, agree elsewhere.

All of it works on the target, not on the loss, so that every loss and network can be used with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weakseg.checks import check_in_unit, check_shape
from weakseg.labels import IGNORE, SMOKE


def select_small_loss(logits: Tensor, mask: Tensor, *, share: float) -> Tensor:
    """Ignore the pixels of each frame and class that fit what the network sees the least.

    Networks learn what is regular before they learn what is wrong, so that a large loss hints at a
    wrong label. The share is taken from each class of each frame apart: smoke is rare and hard,
    and would else be the first to go. Ties are kept.

    Args:
        logits: (B, K, H, W); no gradient passes.
        mask: (B, H, W) int64 class ids; 255 is ignored and does not count.
        share: Of the pixels to leave out, rounded down, in [0, 1).

    Returns:
        (B, H, W) int64: the mask, with 255 where a pixel is left out.

    References:
        Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy
        Labels", NeurIPS 2018. There two networks choose frames for each other; here one network
        chooses pixels for itself.
    """
    _check(logits, mask)
    check_in_unit(share=share)
    if share == 1:
        raise ValueError("share must be below 1: nothing would be left to learn from")
    if share == 0:
        return mask
    classes = logits.shape[1]
    log_likelihood = logits.detach().float().log_softmax(dim=1)
    known = torch.where(mask == IGNORE, 0, mask)
    # (B, K, H, W) -> (B, H W)
    loss = -log_likelihood.gather(1, known[:, None]).flatten(1)
    flat = mask.flatten(1)
    dropped = torch.zeros_like(flat, dtype=torch.bool)
    for klass in range(classes):
        member = flat == klass
        count = member.sum(dim=1)
        left = count - (share * count).long()
        # The largest loss that stays, frame by frame; frames without the class have none.
        ordered = loss.masked_fill(~member, torch.inf).sort(dim=1).values
        limit = ordered.gather(1, (left - 1).clamp(min=0)[:, None])
        dropped |= member & (loss > limit)
    return torch.where(dropped, IGNORE, flat).view_as(mask)


def correct_masks(mask: Tensor, probabilities: Tensor, *, confidence: float) -> Tensor:
    """Replace labels by what a teacher is sure of; ignored pixels stay ignored.

    Args:
        mask: (B, H, W) int64 class ids; 255 is ignored.
        probabilities: (B, K, H, W) of the teacher, summing to 1 over classes.
        confidence: Probability of its likeliest class from which the teacher is believed, in
            [0, 1].

    Returns:
        (B, H, W) int64.

    References:
        Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations",
        CVPR 2022, eq. 3.
    """
    _check(probabilities, mask)
    check_in_unit(confidence=confidence)
    surest, answer = probabilities.detach().max(dim=1)
    believed = (surest >= confidence) & (mask != IGNORE)
    return torch.where(believed, answer, mask)


def agreement_loss(logits: Tensor, probabilities: Tensor, where: Tensor) -> Tensor:
    """Return the mean squared distance to a teacher's probabilities, over the pixels that count.

    Args:
        logits: (B, K, H, W) of the student.
        probabilities: (B, K, H, W) of the teacher, summing to 1 over classes; no gradient passes.
        where: (B, H, W) bool, the pixels that count.

    Returns:
        () loss in [0, 2 / K]; 0, with gradients of 0, if no pixel counts.

    References:
        Tarvainen and Valpola, "Mean Teachers are Better Role Models", NeurIPS 2017: their
        consistency cost, by pixels.
    """
    _check(logits, where)
    check_shape(tuple(logits.shape), probabilities=probabilities)
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    each = (wide.softmax(dim=1) - probabilities.detach().to(wide)).square().mean(dim=1)
    return (each * where).sum() / where.sum().clamp(min=1)


def smoke_overlap(logits: Tensor, mask: Tensor) -> Tensor:
    """Count the pixels that network and mask both call smoke, and those that either does.

    Args:
        logits: (B, K, H, W); no gradient passes.
        mask: (B, H, W) int64 class ids; 255 is ignored and does not count.

    Returns:
        (2,) int64: intersection and union, summed over the batch.
    """
    _check(logits, mask)
    found = (logits.detach().argmax(dim=1) == SMOKE) & (mask != IGNORE)
    given = mask == SMOKE
    return torch.stack([(found & given).sum(), (found | given).sum()])


def _check(scores: Tensor, mask: Tensor) -> None:
    check_shape((None, None, None, None), scores=scores)
    batch, _, height, width = scores.shape
    check_shape((batch, height, width), mask=mask)
