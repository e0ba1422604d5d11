"""Reach the C++ lattice: nothing else in this package calls `weakseg._core`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from weakseg.filtering.features import Floats32
from weakseg.filtering.quality import Quality
from weakseg.processors import count_processors

try:
    from weakseg import _core
except ImportError as error:
    raise ImportError(
        "weakseg._core is not built: run `pip install .` in the folder of weakseg's pyproject.toml"
    ) from error

_T = TypeVar("_T")


class NativeLattice:
    """One C++ lattice for each point set of a batch: no number of one reaches another.

    The frames go side by side, a thread each; threads left over are shared among them. Threads live
    for one call only, so forked processes may use this too, and their number does not change the
    result.
    """

    def __init__(self, lattices: Sequence[_core.Lattice], *, threads: int) -> None:
        self._lattices = lattices
        self._threads = threads

    @classmethod
    def of_points(cls, features: Floats32, *, quality: Quality, threads: int) -> NativeLattice:
        """Build over (B, N, d) float32; ValueError names the first frame that is refused."""

        def build(frame: int, threads: int) -> _core.Lattice:
            with _naming(frame, len(features)):
                return _core.Lattice(features[frame], quality=quality, threads=threads)

        return cls(_for_each(len(features), build, threads=threads), threads=threads)

    @classmethod
    def of_frames(
        cls,
        frames: npt.NDArray[Any],
        *,
        planes: bool,
        sigma_xy_pixels: float,
        sigma_rgb_levels: float,
        quality: Quality,
        threads: int,
    ) -> NativeLattice:
        """Build over (B, H, W, 3) or, with `planes`, (B, 3, H, W) levels; errors alike."""

        def build(frame: int, threads: int) -> _core.Lattice:
            with _naming(frame, len(frames)):
                return _core.Lattice.from_image(
                    frames[frame],
                    sigma_xy_pixels=sigma_xy_pixels,
                    sigma_rgb_levels=sigma_rgb_levels,
                    planes=planes,
                    quality=quality,
                    threads=threads,
                )

        return cls(_for_each(len(frames), build, threads=threads), threads=threads)

    @property
    def vertices(self) -> int:
        """Number of lattice vertices, over the whole batch."""
        return sum(lattice.vertices for lattice in self._lattices)

    def filter(
        self,
        values: Floats32,
        *,
        planes: bool,
        symmetric: bool,
        before: Floats32 | None = None,
        after: Floats32 | None = None,
    ) -> Floats32:
        """Sum (B, N, C) or, with `planes`, (B, C, N) float32; the same shape comes back.

        `before` and `after`, (B, N) float32, multiply the values and the sums.
        """

        def run(frame: int, threads: int) -> Floats32:
            return self._lattices[frame].filter(
                values[frame],
                planes=planes,
                symmetric=symmetric,
                before=None if before is None else before[frame],
                after=None if after is None else after[frame],
                threads=threads,
            )

        sums = _for_each(len(self._lattices), run, threads=self._threads)
        return sums[0][None] if len(sums) == 1 else np.stack(sums)


def _for_each(frames: int, work: Callable[[int, int], _T], *, threads: int) -> list[_T]:
    """Call `work` with every frame's number and the threads that it may use."""
    if frames == 1:
        return [work(0, threads)]
    available = threads or count_processors()
    inside = max(1, available // frames)
    if available == 1:
        return [work(frame, inside) for frame in range(frames)]
    with ThreadPoolExecutor(min(frames, available)) as pool:
        return list(pool.map(work, range(frames), repeat(inside)))


@contextmanager
def _naming(frame: int, batch: int) -> Iterator[None]:
    """Say which frame of a batch was refused."""
    try:
        yield
    except ValueError as error:
        if batch == 1:
            raise
        raise ValueError(f"frame {frame} of the batch: {error}") from error
