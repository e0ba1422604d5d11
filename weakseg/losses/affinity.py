"""Learn affinities from seeds: what two sure cells share, and what tells them apart."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from weakseg.checks import check_at_least, check_shape
from weakseg.labels import BACKGROUND, IGNORE, SMOKE

PAIR_KINDS: Final = ("smoke", "background", "between")
"""Both cells smoke, both background, one of each."""

Ends = tuple[slice, slice]
"""Rows and columns of a cut from a grid."""

_SHARES: Final = (0.25, 0.25, 0.5)
_SMALLEST_GAP: Final = 1e-5  # Keeps the logarithm finite where two cells look alike.


def half_disc(radius: int) -> list[tuple[int, int]]:
    """List the ways (dy, dx) from a cell to those closer than `radius`, one of opposite two.

    Args:
        radius: In cells, at least 2; 5 gives 34 ways.
    """
    check_at_least(2, radius=radius)
    reach = range(-radius + 1, radius)
    return [
        (dy, dx)
        for dy in range(radius)
        for dx in reach
        if (dy, dx) > (0, 0) and dy * dy + dx * dx < radius * radius
    ]


def both_ends(height: int, width: int, dy: int, dx: int) -> tuple[Ends, Ends]:
    """Cut a grid twice, so that a cell of the second cut lies (dy, dx) from its like in the first.

    Returns:
        Rows and columns of the first cut and of the second, empty if the way is too long.
    """
    rows, columns = max(0, height - abs(dy)), max(0, width - abs(dx))
    top, left = max(0, -dy), max(0, -dx)
    here = slice(top, top + rows), slice(left, left + columns)
    there = slice(top + dy, top + dy + rows), slice(left + dx, left + dx + columns)
    return here, there if rows and columns else here


def distances(embedding: Tensor, dy: int, dx: int) -> Tensor:
    """Return how far apart cells and those (dy, dx) from them lie: the mean of |f_i - f_j|.

    Args:
        embedding: (..., D, h, w).
        dy: Rows down.
        dx: Columns to the right.

    Returns:
        (..., h - |dy|, w - |dx|) >= 0, for the first cut of `both_ends`. The affinity is exp(-it).
    """
    height, width = embedding.shape[-2:]
    here, there = both_ends(height, width, dy, dx)
    return (embedding[..., *here] - embedding[..., *there]).abs().mean(dim=-3)


def pair_costs(embedding: Tensor, seeds: Tensor, *, radius: int) -> tuple[Tensor, Tensor]:
    """Sum up what the pairs of each kind cost, and count them.

    A pair of like seeds costs -log a, an unlike one -log(1 - a), with the affinity
    a = exp(-mean |f_i - f_j|). Pairs with an ignored end are left out. Every pair counts once.

    Args:
        embedding: (B, D, h, w).
        seeds: (B, h, w) int64: 0 background, 1 smoke, 255 ignored.
        radius: Cells closer than this make a pair, at least 2.

    Returns:
        Sums (3,) >= 0 and counts (3,) of the kinds, in the order of `PAIR_KINDS`.

    Raises:
        ValueError: If the two do not cover the same cells.
    """
    check_shape((None, None, None, None), embedding=embedding)
    batch, _, height, width = embedding.shape
    check_shape((batch, height, width), seeds=seeds)
    wide = embedding if embedding.dtype.itemsize >= 4 else embedding.float()
    sums, counts = wide.new_zeros(3), wide.new_zeros(3)
    for dy, dx in half_disc(radius):
        here, there = both_ends(height, width, dy, dx)
        first, second = seeds[..., *here], seeds[..., *there]
        alike = first == second
        kinds = torch.stack(
            [
                alike & (first == SMOKE),
                alike & (first == BACKGROUND),
                ~alike & (first != IGNORE) & (second != IGNORE),
            ]
        ).to(wide.dtype)  # (3, B, h', w')
        apart = distances(wide, dy, dx)
        # The summand must not take cells that are far apart below a cost of 0.
        unlike = -torch.log((_SMALLEST_GAP - torch.expm1(-apart)).clamp(max=1))
        costs = torch.stack([apart, apart, unlike])
        sums = sums + (costs * kinds).flatten(1).sum(dim=1)
        counts = counts + kinds.flatten(1).sum(dim=1)
    return sums, counts


def balanced_costs(sums: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Average each kind apart and weigh the kinds: a kind without pairs costs nothing.

    Args:
        sums: (3,), of `pair_costs`; those of several batches may be added.
        counts: (3,).

    Returns:
        () "loss" >= 0, a quarter of smoke and of background pairs and half of those between, and
        the mean cost of each kind by its name.
    """
    means = sums / counts.clamp(min=1)
    parts = dict(zip(PAIR_KINDS, means, strict=True))
    return {"loss": (means * means.new_tensor(_SHARES)).sum(), **parts}


def affinity_loss(embedding: Tensor, seeds: Tensor, *, radius: int = 5) -> dict[str, Tensor]:
    """Return the affinity loss: like seeds shall be near in the embedding, unlike ones far.

    Arguments as in `pair_costs`. Memory is about 4 B D h w bytes for each way of the half disc:
    some 140 MB for 16 frames of 32 x 32 cells, D = 64 and radius 5.

    Returns:
        () "loss" and its parts as `balanced_costs` gives them; 0, with gradients of 0, where no
        pair is sure at both ends.

    References:
        Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
        Weakly Supervised Semantic Segmentation", CVPR 2018. We add 1e-5 within log(1 - a), and
        divide their sum of the three parts (1, 1 and 2) by 4.
    """
    return balanced_costs(*pair_costs(embedding, seeds, radius=radius))


def grid_seeds(mask: Tensor, stride: int) -> Tensor:
    """Bring seeds to the cells of an embedding: a cell takes what most of its pixels say.

    Args:
        mask: (B, H, W) int64: 0 background, 1 smoke, 255 ignored.
        stride: Side of a cell in pixels, at least 1.

    Returns:
        (B, ceil(H / stride), ceil(W / stride)) int64. Ignored are cells of which neither class
        holds more than half; what a cell at the border lacks counts as ignored.
    """
    check_shape((None, None, None), mask=mask)
    check_at_least(1, stride=stride)
    height, width = mask.shape[-2:]
    padded = functional.pad(mask, (0, -width % stride, 0, -height % stride), value=IGNORE)
    classes = torch.stack([padded == BACKGROUND, padded == SMOKE], dim=1).float()
    shares = functional.avg_pool2d(classes, stride)  # (B, 2, h, w)
    seeds = torch.full_like(shares[:, 0], IGNORE, dtype=torch.int64)
    seeds[shares[:, 0] > 0.5] = BACKGROUND
    seeds[shares[:, 1] > 0.5] = SMOKE
    return seeds
