"""Sharpen scores along the edges of the frame by a fully connected CRF."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from weakseg.arrays import FrameArray, Scores
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.errors import MissingExtraError
from weakseg.filtering import Lattice, bilateral_features, position_features
from weakseg.refine.step import FrameContext

log = logging.getLogger(__name__)

BACKENDS: Final = ("native", "pydensecrf")
Floats32: TypeAlias = npt.NDArray[np.float32]


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
        symmetric: Make the native kernels their own transpose; False is the paper's lattice.
        backend: "native", or "pydensecrf" of the extra `crf`, kept for comparison.
        threads: Threads of the native backend, 0 for all; they do not change the result.

    References:
        Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
        Potentials", NeurIPS 2011. Settings and Potts model of Zhang and Hsu, arXiv 2507.21959;
        kernels are normalised by D^-1/2 A D^-1/2, and a pixel is its own neighbour, as in
        pydensecrf.
    """

    iterations: int = 5
    gaussian_weight: float = 5.0
    gaussian_sigma_xy_pixels: float = 3.0
    bilateral_weight: float = 15.0
    sigma_xy_pixels: float = 60.0
    sigma_rgb_levels: float = 5.0
    unary_floor: float = 1e-5
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
        check_one_of(BACKENDS, backend=self.backend)

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
        unary = self._unary(frame, scores)  # (H W, K)
        infer = self._infer_native if self.backend == "native" else self._infer_pydensecrf
        probabilities = infer(frame, unary)
        return np.ascontiguousarray(probabilities.T).reshape(scores.shape)

    def _unary(self, frame: FrameArray, scores: Scores) -> Floats32:
        """Turn scores into energies >= 0 in nats, (K, H, W) -> (H W, K)."""
        check_shape((None, None, 3), frame=frame)
        if frame.dtype != np.uint8:
            raise ValueError(f"frame must be uint8 with levels 0-255, got {frame.dtype}")
        check_shape((None, *frame.shape[:2]), scores=scores)
        # Written so that NaN fails too; 1e-3 leaves room for what float32 filters round off.
        if not (np.all(scores >= -1e-3) and np.all(np.abs(scores.sum(axis=0) - 1) <= 1e-3)):
            raise ValueError("scores must be finite, >= 0 and sum to 1 over classes")
        rows = scores.reshape(scores.shape[0], -1).T
        # Clamp: log(0) would make the unary infinite.
        return -np.log(np.clip(rows, self.unary_floor, 1), dtype=np.float32)

    def _infer_native(self, frame: FrameArray, unary: Floats32) -> Floats32:
        kernels = self._kernels(frame)
        probabilities = _softmax(-unary)
        for _ in range(self.iterations):
            support = -unary
            for weight, spread in kernels:
                support += np.float32(weight) * spread(probabilities)
            probabilities = _softmax(support)
        return probabilities

    def _kernels(self, frame: FrameArray) -> list[tuple[float, Callable[[Floats32], Floats32]]]:
        """Return the weight of each kernel that has one, and the filter of its neighbours."""
        height, width = frame.shape[:2]
        place = position_features(height, width, sigma_xy_pixels=self.gaussian_sigma_xy_pixels)
        colour = bilateral_features(
            frame, sigma_xy_pixels=self.sigma_xy_pixels, sigma_rgb_levels=self.sigma_rgb_levels
        )
        weighted = ((self.gaussian_weight, place), (self.bilateral_weight, colour))
        return [(weight, self._spread(features)) for weight, features in weighted if weight > 0]

    def _spread(self, features: Floats32) -> Callable[[Floats32], Floats32]:
        lattice = Lattice(features, symmetric=self.symmetric, threads=self.threads)
        log.debug("CRF lattice: %d pixels on %d vertices", lattice.points, lattice.vertices)
        return lambda values: lattice.filter(values, normalisation="symmetric")

    def _infer_pydensecrf(self, frame: FrameArray, unary: Floats32) -> Floats32:
        try:
            from pydensecrf import densecrf  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError(
                "the pydensecrf backend needs `pip install weakseg[crf]`, or choose backend=native"
            ) from error
        height, width = frame.shape[:2]
        crf = densecrf.DenseCRF2D(width, height, unary.shape[1])
        crf.setUnaryEnergy(np.ascontiguousarray(unary.T))
        if self.gaussian_weight > 0:
            crf.addPairwiseGaussian(sxy=self.gaussian_sigma_xy_pixels, compat=self.gaussian_weight)
        if self.bilateral_weight > 0:
            crf.addPairwiseBilateral(
                sxy=self.sigma_xy_pixels,
                srgb=self.sigma_rgb_levels,
                rgbim=np.ascontiguousarray(frame),
                compat=self.bilateral_weight,
            )
        return np.asarray(crf.inference(self.iterations), np.float32).T


def _softmax(energies: Floats32) -> Floats32:
    """Return exp(energies) scaled to sum 1 in every row."""
    # Column by column: numpy reduces rows of a few numbers several times slower.
    powers = np.exp(energies - reduce(np.maximum, energies.T)[:, None])
    return np.asarray(powers / reduce(np.add, powers.T)[:, None], np.float32)
