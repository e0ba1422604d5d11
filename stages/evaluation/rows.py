"""Keep what was measured of each frame in JSON, and read it back to compare runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import plain, read_json
from weakseg.errors import ArtifactError
from weakseg.metrics import Change, FrameFigures, PixelCounts, iou

EVALUATION: Final = "evaluation"
"""Folder of a run that holds its evaluations."""


@dataclass(frozen=True)
class MeasuredFrame:
    """A frame as an evaluation's file tells it.

    Args:
        figures: What was measured.
        path: Of its picture.
        truth: Digest of the mask it was measured by.
    """

    figures: FrameFigures
    path: Path
    truth: str


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation read back.

    Args:
        path: Of its file.
        frames: By id, in the order they were measured.
        figures: Of all frames, by name; None where not known.
        data: Settings of the source of the frames and their masks.
        threshold: From which a score was smoke.
        tile: Side of the tiles in which frames were read, where it was not the run's own.
    """

    path: Path
    frames: dict[str, MeasuredFrame]
    figures: dict[str, float | None]
    data: Mapping[str, Any]
    threshold: float
    tile: int | None = None


def frame_row(frame: FrameFigures, *, path: Path | None = None, truth: str = "") -> dict[str, Any]:
    """Give a frame ready for JSON: its figures for people, and the counts they were made of."""
    edge = iou(frame.boundary) if frame.boundary is not None and frame.has_smoke else math.nan
    change = frame.change
    row = {
        "id": frame.id,
        "label": frame.label,
        "scene": frame.scene,
        "camera": frame.camera,
        "sequence": frame.sequence,
        "iou": frame.iou if frame.has_smoke else None,
        "boundary_iou": edge,
        "predicted_share": frame.predicted_share,
        "smoke_share": frame.smoke_share,
        "opacity": frame.opacity,
        "probability": frame.probability,
        "mae": frame.mae,
        "counts": _counts(frame.counts),
        "boundary_counts": None if frame.boundary is None else _counts(frame.boundary),
        "change": change
        and {
            "found_iou": change.found_iou,
            "true_iou": change.true_iou,
            "flicker": change.flicker,
            "is_switch": change.is_switch,
        },
        "path": None if path is None else str(path),
        "truth": truth,
    }
    told: dict[str, Any] = plain(row)
    return told


def read_evaluation(path: Path) -> StoredEvaluation:
    """Read an evaluation's file.

    Raises:
        ArtifactError: If it is missing, or was written by a version that kept too little.
    """
    told = read_json(path)
    try:
        frames = {row["id"]: _measured(row) for row in told["frames"]}
        figures, data, threshold = told["figures"], told["data"], float(told["threshold"])
        tile = told["tile"]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} does not tell the counts of each frame: measure the run again with "
            f"`python -m weakseg.evaluate run={path.parent.parent}`"
        ) from error
    return StoredEvaluation(path, frames, figures, data, threshold, tile)


def _measured(row: Mapping[str, Any]) -> MeasuredFrame:
    edge, change = row["boundary_counts"], row["change"]
    figures = FrameFigures(
        id=row["id"],
        label=row["label"],
        scene=row["scene"],
        counts=PixelCounts(*row["counts"]),
        boundary=None if edge is None else PixelCounts(*edge),
        probability=_number(row["probability"]),
        mae=_number(row["mae"]),
        opacity=_number(row["opacity"]),
        camera=row["camera"],
        sequence=row["sequence"],
        change=None
        if change is None
        else Change(
            found_iou=_number(change["found_iou"]),
            true_iou=_number(change["true_iou"]),
            flicker=_number(change["flicker"]),
            is_switch=change["is_switch"],
        ),
    )
    return MeasuredFrame(figures, Path(row["path"]), row["truth"])


def _counts(counts: PixelCounts) -> list[int]:
    return [counts.tp, counts.fp, counts.fn, counts.tn]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
