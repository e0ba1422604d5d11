"""Hold a finished stage-3 run ready, and segment one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.artifacts import load_run
from weakseg.checks import check_in_unit
from weakseg.errors import DataError
from weakseg.labels import SMOKE
from weakseg.models import TiledInference
from weakseg.plans import HardwarePlan
from weakseg.stages.scores import frame_score
from weakseg.stages.segmenters import load_segmenter
from weakseg.stages.work import settle_hardware


@dataclass(frozen=True)
class Prediction:
    """What a run says of one frame.

    Args:
        scores: (H, W) float32, the probability of smoke at every pixel.
        threshold: Score from which a pixel is smoke.
    """

    scores: ScoreMap
    threshold: float

    @property
    def mask(self) -> Mask:
        """(H, W) uint8 of 0 and 1."""
        return np.where(self.scores >= self.threshold, SMOKE, 0).astype(np.uint8)

    @property
    def share(self) -> float:
        """Share of the frame that is smoke, in [0, 1]."""
        return float((self.scores >= self.threshold).mean())

    @property
    def probability(self) -> float:
        """That the frame shows smoke, in [0, 1]."""
        return frame_score(self.scores)


@dataclass(frozen=True)
class Predictor:
    """A network that waits for frames.

    Args:
        model: Images (N, 3, H, W) to logits (N, 2, H, W); on its device, in eval mode.
        inference: How frames of any size are read.
        threshold: Score from which a pixel is smoke, in [0, 1].
        fingerprint: Of the run.
        name: Of the run's folder.
        made_by: Version of weakseg that made the run.
    """

    model: nn.Module
    inference: TiledInference
    threshold: float
    fingerprint: str
    name: str = ""
    made_by: str = ""

    def __call__(self, frame: FrameArray, *, threshold: float | None = None) -> Prediction:
        """Segment a frame.

        Args:
            frame: (H, W, 3) uint8, RGB.
            threshold: Instead of the predictor's own, in [0, 1].
        """
        return self.read(self.scores(frame), threshold=threshold)

    def check_size(self, frame: FrameArray, *, name: str, max_pixels: int) -> None:
        """Refuse a frame that would take more memory than its pixels tell.

        Args:
            frame: (H, W, 3) uint8, RGB.
            name: Of the frame, for the error.
            max_pixels: That a frame may have, stretched to what the network reads.

        Raises:
            DataError: If it has more.
        """
        height, width = frame.shape[:2]
        if self.inference.pixels_held(height, width) > max_pixels:
            raise DataError(
                f"{name} has {width}x{height} pixels, which are stretched to tiles of "
                f"{self.inference.image_size}: above the limit of {max_pixels} pixels; cut it "
                "into pieces, or raise max_pixels if it is to be trusted"
            )

    def scores(self, frame: FrameArray) -> ScoreMap:
        """Give the probability of smoke at every pixel of a frame, (H, W) float32 in [0, 1]."""
        return self.inference(self.model, frame)

    def read(self, scores: ScoreMap, *, threshold: float | None = None) -> Prediction:
        """Say what scores mean that were changed since, say by an average over time."""
        return Prediction(scores, self.threshold if threshold is None else threshold)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.model.parameters()).device


def load_predictor(
    folder: Path | str,
    *,
    cut: float | None = None,
    tile: int | None = None,
    overlap: float | None = None,
    flip: bool | None = None,
    hardware: HardwarePlan | None = None,
) -> Predictor:
    """Load the network of a finished stage-3 run, with what is asked to be read otherwise.

    Args:
        folder: Of the run.
        cut: Score from which a pixel is smoke, in [0, 1]; None takes the run's own threshold.
        tile: Side in pixels of the tiles in which larger frames are read; None takes the run's.
        overlap: Share of a tile that its neighbour reads too, in [0, 1); None takes the run's.
        flip: Whether the mirrored frame is read too; None takes the run's.
        hardware: Where the network runs.

    Raises:
        ArtifactError: If the run is not finished, damaged, or of another stage.
        ValueError: If `cut`, `tile` or `overlap` is out of range.
    """
    if cut is not None:
        check_in_unit(cut=cut)
    device = settle_hardware(hardware or HardwarePlan(), seed=0)
    run = load_run(Path(folder), kind="stage3")
    model, inference, threshold = load_segmenter(run)
    changes = {"image_size": tile, "overlap": overlap, "flip": flip}
    asked = {name: value for name, value in changes.items() if value is not None}
    return Predictor(
        model=model.to(device),
        inference=TiledInference(**{**inference.settings(), **asked}),
        threshold=threshold if cut is None else cut,
        fingerprint=run.fingerprint,
        name=run.path.name,
        made_by=run.manifest.version,
    )
