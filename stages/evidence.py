"""Read what a stage-1 run has made: evidence at any size, and the classifier itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from weakseg.arrays import FloatArray, ScoreMap
from weakseg.artifacts import FinishedRun, RunFolder, read_cam, read_json
from weakseg.cam import Calibration
from weakseg.data import ClassificationData, Frame, read_frame
from weakseg.errors import ArtifactError
from weakseg.models import Classifier, build_classifier, load_weights

CALIBRATION: Final = "calibration.json"
CLASSIFIER: Final = "classifier.json"


class EvidenceReader:
    """Read the evidence of a finished stage-1 run: calibrated, gated, absolute."""

    def __init__(self, run: FinishedRun | RunFolder) -> None:
        self._cams = run.cams
        self.calibration = Calibration.from_dict(read_json(run.path / CALIBRATION))

    def __call__(self, frame_id: str) -> tuple[ScoreMap, float]:
        """Give a frame's evidence (h, w), in [0, 1], and its probability of smoke."""
        raw, logit = read_cam(cam_path(self._cams, frame_id))
        return self.calibration.evidence(raw, logit), self.calibration.probability(logit)

    def gated(self, raw: FloatArray, frame_id: str) -> ScoreMap:
        """Give the evidence (h, w) of another raw CAM of a frame, gated by the stored logit."""
        return self.calibration.evidence(raw, read_cam(cam_path(self._cams, frame_id)).logit)


class EnsembleReader:
    """Read the mean evidence of several finished stage-1 runs of the same frames.

    Networks of other architectures, or of other seeds, err in other places. What is averaged is
    calibrated evidence, so the runs need have neither a network nor a CAM method in common.

    Args:
        first: The run whose classifier looks again where a step asks for it.
        others: Runs of the same frames.

    Raises:
        ArtifactError: If a run was made of other frames, or is there twice.
    """

    def __init__(self, first: FinishedRun, others: Sequence[FinishedRun] = ()) -> None:
        check_ensemble([first, *others])
        self.first = EvidenceReader(first)
        self._readers = [self.first, *(EvidenceReader(other) for other in others)]

    def __call__(self, frame_id: str) -> tuple[ScoreMap, float]:
        """Give a frame's mean evidence (h, w), in [0, 1], and its mean probability of smoke.

        The grid is the finest of all runs; each run's evidence is gated by its own probability.
        """
        found = [read(frame_id) for read in self._readers]
        height, width = max((evidence.shape for evidence, _ in found), key=math.prod)
        total = np.zeros((height, width), np.float64)
        for evidence, _ in found:
            total += at_frame_size(evidence, height, width)
        mean = (total / len(found)).astype(np.float32)
        return mean, float(np.mean([probability for _, probability in found]))


def check_ensemble(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs whose evidence is not to be averaged.

    Raises:
        ArtifactError: If one was made of other frames than the first, or is the same as another:
            it would count twice.
    """
    known: dict[str, Path] = {}
    for run in runs:
        if run.manifest.inputs["frames"] != runs[0].manifest.inputs["frames"]:
            raise ArtifactError(
                f"{run.path} was made of other frames than {runs[0].path}: an ensemble needs "
                "runs of the same frames"
            )
        earlier = known.setdefault(run.fingerprint, run.path)
        if earlier is not run.path:
            raise ArtifactError(
                f"{run.path} is the same run as {earlier}, whose evidence would count twice: "
                "take it out of ensemble"
            )


def ensemble_inputs(others: Sequence[FinishedRun]) -> dict[str, str]:
    """Name the runs whose evidence is averaged as inputs, in whatever order they were given."""
    return {f"ensemble {i}": sha for i, sha in enumerate(sorted(run.fingerprint for run in others))}


def load_classifier(run: FinishedRun) -> Classifier:
    """Rebuild the trained classifier of a finished stage-1 run."""
    classifier = build_classifier(**read_json(run.path / CLASSIFIER))
    load_weights(run.checkpoints / "best.safetensors", classifier)
    # As in training: convolutions take up to half the time.
    return classifier.to(memory_format=torch.channels_last).eval()


def cam_path(folder: Path, frame_id: str) -> Path:
    """Say where a frame's CAM lies."""
    return folder / f"{frame_id}.npz"


def image_of(frame: Frame, image_size: int | None) -> Tensor:
    """Read a frame as a classifier takes it: (3, H, W) float32 in [0, 1].

    Args:
        frame: What to read.
        image_size: Side of the square it is brought to, in pixels; None leaves it as it is.
    """
    if image_size is None:
        pixels = torch.from_numpy(read_frame(frame.path))
        return pixels.permute(2, 0, 1).float() / 255  # (H, W, 3) -> (3, H, W)
    return ClassificationData([frame], image_size=image_size)[0]["image"]


def at_frame_size(evidence: ScoreMap, height: int, width: int) -> ScoreMap:
    """Bring evidence (h, w) to the frame's pixels, bilinearly."""
    large = cv2.resize(evidence, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(large, 0, 1).astype(np.float32)
