"""Let scores walk along learned affinities: each cell takes the mean of those it resembles.

The walk is y = T^t x with the sparse T = D^-1 A, A_ij = a_ij^beta within the radius and A_ii = 1.
The rows of T sum to 1, so y is a mean of x: it never leaves the range of x, and a constant stays
as it is. The plain sum of the scores is not kept, their sum weighted by D is, for A is symmetric:
what thin parts lose, wide uniform ones gain.

T is held as one (h, w) map for each way within the radius, and applied by shifted multiply-adds:
a sparse matrix would store and follow the indices of ways that are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weakseg.arrays import ScoreMap
from weakseg.checks import check_at_least, check_positive, check_shape
from weakseg.losses.affinity import Ends, both_ends, distances, half_disc


@dataclass(frozen=True)
class RandomWalk:
    """Spread scores over a grid by affinities, tile by tile where the grid is large.

    A grid up to `tile_cells` wide and high is one tile, and exact. A tile of a larger one sees
    `halo_cells` beyond its border, where its walk is reflected. It is exact if the halo is wider
    than `steps * (radius - 1)`, the farthest a walk comes. Otherwise it differs by at most
    (max x - min x) * p, with p the probability that a walk of `steps` from that cell comes within
    `radius - 1` cells of the halo's outer border. A walk over uniform cells spreads by about
    0.47 radius sqrt(steps), 37 cells by default, so that p is below 0.002 at the halo of 128 (below
    0.025 at 96, 0.2 at 64); true affinities hold it back further.

    A cell takes 4 bytes for each way within the radius and, while affinities are made, for each
    channel three times: at radius 5 and 64 channels 40 MB for a 1920 x 1280 frame in cells of 8
    pixels (one tile), and 270 MB for the largest tile there can be (512 x 512 with its halo).

    Args:
        radius: Cells closer than this exchange scores, at least 2.
        beta: Exponent of the affinities, > 0: the higher, the fewer borders are crossed.
        steps: Length of the walk, at least 0.
        tile_cells: Side of a tile, at least 1.
        halo_cells: What a tile sees beyond its border, at least 0.

    References:
        Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
        Weakly Supervised Semantic Segmentation", CVPR 2018: beta 8 and 2^8 steps.
    """

    radius: int = 5
    beta: float = 16.0
    steps: int = 256
    tile_cells: int = 256
    halo_cells: int = 128

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_at_least(2, radius=self.radius)
        check_positive(beta=self.beta)
        check_at_least(0, steps=self.steps, halo_cells=self.halo_cells)
        check_at_least(1, tile_cells=self.tile_cells)

    def __call__(self, scores: ScoreMap, embedding: Tensor) -> ScoreMap:
        """Walk.

        Args:
            scores: (h, w) float32, finite.
            embedding: (D, h, w), on the CPU.

        Returns:
            (h, w) float32 within the least and the greatest of `scores`.

        Raises:
            ValueError: If the two do not cover the same cells.
        """
        check_shape((None, None, None), embedding=embedding)
        height, width = embedding.shape[1:]
        check_shape((height, width), scores=scores)
        start = torch.from_numpy(np.ascontiguousarray(scores, np.float32))
        walked = torch.empty_like(start)
        with torch.inference_mode():
            for core, seen, inner in self._tiles(height, width):
                ways = transitions(embedding[:, *seen], radius=self.radius, beta=self.beta)
                walked[core] = walk(start[seen], ways, radius=self.radius, steps=self.steps)[inner]
        # Rounding must not carry a score out of the range that the mean keeps.
        kept: ScoreMap = np.clip(walked.numpy(), scores.min(), scores.max()).astype(np.float32)
        return kept

    def _tiles(self, height: int, width: int) -> Iterator[tuple[Ends, Ends, Ends]]:
        """Cut a grid: what a tile answers for, what it sees, and the first within the second."""
        for rows in _cuts(height, self.tile_cells, self.halo_cells):
            for columns in _cuts(width, self.tile_cells, self.halo_cells):
                core, seen, inner = zip(rows, columns, strict=True)
                yield core, seen, inner


def transitions(embedding: Tensor, *, radius: int, beta: float) -> Tensor:
    """Return the matrix T of a walk by the ways within the radius.

    Args:
        embedding: (D, h, w).
        radius: In cells, at least 2.
        beta: Exponent of the affinities, > 0.

    Returns:
        (N, h, w) >= 0, summing to 1 over N: first the way to stay, then the ways of `half_disc`,
        each followed by its opposite. Ways that leave the grid are 0.
    """
    height, width = embedding.shape[-2:]
    ways = half_disc(radius)
    found = embedding.new_zeros(1 + 2 * len(ways), height, width)
    found[0] = 1
    for i, (dy, dx) in enumerate(ways):
        here, there = both_ends(height, width, dy, dx)
        powers = torch.exp(-beta * distances(embedding, dy, dx))
        found[1 + 2 * i, *here] = powers
        found[2 + 2 * i, *there] = powers
    return found.div_(found.sum(dim=0))


def walk(scores: Tensor, ways: Tensor, *, radius: int, steps: int) -> Tensor:
    """Take `steps` steps: (h, w) scores become T^steps scores.

    Args:
        scores: (h, w).
        ways: (N, h, w) from `transitions`.
        radius: The one they were made with.
        steps: At least 0.
    """
    height, width = scores.shape
    edge = radius - 1
    padded = functional.pad(scores, (edge, edge, edge, edge))
    inside = padded[edge : edge + height, edge : edge + width]
    both = [(0, 0), *((s * dy, s * dx) for dy, dx in half_disc(radius) for s in (1, -1))]
    moved = [
        padded[edge + dy : edge + dy + height, edge + dx : edge + dx + width] for dy, dx in both
    ]
    for _ in range(steps):
        taken = torch.zeros_like(inside)
        for weights, values in zip(ways, moved, strict=True):
            taken.addcmul_(weights, values)
        inside.copy_(taken)
    return inside.clone()


def _cuts(length: int, tile: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        low, high = max(0, start - halo), min(length, stop + halo)
        yield slice(start, stop), slice(low, high), slice(start - low, stop - low)
