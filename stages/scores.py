"""Say where a run keeps its soft scores, read them, and sum a frame's up in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from weakseg.arrays import ScoreMap
from weakseg.artifacts import FinishedRun, RunFolder, RunPaths, read_frames, read_scores
from weakseg.data import Frame
from weakseg.plans import Stage2Plan

ScoresOf = Callable[[Frame], tuple[ScoreMap, float]]
"""Frame -> its soft scores of smoke (H, W) and its probability of smoke."""

THRESHOLD: Final = "threshold.json"
SPEED: Final = "speed.json"

TOP_SHARE: Final = 0.005
"""Share of the pixels whose mean score is the frame's own: about the smallest plume worth it."""


def stored_scores(run: FinishedRun | RunFolder) -> ScoresOf:
    """Read the soft scores a run has stored, with the probability of its frames."""
    rows = read_frames(run.frames_csv) if run.frames_csv.exists() else []
    probability = {row["id"]: float(row["probability"]) for row in rows}

    def read(frame: Frame) -> tuple[ScoreMap, float]:
        scores = read_scores(score_path(run, frame.id))
        return scores, probability.get(frame.id, frame_score(scores))

    return read


def cache_of(plan: Stage2Plan, run: RunPaths) -> Path:
    """Say where the steps of a run may keep what is costly: where the plan says, or in the run."""
    return Path(plan.cache) if plan.cache else run.path / "cache"


def score_path(run: RunPaths, frame_id: str) -> Path:
    """Say where a frame's soft scores lie."""
    return run.scores / f"{frame_id}.png"


def frame_score(smoke: ScoreMap) -> float:
    """Give the frame's own score of smoke: the mean of its most probable pixels, in [0, 1]."""
    count = max(1, round(TOP_SHARE * smoke.size))
    return float(np.partition(smoke.ravel(), -count)[-count:].mean())


def mask_path(run: RunPaths, frame_id: str) -> Path:
    """Say where a frame's pseudo-mask lies."""
    return run.masks / f"{frame_id}.png"
