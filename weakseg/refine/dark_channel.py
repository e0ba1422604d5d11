"""Weigh scores by the dark channel: smoke veils what is dark behind it, here and not all around."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.filtering import bilateral_filter
from weakseg.labels import SMOKE
from weakseg.refine.step import FrameContext, check_scores, scores_of_smoke

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
EDGES: Final = ("guided", "bilateral", "none")

_BRIGHTEST_SHARE: Final = 0.001
_DARKEST_LIGHT: Final = 8.0  # Levels; below it the light is noise, and dividing by it too.
_GUIDED_EPSILON: Final = 1e-3
_SIGMA_RGB_LEVELS: Final = 10.0
_LEAST_SURROUNDINGS: Final = 1e-3


@dataclass(frozen=True)
class DarkChannel:
    """Weigh the smoke score by how much thicker the veil is here than around.

    Some colour of some pixel near any place is dark, unless air light lies over it: the minimum
    over colours and a window, the dark channel, tells how thick the veil is. Smoke thickens it
    locally. So the veil is held against its surroundings, which are the pixels of the wider window
    that are not themselves taken for smoke: even haze, and the middle of a sky, say nothing.

    A smoke score s becomes min(1, s (1 + weight c)) with the contrast c in [-1, 1]. So it never
    falls below (1 - weight) s nor rises above (1 + weight) s, and 0 stays 0.

    What it cannot know: smoke darker than its background thins the veil, and a pale wall, a cloud
    or a sky beside land thickens it. In a frame without light (all below 8 levels) it says nothing.

    Args:
        weight: How far the veil moves a score, in [0, 1]; 0 leaves all as it is.
        radius_pixels: Of the window of the minimum, 2 r + 1 pixels wide, >= 0.
        surround_pixels: Of the window of the surroundings, > `radius_pixels`.
        contrast: Difference of the veil to its surroundings at which c is 1, in (0, 1].
        omega: Share of the veil that counts, in (0, 1]; the paper keeps some haze for distance.
        edges: The minimum makes blocks; "guided" and "bilateral" bring them back to the edges of
            the frame, "none" leaves them.
        threads: Of the bilateral filter, 0 for all; they do not change the result.

    References:
        He, Sun and Tang, "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009; the
        guided filter is theirs too, ECCV 2010, and stands in for soft matting. They take the
        brightest pixel among the haziest 0.1 % for the air light; we take the median of them all,
        so that a lamp does not decide. The contrast with the surroundings is ours.
    """

    weight: float = 0.5
    radius_pixels: int = 3
    surround_pixels: int = 24
    contrast: float = 0.15
    omega: float = 0.95
    edges: str = "guided"
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_in_unit(weight=self.weight, contrast=self.contrast, omega=self.omega)
        check_positive(contrast=self.contrast, omega=self.omega)
        check_at_least(0, radius_pixels=self.radius_pixels, threads=self.threads)
        check_at_least(self.radius_pixels + 1, surround_pixels=self.surround_pixels)
        check_one_of(EDGES, edges=self.edges)

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "dark_channel"

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "threads"}

    def __call__(
        self, frame: FrameArray, scores: Scores, context: FrameContext | None = None
    ) -> Scores:
        """Weigh `scores` by the veil of `frame`.

        Args:
            frame: (H, W, 3) uint8, RGB.
            scores: (2, H, W) float32 in [0, 1], summing to 1.
            context: Not needed.

        Returns:
            (2, H, W) float32 in [0, 1], summing to 1.
        """
        check_scores(scores, height=frame.shape[0], width=frame.shape[1], source="the step before")
        smoke: ScoreMap = scores[SMOKE]
        return scores_of_smoke(np.minimum(smoke * self.factor(frame, smoke), 1))

    def factor(self, frame: FrameArray, smoke: ScoreMap) -> Floats:
        """Return what the smoke scores (H, W) are multiplied by: (H, W), in 1 -+ weight."""
        veil = 1 - self.transmission(frame)
        contrast = local_contrast(veil, 1 - smoke, radius_pixels=self.surround_pixels)
        share = np.clip(contrast / np.float32(self.contrast), -1, 1)
        return np.asarray(1 + np.float32(self.weight) * share, np.float32)

    def transmission(self, frame: FrameArray) -> Floats:
        """Return the share of light that reaches the camera, (H, W) float32 in [1 - omega, 1].

        It does not change with the exposure: levels times any constant give the same, as long as
        none is cut off at 255 (and but for edges="bilateral", whose reach is in levels).
        """
        check_shape((None, None, 3), frame=frame)
        levels = frame.astype(np.float32)
        light = air_light(levels, dark_channel(levels, radius_pixels=self.radius_pixels))
        relative = levels / light
        veil = np.minimum(dark_channel(relative, radius_pixels=self.radius_pixels), 1)
        if self.edges == "guided":
            veil = guided_filter(
                relative.mean(axis=2), veil, radius_pixels=4 * self.radius_pixels + 1
            )
        elif self.edges == "bilateral":
            veil = bilateral_filter(
                frame,
                veil[None],
                sigma_xy_pixels=2.0 * self.radius_pixels + 1,
                sigma_rgb_levels=_SIGMA_RGB_LEVELS,
                threads=self.threads,
            )[0]
        return np.asarray(1 - np.float32(self.omega) * np.clip(veil, 0, 1), np.float32)


def dark_channel(levels: Floats, *, radius_pixels: int) -> Floats:
    """Return the minimum over colours and the window around each pixel, cut off at the border.

    Args:
        levels: (H, W, 3) float32.
        radius_pixels: The window is 2 r + 1 pixels wide, r >= 0.

    Returns:
        (H, W) float32.
    """
    darkest = np.ascontiguousarray(levels.min(axis=2))
    # cv2 takes what lies outside the frame for infinite, so it never is the minimum.
    return cast(Floats, cv2.erode(darkest, _window(radius_pixels)))


def air_light(levels: Floats, dark: Floats) -> Floats:
    """Return the colour of an endless veil, (3,), at least 8 levels.

    It is the median colour of the 0.1 % of the pixels (one at least) whose dark channel is highest.

    Args:
        levels: (H, W, 3) float32, levels of 0-255.
        dark: (H, W), the dark channel of `levels`.
    """
    count = max(1, round(_BRIGHTEST_SHARE * dark.size))
    # A stable order: which of equal pixels count may not depend on the machine.
    haziest = np.argsort(-dark.ravel(), kind="stable")[:count]
    light = np.median(levels.reshape(-1, 3)[haziest], axis=0)
    return np.maximum(light, _DARKEST_LIGHT).astype(np.float32)


def local_contrast(values: Floats, outside: Floats, *, radius_pixels: int) -> Floats:
    """Return by how much each value exceeds the mean of its surroundings.

    Args:
        values: (H, W) float32.
        outside: (H, W) float32 in [0, 1]: how far a pixel counts among the surroundings.
        radius_pixels: The surroundings are 2 r + 1 pixels wide, cut off at the border.

    Returns:
        (H, W) float32; 0 where less than a thousandth of the window counts.
    """
    weight = _box_mean(outside, radius_pixels)
    mean = _box_mean(values * outside, radius_pixels) / np.maximum(weight, _LEAST_SURROUNDINGS)
    return np.where(weight < _LEAST_SURROUNDINGS, 0, values - mean).astype(np.float32)


def guided_filter(guide: Floats, values: Floats, *, radius_pixels: int) -> Floats:
    """Smooth `values` (H, W) but for the edges of `guide` (H, W): locally a line of the guide."""
    mean_guide, mean = _box_mean(guide, radius_pixels), _box_mean(values, radius_pixels)
    covariance = _box_mean(guide * values, radius_pixels) - mean_guide * mean
    variance = _box_mean(guide * guide, radius_pixels) - mean_guide * mean_guide
    slope = np.asarray(covariance / (variance + _GUIDED_EPSILON), np.float32)
    offset = np.asarray(mean - slope * mean_guide, np.float32)
    smooth = _box_mean(slope, radius_pixels) * guide + _box_mean(offset, radius_pixels)
    return np.asarray(smooth, np.float32)


def _window(radius_pixels: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * radius_pixels + 1,) * 2, np.uint8)


def _box_mean(values: Floats, radius_pixels: int) -> Floats:
    """Mean over the window, of the pixels that lie in the frame; summed in float64."""
    count = _box_sum(np.ones_like(values), radius_pixels)
    return np.asarray(_box_sum(values, radius_pixels) / count, np.float32)


def _box_sum(values: Floats, radius_pixels: int) -> npt.NDArray[np.float64]:
    size = (2 * radius_pixels + 1,) * 2
    sums = cv2.boxFilter(values, cv2.CV_64F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums, np.float64)
