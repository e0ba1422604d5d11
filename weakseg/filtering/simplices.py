"""Place points in the permutohedral lattice, in torch, step by step as the C++ does in float32.

Where a point lies on the border of two simplices, rounding decides which one it takes, and with
that which vertices there are. So the order of the operations matters: it is that of the C++.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Bound: TypeAlias = tuple[float, float]
"""Lowest and highest value."""


def elevate(planes: Sequence[Tensor], bounds: Sequence[Bound]) -> tuple[Tensor, list[Bound]]:
    """Lift d features onto the hyperplane of d + 1 coordinates that sum to zero.

    Args:
        planes: d float32 tensors, one a feature, in standard deviations, that broadcast; the last
            has the full shape, of P numbers.
        bounds: Of the d features.

    Returns:
        The coordinates, (d + 1, P) float32, and the bounds of each.
    """
    dims = len(planes)
    # Splat, blur and slice together have variance 2/3 (d + 1)^2 along every axis.
    deviation = math.sqrt(2 / 3) * (dims + 1)
    total, low, high = torch.zeros_like(planes[-1]), 0.0, 0.0
    lifted, reach = [], []
    for i in range(dims, 0, -1):
        factor = deviation / math.sqrt(i * (i + 1))
        coordinate = planes[i - 1] * factor
        lifted.append(total - i * coordinate)
        total = total + coordinate
        below, above = (factor * bound for bound in bounds[i - 1])
        reach.append((low - i * above, high - i * below))
        low, high = low + below, high + above
    lifted.append(total)
    reach.append((low, high))
    return torch.stack([plane.reshape(-1) for plane in reversed(lifted)]), reach[::-1]


def locate(lifted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the simplex of every point.

    Args:
        lifted: (d + 1, P) float32, as `elevate` makes them.

    Returns:
        The nearest vertex of remainder 0, in units of d + 1, (d + 1, P) float32 whole numbers; the
        rank of every coordinate's distance from it, largest first, (d + 1, P) int8; and the
        barycentric weights, of the corner of remainder k in row k, (d + 1, P) float32.
    """
    side = len(lifted)
    origin = torch.floor(lifted * (1 / side) + 0.5)
    rank = _rank(lifted - origin * side)
    # The rounded point may lie off the hyperplane: move the coordinates that cost least. The sum
    # is within side / 2; the clamp keeps ranks a permutation where float32 has no digits left.
    rank += origin.sum(dim=0).clamp_(-side, side).to(torch.int8)
    turn = (rank < 0).to(torch.int8) - (rank >= side).to(torch.int8)
    rank += side * turn
    origin += turn
    return origin, rank, _weigh((lifted - origin * side) * (1 / side), rank)


def _rank(remainder: Tensor) -> Tensor:
    """Count what comes before each: larger ones, and of equal ones the later."""
    rank = torch.zeros(remainder.shape, dtype=torch.int8, device=remainder.device)
    for i in range(len(remainder) - 1):
        later_first = remainder[i] <= remainder[i + 1 :]
        rank[i] += later_first.sum(dim=0, dtype=torch.int8)
        rank[i + 1 :] += ~later_first
    return rank


def _weigh(share: Tensor, rank: Tensor) -> Tensor:
    """Return barycentric weights from distances in units of d + 1, and their ranks."""
    ordered = torch.empty_like(share).scatter_(0, rank.long(), share)
    # Corner k lies between the distances of ranks d - k and d + 1 - k.
    inner = (ordered[:-1] - ordered[1:]).flip(0)
    return torch.cat([(ordered[-1] + (1 - ordered[0]))[None], inner])
