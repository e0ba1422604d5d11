"""Make the points that the Gaussian compares: where a pixel lies and how it looks."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_positive, check_shape

Floats32: TypeAlias = npt.NDArray[np.float32]

TINY: Final = float(np.finfo(np.float32).tiny)
HUGE: Final = float(np.finfo(np.float32).max)


def position_features(height: int, width: int, *, sigma_xy_pixels: float) -> Floats32:
    """Give every pixel its place, (H W, 2) float32 as x, y, in units of `sigma_xy_pixels`."""
    check_at_least(1, height=height, width=width)
    check_sigmas(sigma_xy_pixels=sigma_xy_pixels)
    # What a tiny sigma makes infinite the lattice refuses.
    with np.errstate(over="ignore"):
        y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(sigma_xy_pixels)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def bilateral_features(
    frame: npt.NDArray[Any], *, sigma_xy_pixels: float, sigma_rgb_levels: float
) -> Floats32:
    """Give every pixel its place and colour, (H W, 5) float32 as x, y, r, g, b, in sigmas.

    Args:
        frame: (H, W, 3) RGB, levels 0..255, of any real type.
        sigma_xy_pixels: Unit of place, in pixels, > 0.
        sigma_rgb_levels: Unit of colour, in levels of 0-255, > 0.

    Raises:
        ValueError: If the frame has another shape or no pixels, or a sigma is out of range.
        TypeError: If the frame holds no real numbers.
    """
    check_shape((None, None, 3), frame=frame)
    check_sigmas(sigma_rgb_levels=sigma_rgb_levels)
    height, width = frame.shape[:2]
    places = position_features(height, width, sigma_xy_pixels=sigma_xy_pixels)
    levels = read_floats("frame", frame).reshape(-1, 3)
    with np.errstate(over="ignore"):
        colours = levels / np.float32(sigma_rgb_levels)
    return np.concatenate([places, colours], axis=1)


def check_sigmas(**sigmas: float) -> None:
    """Raise ValueError unless every sigma is above zero and within float32."""
    check_positive(**sigmas)
    for name, sigma in sigmas.items():
        if not TINY <= sigma <= HUGE:
            raise ValueError(f"{name} must lie in [{TINY:.2g}, {HUGE:.2g}], got {sigma:g}")


def read_reals(name: str, given: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return `given` as an array, or raise TypeError if it holds no real numbers."""
    array = np.asarray(given)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, got an array of {array.dtype}")
    return array


def read_floats(name: str, given: npt.ArrayLike) -> Floats32:
    """Return real numbers as float32; what leaves its range becomes inf."""
    with np.errstate(over="ignore"):
        return read_reals(name, given).astype(np.float32, copy=False)
