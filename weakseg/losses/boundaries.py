"""Ask a class map to change where the picture changes, along the border a teacher has drawn.

A map from a coarse grid has its border somewhere near the true one; the picture says where. Two
designs were compared:

* the normalised DenseCRF energy (`weakseg.losses.dense_crf_loss`) of the map. It has no idea where
  the border should be, and its lowest value is that of a map without one: the smaller a plume,
  the more it gains by dissolving it. It only works against another loss that holds the map up.
* the mean likeness across the map's own border, `boundary_misfit`. Pairs of neighbours near the
  teacher's border are weighed by how much the map changes between them, and their likeness in
  colour is averaged. A map cannot lower it by changing less, only by changing elsewhere: pairs
  more alike than the average are drawn together, pairs less alike are pushed apart. It lies in
  [0, 1], is nearly blind to the map's scale, and needs one setting, the reach.

The second is what `ConsistencyLoss` uses, weighed by how clear the border of the teacher is: one
that sees next to nothing has noise for a border.

References:
    Boykov and Jolly, "Interactive Graph Cuts for Optimal Boundary and Region Segmentation of
    Objects in N-D Images", ICCV 2001 (the cost of a border by contrast); Rother et al., "GrabCut",
    SIGGRAPH 2004 (contrast measured against the picture's own). The mean in place of the sum, and
    the teacher's border as the place to look, are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_shape
from weakseg.losses.affinity import both_ends
from weakseg.losses.alignment import on_grid, wide

_SMALLEST = 1e-12
_FLAT = 1e-4
"""Squared change of a map that counts as none: a map flatter than this hardly learns by this."""


def boundary_misfit(
    probabilities: Tensor, images: Tensor, teacher: Tensor, *, stride: int = 8, reach: int = 2
) -> Tensor:
    """Give the mean likeness of the pixels between which a map changes, near the teacher's border.

    B sum_ij w_ij a_ij (p_i - p_j)^2 / sum_ij w_ij (p_i - p_j)^2, over pairs within reach, with the
    likeness a_ij = exp(-|I_i - I_j|^2 / 2 m), m the weighted mean of |I_i - I_j|^2 in the frame,
    and w_ij = b_i b_j / |i - j|, b the teacher's highest less its lowest value within reach, and B
    the highest b of the frame: a faint teacher asks for little. A flat map has the mean likeness of
    all pairs: being flat is no way out.

    Args:
        probabilities: (B, h, w) floating, in [0, 1], the student's.
        images: (B, 3, H, W) floating, on any scale.
        teacher: (B, h', w') floating, in [0, 1]; no gradients reach it.
        stride: Pixels to a cell of the grid that all are brought to, at least 1.
        reach: Cells between the two of a pair, at most, in each direction; at least 1.

    Returns:
        (B,) in [0, 1], float32 or wider; never above the clearness B of the teacher's border.

    Raises:
        ValueError: If the batches differ, or a setting is below 1.
    """
    batch = probabilities.shape[0]
    check_shape((None, None, None), probabilities=probabilities)
    check_shape((batch, 3, None, None), images=images)
    check_shape((batch, None, None), teacher=teacher)
    check_at_least(1, stride=stride, reach=reach)
    height, width = (max(2, side // stride) for side in images.shape[-2:])
    colours = F.adaptive_avg_pool2d(wide(images.detach()), (height, width))
    p = on_grid(wide(probabilities)[:, None], (height, width))
    border = _border(on_grid(wide(teacher.detach())[:, None], (height, width)), reach)

    pairs = []  # weight, squared contrast, squared change: (B, 1, ., .) each
    for dy, dx in _shifts(min(reach, height - 1), min(reach, width - 1)):
        here, there = both_ends(height, width, dy, dx)
        (b, b_), (i, i_), (q, q_) = (
            (each[..., *here], each[..., *there]) for each in (border, colours, p)
        )
        contrast = (i - i_).square().sum(dim=1, keepdim=True)
        pairs.append((b * b_ / math.hypot(dy, dx), contrast, (q - q_).square()))
    total = _total([w for w, _, _ in pairs]).clamp(min=_SMALLEST)
    mean_contrast = (_total([w * c for w, c, _ in pairs]) / total).clamp(min=_SMALLEST)
    alike = [(-c / (2 * mean_contrast[:, None, None, None])).exp() for _, c, _ in pairs]
    mean_alike = _total([w * a for (w, _, _), a in zip(pairs, alike, strict=True)]) / total
    across = [w * a * d for (w, _, d), a in zip(pairs, alike, strict=True)]
    change = _total([w * d for w, _, d in pairs]) / total
    clear = border.amax(dim=(1, 2, 3))
    return clear * (_total(across) / total + _FLAT * mean_alike) / (change + _FLAT)


def _border(teacher: Tensor, reach: int) -> Tensor:
    """Give the highest less the lowest value within reach: (B, 1, h, w), in [0, 1]."""
    side = 2 * reach + 1
    highest = F.max_pool2d(teacher, side, stride=1, padding=reach)
    lowest = -F.max_pool2d(-teacher, side, stride=1, padding=reach)
    return highest - lowest


def _shifts(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield each direction once: down by dy, and to the right or left by dx."""
    for dy in range(rows + 1):
        for dx in range(-columns if dy > 0 else 1, columns + 1):
            yield dy, dx


def _total(parts: list[Tensor]) -> Tensor:
    """Sum over all pairs of a frame: (B,)."""
    sums = [part.flatten(1).sum(dim=1) for part in parts]
    return sum(sums[1:], start=sums[0])
