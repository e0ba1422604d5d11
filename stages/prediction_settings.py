"""Settle how frames are read by a finished run, and keep an output folder to one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.artifacts import ArtifactError, differences, load_run, read_json, write_json
from weakseg.data.containers import is_url
from weakseg.labels import SMOKE
from weakseg.models import TiledInference
from weakseg.plans import PredictPlan
from weakseg.stages.alarms import ALARMS
from weakseg.stages.prediction_rows import LINES, TABLE
from weakseg.stages.segmenters import load_segmenter

SETTINGS: Final = "predict.json"


@dataclass(frozen=True)
class Reader:
    """A run's network and how it reads a frame.

    Args:
        model: On its device, in eval mode.
        inference: How frames of any size are read.
        threshold: Score from which a pixel is smoke.
        fingerprint: Of the run.
    """

    model: nn.Module
    inference: TiledInference
    threshold: float
    fingerprint: str

    def scores(self, frame: FrameArray) -> ScoreMap:
        """Give the probability of smoke, (H, W) float32, at every pixel of an RGB frame."""
        return self.inference(self.model, frame)

    def mask(self, scores: ScoreMap) -> Mask:
        """Give the mask of class ids, (H, W) uint8."""
        return np.where(scores >= self.threshold, SMOKE, 0).astype(np.uint8)


def load_reader(plan: PredictPlan, device: torch.device) -> Reader:
    """Load the run that is asked for, with what the plan changes about its reading.

    Raises:
        ArtifactError: If the run is not finished or damaged.
    """
    run = load_run(Path(plan.run), kind="stage3")
    model, inference, threshold = load_segmenter(run)
    changes = {"image_size": plan.tile, "overlap": plan.overlap, "flip": plan.flip}
    asked = {name: value for name, value in changes.items() if value is not None}
    inference = TiledInference(**{**inference.settings(), **asked})
    cut = threshold if plan.cut is None else plan.cut
    return Reader(model.to(device), inference, cut, run.fingerprint)


def settings_of(plan: PredictPlan, reader: Reader) -> dict[str, Any]:
    """Say what is read and what changes the rows; alarms are made of them, and may change."""
    return {
        "run": reader.fingerprint,
        # Each stream has a folder of its own.
        "source": None if is_url(plan.source) else str(Path(plan.source).resolve()),
        "cut": reader.threshold,
        "inference": reader.inference.settings(),
        "every_seconds": plan.every_seconds,
        "frame_step": plan.frame_step,
        "smoothing": {"seconds": plan.smoothing.seconds},
    }


def claim(output: Path, settings: dict[str, Any], *, overwrite: bool) -> bool:
    """Keep an output folder to one way of reading; say whether what it holds is of that way.

    Raises:
        ArtifactError: If it holds predictions of another run or with other settings, and they are
            not to be overwritten.
    """
    path = output / SETTINGS
    was = read_json(path) if path.exists() and not overwrite else None
    if was is None:
        # Videos keep their own, by which they are known to be others.
        for name in (ALARMS, TABLE, LINES) if overwrite else ():
            (output / name).unlink(missing_ok=True)
        write_json(path, settings)
        return False
    if changed := differences(was, settings):
        raise ArtifactError(
            f"{output} holds predictions with other settings ({'; '.join(changed)}): choose "
            "another output, or overwrite=true to replace them"
        )
    return True
