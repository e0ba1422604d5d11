"""Decide which of SAM's masks to believe, and what they do to the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from weakseg.arrays import ScoreMap
from weakseg.checks import check_in_unit, check_one_of
from weakseg.refine.prompts import BoolMap

RULES: Final = ("iou", "sepl", "none")
COMBINATIONS: Final = ("union", "blend", "trim")

_SEPL_INSIDE, _SEPL_COVER = 0.5, 0.85


def iou(one: BoolMap, other: BoolMap) -> float:
    """Return intersection over union; 0 where both are empty."""
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 0.0


def accepts(
    mask: BoolMap,
    regions: Sequence[BoolMap],
    *,
    rule: str,
    threshold: float = 0.4,
    max_area: float = 0.5,
) -> bool:
    """Tell whether a mask of SAM agrees with the evidence.

    A mask is held against the whole of the evidence and against each of its regions, and needs to
    agree with one: a plume in two pieces is not refused for being two. A mask that meets no
    evidence is refused by every rule, so SAM cannot bring in what the classifier did not see.

    Args:
        mask: (H, W) bool, SAM's.
        regions: (H, W) bool each: the connected regions of the evidence.
        rule: "iou" keeps a mask whose IoU exceeds `threshold`; "sepl" keeps it if more than half
            of it lies in the evidence, or it covers 85 % of it; "none" keeps all that meet it.
        threshold: Of the rule "iou", in [0, 1].
        max_area: Share of the frame above which a mask is dropped, in (0, 1].

    References:
        The rule "iou" is of Zhang and Hsu, arXiv 2507.21959, against the whole evidence only;
        "sepl" of Chen et al., "Segment Anything Model Enhanced Pseudo Labels for Weakly
        Supervised Semantic Segmentation", 2023.
    """
    check_one_of(RULES, rule=rule)
    check_in_unit(threshold=threshold, max_area=max_area)
    area = int(mask.sum())
    if area == 0 or area > max_area * mask.size or not regions:
        return False
    whole = np.logical_or.reduce(regions)
    held_against = [whole, *regions] if len(regions) > 1 else [whole]
    shared = int((mask & whole).sum())
    if shared == 0:
        return False
    if rule == "iou":
        return any(iou(mask, region) > threshold for region in held_against)
    if rule == "sepl":
        covers = any((mask & region).sum() >= _SEPL_COVER * region.sum() for region in held_against)
        return shared > _SEPL_INSIDE * area or covers
    return True


def closest(masks: Sequence[BoolMap], region: BoolMap) -> BoolMap:
    """Return the mask that agrees best with a region, the first of equals; one at least."""
    return masks[int(np.argmax([iou(mask, region) for mask in masks]))]


def combine_scores(
    smoke: ScoreMap,
    accepted: Sequence[BoolMap],
    regions: Sequence[BoolMap],
    *,
    evidence: ScoreMap,
    combine: str,
    weight: float,
    floor: float,
) -> ScoreMap:
    """Blend binary masks into smoke scores, so that a binary answer keeps shades of certainty.

    Let M be the union of the accepted masks and w the weight. Inside M a smoke score s becomes
    s + w (1 - s), outside s (1 - w): the order of scores on either side is kept.

    - "union" only raises what is inside, so SAM only ever adds to the evidence;
    - "trim" only lowers what is outside, so SAM only cuts off what spills over its borders;
    - "blend" does both.

    Two kinds of pixels are never lowered: those whose evidence is at least `floor`, and the regions
    that no accepted mask meets, of which SAM said nothing.

    Args:
        smoke: (H, W) float32 in [0, 1], the smoke scores.
        accepted: (H, W) bool each.
        regions: (H, W) bool each: the connected regions of the evidence.
        evidence: (H, W) float32 in [0, 1], as the CAM gave it.
        combine: "union", "trim" or "blend".
        weight: How far a mask moves a score, in [0, 1]. With w = 0.5 a pixel of M without
            evidence ends at 0.5, and one with a score of 0.6 at 0.8.
        floor: In [0, 1].

    Returns:
        (H, W) float32 in [0, 1].
    """
    check_one_of(COMBINATIONS, combine=combine)
    check_in_unit(weight=weight, floor=floor)
    if not accepted:
        return smoke
    inside = np.logical_or.reduce(accepted)
    cut = _cut(inside, regions) & (evidence < floor)
    raised = smoke if combine == "trim" else smoke + np.float32(weight) * (1 - smoke)
    lowered = smoke if combine == "union" else np.float32(1 - weight) * smoke
    return np.where(inside, raised, np.where(cut, lowered, smoke)).astype(np.float32)


def kept_by_floor(
    smoke: ScoreMap,
    accepted: Sequence[BoolMap],
    regions: Sequence[BoolMap],
    *,
    evidence: ScoreMap,
    combine: str,
    floor: float,
) -> BoolMap:
    """Return the pixels (H, W) that `combine_scores` would have lowered but for the floor.

    Many of them say that SAM and the evidence disagree about what is sure: a thing to look at, not
    to lose.
    """
    if combine == "union" or not accepted:
        return np.zeros(smoke.shape, np.bool_)
    cut = _cut(np.logical_or.reduce(accepted), regions)
    return np.asarray(cut & (evidence >= floor) & (smoke > 0), np.bool_)


def _cut(inside: BoolMap, regions: Sequence[BoolMap]) -> BoolMap:
    """Return what lies outside the masks, but for regions that no mask meets."""
    cut = ~inside
    for region in regions:
        if not (region & inside).any():
            cut &= ~region
    return cut
