"""Reach the C++ lattice: nothing else in this package calls `weakseg._core`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from weakseg.filtering.features import Floats32, bilateral_features

try:
    from weakseg import _core
except ImportError as error:
    raise ImportError(
        "weakseg._core is not built: run `pip install .` in the folder of weakseg's pyproject.toml"
    ) from error


class NativeLattice:
    """One C++ lattice for each point set of a batch: no number of one reaches another.

    The frames go one after the other, with threads inside each. Threads live for one call only, so
    forked processes may use this too, and their number does not change the result.
    """

    def __init__(self, lattices: Sequence[_core.Lattice], *, threads: int) -> None:
        self._lattices = lattices
        self._threads = threads

    @classmethod
    def of_points(cls, features: Floats32, *, threads: int) -> NativeLattice:
        """Build over (B, N, d) float32; ValueError names the first frame that is refused."""
        lattices = []
        for index, rows in enumerate(features):
            with _naming(index, len(features)):
                lattices.append(_core.Lattice(rows, threads=threads))
        return cls(lattices, threads=threads)

    @classmethod
    def of_frames(
        cls,
        frames: npt.NDArray[Any],
        *,
        planes: bool,
        sigma_xy_pixels: float,
        sigma_rgb_levels: float,
        threads: int,
    ) -> NativeLattice:
        """Build over (B, H, W, 3) or, with `planes`, (B, 3, H, W) levels; errors alike."""
        lattices = []
        for index, frame in enumerate(frames):
            features = bilateral_features(
                frame.transpose(1, 2, 0) if planes else frame,
                sigma_xy_pixels=sigma_xy_pixels,
                sigma_rgb_levels=sigma_rgb_levels,
            )
            with _naming(index, len(frames)):
                lattices.append(_core.Lattice(features, threads=threads))
        return cls(lattices, threads=threads)

    @property
    def vertices(self) -> int:
        """Number of lattice vertices in use, over the whole batch."""
        return sum(lattice.vertices for lattice in self._lattices)

    def filter(self, values: Floats32, *, planes: bool, symmetric: bool) -> Floats32:
        """Sum (B, N, C) or, with `planes`, (B, C, N) float32; the same shape comes back."""
        sums = [
            self._sum(lattice, rows, planes=planes, symmetric=symmetric)
            for lattice, rows in zip(self._lattices, values, strict=True)
        ]
        return sums[0][None] if len(sums) == 1 else np.stack(sums)

    def _sum(
        self, lattice: _core.Lattice, values: Floats32, *, planes: bool, symmetric: bool
    ) -> Floats32:
        if planes:
            rows = self._sum(lattice, values.T, planes=False, symmetric=symmetric)
            return np.ascontiguousarray(rows.T)
        return lattice.filter(values, symmetric=symmetric, threads=self._threads)


@contextmanager
def _naming(frame: int, batch: int) -> Iterator[None]:
    """Say which frame of a batch was refused."""
    try:
        yield
    except ValueError as error:
        if batch == 1:
            raise
        raise ValueError(f"frame {frame} of the batch: {error}") from error
