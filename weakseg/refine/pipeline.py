"""Run a recipe: evidence of one frame, background, then the steps in their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.checks import check_in_unit, check_shape
from weakseg.labels import SMOKE
from weakseg.refine.background import Background
from weakseg.refine.statistics import BINS
from weakseg.refine.step import FrameContext, Step, check_scores, scores_of_smoke

log = logging.getLogger(__name__)

NO_EVIDENCE: Final = 1 / BINS
"""Evidence below this counts as none: no threshold lies lower."""


@dataclass(frozen=True, eq=False)
class RefineResult:
    """Hold a frame's refined scores.

    Args:
        scores: (2, H, W) float32 in [0, 1], summing to 1: after the last step.
        per_step: The scores after the background ("background") and after each step by its key in
            the recipe, where they were asked for.
    """

    scores: Scores
    per_step: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def smoke(self) -> ScoreMap:
        """(H, W) smoke scores."""
        smoke: ScoreMap = self.scores[SMOKE]
        return smoke


def refine(
    frame: FrameArray,
    evidence: ScoreMap,
    probability: float,
    *,
    background: Background,
    steps: Mapping[str, Step],
    frame_id: str = "frame",
    cache_dir: Path | None = None,
    min_probability: float = 0.0,
    keep_steps: bool = False,
) -> RefineResult:
    """Refine the evidence of one frame by `steps` in their order.

    No step runs on a frame without evidence, and none can invent smoke there: where all evidence
    is below 1/256, or the classifier's probability below `min_probability`, the smoke score is
    exactly 0 at every pixel, so that every mask cut from it is empty.

    Args:
        frame: (H, W, 3) uint8, RGB.
        evidence: (H, W) float32 in [0, 1], absolute and already gated by the probability.
        probability: The classifier's calibrated probability of smoke, in [0, 1].
        background: Puts a background score beside the evidence.
        steps: The recipe; an empty one leaves background and evidence as they are.
        frame_id: Unique and file-safe name of the frame.
        cache_dir: Where steps may keep what is costly to compute; None keeps nothing.
        min_probability: Frames below it are taken as smoke-free, in [0, 1]; 0 takes none so.
        keep_steps: Keep the scores after every step, for pictures.

    Raises:
        ValueError: If frame and evidence do not cover the same pixels, the evidence leaves [0, 1],
            or a step returns what are no scores.
    """
    check_shape((None, None, 3), frame=frame)
    height, width = frame.shape[:2]
    check_shape((height, width), evidence=evidence)
    check_in_unit(min_probability=min_probability)
    if not (np.all(evidence >= 0) and np.all(evidence <= 1)):
        raise ValueError(f"the evidence of {frame_id} must lie in [0, 1]")
    context = FrameContext(frame_id, probability, evidence, cache_dir)
    if probability < min_probability or float(evidence.max()) < NO_EVIDENCE:
        log.debug("%s shows no smoke: nothing to refine", frame_id)
        empty = scores_of_smoke(np.zeros((height, width), np.float32))
        names = ("background", *steps) if keep_steps else ()
        return RefineResult(empty, dict.fromkeys(names, empty))
    scores = background(evidence)
    kept = {"background": scores}
    for key, step in steps.items():
        scores = step(frame, scores, context)
        check_scores(scores, height=height, width=width, source=f"step {key} on {frame_id}")
        scores = scores_of_smoke(scores[SMOKE])
        kept[key] = scores
    return RefineResult(scores, kept if keep_steps else {})


def recipe_settings(background: Background, steps: Mapping[str, Step]) -> dict[str, Any]:
    """Return what changes the refined scores, ready for JSON: the order of steps counts."""
    return {
        "background": background.settings(),
        "steps": [{"step": step.name, **step.settings()} for step in steps.values()],
    }
