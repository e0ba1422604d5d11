"""Slide a window over large frames, so that small smoke is not lost when the frame is shrunk."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor


def window_starts(length: int, window: int, unit: int, *, overlap: float = 0.5) -> list[int]:
    """Give where overlapping windows start so that they cover `length`; multiples of `unit`.

    Args:
        length: Side of the frame in pixels, a multiple of `unit`, at least `window`.
        window: Side of the window, a multiple of `unit`.
        unit: Grid the starts keep to.
        overlap: Share of the window by which it overlaps the next, at least, in [0, 1).
    """
    step = max(unit, int(window * (1 - overlap)) // unit * unit)
    starts = list(range(0, length - window, step))
    return [*starts, length - window]


def window_weight(size: int) -> Tensor:
    """Give the (size, size) weight of a window's cells: high in the middle, never 0."""
    position = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    profile = torch.sin(torch.pi * position).square() + 1e-3
    return profile[:, None] * profile[None, :]


def merge_windows(maps: Tensor, corners: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """Average overlapping windows' maps into the whole frame's.

    Args:
        maps: (B, N, s, s) float32, one map per window.
        corners: N upper left corners (row, column), in cells of the maps.
        size: Rows and columns of the whole map, all covered by the windows.

    Returns:
        (B, *size) float32.
    """
    return blend_windows(maps.unbind(1), corners, size)


def blend_windows(
    maps: Iterable[Tensor], corners: list[tuple[int, int]], size: tuple[int, int]
) -> Tensor:
    """Average overlapping windows' maps as they come, holding none of them.

    Args:
        maps: N of (B, s, s) float32, one map per window, N at least 1.
        corners: N upper left corners (row, column), in cells of the maps.
        size: Rows and columns of the whole map, all covered by the windows.

    Returns:
        (B, *size) float32.
    """
    windows = iter(maps)
    first = next(windows)
    b, side, _ = first.shape
    weight = window_weight(side).to(first)
    total, weights = first.new_zeros((b, *size)), first.new_zeros(size)
    for (row, column), seen in zip(corners, chain([first], windows), strict=True):
        place = (slice(row, row + side), slice(column, column + side))
        total[:, place[0], place[1]] += seen * weight
        weights[place] += weight
    return total / weights
