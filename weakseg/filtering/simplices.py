"""Place points in the permutohedral lattice, in torch, step by step as the C++ does.

Where a point lies on the border of two simplices, rounding decides which of them it takes, and
with that which vertices there are. So types and the order of operations matter: with 2 and 5
features, the C++ works in float32, orders the remainders as integers and keeps weights in 16 bits;
else it works in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import torch
from torch import Tensor

Bound: TypeAlias = tuple[float, float]
"""Lowest and highest value."""

# What integers stand for: a weight of 1, and the same with the bits that its rounding drops.
_ONE: Final = 65535
_DROPPED_BITS: Final = 14
_WHOLE: Final = _ONE << _DROPPED_BITS
# The lowest bits of a remainder name its axis, so that no two are equal: the larger comes first.
_CODE_BITS: Final = 31
_CODES: Final = {2: (0, 1, 2), 5: (0, 1, 2, 4, 8, 31)}


def working_type(dims: int) -> torch.dtype:
    """Return the type in which points of so many features are placed."""
    return torch.float32 if dims in _CODES else torch.float64


def elevate(planes: Sequence[Tensor], bounds: Sequence[Bound]) -> tuple[Tensor, list[Bound]]:
    """Lift d features onto the hyperplane of d + 1 coordinates that sum to zero.

    Args:
        planes: d tensors of `working_type`, one a feature, in lattice units, that broadcast; the
            last has the full shape, of P numbers.
        bounds: Of the d features.

    Returns:
        The coordinates, (d + 1, P) of the same type, and the bounds of each.
    """
    total = torch.zeros_like(planes[-1])
    low = high = 0.0
    lifted, reach = [], []
    for i in range(len(planes), 0, -1):
        coordinate, (below, above) = planes[i - 1], bounds[i - 1]
        lifted.append(total - i * coordinate)
        total = total + coordinate
        reach.append((low - i * above, high - i * below))
        low, high = low + below, high + above
    lifted.append(total)
    reach.append((low, high))
    return torch.stack([plane.reshape(-1) for plane in reversed(lifted)]), reach[::-1]


def locate(lifted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the simplex of every point.

    Args:
        lifted: (d + 1, P), as `elevate` makes them.

    Returns:
        The nearest vertex of remainder 0, in units of d + 1, (d + 1, P) whole numbers; the rank of
        every coordinate's distance from it, largest first, (d + 1, P) int8; and the barycentric
        weights, of the corner of remainder k in row k, (d + 1, P) float32.
    """
    side = len(lifted)
    is_fixed = lifted.dtype == torch.float32
    nearest = lifted * (1 / side) if is_fixed else lifted / side
    origin = nearest.round_() if is_fixed else (nearest + 0.5).floor_()
    remainder = lifted - origin * side
    if is_fixed:
        remainder = _to_fixed(remainder * (1 / side))
    rank = _rank(remainder)
    # The rounded point may lie off the hyperplane: move the coordinates that cost least. The clamp
    # keeps ranks a permutation where no digits are left.
    rank += origin.sum(dim=0).clamp_(-(side // 2), side // 2).to(torch.int8)
    turn = (rank < 0).to(torch.int8) - (rank >= side).to(torch.int8)
    rank += side * turn
    origin += turn
    remainder -= turn.to(remainder.dtype) * (_WHOLE if is_fixed else side)
    ordered = torch.empty_like(remainder).scatter_(0, rank.long(), remainder)
    return origin, rank, _weigh_fixed(ordered) if is_fixed else _weigh(ordered)


def _to_fixed(remainder: Tensor) -> Tensor:
    """Return remainders, in units of d + 1, as int32 that are all different."""
    fixed = (remainder * float(_WHOLE)).to(torch.int32) & ~_CODE_BITS
    for row, code in zip(fixed.unbind(), _CODES[len(fixed) - 1], strict=True):
        row.bitwise_or_(code)
    return fixed


def _rank(remainder: Tensor) -> Tensor:
    """Count what comes before each: larger ones, and of equal ones the later."""
    rank = torch.zeros(remainder.shape, dtype=torch.int8, device=remainder.device)
    for i in range(len(remainder) - 1):
        later_first = remainder[i] <= remainder[i + 1 :]
        rank[i] += later_first.sum(dim=0, dtype=torch.int8)
        rank[i + 1 :] += ~later_first
    return rank


def _weigh(ordered: Tensor) -> Tensor:
    """Return barycentric weights from the remainders, the largest first."""
    share = ordered / len(ordered)
    # Corner k lies between the remainders of ranks d - k and d + 1 - k.
    inner = (share[:-1] - share[1:]).flip(0)
    return torch.cat([(share[-1] + (1 - share[0]))[None], inner]).float()


def _weigh_fixed(ordered: Tensor) -> Tensor:
    gaps = (ordered[:-1] - ordered[1:]).flip(0)
    inner = ((gaps + (1 << (_DROPPED_BITS - 1))) >> _DROPPED_BITS).clamp_(0, _ONE)
    nearest = _ONE - inner.sum(dim=0, keepdim=True, dtype=torch.int32)
    return torch.cat([nearest, inner]).float() * (1 / _ONE)
