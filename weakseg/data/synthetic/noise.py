"""Draw turbulence: gradient noise summed over octaves, sampled anywhere."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float32]
"""float32 over the pixels, (H, W) unless said."""

Cells: TypeAlias = npt.NDArray[np.intp]

LATTICE = 64
LAST = LATTICE - 1


class Fractal:
    """Smooth noise of many scales, from about -1 to 1, that repeats after 64 cells.

    Args:
        rng: Draws the lattice.
        octaves: Scales, each half as large as the one before.
        gain: Strength of each scale against the one before.

    References:
        Perlin, "An Image Synthesizer", SIGGRAPH 1985; with the quintic fade of 2002.
    """

    def __init__(self, rng: np.random.Generator, *, octaves: int = 4, gain: float = 0.5) -> None:
        angles = rng.uniform(0, 2 * np.pi, size=(octaves, LATTICE, LATTICE))
        self._gradients = np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
        self._gains = gain ** np.arange(octaves, dtype=np.float32)

    def __call__(self, x: Field, y: Field) -> Field:
        """Sample at positions in cells of the largest scale; `x` and `y` have any one shape."""
        total = np.zeros(np.broadcast(x, y).shape, dtype=np.float32)
        for octave, gain in enumerate(self._gains):
            scale = np.float32(2**octave)
            total += gain * _gradient_noise(self._gradients[octave], x * scale, y * scale)
        # A single octave reaches about 0.7; octaves add up like independent draws.
        return total / np.float32(0.6 * np.sqrt(np.sum(self._gains**2)))


def _gradient_noise(gradients: Field, x: Field, y: Field) -> Field:
    x0, y0 = np.floor(x), np.floor(y)
    u, v = x - x0, y - y0
    left, top = x0.astype(np.intp) & LAST, y0.astype(np.intp) & LAST
    right, bottom = (left + 1) & LAST, (top + 1) & LAST
    down, across = gradients.reshape(2, -1)

    def corner(column: Cells, row: Cells, dx: int, dy: int) -> Field:
        at = row * LATTICE + column
        product: Field = np.take(across, at) * (u - dx) + np.take(down, at) * (v - dy)
        return product

    fade = _fade(u)
    upper = corner(left, top, 0, 0)
    upper += fade * (corner(right, top, 1, 0) - upper)
    lower = corner(left, bottom, 0, 1)
    lower += fade * (corner(right, bottom, 1, 1) - lower)
    return upper + _fade(v) * (lower - upper)


def _fade(t: Field) -> Field:
    return t * t * t * (t * (t * 6 - 15) + 10)


def pixel_grid(size: int) -> tuple[Field, Field]:
    """Return x as (1, W) and y as (H, 1), both from 0 to 1 over a square frame."""
    steps: Field = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    return steps[None, :], steps[:, None]


def row(value: float) -> Field:
    """Return one height for a whole row: (1, 1)."""
    return np.full((1, 1), value, dtype=np.float32)


def smoothstep(low: float, high: float, values: Field) -> Field:
    """Rise smoothly from 0 below `low` to 1 above `high`."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    result: Field = t * t * (3 - 2 * t)
    return result
