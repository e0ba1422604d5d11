"""Run weakseg's hot loops in C++: only `weakseg.filtering` calls them."""

import numpy as np
import numpy.typing as npt

class Lattice:
    """Permutohedral lattice over fixed points.

    Args:
        features: (N, d) float32, d in 1..16, in standard deviations of the kernel, finite, at
            most 1e6 in size.
        threads: Threads of the build, 0 for all.

    Raises:
        ValueError: If `features` is none of that.
    """

    def __init__(self, features: npt.NDArray[np.float32], *, threads: int = 0) -> None: ...
    def filter(
        self, values: npt.NDArray[np.float32], *, symmetric: bool = True, threads: int = 0
    ) -> npt.NDArray[np.float32]:
        """Sum `values`, (N, C) float32, under the Gaussian of the features.

        Returns:
            (N, C) float32, about sum_j exp(-|f_i - f_j|^2 / 2) values_j, j = i included.
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

def gaussian_filter(
    values: npt.NDArray[np.float32],
    features: npt.NDArray[np.float32],
    *,
    threads: int = 0,
    symmetric: bool = True,
) -> npt.NDArray[np.float32]:
    """Build a lattice over `features` and filter `values` once."""
