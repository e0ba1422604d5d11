"""Filter by the permutohedral lattice in torch alone, on the device that holds the tensors.

The same operator as the C++ lattice, with the same vertices. Nothing is copied to the
CPU: all that the host waits for are sizes, of what `torch.unique` and a ring keep. Keys are
sorted, not hashed, and every sum runs over a sorted group in the order of the points, one thread a
sum and without atomics: the same input gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from weakseg.filtering.key_table import KeyTable, Packing
from weakseg.filtering.neighbours import Axis, Vertices
from weakseg.filtering.quality import SCHEMES, Quality, Scheme
from weakseg.filtering.simplices import Bound, elevate, locate, working_type

MAX_DIMS: Final = 16
MAX_FEATURE: Final = 1e6
MAX_LEVEL: Final = 2048.0
"""No frame of levels 0..255 goes beyond, not even augmented; the bound keeps keys short."""

_CHANNELS_AT_ONCE = 8

# The norms of r - b, r - 2 g + b and r + g + b, inverted: an orthonormal basis of the colours.
_OPPONENT_NORMS: Final = (1 / math.sqrt(2), 1 / math.sqrt(6), 1 / math.sqrt(3))


class TorchLattice:
    """One lattice for each point set of a batch: no number of one reaches another.

    A frame with a point that is not finite or out of bounds filters to NaN.

    Args:
        planes: d tensors of `working_type`, one a feature, in lattice units, that broadcast to
            (B, N) or (B, H, W); the last has this shape.
        bounds: Of the d features.
        scheme: What the quality asks for.
        sound: (B,) bool, the frames that are finite and within bounds; None if all must be.
    """

    def __init__(
        self,
        planes: Sequence[Tensor],
        bounds: Sequence[Bound],
        scheme: Scheme,
        *,
        sound: Tensor | None = None,
    ) -> None:
        self._batch = len(planes[-1])
        self._scheme = scheme
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
        table = KeyTable(corners, packing)
        used = [word[table.firsts] for word in corners]
        vertices = Vertices(used, table, packing, side, scheme)
        self._axes = vertices.axes()
        self._count = len(vertices)
        self._cells, self._used = cells.order, table.order
        # (cells (d + 1),): the vertex at every corner.
        self._corners = self._used.undo(self._used.group).int()
        if sound is not None:
            weight = weight.view(side, self._batch, -1).masked_fill(~sound[:, None], math.nan)
        # (P, d + 1), cell by cell
        self._weight = weight.reshape(side, -1).t()[self._cells.rows]

    @classmethod
    def of_points(cls, features: Tensor, *, quality: Quality) -> TorchLattice:
        """Build over (B, N, d) real numbers."""
        dims = features.shape[-1]
        if dims > MAX_DIMS:
            raise ValueError(
                f"features must have shape (points, 1 to {MAX_DIMS}), got {tuple(features.shape)}"
            )
        scheme = SCHEMES[quality]
        scales = scheme.axis_scales(dims)
        points, sound = _bounded(features.float(), MAX_FEATURE)
        columns = points.to(working_type(dims)).unbind(-1)
        return cls(
            [column * scale for column, scale in zip(columns, scales, strict=True)],
            [(-MAX_FEATURE * scale, MAX_FEATURE * scale) for scale in scales],
            scheme,
            sound=sound,
        )

    @classmethod
    def of_frames(
        cls, frames: Tensor, *, sigma_xy_pixels: float, sigma_rgb_levels: float, quality: Quality
    ) -> TorchLattice:
        """Build over (B, 3, H, W) levels."""
        height, width = frames.shape[-2:]
        far = max(height, width) / sigma_xy_pixels
        if far > MAX_FEATURE:
            raise ValueError(
                "a frame may be at most 1e6 standard deviations wide and high, but with "
                f"sigma_xy_pixels={sigma_xy_pixels:g} it is {far:g}"
            )
        x, y = (
            torch.arange(size, dtype=torch.float32, device=frames.device)
            for size in (width, height)
        )
        # A third, as the opponent colours add up to three levels.
        limit = min(MAX_LEVEL, MAX_FEATURE / 3 * sigma_rgb_levels)
        sound = None
        low, high = 0.0, 255.0
        if frames.dtype != torch.uint8 or limit < high:
            frames, sound = _bounded(frames.float(), limit)
            low, high = -limit, limit
        planes = [x[None, None], y[None, :, None], *_opponents(frames.float())]
        span = high - low
        bounds = [(0.0, width - 1.0), (0.0, height - 1.0), (-span, span)]
        bounds += [(-2 * span, 2 * span), (3 * low, 3 * high)]
        scheme = SCHEMES[quality]
        factors = _frame_factors(scheme, sigma_xy_pixels, sigma_rgb_levels)
        return cls(
            [plane * factor for plane, factor in zip(planes, factors, strict=True)],
            [(f * low, f * high) for f, (low, high) in zip(factors, bounds, strict=True)],
            scheme,
            sound=sound,
        )

    @property
    def vertices(self) -> int:
        """Number of lattice vertices, over the whole batch."""
        return self._count

    def filter(
        self,
        values: Tensor,
        *,
        planes: bool,
        symmetric: bool,
        before: Tensor | None = None,
        after: Tensor | None = None,
    ) -> Tensor:
        """Sum (B, N, C) or, with `planes`, (B, C, N) float32 or float64; the same comes back.

        `before` and `after`, (B, N), multiply the values and the sums.
        """
        if values.numel() == 0:
            return torch.zeros_like(values)
        rows = values.transpose(1, 2) if planes else values
        if before is not None:
            rows = rows * before[..., None]
        sums = torch.cat(
            [
                self._filter_rows(block.flatten(0, 1), symmetric)
                for block in torch.split(rows, _CHANNELS_AT_ONCE, dim=-1)
            ],
            dim=-1,
        )
        sums = sums.view(rows.shape)
        if after is not None:
            sums = sums * after[..., None]
        return sums.transpose(1, 2).contiguous() if planes else sums

    def _filter_rows(self, rows: Tensor, symmetric: bool) -> Tensor:
        """Sum (P, C)."""
        weight = self._weight.to(rows.dtype)
        lattice = self._splat(rows[self._cells.rows], weight)
        scale = self._scheme.output_scale(weight.shape[1] - 1)
        blurred = self._blur(lattice, self._axes)
        if self._scheme.rounds > 1:
            blurred = self._blur(blurred, self._axes[::-1])
        elif symmetric:
            blurred += self._blur(lattice, self._axes[::-1])
            scale /= 2
        return self._cells.undo(self._slice(scale * blurred, weight))

    def _splat(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Sum (P, C) rows in order of the cells over each vertex: (vertices + 1, C), the last 0."""
        channels = rows.shape[1]
        spread = (weight[:, :, None] * rows[:, None]).flatten(1)  # (P, (d + 1) C)
        corners = self._cells.sum(spread).view(-1, channels)[self._used.rows]
        sums = self._used.sum(corners)
        return torch.nn.functional.pad(sums, (0, 0, 0, self._count + 1 - len(sums)))

    def _blur(self, lattice: Tensor, axes: Sequence[Axis]) -> Tensor:
        for below, above, centre in axes:
            around = lattice.index_select(0, below) + lattice.index_select(0, above)
            kept = centre.to(lattice.dtype) * lattice
            lattice = kept.add_(around, alpha=self._scheme.blur)
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
        # Room for a turn, the corners, a ring, its neighbours and what float32 rounds off.
        margin = 5 + math.ceil((high - low) * 2**-20)
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


def _bounded(numbers: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return numbers that are all finite and within bounds, and which frames were: (B,) bool."""
    sound = (numbers.abs() <= limit).flatten(1).all(dim=1)  # False for NaN too
    return numbers.nan_to_num(0.0).clamp(-limit, limit), sound


def _opponents(frames: Tensor) -> list[Tensor]:
    """Return red less blue, both less green, and all: grey is 0 in two of them, to the bit."""
    r, g, b = frames.unbind(1)
    return [r - b, (r + b) - 2 * g, (r + g) + b]


def _frame_factors(scheme: Scheme, sigma_xy_pixels: float, sigma_rgb_levels: float) -> list[float]:
    """Return the factors that bring x, y and the opponent colours to lattice units: float32."""
    sigmas = [float(np.float32(s)) for s in (sigma_xy_pixels, sigma_rgb_levels)]
    norms = (1.0, 1.0, *_OPPONENT_NORMS)
    return [
        float(np.float32(scale / sigma * norm))
        for scale, sigma, norm in zip(
            scheme.axis_scales(5), [*[sigmas[0]] * 2, *[sigmas[1]] * 3], norms, strict=True
        )
    ]
