"""Look at a frame through a stage-1 run: the evidence it has stored, or by another recipe."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.artifacts import FinishedRun
from weakseg.cam import CamRecipe
from weakseg.data import Frame
from weakseg.errors import ArtifactError, DataError
from weakseg.models import Classifier
from weakseg.refine import FrameContext
from weakseg.stages.evidence import EnsembleReader, at_frame_size, image_of, load_classifier
from weakseg.training import casting


class Looker:
    """Give refinement what a finished stage-1 run knows of a frame.

    Args:
        cams: The run.
        ensemble: Runs of the same frames, whose evidence is averaged with that of `cams`.
        device: Where its classifier is put, if a step asks to look again.
        precision: Of its computation, as `FitSettings` has it.
    """

    def __init__(
        self,
        cams: FinishedRun,
        device: torch.device,
        *,
        ensemble: Sequence[FinishedRun] = (),
        precision: str = "32",
    ) -> None:
        self.evidence = EnsembleReader(cams, ensemble)
        self._cams = cams
        self._device = device
        self._precision = precision

    @functools.cached_property
    def _classifier(self) -> Classifier:
        return load_classifier(self._cams).to(self._device)

    @property
    def _image_size(self) -> int:
        return int(self._cams.manifest.config["image_size"])

    def context(self, frame: Frame, pixels: FrameArray, cache: Path | None) -> FrameContext:
        """Gather what the steps may know of a frame, its evidence brought to its pixels."""
        low, probability = self.evidence(frame.id)
        if not np.isfinite(low).all():
            raise DataError(f"the evidence of {frame.id} is not finite: export its CAM again")
        return FrameContext(
            frame.id,
            probability,
            at_frame_size(low, *pixels.shape[:2]),
            cache,
            functools.partial(self.look, frame, pixels.shape[0], pixels.shape[1]),
        )

    def look(self, frame: Frame, height: int, width: int, recipe: CamRecipe) -> ScoreMap:
        """Make the evidence (H, W) of a frame by another recipe, in [0, 1].

        The calibration is the run's, and so is the gate: the probability it has given the frame.

        Raises:
            ArtifactError: If the recipe's method is not the run's: its maps have another unit.
        """
        own = str(self._cams.manifest.config["cam"]["method"])
        if recipe.method != own:
            raise ArtifactError(
                f"the CAMs of {self._cams.path} are by method={own}, and their calibration does "
                f"not hold for method={recipe.method}: set the step's method={own}"
            )
        image = image_of(frame, None if recipe.window else self._image_size)
        with casting(self._precision, self._device):
            maps, _ = recipe.raw_cam(self._classifier, image[None].to(self._device))
        low = self.evidence.first.gated(maps[0].cpu().numpy(), frame.id)
        return at_frame_size(low, height, width)
