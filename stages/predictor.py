"""Hold a finished stage-3 run ready, and segment one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.artifacts import load_run
from weakseg.checks import check_in_unit
from weakseg.labels import SMOKE
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


class Predictor:
    """A network that waits for frames.

    Args:
        run: Folder of a finished stage-3 run.
        cut: Score from which a pixel is smoke, in [0, 1]; None takes the run's own threshold.
        tile: Side in pixels of the tiles in which larger frames are read; None takes the run's.
        hardware: Where the network runs.

    Raises:
        ArtifactError: If the run is not finished, or of another stage.
        ValueError: If `cut` or `tile` is out of range.
    """

    def __init__(
        self,
        run: Path | str,
        *,
        cut: float | None = None,
        tile: int | None = None,
        hardware: HardwarePlan | None = None,
    ) -> None:
        if cut is not None:
            check_in_unit(cut=cut)
        device = settle_hardware(hardware or HardwarePlan(), seed=0)
        self.run = load_run(Path(run), kind="stage3")
        model, inference, threshold = load_segmenter(self.run)
        if tile is not None:
            inference = type(inference)(**{**inference.settings(), "image_size": tile})
        self.threshold = threshold if cut is None else cut
        self.inference = inference
        self._model = model.to(device)

    def __call__(self, frame: FrameArray, *, threshold: float | None = None) -> Prediction:
        """Segment a frame.

        Args:
            frame: (H, W, 3) uint8, RGB.
            threshold: Instead of the predictor's own, in [0, 1].
        """
        cut = self.threshold if threshold is None else threshold
        return Prediction(self.inference(self._model, frame), cut)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self._model.parameters()).device
