"""Learn which cells of a frame belong together from sure pixels, and let the scores spread so."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weakseg.arrays import FrameArray, Mask, ScoreMap, Scores
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.data import Augmentation
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.models.affinity_net import STRIDES, AffinityNet, weights_of
from weakseg.models.weights import sha256_of_weights
from weakseg.refine.background import Background
from weakseg.refine.cells import resize_scores, shrink_within, to_cells, to_pixels
from weakseg.refine.crf import DenseCrf
from weakseg.refine.random_walk import RandomWalk
from weakseg.refine.step import FrameContext, check_scores, scores_of_smoke
from weakseg.training import FitSettings, TrainingError

log = logging.getLogger(__name__)

SEED_RULES: Final = ("thresholds", "two_backgrounds")

_OF_THE_NETWORK: Final = (
    "encoder",
    "stride_in_1x1",
    "stride",
    "levels",
    "level_channels",
    "embedding_channels",
    "freeze_norm",
)
_APART: Final = {"weights", "augmentation", "fit", "network"}
_NOT_SETTINGS_OF_FIT: Final = {"accelerator", "workers", "checkpoint_seconds", "log_every"}


@dataclass(eq=False)
class AffinityStep:
    """Spread sure smoke over what looks like it, as a network learned from sure pixels.

    The step learns first (`weakseg.stages.refinement.affinity.learn`): pixels of the training
    frames that the scores before it are sure of become seeds, and a network learns which nearby
    cells share a class. It then refines a frame by a random walk of its scores along the
    affinities.

    It cannot invent smoke: a walked score is a mean of the frame's own scores, so none rises above
    the frame's highest, which the classifier's probability has bounded. The walk thins scores out;
    `max_gain` lifts them again by no more than that factor and up to that highest score. Without a
    bound, as where CAMs are divided by their maximum, a speck on an even sky would fill the sky.

    Args:
        encoder: A timm name with a feature pyramid.
        weights: "hub", None or "none" (random), a safetensors file, or `run:FOLDER` of stage 1.
        stride_in_1x1: For weights of ResNet v1.
        stride: Side of a cell in pixels: 4, 8 or 16.
        levels: How many levels of the pyramid, the deepest ones, are looked at; at least 1.
        level_channels: Channels each level is brought to, at least 1.
        embedding_channels: D of the embedding, at least 1.
        freeze_norm: Keep the statistics of pretrained batch norms in training.
        foreground: Smoke score in (0, 1] from which a pixel seeds smoke.
        background: Smoke score in [0, 1), below `foreground`, up to which it seeds background.
        seed_rule: "thresholds" takes these two. "two_backgrounds" is the paper's: a pixel is smoke
            if it wins against a strong background (1 - score)^alpha_strong, and background if it
            loses against a weak one (1 - score)^alpha_weak.
        alpha_strong: Exponent > 0 of the strong background.
        alpha_weak: Exponent of the weak background, at least `alpha_strong`.
        seed_crf: Sharpen both rivalries by a `DenseCrf` of its own defaults first, as the paper.
        radius: Cells closer than this make a pair, in training and in the walk; at least 2.
        beta: Exponent of the affinities in the walk, > 0.
        steps: Length of the walk, at least 0.
        tile_cells: Side of a tile of the walk, see `RandomWalk`.
        halo_cells: What a tile sees beyond its border.
        weight: Share of the walked scores beside the frame's own, in [0, 1].
        max_gain: Lift walked scores until the highest is as high as before the walk, but by this
            factor at most; at least 1, which lifts none.
        max_side: Frames longer than this, in pixels, are looked at smaller; None takes all as they
            are. The network takes about 400 bytes a pixel: 0.9 GB for 1920 x 1280.
        image_size: Side in pixels, a multiple of `stride`, of the squares that are cut from frames
            for training; frames are looked at as large as in the walk, see `SeedCrops`.
        augmentation: How the squares are varied; None leaves them. Its `crop_scale_min` below 1
            enlarges parts of them, so that the network learns from coarser smoke than it meets.
        lr: Learning rate of the encoder, > 0.
        head_lr_factor: The new layers learn this much faster, > 0.
        weight_decay: Of AdamW, >= 0.
        fit: Length and care of the training, its seed and where it runs; the walk is the CPU's.

    References:
        Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
        Weakly Supervised Semantic Segmentation", CVPR 2018. Theirs divides CAMs by their maximum
        and knows the true labels at inference; ours does neither.
    """

    learns: ClassVar[bool] = True

    encoder: str = "tf_efficientnet_lite0"
    weights: str | None = "hub"
    stride_in_1x1: bool = False
    stride: int = 8
    levels: int = 3
    level_channels: int = 64
    embedding_channels: int = 64
    freeze_norm: bool = True
    foreground: float = 0.5
    background: float = 0.1
    seed_rule: str = "thresholds"
    alpha_strong: float = 4.0
    alpha_weak: float = 32.0
    seed_crf: bool = False
    radius: int = 5
    beta: float = 16.0
    steps: int = 256
    tile_cells: int = 256
    halo_cells: int = 128
    weight: float = 0.5
    max_gain: float = 1.5
    max_side: int | None = 1024
    image_size: int = 256
    augmentation: Augmentation | None = field(
        default_factory=lambda: Augmentation(crop_scale_min=1.0)
    )
    lr: float = 3e-4
    head_lr_factor: float = 10.0
    weight_decay: float = 1e-4
    fit: FitSettings = field(default_factory=lambda: FitSettings(epochs=4))
    network: AffinityNet | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse settings out of range; weights are looked for at first use."""
        check_one_of(SEED_RULES, seed_rule=self.seed_rule)
        check_one_of(STRIDES, stride=self.stride)
        check_in_unit(foreground=self.foreground, background=self.background, weight=self.weight)
        if not self.background < self.foreground:
            raise ValueError(
                f"background must lie below foreground, got {self.background} and {self.foreground}"
            )
        check_positive(
            alpha_strong=self.alpha_strong, lr=self.lr, head_lr_factor=self.head_lr_factor
        )
        check_at_least(self.alpha_strong, alpha_weak=self.alpha_weak)
        check_at_least(0, weight_decay=self.weight_decay)
        check_at_least(1, max_gain=self.max_gain)
        check_at_least(self.stride, image_size=self.image_size)
        if self.image_size % self.stride:
            raise ValueError(
                f"image_size must be a multiple of stride {self.stride}, got {self.image_size}"
            )
        if self.max_side is not None:
            check_at_least(self.stride, max_side=self.max_side)
        self._walk()

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "affinity"

    @cached_property
    def weights_sha256(self) -> str | None:
        """Hash of the file of the encoder's pretrained weights; None for random ones.

        Raises:
            WeightsError: If the weights cannot be had.
        """
        if self.weights in {None, "none", ""}:
            return None
        return sha256_of_weights(weights_of(self.encoder, str(self.weights)))

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _APART}
        fit = {k: v for k, v in asdict(self.fit).items() if k not in _NOT_SETTINGS_OF_FIT}
        varied = None if self.augmentation is None else asdict(self.augmentation)
        return own | {
            "augmentation": varied,
            "fit": fit,
            "weights_sha256": self.weights_sha256,
        }

    def new_network(self, *, pretrained: bool = True) -> AffinityNet:
        """Build the network that is to learn, or with `pretrained=False` one to be filled."""
        weights = self.weights if pretrained else None
        return AffinityNet(weights=weights, **{key: getattr(self, key) for key in _OF_THE_NETWORK})

    def seeds(self, frame: FrameArray, smoke: ScoreMap) -> Mask:
        """Say which pixels of a frame with smoke the scores are sure of.

        Args:
            frame: (H, W, 3) uint8, RGB; looked at by `seed_crf` only.
            smoke: (H, W) float32 in [0, 1], the scores before this step.

        Returns:
            (H, W) uint8: 0 sure background, 1 sure smoke, 255 neither.
        """
        check_shape(frame.shape[:2], smoke=smoke)
        if self.seed_rule == "thresholds":
            is_smoke, is_background = smoke >= self.foreground, smoke <= self.background
        else:
            is_smoke = self._beats_background(frame, smoke, self.alpha_strong)
            is_background = ~self._beats_background(frame, smoke, self.alpha_weak)
        seeds = np.full(smoke.shape, IGNORE, np.uint8)
        seeds[is_background] = BACKGROUND
        # The CRF may find a pixel to win against the strong and lose against the weak background.
        seeds[is_smoke & ~is_background] = SMOKE
        return seeds

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        """Refine `scores` by a walk along the affinities of `frame`.

        Args:
            frame: (H, W, 3) uint8, RGB.
            scores: (2, H, W) float32 in [0, 1], summing to 1.
            context: Only names the frame.

        Returns:
            (2, H, W) float32 in [0, 1], summing to 1; smoke nowhere above its highest in `scores`.

        Raises:
            TrainingError: If the step has not learned yet.
        """
        height, width = frame.shape[:2]
        check_scores(scores, height=height, width=width, source="the step before")
        if self.network is None:
            raise TrainingError(
                "the step affinity has not learned yet: call "
                "weakseg.stages.refinement.affinity.learn first"
            )
        smoke: ScoreMap = scores[SMOKE]
        seen = shrink_within(frame, self.max_side)
        seen_height, seen_width = seen.shape[:2]
        cells = to_cells(smoke, seen_height, seen_width, self.stride)
        walked = self._walk()(cells, self._embed(self.network, seen))
        walked = _lifted(walked, float(cells.max()), self.max_gain)
        log.debug(
            "%s: highest score %.3f, walked %.3f", context.frame_id, smoke.max(), walked.max()
        )
        spread = to_pixels(walked, seen_height, seen_width, self.stride)
        spread = resize_scores(spread, height, width)
        return scores_of_smoke((1 - self.weight) * smoke + self.weight * spread)

    def _walk(self) -> RandomWalk:
        return RandomWalk(
            radius=self.radius,
            beta=self.beta,
            steps=self.steps,
            tile_cells=self.tile_cells,
            halo_cells=self.halo_cells,
        )

    def _beats_background(
        self, frame: FrameArray, smoke: ScoreMap, alpha: float
    ) -> npt.NDArray[np.bool_]:
        scores = Background(alpha=alpha)(smoke)
        if self.seed_crf:
            scores = DenseCrf()(frame, scores)
        return np.asarray(scores[SMOKE] > scores[BACKGROUND])

    def _embed(self, network: AffinityNet, frame: FrameArray) -> Tensor:
        """Embed a frame: (H, W, 3) -> (D, h, w) float32 on the CPU."""
        device = next(network.parameters()).device
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            embedding: Tensor = network.eval()(image.to(device).float() / 255)
        return embedding[0].float().cpu()


def _lifted(scores: ScoreMap, peak: float, max_gain: float) -> ScoreMap:
    """Scale scores so that their highest comes up to `peak`, or as near as `max_gain` allows."""
    highest = float(scores.max())
    if highest == 0:
        return scores
    gain = np.float32(min(max_gain, peak / highest))
    return np.asarray(np.minimum(scores * gain, np.float32(peak)), np.float32)
