"""Paint from back to front, and keep account of how much smoke can still be seen."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from weakseg.data.synthetic.noise import Field

Colour: TypeAlias = npt.NDArray[np.float32]
"""(3,) float32 RGB in [0, 1], or (H, W, 3)."""


class Canvas:
    """A picture in the making.

    Attributes:
        image: (H, W, 3) float32, RGB in [0, 1].
        opacity: (H, W) float32 in [0, 1]: the share of each pixel's light that smoke took away and
            that nothing in front of the smoke hides.
    """

    def __init__(self, image: npt.NDArray[np.float32]) -> None:
        self.image = image
        self.opacity: Field = np.zeros(image.shape[:2], dtype=np.float32)

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.image)

    def lay(self, colour: Colour, alpha: Field) -> None:
        """Put something over all there is."""
        self._blend(colour, alpha)
        self.opacity *= 1 - alpha

    def lay_smoke(self, colour: Colour, alpha: Field) -> None:
        """Put smoke over all there is; optical depths of several plumes add."""
        self._blend(colour, alpha)
        self.opacity = 1 - (1 - self.opacity) * (1 - alpha)

    def _blend(self, colour: Colour, alpha: Field) -> None:
        rows, columns = window(alpha)
        part = self.image[rows, columns]
        over = colour if colour.ndim == 1 else colour[rows, columns]
        part += (over - part) * alpha[rows, columns, None]


def window(field: Field, *, above: float = 0.0, margin: int = 0) -> tuple[slice, slice]:
    """Find the rows and columns where a field is above a level, and a margin around them."""
    seen: npt.NDArray[np.bool_] = np.asarray(field > above)
    return _span(seen.max(axis=1), margin), _span(seen.max(axis=0), margin)


def _span(seen: npt.NDArray[np.bool_], margin: int) -> slice:
    places = np.flatnonzero(seen)
    if len(places) == 0:
        return slice(0, 0)
    return slice(max(0, int(places[0]) - margin), int(places[-1]) + 1 + margin)


def rgb(red: float, green: float, blue: float) -> Colour:
    """Name a colour by its levels of 0-255."""
    return np.array([red, green, blue], dtype=np.float32) / np.float32(255)


def mix(one: Colour, other: Colour, share: float | Field) -> Colour:
    """Go from `one` (share 0) to `other` (share 1); a field of shares gives a field of colours."""
    weight: Field = np.asarray(share, dtype=np.float32)[..., None]
    return one + (other - one) * weight
