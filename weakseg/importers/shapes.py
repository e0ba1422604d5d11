"""Draw the shapes that annotation tools save: which pixels lie inside.

A coordinate counts from the picture's upper left corner, so that pixel (row, column) covers
[column, column + 1) x [row, row + 1) and belongs to a shape if its centre does. Nothing is
widened by its outline, as `cv2.fillPoly` would, and coordinates far outside cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]
"""(N, 2) float64: x and y in pixels."""
Inside: TypeAlias = npt.NDArray[np.bool_]
"""(h, w) bool."""

FARTHEST = 1e7
OUTSIDE_PIXELS = 1.0


class ShapeError(ValueError):
    """A shape that cannot be drawn; the message is a short reason, the same for equal causes."""


@dataclass(frozen=True)
class Patch:
    """The pixels of a shape within a picture.

    Args:
        top: First row.
        left: First column.
        inside: (h, w) bool, from there on.
        clipped: Whether the shape reaches outside the picture by more than a pixel.
    """

    top: int
    left: int
    inside: Inside
    clipped: bool = False

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns it covers."""
        height, width = self.inside.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


class Shape(Protocol):
    """Anything that can be drawn into a picture."""

    def draw(self, height: int, width: int) -> Patch:
        """Draw it into a picture of that size.

        Raises:
            ShapeError: If it cannot be drawn there.
        """
        ...


@dataclass(frozen=True)
class Outline:
    """Closed polygons; where several are given, their union.

    Each is filled by the even-odd rule, so that it does not matter which way round it was drawn.

    Args:
        rings: (N, 2) float64 each.

    Raises:
        ShapeError: If a ring has fewer than three different points, or no usable numbers.
    """

    rings: tuple[Points, ...]

    def __post_init__(self) -> None:
        for ring in self.rings:
            if not np.isfinite(ring).all() or (np.abs(ring) > FARTHEST).any():
                raise ShapeError("coordinates are no usable numbers")
        if not self.rings or any(len(np.unique(ring, axis=0)) < 3 for ring in self.rings):
            raise ShapeError("fewer than 3 points")

    def draw(self, height: int, width: int) -> Patch:
        """Fill the rings."""
        corners = np.concatenate(self.rings)
        low, high = corners.min(axis=0), corners.max(axis=0)
        top, left, bottom, right = _window(low, high, height, width)
        inside = np.zeros((bottom - top, right - left), dtype=np.bool_)
        for ring in self.rings:
            inside |= _fill(ring - (left, top), *inside.shape)
        return Patch(top, left, inside, _reaches_outside(low, high, height, width))


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, or a circle where both radii are equal.

    Args:
        x: Of its centre, in pixels.
        y: Of its centre, in pixels.
        radius_x: Half axis along the rotated x axis, in pixels.
        radius_y: The other half axis, in pixels.
        radians: How far the axes are turned, clockwise on the screen.

    Raises:
        ShapeError: If a radius is not above 0, or a number is not usable.
    """

    x: float
    y: float
    radius_x: float
    radius_y: float
    radians: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.radius_x, self.radius_y, self.radians)
        if not all(abs(number) <= FARTHEST for number in numbers):  # refuses NaN, too
            raise ShapeError("coordinates are no usable numbers")
        if min(self.radius_x, self.radius_y) <= 0:
            raise ShapeError("no area")

    def draw(self, height: int, width: int) -> Patch:
        """Take the pixels whose centres satisfy the ellipse's equation."""
        cos, sin = np.cos(self.radians), np.sin(self.radians)
        reach = np.hypot(
            (self.radius_x * cos, self.radius_x * sin), (-self.radius_y * sin, self.radius_y * cos)
        )
        centre = np.array((self.x, self.y))
        low, high = centre - reach, centre + reach
        top, left, bottom, right = _window(low, high, height, width)
        across = np.arange(left, right) + 0.5 - self.x
        down = (np.arange(top, bottom) + 0.5 - self.y)[:, None]
        along_x = (across * cos + down * sin) / self.radius_x
        along_y = (down * cos - across * sin) / self.radius_y
        inside = np.asarray(along_x**2 + along_y**2 <= 1)
        return Patch(top, left, inside, _reaches_outside(low, high, height, width))


@dataclass(frozen=True)
class Bitmap:
    """Pixels that are stored as such, decoded when they are drawn.

    Args:
        decode: Gives (h, w) bool; raises ShapeError if what is stored is damaged.
        top: Row of its first pixel in the picture; may be negative.
        left: Column of its first pixel.
        whole: Whether it must cover the picture exactly.
    """

    decode: Callable[[], Inside]
    top: int = 0
    left: int = 0
    whole: bool = True

    def draw(self, height: int, width: int) -> Patch:
        """Place the stored pixels."""
        stored = self.decode()
        if self.whole and stored.shape != (height, width):
            raise ShapeError("a bitmap of another size than the picture")
        top, left = max(self.top, 0), max(self.left, 0)
        bottom = min(self.top + stored.shape[0], height)
        right = min(self.left + stored.shape[1], width)
        if bottom <= top or right <= left:
            return Patch(0, 0, np.zeros((0, 0), dtype=np.bool_), clipped=True)
        part = stored[top - self.top : bottom - self.top, left - self.left : right - self.left]
        return Patch(top, left, part, clipped=part.shape != stored.shape)


def box(x: float, y: float, width: float, height: float) -> Outline:
    """Make an outline of an upright rectangle; negative sizes reach to the left and up."""
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    ring = np.array(corners, dtype=np.float64)
    if np.isfinite(ring).all() and (width == 0 or height == 0):
        raise ShapeError("no area")
    return Outline((ring,))


def as_points(xs: Sequence[Any], ys: Sequence[Any]) -> Points:
    """Pair coordinates into (N, 2) float64.

    Raises:
        ShapeError: If they are no numbers, or not equally many.
    """
    try:
        points = np.array((xs, ys), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError("coordinates are no usable numbers") from error
    if points.ndim != 2:
        raise ShapeError("coordinates are no usable numbers")
    return points.T.copy()


def _window(low: Points, high: Points, height: int, width: int) -> tuple[int, int, int, int]:
    """Give top, left, bottom, right of the pixels that can lie inside."""
    left, top = (
        int(np.clip(np.floor(edge), 0, size))
        for edge, size in zip(low, (width, height), strict=True)
    )
    right, bottom = (
        int(np.clip(np.ceil(edge), 0, size))
        for edge, size in zip(high, (width, height), strict=True)
    )
    return top, left, max(bottom, top), max(right, left)


def _reaches_outside(low: Points, high: Points, height: int, width: int) -> bool:
    beyond = (low < -OUTSIDE_PIXELS) | (high > np.array((width, height)) + OUTSIDE_PIXELS)
    return bool(beyond.any())


def _fill(ring: Points, height: int, width: int) -> Inside:
    """Fill one polygon: each edge flips all pixels to its right, in the rows it crosses."""
    flips = np.zeros((height, width + 1), dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        first, last = np.clip(np.ceil(np.array((min(y0, y1), max(y0, y1))) - 0.5), 0, height)
        rows = np.arange(int(first), int(last))
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)
        flips[rows, columns] ^= True
    return np.logical_xor.accumulate(flips[:, :width], axis=1)
