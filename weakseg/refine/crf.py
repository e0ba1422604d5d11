"""Sharpen scores along the edges of the frame by a fully connected CRF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from weakseg.arrays import FrameArray, Scores
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.errors import MissingExtraError
from weakseg.filtering import QUALITIES, Quality
from weakseg.mean_field import (
    KERNEL_NORMALISATIONS,
    Floats32,
    Kernel,
    KernelNormalisation,
    frame_kernel,
    mean_field,
    position_kernel,
)
from weakseg.processors import count_processors
from weakseg.refine.step import FrameContext

log = logging.getLogger(__name__)

BACKENDS: Final = ("native", "pydensecrf")


class BatchError(ValueError):
    """Some frames of a batch are no input for a CRF; the others were refined all the same.

    Attributes:
        errors: What is wrong, by index in the batch.
        results: One entry a frame, in order: refined scores, or None where `errors` says why.
    """

    def __init__(self, errors: dict[int, ValueError], results: list[Scores | None]) -> None:
        self.errors = errors
        self.results = results
        said = "; ".join(f"frame {index}: {error}" for index, error in errors.items())
        super().__init__(f"{len(errors)} of {len(results)} frames failed: {said}")


@dataclass(frozen=True)
class DenseCrf:
    """Mean-field inference in a fully connected CRF.

    Nearby pixels, and pixels of like colour within a wider reach, are drawn to the same class.
    The scores are the only evidence: a frame that shows nothing keeps its scores' order.

    Args:
        iterations: Mean-field updates, at least 1.
        gaussian_weight: Strength of the kernel of position alone, >= 0.
        gaussian_sigma_xy_pixels: Its reach in the frame, in pixels, > 0.
        bilateral_weight: Strength of the kernel of position and colour, >= 0.
        sigma_xy_pixels: Its reach in the frame, in pixels, > 0.
        sigma_rgb_levels: Its reach in colour, in levels of 0-255, > 0.
        unary_floor: Scores are raised to this before the logarithm, in (0, 1]: what the scores
            hold impossible, the frame may then still say, at the price of -log(unary_floor).
        normalisation: How kernels are normalised. With A the Gaussian weights between pixels and
            D the diagonal of their sums: "symmetric" is D^-1/2 A D^-1/2, "before" A D^-1, "after"
            D^-1 A (a weighted mean), "none" A itself, which depends on the size of the frame.
        compatibility: K x K, symmetric: what a class costs beside another, in multiples of the
            kernels' weights. None is Potts: 0 for the same class, 1 for another, whatever K.
        quality: Of the native bilateral kernel: "high" is nearer to the exact sums and slower, see
            `weakseg.filtering`.
        symmetric: Make the native kernels their own transpose; False repeats pydensecrf, which has
            no high quality.
        backend: "native", or "pydensecrf" of the extra `crf`, kept for comparison.
        threads: Threads of the native backend, 0 for all; they do not change the result.

    References:
        Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
        Potentials", NeurIPS 2011. Settings and Potts model of Zhang and Hsu, arXiv 2507.21959;
        a pixel is its own neighbour, as in pydensecrf.
    """

    iterations: int = 5
    gaussian_weight: float = 5.0
    gaussian_sigma_xy_pixels: float = 3.0
    bilateral_weight: float = 15.0
    sigma_xy_pixels: float = 60.0
    sigma_rgb_levels: float = 5.0
    unary_floor: float = 1e-5
    normalisation: KernelNormalisation = "symmetric"
    compatibility: Sequence[Sequence[float]] | None = None
    quality: Quality = "standard"
    symmetric: bool = True
    backend: Literal["native", "pydensecrf"] = "native"
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_at_least(1, iterations=self.iterations)
        check_at_least(
            0,
            gaussian_weight=self.gaussian_weight,
            bilateral_weight=self.bilateral_weight,
            threads=self.threads,
        )
        check_positive(
            gaussian_sigma_xy_pixels=self.gaussian_sigma_xy_pixels,
            sigma_xy_pixels=self.sigma_xy_pixels,
            sigma_rgb_levels=self.sigma_rgb_levels,
            unary_floor=self.unary_floor,
        )
        check_in_unit(unary_floor=self.unary_floor)
        check_one_of(KERNEL_NORMALISATIONS, normalisation=self.normalisation)
        check_one_of(BACKENDS, backend=self.backend)
        check_one_of(QUALITIES, quality=self.quality)
        if self.quality == "high" and not (self.symmetric and self.backend == "native"):
            raise ValueError("quality='high' needs symmetric=true and backend=native")
        if self.compatibility is not None:
            # Lists come from the configuration; tuples keep the dataclass frozen to its depth.
            object.__setattr__(self, "compatibility", _square(self.compatibility))

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "crf"

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "threads"}

    def __call__(
        self, frame: FrameArray, scores: Scores, context: FrameContext | None = None
    ) -> Scores:
        """Refine `scores` by the colours of `frame`.

        Args:
            frame: (H, W, 3) uint8, RGB.
            scores: (K, H, W) float32, in [0, 1], summing to 1 over classes.
            context: Not used.

        Returns:
            (K, H, W) float32, in [0, 1], summing to 1 over classes.

        Raises:
            ValueError: If the two do not cover the same pixels, or `scores` are no probabilities.
            MissingExtraError: If the backend is not installed.
        """
        unary = self._unary(frame, scores)  # (K, H W)
        infer = self._infer_native if self.backend == "native" else self._infer_pydensecrf
        return np.ascontiguousarray(infer(frame, unary)).reshape(scores.shape)

    def many(self, frames: Sequence[FrameArray], scores: Sequence[Scores]) -> list[Scores]:
        """Refine a batch on all cores: every frame as `__call__` would, whatever the others are.

        Args:
            frames: (H, W, 3) uint8 each, of any sizes; or (B, H, W, 3).
            scores: As many, (K, H, W) float32 each.

        Returns:
            (K, H, W) float32 each, in order.

        Raises:
            BatchError: If some frames are bad. It names them, and holds the others' results.
            ValueError: If there are not as many scores as frames.
        """
        if len(frames) != len(scores):
            raise ValueError(f"{len(frames)} frames need as many scores, got {len(scores)}")
        if len(frames) == 0:
            return []
        cores = self.threads or count_processors()
        workers = min(cores, len(frames))
        # Frames first: threads inside a frame have to wait for each other, frames never do.
        crf = replace(self, threads=max(1, cores // workers))
        with ThreadPoolExecutor(workers) as pool:
            waiting = [pool.submit(crf, *pair) for pair in zip(frames, scores, strict=True)]
        errors: dict[int, ValueError] = {}
        results: list[Scores | None] = []
        for index, future in enumerate(waiting):
            error = future.exception()
            if isinstance(error, ValueError):
                errors[index] = error
                results.append(None)
            else:
                results.append(future.result())
        if errors:
            raise BatchError(errors, results)
        return [result for result in results if result is not None]

    def _unary(self, frame: FrameArray, scores: Scores) -> Floats32:
        """Turn scores into energies >= 0 in nats, (K, H, W) -> (K, H W)."""
        check_shape((None, None, 3), frame=frame)
        if frame.dtype != np.uint8:
            raise ValueError(f"frame must be uint8 with levels 0-255, got {frame.dtype}")
        check_shape((None, *frame.shape[:2]), scores=scores)
        classes = len(scores)
        if self.compatibility is not None and len(self.compatibility) != classes:
            size = len(self.compatibility)
            raise ValueError(f"compatibility is {size} x {size}, but scores have {classes} classes")
        # Written so that NaN fails too; 1e-3 leaves room for what float32 filters round off.
        if not (scores.min() >= -1e-3 and np.all(np.abs(scores.sum(axis=0) - 1) <= 1e-3)):
            raise ValueError("scores must be finite, >= 0 and sum to 1 over classes")
        # Clamp: log(0) would make the unary infinite.
        planes: Floats32 = np.clip(scores.reshape(classes, -1), self.unary_floor, 1).astype(
            np.float32, copy=False
        )
        np.log(planes, out=planes)
        np.negative(planes, out=planes)
        return planes

    def _infer_native(self, frame: FrameArray, unary: Floats32) -> Floats32:
        # Potts less a constant that no softmax sees: 0 and 1 become -1 and 0.
        costs = -np.eye(len(unary)) if self.compatibility is None else self.compatibility
        kernels = self._kernels(frame)
        log.debug("CRF over %d pixels with %d kernels", unary.shape[1], len(kernels))
        return mean_field(
            unary,
            [kernel for _, kernel in kernels],
            [self.normalisation] * len(kernels),
            [weight * np.asarray(costs) for weight, _ in kernels],
            iterations=self.iterations,
            planes=True,
            symmetric=self.symmetric,
            threads=self.threads,
        )

    def _kernels(self, frame: FrameArray) -> list[tuple[float, Kernel]]:
        """Build each kernel that has a weight."""
        how: dict[str, Any] = {"compatible": not self.symmetric, "threads": self.threads}
        kernels = []
        if self.gaussian_weight > 0:
            sigma = self.gaussian_sigma_xy_pixels
            height, width = frame.shape[:2]
            place = position_kernel(
                height, width, sigma_x_pixels=sigma, sigma_y_pixels=sigma, **how
            )
            kernels.append((self.gaussian_weight, place))
        if self.bilateral_weight > 0:
            colour = frame_kernel(
                frame,
                sigma_xy_pixels=self.sigma_xy_pixels,
                sigma_rgb_levels=self.sigma_rgb_levels,
                quality=self.quality,
                **how,
            )
            kernels.append((self.bilateral_weight, colour))
        return kernels

    def _infer_pydensecrf(self, frame: FrameArray, unary: Floats32) -> Floats32:
        try:
            from pydensecrf import densecrf  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError(
                "the pydensecrf backend needs `pip install weakseg[crf]`, or choose backend=native"
            ) from error
        height, width = frame.shape[:2]
        crf = densecrf.DenseCRF2D(width, height, len(unary))
        crf.setUnaryEnergy(unary)
        how = {"normalization": getattr(densecrf, _PYDENSECRF_NAMES[self.normalisation])}
        if self.gaussian_weight > 0:
            compat = self._compat(self.gaussian_weight)
            crf.addPairwiseGaussian(sxy=self.gaussian_sigma_xy_pixels, compat=compat, **how)
        if self.bilateral_weight > 0:
            crf.addPairwiseBilateral(
                sxy=self.sigma_xy_pixels,
                srgb=self.sigma_rgb_levels,
                rgbim=np.require(frame, requirements=["C", "W"]),
                compat=self._compat(self.bilateral_weight),
                **how,
            )
        return np.asarray(crf.inference(self.iterations), np.float32)

    def _compat(self, weight: float) -> float | Floats32:
        """Return a kernel's compatibility as pydensecrf takes it."""
        if self.compatibility is None:
            return weight
        return np.asarray(weight * np.asarray(self.compatibility), np.float32)


_PYDENSECRF_NAMES: Final = {
    "none": "NO_NORMALIZATION",
    "before": "NORMALIZE_BEFORE",
    "after": "NORMALIZE_AFTER",
    "symmetric": "NORMALIZE_SYMMETRIC",
}


def _square(matrix: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Check a compatibility matrix and freeze it."""
    try:
        costs = np.array(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"compatibility must be K x K numbers, got {matrix!r}") from error
    if costs.ndim != 2 or costs.shape[0] != costs.shape[1] or costs.size == 0:
        raise ValueError(f"compatibility must be K x K numbers, got shape {costs.shape}")
    if not np.all(np.isfinite(costs)):
        raise ValueError("compatibility must be finite: it holds NaN or infinity")
    if not np.array_equal(costs, costs.T):
        # The energy of two pixels does not know which comes first: halves would just be averaged.
        raise ValueError("compatibility must be symmetric: costs[i][j] == costs[j][i]")
    return tuple(tuple(float(cost) for cost in row) for row in costs)
