"""Sum a stage-3 run up: what it says of every frame, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weakseg.artifacts import RunFolder, read_scores, write_frames
from weakseg.data import Frame
from weakseg.metrics import auroc
from weakseg.plans import Stage3Plan
from weakseg.refine import ThresholdChoice
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.scores import frame_score, score_path


def frame_rows(frames: Sequence[Frame], run: RunFolder, threshold: float) -> list[dict[str, str]]:
    """Write `frames.csv` with what the run says of every frame; give its rows."""
    rows = []
    for frame in frames:
        scores = read_scores(score_path(run, frame.id))
        rows.append(
            {
                "id": frame.id,
                "path": str(frame.path),
                "label": str(frame.label),
                "scene": frame.scene,
                "split": frame.split,
                "sequence": frame.sequence,
                "probability": f"{frame_score(scores):.6f}",
                "smoke_share": f"{float((scores >= threshold).mean()):.6f}",
            }
        )
    write_frames(run.frames_csv, rows)
    return rows


def summarise(
    rows: Sequence[Mapping[str, str]],
    choice: ThresholdChoice,
    plan: Stage3Plan,
    test: Evaluation | None,
) -> dict[str, Any]:
    """Gather the figures of the run; each says by which selection."""
    figures: dict[str, Any] = {
        "selection": plan.selection,
        "threshold": choice.threshold,
        "threshold_rule": choice.rule,
    }
    for split in ("val", plan.test_split):
        chosen = [row for row in rows if row["split"] == split]
        labels = np.array([int(row["label"]) for row in chosen])
        if set(labels.tolist()) == {0, 1}:
            scores = np.array([float(row["probability"]) for row in chosen])
            figures[f"{split}/auroc"] = auroc(labels, scores)
    if test is not None:
        figures |= {f"{plan.test_split}/{key}": value for key, value in test.figures.items()}
    return figures
