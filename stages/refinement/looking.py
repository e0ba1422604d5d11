"""Look at a frame through a stage-1 run: the evidence it has stored, or by another recipe."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from weakseg.training.engine import choose_precision


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
    def _arithmetic(self) -> str:
        """Name what a look computes in: `auto` is another on every device."""
        on_cpu = self._device.type == "cpu"
        precision = self._precision if on_cpu else choose_precision(self._precision, "cuda")
        return f"{self._device.type} {precision}"

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
            self._arithmetic,
        )

    def look(self, frame: Frame, height: int, width: int, recipe: CamRecipe) -> ScoreMap:
        """Make the evidence (H, W) of a frame by another recipe, in [0, 1].

        The calibration is the run's, and so is the gate: the probability it has given the frame.

        Raises:
            ArtifactError: If the recipe's method is not the run's: its maps have another unit.
        """
        _check_method(recipe.method, own=method_of(self._cams), source=str(self._cams.path))
        image = image_of(frame, None if recipe.window else self._image_size)
        with casting(self._precision, self._device):
            maps, _ = recipe.raw_cam(self._classifier, image[None].to(self._device))
        low = self.evidence.first.gated(maps[0].cpu().numpy(), frame.id)
        return at_frame_size(low, height, width)


def method_of(run: FinishedRun) -> str:
    """Give the method by which a stage-1 run has made its CAMs."""
    return str(run.manifest.config["cam"]["method"])


def check_looks(
    steps: Mapping[str, Any], *, method: str, source: str, precision: str, device: torch.device
) -> dict[str, str]:
    """Refuse looks that cannot be, before there is a run; give what counts for those that can.

    Args:
        steps: Of the recipe, by their keys; those with a `recipe` look again.
        method: By which the CAMs are made that the steps begin with.
        source: Who makes those CAMs, for the message.
        precision: Of the looks, as `FitSettings` has it.
        device: Where they are computed.

    Returns:
        The precision, if a step looks and it is not `auto`: an input of the run.

    Raises:
        ArtifactError: If a step looks by another method.
        ValueError: If the device cannot compute in this precision.
    """
    looking = [step for step in steps.values() if hasattr(step, "recipe")]
    for step in looking:
        _check_method(step.method, own=method, source=source)
    if not looking:
        return {}
    choose_precision(precision, device.type)
    return {} if precision == "auto" else {"precision of looks": precision}


def _check_method(method: str, *, own: str, source: str) -> None:
    if method != own:
        raise ArtifactError(
            f"the CAMs of {source} are by method={own}, and their calibration does not hold for "
            f"method={method}: set the step's method={own}"
        )
