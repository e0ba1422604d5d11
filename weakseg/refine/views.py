"""Look at a frame again: by other layers, at other sizes, through a window, and combine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray, Scores
from weakseg.cam import CamRecipe
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.labels import SMOKE
from weakseg.refine.second_look import COMBINATIONS, combine_views, look_again
from weakseg.refine.step import FrameContext, check_scores, scores_of_smoke

LEAST_WINDOW_PIXELS: Final = 32

_NOT_SETTINGS: Final = {"batch_size"}


@dataclass(frozen=True, kw_only=True)
class _View:
    """What the steps that look again share; see `CamFusion` for what the settings mean."""

    method: str = "local"
    flip: bool = True
    combine: str = "mean"
    weight: float = 0.5
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse settings out of range; the recipe looks at its own."""
        check_one_of(COMBINATIONS, combine=self.combine)
        check_in_unit(weight=self.weight)
        # A frame of any size will do: what does not depend on it is checked here and now.
        self.recipe(np.zeros((256, 256, 3), np.uint8))

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        raise NotImplementedError

    def recipe(self, frame: FrameArray) -> CamRecipe:
        """Say how to look at `frame` (H, W, 3)."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        kept = {key: value for key, value in asdict(self).items() if key not in _NOT_SETTINGS}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in kept.items()}

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        """Combine `scores` with what the second look finds.

        Args:
            frame: (H, W, 3) uint8, RGB.
            scores: (2, H, W) float32, in [0, 1], summing to 1 over classes.
            context: Its `look` makes the evidence, which is kept in its `cache_dir`.

        Returns:
            (2, H, W) float32, in [0, 1], summing to 1 over classes; bounds at `combine_views`.

        Raises:
            ArtifactError: If there is no classifier to look with.
            ValueError: If the arrays do not cover the same pixels, or the run's classifier cannot
                be read by this recipe.
        """
        check_shape((None, None, 3), frame=frame)
        height, width = frame.shape[:2]
        check_scores(scores, height=height, width=width, source=f"what {self.name} is given")
        seen = look_again(self.recipe(frame), frame, context, asker=self.name)
        # Evidence is gated, but rounding to float16 may lift it over its gate.
        seen = np.minimum(seen, np.float32(context.probability))
        smoke = combine_views(scores[SMOKE], seen, combine=self.combine, weight=self.weight)
        return scores_of_smoke(smoke)


@dataclass(frozen=True, kw_only=True)
class CamFusion(_View):
    """Look again by several layers at once, and combine.

    One layer sees coarse and sure, another fine and unsure: what several agree on, or see on
    average, is less of an accident than what one sees.

    Evidence of the second look is calibrated and gated as the first, so the two are of one unit as
    long as `method` is: take the method of the stage-1 run.

    Args:
        method: As `CamRecipe`: the stage-1 run's own.
        layers: Names of layers, or levels of a classifier with local heads; empty takes the last
            `layer_count` of them.
        layer_count: At least 0; 0 with empty `layers` takes the classifier's own choice.
        fusion: Over layers: "mean", "product" (geometric mean) or "max".
        scales: Sizes at which the frame is read, > 0.
        flip: Whether to read the mirrored frame too.
        combine: "mean", "product" or "max", of scores and evidence, see `combine_views`.
        weight: How much the second look counts, in [0, 1]; 0 leaves the scores as they are.
        batch_size: Pictures in one forward pass.

    References:
        Zhang and Hsu, arXiv 2507.21959: CAM-fusion is the average over several blocks.
    """

    layers: tuple[str, ...] | list[str] = ()
    layer_count: int = 4
    fusion: str = "mean"
    scales: tuple[float, ...] | list[float] = (1.0, 1.5)

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "cam_fusion"

    def recipe(self, frame: FrameArray) -> CamRecipe:
        """Say how to look at a frame of any size."""
        return CamRecipe(
            method=self.method,
            layers=self.layers,
            layer_count=self.layer_count,
            fusion=self.fusion,
            scales=self.scales,
            flip=self.flip,
            batch_size=self.batch_size,
        )


@dataclass(frozen=True, kw_only=True)
class MultiScale(_View):
    """Look again at several sizes, and combine: small smoke shows large, large smoke shows small.

    Args:
        scales: Factors of the size at which the stage-1 run reads frames, > 0; maps are averaged.
        layers: As `CamRecipe`; empty for the classifier's own choice.
        fusion: Over layers.
        method: As `CamFusion`; so are `flip`, `combine`, `weight` and `batch_size`.
    """

    scales: tuple[float, ...] | list[float] = (0.5, 1.0, 1.5, 2.0)
    layers: tuple[str, ...] | list[str] = ()
    fusion: str = "product"

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "multi_scale"

    def recipe(self, frame: FrameArray) -> CamRecipe:
        """Say how to look at a frame of any size."""
        return CamRecipe(
            method=self.method,
            layers=self.layers,
            fusion=self.fusion,
            scales=self.scales,
            flip=self.flip,
            batch_size=self.batch_size,
        )


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(_View):
    """Look again through a window that slides over the frame by half its side, and combine.

    A plume of a few pixels is lost when a large frame is shrunk to what the classifier reads, and
    fills a window. Nothing is stretched to full evidence inside a window: an empty one stays so.

    Args:
        window: Side of the window: a share of the frame's short side where at most 1, else pixels;
            > 0, and never below 32 pixels.
        image_size: Side in pixels a window is resized to, at least 32: what the stage-1 run reads
            frames at. None reads windows as they come.
        layers: As `CamRecipe`; empty for the classifier's own choice.
        fusion: Over layers.
        method: As `CamFusion`; so are `flip`, `combine`, `weight` and `batch_size`.

    References:
        Zhang and Hsu, arXiv 2507.21959: a quarter of the short side, by half a window. They stretch
        every window to [0, 1] by its own minimum and maximum; we do not.
    """

    window: float = 0.25
    image_size: int | None = 224
    layers: tuple[str, ...] | list[str] = ()
    fusion: str = "product"

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_positive(window=self.window)
        if self.window > 1:
            check_at_least(LEAST_WINDOW_PIXELS, window=self.window)
        super().__post_init__()

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "sliding_window"

    def recipe(self, frame: FrameArray) -> CamRecipe:
        """Say how to look at a frame: the window depends on its short side."""
        pixels = self.window if self.window > 1 else self.window * min(frame.shape[:2])
        return CamRecipe(
            method=self.method,
            layers=self.layers,
            fusion=self.fusion,
            flip=self.flip,
            window=max(LEAST_WINDOW_PIXELS, round(pixels)),
            image_size=self.image_size,
            batch_size=self.batch_size,
        )
