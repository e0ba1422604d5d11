"""Infer in a fully connected CRF by mean field, over kernels that are Gaussians of features.

Points stand for pixels; energies are in nats. Kernels are built once, by the three functions that
end in `_kernel`, and may serve many inferences.

References:
    Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
    Potentials", NeurIPS 2011. A point is its own neighbour here, which the paper leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from weakseg import _core
from weakseg.arrays import FrameArray
from weakseg.checks import check_at_least, check_one_of, check_positive, check_shape
from weakseg.filtering import Quality

Floats32: TypeAlias = npt.NDArray[np.float32]
Kernel: TypeAlias = _core.Lattice | _core.PositionKernel
KernelNormalisation: TypeAlias = Literal["none", "before", "after", "symmetric"]

KERNEL_NORMALISATIONS: Final = ("none", "before", "after", "symmetric")


def mean_field(
    unary: npt.ArrayLike,
    kernels: Sequence[Kernel],
    normalisations: Sequence[KernelNormalisation],
    compatibilities: Sequence[npt.ArrayLike],
    *,
    start: npt.ArrayLike | None = None,
    iterations: int,
    planes: bool = False,
    symmetric: bool = True,
    threads: int = 0,
) -> Floats32:
    """Update all points at once, `iterations` times, by Q = softmax(-unary - sum_m mu_m K_m Q).

    With A the matrix of a kernel's Gaussian weights and n = 1 / (A 1), K is A ("none"), A n
    ("before"), n A ("after") or n^1/2 A n^1/2 ("symmetric").

    Args:
        unary: (N, K) floats, finite: energy of every class at every point, in nats.
        kernels: M kernels over the same N points.
        normalisations: M names out of `KERNEL_NORMALISATIONS`.
        compatibilities: M times (K, K) floats mu, in nats: what a class (row) costs beside the
            classes of the neighbours (column). Potts of weight w is -w times the identity.
        start: (N, K) floats, the first Q; None is softmax(-unary).
        iterations: Updates, at least 0.
        planes: `unary`, `start` and the result are (K, N) instead of (N, K).
        symmetric: Make A its own transpose; False is the lattice of the paper.
        threads: Threads to use, 0 for all; they do not change the result.

    Returns:
        (N, K) float32, in [0, 1], summing to 1 over classes.

    Raises:
        ValueError: If shapes do not fit each other, or a number is not finite.
    """
    energies = np.asarray(unary, np.float32)
    check_shape((None, None), unary=energies)
    costs = [np.asarray(mu, np.float32) for mu in compatibilities]
    _check_kernels(energies.T if planes else energies, kernels, normalisations, costs)
    check_at_least(0, iterations=iterations, threads=threads)
    if start is not None:
        start = np.asarray(start, np.float32)
        check_shape(energies.shape, start=start)
        _check_finite(start=start)
    return _core.mean_field(
        energies,
        list(kernels),
        list(normalisations),
        costs,
        start=start,
        iterations=iterations,
        planes=planes,
        symmetric=symmetric,
        threads=threads,
    )


class Spread:
    """Apply one kernel K, normalised as `mean_field` tells, to values at its points.

    Args:
        kernel: Over N points.
        normalisation: One of `KERNEL_NORMALISATIONS`.
        symmetric: As in `mean_field`.
        threads: As in `mean_field`.
    """

    def __init__(
        self,
        kernel: Kernel,
        normalisation: KernelNormalisation,
        *,
        symmetric: bool = True,
        threads: int = 0,
    ) -> None:
        check_one_of(KERNEL_NORMALISATIONS, normalisation=normalisation)
        self.kernel = kernel
        self.symmetric = symmetric
        self.threads = threads
        self._before: Floats32 = np.ones((1, 1), np.float32)
        self._after = self._before
        if normalisation == "none":
            return
        degree = self._apply(np.ones((kernel.points, 1), np.float32))
        # Clamp, as the core does: pydensecrf's arithmetic may round a lonely pixel's sum to 0.
        scale: Floats32 = np.reciprocal(np.maximum(degree, np.float32(1e-20)), dtype=np.float32)
        if normalisation == "symmetric":
            scale = np.sqrt(scale)
        if normalisation != "after":
            self._before = scale
        if normalisation != "before":
            self._after = scale

    def __call__(self, values: Floats32) -> Floats32:
        """Return K values, both (N, C) float32."""
        return self._after * self._apply(self._before * values)

    def _apply(self, values: Floats32) -> Floats32:
        if isinstance(self.kernel, _core.PositionKernel):
            return self.kernel.filter(values, threads=self.threads)
        return self.kernel.filter(values, symmetric=self.symmetric, threads=self.threads)


def feature_kernel(
    features: npt.ArrayLike,
    *,
    quality: Quality = "standard",
    compatible: bool = False,
    threads: int = 0,
) -> Kernel:
    """Build the Gaussian of any features.

    Args:
        features: (N, d) floats, d in 1..16, in standard deviations of the Gaussian.
        quality: Of the lattice: see `weakseg.filtering`.
        compatible: Place points on the lattice just as pydensecrf does.
        threads: Threads of the build, 0 for all.

    Raises:
        ValueError: If `features` has another shape or is not finite.
    """
    rows = np.asarray(features, np.float32)
    return _core.Lattice(rows, quality=quality, compatible=compatible, threads=threads)


def position_kernel(
    height: int,
    width: int,
    *,
    sigma_x_pixels: float,
    sigma_y_pixels: float,
    compatible: bool = False,
    threads: int = 0,
) -> Kernel:
    """Build the Gaussian of the places alone, for frames of `height` x `width`.

    `compatible` is the one of `feature_kernel`: the other way is more exact.
    """
    check_at_least(1, height=height, width=width)
    check_positive(sigma_x_pixels=sigma_x_pixels, sigma_y_pixels=sigma_y_pixels)
    if not compatible:
        return _core.PositionKernel(height, width, sigma_x_pixels, sigma_y_pixels)
    x = np.arange(width, dtype=np.float32) / np.float32(sigma_x_pixels)
    y = np.arange(height, dtype=np.float32) / np.float32(sigma_y_pixels)
    features = np.stack([np.tile(x, height), np.repeat(y, width)], axis=1)
    return feature_kernel(features, compatible=compatible, threads=threads)


def frame_kernel(
    frame: FrameArray,
    *,
    sigma_xy_pixels: float,
    sigma_rgb_levels: float,
    quality: Quality = "standard",
    compatible: bool = False,
    threads: int = 0,
) -> Kernel:
    """Build the Gaussian of place and colour of `frame`, (H, W, 3) uint8: see `feature_kernel`."""
    return _core.Lattice.from_image(
        frame,
        sigma_xy_pixels=sigma_xy_pixels,
        sigma_rgb_levels=sigma_rgb_levels,
        quality=quality,
        compatible=compatible,
        threads=threads,
    )


def _check_kernels(
    unary: Floats32,
    kernels: Sequence[Kernel],
    normalisations: Sequence[KernelNormalisation],
    compatibilities: Sequence[Floats32],
) -> None:
    points, classes = unary.shape
    if classes < 1:
        raise ValueError("unary must have at least 1 class, got 0")
    _check_finite(unary=unary)
    if not len(kernels) == len(normalisations) == len(compatibilities):
        raise ValueError(
            f"{len(kernels)} kernels need as many normalisations and compatibilities, "
            f"got {len(normalisations)} and {len(compatibilities)}"
        )
    for i, (kernel, mu) in enumerate(zip(kernels, compatibilities, strict=True)):
        if kernel.points != points:
            raise ValueError(f"kernel {i} has {kernel.points} points, unary has {points}")
        check_shape((classes, classes), **{f"compatibility {i}": mu})
        _check_finite(**{f"compatibility {i}": mu})


def _check_finite(**arrays: Floats32) -> None:
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} must be finite: it holds NaN or infinity")
