"""Build a lattice for one use: filter scattered values, or smooth along the edges of a frame."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from weakseg.arrays import FloatArray
from weakseg.checks import check_shape
from weakseg.filtering.features import Floats32
from weakseg.filtering.lattice import Lattice, Normalisation
from weakseg.filtering.quality import Quality


def gaussian_filter(
    values: npt.ArrayLike,
    features: npt.ArrayLike,
    *,
    normalisation: Normalisation = "none",
    symmetric: bool = True,
    quality: Quality = "standard",
    threads: int = 0,
) -> Floats32:
    """Filter `values` once: see `Lattice`.

    Args:
        values: (N, C) floats.
        features: (N, d) floats, d in 1..16, in standard deviations of the Gaussian.
        normalisation: "none", "row" or "symmetric".
        symmetric: Make the operator its own transpose.
        quality: "standard" or "high": see `weakseg.filtering`.
        threads: Threads to use, 0 for all.

    Returns:
        (N, C) float32.
    """
    lattice = Lattice(features, symmetric=symmetric, quality=quality, threads=threads)
    return lattice.filter(values, normalisation=normalisation)


def bilateral_filter(
    frame: npt.NDArray[Any],
    values: FloatArray,
    *,
    sigma_xy_pixels: float,
    sigma_rgb_levels: float,
    normalisation: Normalisation = "row",
    symmetric: bool = True,
    quality: Quality = "standard",
    threads: int = 0,
) -> Floats32:
    """Smooth `values` between pixels that are near and alike in `frame`.

    Args:
        frame: (H, W, 3) RGB, levels 0..255.
        values: (C, H, W) floats.
        sigma_xy_pixels: Reach in the frame, in pixels, > 0.
        sigma_rgb_levels: Reach in colour, in levels of 0-255, > 0.
        normalisation: "none", "row" or "symmetric".
        symmetric: Make the operator its own transpose.
        quality: "standard" or "high": see `weakseg.filtering`.
        threads: Threads to use, 0 for all.

    Returns:
        (C, H, W) float32.

    Raises:
        ValueError: If the two do not cover the same pixels.
    """
    check_shape((None, None, 3), frame=frame)
    check_shape((None, *frame.shape[:2]), values=values)
    lattice = Lattice.from_image(
        frame,
        sigma_xy_pixels=sigma_xy_pixels,
        sigma_rgb_levels=sigma_rgb_levels,
        symmetric=symmetric,
        quality=quality,
        threads=threads,
    )
    return lattice.filter(values, normalisation=normalisation)
