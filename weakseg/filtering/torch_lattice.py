"""Filter by the permutohedral lattice in torch alone, on the device that holds the tensors.

The same operator as the C++ lattice, with the same vertices. Nothing is copied to the
CPU: all that the host waits for are the sizes that `torch.unique` returns. Keys are sorted, not
hashed, and every sum runs over a sorted group in the order of the points, one thread a sum and
without atomics: the same input gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from weakseg.filtering.key_table import KeyTable, Packing
from weakseg.filtering.simplices import Bound, elevate, locate

MAX_DIMS: Final = 16
MAX_FEATURE: Final = 1e6
MAX_LEVEL: Final = 2048.0
"""No frame of levels 0..255 goes beyond, not even augmented; the bound keeps keys short."""

_CHANNELS_AT_ONCE = 8


class TorchLattice:
    """One lattice for each point set of a batch: no number of one reaches another.

    A frame with a point that is not finite or out of bounds filters to NaN.

    Args:
        planes: d tensors, one a feature, in standard deviations, float32, that broadcast to
            (B, N) or (B, H, W); the last has this shape.
        bounds: Of the d features.
        sound: (B,) bool, the frames that are finite and within bounds; None if all must be.
    """

    def __init__(
        self, planes: Sequence[Tensor], bounds: Sequence[Bound], *, sound: Tensor | None = None
    ) -> None:
        self._batch = len(planes[-1])
        lifted, reach = elevate(planes, bounds)
        origin, rank, weight = locate(lifted)
        digits, radices = _digits(origin, reach, self._batch)
        side = len(origin)
        # What the last coordinate of an origin and the last rank are follows from the others.
        packing = Packing([*radices, *[side] * (side - 1)])
        cells = KeyTable(packing.pack([*digits, *rank[:-1].unbind()]), packing)
        # Points share cells, and cells share vertices: the vertices are sought once a cell.
        first = cells.firsts
        packing = Packing([*radices, side])
        corners = _corner_words([d[first] for d in digits], rank[:, first], packing)
        vertices = KeyTable(corners, packing)
        self._neighbours = _neighbours(corners, vertices, packing, side)
        self._cells, self._vertices = cells.order, vertices.order
        self._count = len(vertices)
        # (cells (d + 1),): the vertex at every corner.
        self._corners = self._vertices.undo(self._vertices.group).int()
        if sound is not None:
            weight = weight.view(side, self._batch, -1).masked_fill(~sound[:, None], math.nan)
        # (P, d + 1), cell by cell
        self._weight = weight.reshape(side, -1).t()[self._cells.rows]

    @classmethod
    def of_points(cls, features: Tensor) -> TorchLattice:
        """Build over (B, N, d) real numbers."""
        dims = features.shape[-1]
        if dims > MAX_DIMS:
            raise ValueError(
                f"features must have shape (points, 1 to {MAX_DIMS}), got {tuple(features.shape)}"
            )
        points, sound = _bounded(features.float(), MAX_FEATURE)
        return cls(points.unbind(-1), [(-MAX_FEATURE, MAX_FEATURE)] * dims, sound=sound)

    @classmethod
    def of_frames(
        cls, frames: Tensor, *, sigma_xy_pixels: float, sigma_rgb_levels: float
    ) -> TorchLattice:
        """Build over (B, 3, H, W) levels."""
        height, width = frames.shape[-2:]
        far = (max(height, width) - 1) / sigma_xy_pixels
        if far > MAX_FEATURE:
            raise ValueError(
                "a frame may be at most 1e6 standard deviations wide and high, but with "
                f"sigma_xy_pixels={sigma_xy_pixels:g} it is {far:g}"
            )
        places = [
            _divide(torch.arange(size, dtype=torch.float32, device=frames.device), sigma_xy_pixels)
            for size in (width, height)
        ]
        limit = min(MAX_LEVEL, MAX_FEATURE * sigma_rgb_levels)
        sound = None
        low, high = 0.0, 255.0
        if frames.dtype != torch.uint8 or limit < high:
            frames, sound = _bounded(frames.float(), limit)
            low, high = -limit, limit
        colours = _divide(frames.float(), sigma_rgb_levels).unbind(1)
        return cls(
            [places[0][None, None], places[1][None, :, None], *colours],
            [(0.0, far)] * 2 + [(low / sigma_rgb_levels, high / sigma_rgb_levels)] * 3,
            sound=sound,
        )

    @property
    def vertices(self) -> int:
        """Number of lattice vertices in use, over the whole batch."""
        return self._count

    def filter(self, values: Tensor, *, planes: bool, symmetric: bool) -> Tensor:
        """Sum (B, N, C) or, with `planes`, (B, C, N) float32 or float64; the same comes back."""
        if values.numel() == 0:
            return torch.zeros_like(values)
        rows = values.transpose(1, 2) if planes else values
        sums = torch.cat(
            [
                self._filter_rows(block.flatten(0, 1), symmetric)
                for block in torch.split(rows, _CHANNELS_AT_ONCE, dim=-1)
            ],
            dim=-1,
        )
        sums = sums.view(rows.shape)
        return sums.transpose(1, 2).contiguous() if planes else sums

    def _filter_rows(self, rows: Tensor, symmetric: bool) -> Tensor:
        """Sum (P, C)."""
        weight = self._weight.to(rows.dtype)
        lattice = self._splat(rows[self._cells.rows], weight)
        scale = _output_scale(weight.shape[1] - 1)
        blurred = self._blur(lattice, self._neighbours)
        if symmetric:
            blurred += self._blur(lattice, self._neighbours[::-1])
            scale /= 2
        return self._cells.undo(self._slice(scale * blurred, weight))

    def _splat(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Sum (P, C) rows in order of the cells over each vertex: (vertices + 1, C), the last 0."""
        channels = rows.shape[1]
        spread = (weight[:, :, None] * rows[:, None]).flatten(1)  # (P, (d + 1) C)
        corners = self._cells.sum(spread).view(-1, channels)[self._vertices.rows]
        return torch.nn.functional.pad(self._vertices.sum(corners), (0, 0, 0, 1))

    def _blur(self, lattice: Tensor, neighbours: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        for below, above in neighbours:
            around = lattice.index_select(0, below) + lattice.index_select(0, above)
            lattice = lattice + 0.5 * around
        return lattice

    def _slice(self, lattice: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted mean of its corners for every point, in order of the cells."""
        shape = (-1, weight.shape[1], lattice.shape[1])
        at_corners = lattice.index_select(0, self._corners).view(shape)  # (cells, d + 1, C)
        return (weight[:, :, None] * at_corners[self._cells.group]).sum(dim=1)


def _digits(origin: Tensor, reach: Sequence[Bound], batch: int) -> tuple[list[Tensor], list[int]]:
    """Return the frame and all but the last coordinate of origins as int32, and their radices."""
    points = origin.shape[1]
    frame = torch.arange(batch, dtype=torch.int32, device=origin.device)
    digits, radices = [frame[:, None].expand(batch, points // batch).reshape(-1)], [batch]
    for coordinate, (low, high) in zip(origin[:-1], reach[:-1], strict=True):
        # Room for a turn, the corners, their neighbours and what float32 rounds off.
        margin = 4 + math.ceil((high - low) * 2**-20)
        start = math.floor(low / len(origin)) - margin
        digits.append(coordinate.int() - start)
        radices.append(math.ceil(high / len(origin)) + margin - start + 1)
    return digits, radices


def _corner_words(digits: Sequence[Tensor], rank: Tensor, packing: Packing) -> list[Tensor]:
    """Pack the keys of the d + 1 corners of every cell: words of (cells (d + 1),)."""
    side, cells = rank.shape
    corner = torch.arange(side, device=rank.device)
    frame, *origin = (digit[:, None] for digit in digits)
    moved = [
        digit - (row[:, None] > side - 1 - corner).int()
        for digit, row in zip(origin, rank, strict=False)
    ]
    words = packing.pack([frame, *moved, corner])
    return [word.expand(cells, side).reshape(-1) for word in words]


def _neighbours(
    corners: Sequence[Tensor], vertices: KeyTable, packing: Packing, side: int
) -> list[tuple[Tensor, Tensor]]:
    """Find both neighbours of every vertex along every axis, (vertices + 1,) int32 each.

    The number of vertices stands for what is missing; it is its own neighbour.
    """
    first = vertices.firsts
    words = [word[first] for word in corners]
    remainder = first % side  # of vertices: the corner whose key they are

    def shifted(axis: int, sign: int) -> Tensor:
        # A step is side - 1 along the axis and -1 elsewhere; digits count whole sides.
        on_axis = [int(i == axis) for i in range(side - 1)]
        within = packing.shift([0, *(sign * i for i in on_axis), -sign])
        across = packing.shift([0, *(sign * (i - 1) for i in on_axis), sign * (side - 1)])
        wraps = remainder == (0 if sign > 0 else side - 1)
        there = [
            word + torch.where(wraps, far, near)
            for word, near, far in zip(words, within, across, strict=True)
        ]
        return torch.nn.functional.pad(vertices.find(there), (0, 1), value=len(vertices)).int()

    return [(shifted(axis, -1), shifted(axis, 1)) for axis in range(side)]


def _bounded(numbers: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return numbers that are all finite and within bounds, and which frames were: (B,) bool."""
    sound = (numbers.abs() <= limit).flatten(1).all(dim=1)  # False for NaN too
    return numbers.nan_to_num(0.0).clamp(-limit, limit), sound


def _divide(numbers: Tensor, divisor: float) -> Tensor:
    # By a tensor: a plain number becomes a product with its reciprocal on CUDA, and rounds twice.
    return numbers / torch.full((), divisor, dtype=numbers.dtype, device=numbers.device)


def _output_scale(dims: int) -> float:
    """Return the factor that makes the filter's integral (2 pi)^(d/2), the Gaussian's."""
    # A blur doubles the mass, d + 1 times; a vertex owns the volume (3/2)^(d/2) / sqrt(d + 1).
    return math.pow(math.pi / 3, dims / 2) * math.sqrt(dims + 1) / 2
