"""Run weakseg's hot loops in C++: only `weakseg.filtering` and `weakseg.mean_field` call them."""

from typing import Literal

import numpy as np
import numpy.typing as npt

class Lattice:
    """Permutohedral lattice over fixed points.

    Args:
        features: (N, d) float32, d in 1..16, in standard deviations of the kernel, finite, at
            most 1e6 in size.
        quality: "high" is nearer to the sums over all pairs, for 1.5 to 1.9 times the time.
        compatible: Give pydensecrf's sums, vertex for vertex, when filtering without `symmetric`.
        threads: Threads of the build, 0 for all; they do not change the result.

    Raises:
        ValueError: If `features` is none of that.
    """

    def __init__(
        self,
        features: npt.NDArray[np.float32],
        *,
        quality: Literal["standard", "high"] = "standard",
        compatible: bool = False,
        threads: int = 0,
    ) -> None: ...
    @staticmethod
    def from_image(
        frame: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
        *,
        sigma_xy_pixels: float,
        sigma_rgb_levels: float,
        planes: bool = False,
        quality: Literal["standard", "high"] = "standard",
        compatible: bool = False,
        threads: int = 0,
    ) -> Lattice:
        """Build over the place and colour of the pixels of `frame`, row by row.

        Args:
            frame: (H, W, 3) or, with `planes`, (3, H, W) RGB, levels 0..255, finite.
            sigma_xy_pixels: Standard deviation in the frame, in pixels, > 0.
            sigma_rgb_levels: Standard deviation in colour, in levels of 0-255, > 0.
            planes: Colours come first.
            quality: As in the class.
            compatible: As in the class.
            threads: As in the class.
        """

    def filter(
        self,
        values: npt.NDArray[np.float32],
        *,
        planes: bool = False,
        symmetric: bool = True,
        before: npt.NDArray[np.float32] | None = None,
        after: npt.NDArray[np.float32] | None = None,
        threads: int = 0,
    ) -> npt.NDArray[np.float32]:
        """Sum `values` under the Gaussian of the features.

        Args:
            values: (N, C) or, with `planes`, (C, N) float32.
            planes: Channels come first.
            symmetric: Make the operator its own transpose; high quality always is.
            before: (N,) float32 factors of the points' values, None for 1.
            after: (N,) float32 factors of the points' sums, None for 1.
            threads: Threads of this call, 0 for all.

        Returns:
            As `values`, about sum_j exp(-|f_i - f_j|^2 / 2) values_j, j = i included.
        """

    @property
    def points(self) -> int:
        """N."""

    @property
    def dims(self) -> int:
        """Number of features per point."""

    @property
    def vertices(self) -> int:
        """Number of lattice vertices in use."""

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""

class PositionKernel:
    """Gaussian of the places of a frame's pixels, exact but for 6e-5 an axis beyond four sigmas.

    Args:
        height: Rows of pixels.
        width: Columns of pixels.
        sigma_x_pixels: Standard deviation along rows, in pixels, > 0.
        sigma_y_pixels: Standard deviation along columns, in pixels, > 0.
    """

    def __init__(
        self, height: int, width: int, sigma_x_pixels: float, sigma_y_pixels: float
    ) -> None: ...
    def filter(
        self,
        values: npt.NDArray[np.float32],
        *,
        planes: bool = False,
        before: npt.NDArray[np.float32] | None = None,
        after: npt.NDArray[np.float32] | None = None,
        threads: int = 0,
    ) -> npt.NDArray[np.float32]:
        """Sum `values` of the pixels, row by row: see `Lattice.filter`."""

    @property
    def points(self) -> int:
        """Number of pixels."""

def mean_field(
    unary: npt.NDArray[np.float32],
    kernels: list[Lattice | PositionKernel],
    normalisations: list[Literal["none", "before", "after", "symmetric"]],
    compatibilities: list[npt.NDArray[np.float32]],
    *,
    start: npt.NDArray[np.float32] | None = None,
    iterations: int,
    planes: bool = False,
    symmetric: bool = True,
    threads: int = 0,
) -> npt.NDArray[np.float32]:
    """Update all points at once, `iterations` times: see `weakseg.mean_field.mean_field`.

    With `planes`, `unary`, `start` and the result are (K, N) instead of (N, K).
    """

def instruction_sets() -> list[str]:
    """Name the sets of vector instructions that can be used here, the fastest first."""

def use_instructions(name: str) -> None:
    """Use one of `instruction_sets` in the whole process from now on."""
