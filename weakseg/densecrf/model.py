"""Infer in a dense CRF through the classes of pydensecrf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from weakseg.arrays import FrameArray
from weakseg.checks import check_shape
from weakseg.densecrf.options import (
    DIAG_KERNEL,
    NORMALIZE_SYMMETRIC,
    Floats32,
    read_compat,
    read_count,
    read_floats,
    read_kernel,
    read_normalization,
    read_sigmas,
)
from weakseg.densecrf.unaries import ConstUnary, LogisticUnary, Unary, read_unary
from weakseg.mean_field import (
    Kernel,
    KernelNormalisation,
    Spread,
    feature_kernel,
    frame_kernel,
    mean_field,
    position_kernel,
)

Term: TypeAlias = tuple[Kernel, KernelNormalisation, Floats32]


class DenseCRF:
    """Hold a CRF over any points, as pydensecrf's class of this name does.

    Args:
        nvar: N, the number of points, at least 1.
        nlabels: K, the number of labels, at least 1.
        compatible: Compute the numbers of pydensecrf. False computes more exact ones: kernels are
            their own transpose, and places of DenseCRF2D are compared without a lattice.
        threads: Threads to use, 0 for all; they do not change the result.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If a number is not whole.

    References:
        Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
        Potentials", NeurIPS 2011.
    """

    def __init__(
        self, nvar: int, nlabels: int, *, compatible: bool = True, threads: int = 0
    ) -> None:
        self._nvar = read_count("nvar", nvar, minimum=1)
        self._nlabel = read_count("nlabels", nlabels, minimum=1)
        self._compatible = compatible
        self._threads = read_count("threads", threads, minimum=0)
        self._unary = np.zeros((self._nvar, self._nlabel), np.float32)
        self._terms: list[Term] = []

    def setUnaryEnergy(self, u: npt.ArrayLike, f: npt.ArrayLike | None = None) -> None:
        """Set the energies that do not depend on neighbours.

        Args:
            u: (K, N) floats, in nats; +inf makes a label impossible at a point. (K, ...) with N
                points behind the labels serves as well.
            f: None, or (D, N) features of the points: `u` are then (K, D) weights, and u f the
                energies.

        Raises:
            ValueError: If shapes do not fit the CRF, `u` holds NaN or -inf, or a point is left
                without a possible label.
        """
        self.setUnary(ConstUnary(u) if f is None else LogisticUnary(u, f))

    def setUnary(self, u: Unary) -> None:
        """Set a `ConstUnary` or `LogisticUnary`: see `setUnaryEnergy`."""
        self._unary = read_unary(u, self._nlabel, self._nvar)

    def addPairwiseEnergy(
        self,
        features: npt.ArrayLike,
        compat: npt.ArrayLike,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Draw points to each other by exp(-|f_i - f_j|^2 / 2).

        Args:
            features: (D, N) floats, D in 1..16, in sigmas.
            compat: A number w for Potts: any two unlike labels cost w. (K,) or (K, K) floats are
                the costs of like and of any two labels; see `weakseg.densecrf.options`.
            kernel: A `KernelType`; inference is the same for all.
            normalization: A `NormalizationType`.

        Raises:
            ValueError: If `features` do not fit the CRF or are not finite, or an option is none.
        """
        given = read_floats("features", features)
        check_shape((None, self._nvar), features=given)
        how = self._read_options(compat, kernel, normalization)
        self._terms.append((feature_kernel(given.T, **self._building), *how))

    def inference(self, niter: int) -> Floats32:
        """Return the labels' probabilities after `niter` updates, at least 0.

        Returns:
            (K, N) float32, in [0, 1], summing to 1 over labels, in Fortran order as pydensecrf's.
        """
        return self._infer(None, read_count("niter", niter, minimum=0))

    def startInference(self) -> tuple[Floats32, Floats32, Floats32]:
        """Return Q (K, N) float32 by the unary alone, and two arrays `stepInference` is given.

        The two are empty: pydensecrf keeps sums there. Without a unary Q is uniform, not zero.
        """
        empty = np.empty((0, 0), np.float32)
        return self._infer(None, 0), empty, empty.copy()

    def stepInference(self, Q: npt.NDArray[Any], tmp1: Any = None, tmp2: Any = None) -> None:
        """Update Q, (K, N) floats of `startInference`, in place; the others are left alone.

        Raises:
            ValueError: If Q has another shape, is not finite or read-only.
            TypeError: If Q is no array of floats.
        """
        start = self._read_q(Q)
        if not Q.flags.writeable:
            raise ValueError("Q must be writable, for it is updated in place: pass a copy")
        Q[...] = self._infer(np.ascontiguousarray(start.T), 1)

    def klDivergence(self, Q: npt.NDArray[Any]) -> float:
        """Return the divergence of Q from the CRF's distribution, up to a constant, in nats.

        Args:
            Q: (K, N) floats of `startInference` or `inference`.

        Returns:
            Q's negative entropy and its energy, summed over points. Each pair of points counts
            twice, as in pydensecrf, so that updates need not lower the sum.

        Raises:
            ValueError: If Q has another shape or is not finite.
            TypeError: If Q is no array of floats.
        """
        q = np.ascontiguousarray(self._read_q(Q).T)
        divergence = np.sum(q * np.log(np.maximum(q, 1e-20)) + self._unary * q, dtype=np.float64)
        for kernel, normalisation, costs in self._terms:
            spread = Spread(
                kernel, normalisation, symmetric=not self._compatible, threads=self._threads
            )
            divergence += np.sum(q * (spread(q) @ costs.T), dtype=np.float64)
        return float(divergence)

    @property
    def _building(self) -> dict[str, Any]:
        return {"compatible": self._compatible, "threads": self._threads}

    def _read_options(
        self, compat: npt.ArrayLike, kernel: int, normalization: int
    ) -> tuple[KernelNormalisation, Floats32]:
        read_kernel(kernel)
        return read_normalization(normalization), read_compat(compat, self._nlabel)

    def _infer(self, start: Floats32 | None, iterations: int) -> Floats32:
        return mean_field(
            self._unary,
            [kernel for kernel, _, _ in self._terms],
            [normalisation for _, normalisation, _ in self._terms],
            [costs for _, _, costs in self._terms],
            start=start,
            iterations=iterations,
            symmetric=not self._compatible,
            threads=self._threads,
        ).T

    def _read_q(self, Q: npt.NDArray[Any]) -> Floats32:
        if not isinstance(Q, np.ndarray) or Q.dtype.kind != "f":
            raise TypeError("Q must be the array of floats that startInference returns")
        check_shape((self._nlabel, self._nvar), Q=Q)
        if not np.all(np.isfinite(Q)):
            raise ValueError("Q must be finite: it holds NaN or infinity")
        return Q.astype(np.float32, copy=False)


class DenseCRF2D(DenseCRF):
    """Hold a CRF over the pixels of a frame, as pydensecrf's class of this name does.

    Args:
        w: Width, in pixels, at least 1: it comes first.
        h: Height, in pixels, at least 1.
        nlabels: As in `DenseCRF`.
        compatible: As in `DenseCRF`.
        threads: As in `DenseCRF`.
    """

    def __init__(
        self, w: int, h: int, nlabels: int, *, compatible: bool = True, threads: int = 0
    ) -> None:
        self._w = read_count("w", w, minimum=1)
        self._h = read_count("h", h, minimum=1)
        super().__init__(self._w * self._h, nlabels, compatible=compatible, threads=threads)

    def addPairwiseGaussian(
        self,
        sxy: float | Sequence[float],
        compat: npt.ArrayLike,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Draw near pixels to each other.

        Args:
            sxy: Reach in pixels, > 0: one number, or one along x and one along y.
            compat: As in `addPairwiseEnergy`.
            kernel: As in `addPairwiseEnergy`.
            normalization: As in `addPairwiseEnergy`.

        Raises:
            ValueError: If an option is out of range.
        """
        sx, sy = read_sigmas("sxy", sxy, 2)
        how = self._read_options(compat, kernel, normalization)
        built = position_kernel(
            self._h, self._w, sigma_x_pixels=sx, sigma_y_pixels=sy, **self._building
        )
        self._terms.append((built, *how))

    def addPairwiseBilateral(  # noqa: PLR0917 - pydensecrf's own
        self,
        sxy: float | Sequence[float],
        srgb: float | Sequence[float],
        rgbim: npt.ArrayLike,
        compat: npt.ArrayLike,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Draw pixels that are near and of like colour to each other.

        Args:
            sxy: Reach in pixels, > 0: one number, or one along x and one along y.
            srgb: Reach in colour, in levels of 0-255, > 0: one number, or one a channel.
            rgbim: (H, W, 3) whole levels 0-255, of any type.
            compat: As in `addPairwiseEnergy`.
            kernel: As in `addPairwiseEnergy`.
            normalization: As in `addPairwiseEnergy`.

        Raises:
            ValueError: If the image does not fit the CRF or an option is out of range.
        """
        frame = self._read_frame(rgbim)
        reach, reach_rgb = read_sigmas("sxy", sxy, 2), read_sigmas("srgb", srgb, 3)
        how = self._read_options(compat, kernel, normalization)
        if len(set(reach)) == len(set(reach_rgb)) == 1:
            built = frame_kernel(
                frame, sigma_xy_pixels=reach[0], sigma_rgb_levels=reach_rgb[0], **self._building
            )
        else:
            features = np.empty((self._h, self._w, 5), np.float32)
            features[..., 0] = np.arange(self._w)
            features[..., 1] = np.arange(self._h)[:, None]
            features[..., 2:] = frame
            features /= np.array([*reach, *reach_rgb], np.float32)
            built = feature_kernel(features.reshape(-1, 5), **self._building)
        self._terms.append((built, *how))

    def _read_frame(self, rgbim: npt.ArrayLike) -> FrameArray:
        frame = np.asarray(rgbim)
        wanted = (self._h, self._w, 3)
        if frame.shape != wanted:
            raise ValueError(
                f"rgbim must have shape {wanted}, height first, got {frame.shape}: for other "
                "channels see create_pairwise_bilateral"
            )
        if frame.dtype == np.uint8:
            return frame
        levels = read_floats("rgbim", frame)
        # Written so that NaN fails too.
        if not (np.all((levels >= 0) & (levels <= 255)) and np.all(levels == np.rint(levels))):
            raise ValueError("rgbim must hold whole levels 0-255: multiply shares of 1 by 255")
        return levels.astype(np.uint8)
