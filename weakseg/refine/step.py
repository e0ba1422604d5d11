"""Say what a refinement step is: scores in, scores out, and what it may know of the frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.cam import CamRecipe
from weakseg.checks import check_in_unit, check_shape

CLASSES: Final = 2
"""K: background and smoke."""


@dataclass(frozen=True, eq=False)
class FrameContext:
    """Hold what a step may know of a frame beside its pixels and its scores.

    Args:
        frame_id: Unique and file-safe name of the frame.
        probability: The classifier's calibrated probability of smoke, in [0, 1].
        evidence: (H, W) float32 in [0, 1], the CAM evidence before any step.
        cache_dir: Where a step may keep what is costly to compute; None keeps nothing.
        look: Makes the evidence (H, W) of this frame by another recipe, calibrated and gated like
            `evidence`; None where no classifier is at hand.
        look_precision: Names the arithmetic of `look`, and of what is kept of it.
        notes: Where a step may note a figure of this frame for the run's summary, by
            "STEP/FIGURE"; it has no part in any score.
    """

    frame_id: str
    probability: float
    evidence: ScoreMap
    cache_dir: Path | None = None
    look: Callable[[CamRecipe], ScoreMap] | None = None
    look_precision: str = ""
    notes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a probability outside [0, 1] and evidence that is no map."""
        check_in_unit(probability=self.probability)
        check_shape((None, None), evidence=self.evidence)


class Step(Protocol):
    """Turn scores into better scores by what the frame shows.

    A step is pure: the same frame, scores and context give the same scores, whatever came before.
    It gets (2, H, W) float32 scores that sum to 1, and returns such scores.
    """

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        ...

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        """Refine `scores` (2, H, W) of `frame` (H, W, 3)."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON: no paths, no hardware."""
        ...


def check_scores(scores: Scores, *, height: int, width: int, source: str) -> None:
    """Raise ValueError unless `scores` is (2, height, width), in [0, 1] and sums to 1.

    Args:
        scores: The array to look at.
        height: H of the frame, in pixels.
        width: W of the frame, in pixels.
        source: Who made the scores, for the message.
    """
    check_shape((CLASSES, height, width), **{f"scores of {source}": scores})
    # Float32 filters lose some 1e-5 to rounding: 1e-3 tells a slip from a mistake.
    bounded = bool(np.all(scores >= -1e-3) and np.all(scores <= 1 + 1e-3))
    if not (bounded and np.allclose(scores.sum(axis=0), 1, atol=1e-3)):
        raise ValueError(f"scores of {source} must lie in [0, 1] and sum to 1 over classes")


def scores_of_smoke(smoke: ScoreMap) -> Scores:
    """Return (2, H, W) scores from the smoke scores (H, W): background is what is left to 1."""
    smoke = np.clip(smoke, 0, 1).astype(np.float32)
    return np.stack([np.float32(1) - smoke, smoke])
