"""Run a recipe: evidence of one frame, background, then the steps in their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.checks import check_in_unit, check_shape
from weakseg.errors import DataError
from weakseg.labels import SMOKE
from weakseg.refine.background import Background
from weakseg.refine.crf import BatchError
from weakseg.refine.statistics import BINS
from weakseg.refine.step import FrameContext, Step, check_scores, scores_of_smoke

log = logging.getLogger(__name__)

FAULTS_OF_A_FRAME: Final = (ArithmeticError, DataError, IndexError, RuntimeError, ValueError)
"""What a step may raise because of the frame it was given."""

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
    if probability < min_probability or not shows_smoke(context):
        log.debug("%s shows no smoke: nothing to refine", frame_id)
        empty = no_smoke(height, width)
        names = ("background", *steps) if keep_steps else ()
        return RefineResult(empty, dict.fromkeys(names, empty))
    scores = background(evidence)
    kept = {"background": scores}
    for key, step in steps.items():
        [result] = apply_step(key, step, [frame], [scores], [context])
        if isinstance(result, Exception):
            raise result
        kept[key] = scores = result
    return RefineResult(scores, kept if keep_steps else {})


def shows_smoke(context: FrameContext) -> bool:
    """Say whether a frame has evidence at all; no step runs on one that has none."""
    return float(context.evidence.max()) >= NO_EVIDENCE


def no_smoke(height: int, width: int) -> Scores:
    """Return (2, height, width) scores of a frame without smoke: exactly 0 everywhere."""
    return scores_of_smoke(np.zeros((height, width), np.float32))


def apply_step(
    key: str,
    step: Step,
    frames: Sequence[FrameArray],
    scores: Sequence[Scores],
    contexts: Sequence[FrameContext],
) -> list[Scores | Exception]:
    """Take several frames through one step, at once if the step can.

    A step that has `many(frames, scores)` does a batch on all cores, and looks at no context.

    Returns:
        Scores (2, H, W) of each frame, or what went wrong with that frame alone. What is no fault
        of a frame (weights that are missing, a full disk, an interruption) is raised.
    """
    many = getattr(step, "many", None)
    results: list[Scores | Exception]
    if many is not None and len(frames) > 1:
        try:
            results = list(many(frames, scores))
        except BatchError as error:
            results = [
                error.errors[index] if part is None else part
                for index, part in enumerate(error.results)
            ]
    else:
        results = [_one(step, *each) for each in zip(frames, scores, contexts, strict=True)]
    return [
        _checked(result, frame, f"step {key} on {context.frame_id}")
        for result, frame, context in zip(results, frames, contexts, strict=True)
    ]


def _one(
    step: Step, frame: FrameArray, scores: Scores, context: FrameContext
) -> Scores | Exception:
    try:
        return step(frame, scores, context)
    except FAULTS_OF_A_FRAME as error:
        return error


def _checked(result: Scores | Exception, frame: FrameArray, source: str) -> Scores | Exception:
    if isinstance(result, Exception):
        return result
    try:
        check_scores(result, height=frame.shape[0], width=frame.shape[1], source=source)
    except ValueError as error:
        return error
    return scores_of_smoke(result[SMOKE])
