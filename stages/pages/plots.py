"""Plot what an evaluation found: whether scores keep their promise, and where overlap is lost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from weakseg.metrics import FrameFigures, calibration_error, reliability_bins, scene_interval
from weakseg.metrics.strata import OPACITY_BOUNDS, SIZE_BOUNDS
from weakseg.report import Dot, Level, Plots, Scatter, Table
from weakseg.report.page import shown
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.pages.common import percent

Rows = Sequence[Mapping[str, float | str]]

_COLUMNS: Final = {
    "frames": "smoke frames",
    "smoke_share_mean": "mean size",
    "opacity_mean": "mean opacity",
    "iou_per_image": "IoU per image",
    "iou_pooled": "IoU pooled",
    "precision": "precision",
    "recall": "recall",
    "missed_share": "missed",
    "smoke_free_frames": "smoke-free frames",
    "false_alarm_share": "false alarms",
    "false_area_mean": "false area",
}
_FAINTEST: Final = 0.001
"""Opacities below are drawn here: a logarithmic axis has no 0."""

_GROUPS_NOTE: Final = (
    "The worst IoU first; the arrows sort by another column. Missed: share of the smoke frames in "
    "which no pixel of the smoke was found. False alarms: share of the smoke-free frames."
)


def evaluation_plots(result: Evaluation) -> list[Plots]:
    """Plot reliability, and IoU against size and opacity; what is not known is left out."""
    reliability = [
        _reliability("Of frames", "frames", result.reliability),
        _reliability("Of pixels", "pixels", result.pixel_reliability, is_joined=True),
    ]
    overlaps = [
        _overlap(
            result.frames,
            lambda frame: frame.smoke_share,
            SIZE_BOUNDS,
            title="IoU against size of the smoke",
            x_label="share of the frame that is smoke",
            is_share=True,
        ),
        _overlap(
            result.frames,
            lambda frame: max(frame.opacity, _FAINTEST),  # In this order NaN stays NaN.
            OPACITY_BOUNDS,
            title="IoU against opacity of the smoke",
            x_label="how much its colour stands out: 1 is black on white",
        ),
    ]
    groups = [
        Plots(
            "Where it works, and where it fails",
            [plot for plot in overlaps if plot is not None],
            "A dot is a frame with smoke. A line is the mean of a stratum, its box 95 % of the "
            "means of resampled scenes.",
        ),
        _reliability_group(reliability),
    ]
    return [group for group in groups if group.plots]


def label_plots(labels: Sequence[int], probabilities: Sequence[float]) -> list[Plots]:
    """Plot the reliability of frames' probabilities by their labels: it needs no mask."""
    plot = _reliability("Of frames, by their labels", "frames", _binned(labels, probabilities))
    return [_reliability_group([plot])] if plot is not None else []


def evaluation_tables(result: Evaluation) -> list[Table]:
    """Give the figures by size, opacity, camera and scene; none where there are no groups."""
    strata = (
        ("By size of the smoke", result.strata),
        ("By opacity of the smoke", result.by_opacity),
    )
    groups = (("Cameras", "camera", result.by_camera), ("Scenes", "scene", result.by_scene))
    return [
        *(_strata_table(title, rows) for title, rows in strata if rows),
        *(_group_table(title, key, rows) for title, key, rows in groups if rows),
    ]


def _strata_table(title: str, rows: Rows) -> Table:
    columns = list(rows[0])
    named = [_COLUMNS.get(column, column) for column in columns]
    return Table(title, named, [[row[column] for column in columns] for row in rows])


def _group_table(title: str, key: str, rows: Rows) -> Table:
    columns = [key, *(column for column in _COLUMNS if column in rows[0])]
    ordered = sorted(rows, key=lambda row: (_or_last(row["iou_per_image"]), str(row[key])))
    return Table(
        f"{title}: {len(rows)}",
        [_COLUMNS.get(column, column) for column in columns],
        [[row[column] for column in columns] for row in ordered],
        note=_GROUPS_NOTE,
        sortable=True,
    )


def _or_last(value: float | str) -> float:
    return value if isinstance(value, int | float) and math.isfinite(value) else math.inf


def _binned(labels: Sequence[int], probabilities: Sequence[float]) -> list[dict[str, float]]:
    return reliability_bins(labels, probabilities) if labels else []


def _reliability_group(plots: Sequence[Scatter | None]) -> Plots:
    return Plots(
        "Reliability of the scores",
        [plot for plot in plots if plot is not None],
        "What scores promise against what came true; on the dashed line they keep their word. "
        "Larger dots stand for more.",
    )


def _reliability(
    title: str, unit: str, rows: Sequence[dict[str, float]], *, is_joined: bool = False
) -> Scatter | None:
    filled = [row for row in rows if row["count"] > 0]
    if not filled:
        return None
    most = math.log1p(max(row["count"] for row in filled))
    total = shown(int(sum(row["count"] for row in filled)))
    return Scatter(
        title,
        [
            Dot(
                row["mean_score"],
                row["smoke_rate"],
                f"scores {row['low']:.2f} to {row['high']:.2f}: {int(row['count'])} {unit}, "
                f"mean score {row['mean_score']:.3f}, {row['smoke_rate']:.3f} are smoke",
                math.log1p(row["count"]) / most,
            )
            for row in filled
        ],
        x_label="mean score",
        y_label="share that is smoke",
        note=f"Expected calibration error {calibration_error(filled):.3f} over {total} {unit}.",
        x_range=(0.0, 1.0),
        diagonal=True,
        joined=is_joined,
    )


def _overlap(
    frames: Sequence[FrameFigures],
    value_of: Callable[[FrameFigures], float],
    bounds: Sequence[float],
    *,
    title: str,
    x_label: str,
    is_share: bool = False,
) -> Scatter | None:
    known = [one for one in frames if one.has_smoke and math.isfinite(value_of(one))]
    if not known:
        return None
    ends = [-math.inf, *bounds, math.inf]
    return Scatter(
        title,
        [Dot(value_of(one), one.iou, _told(one)) for one in known],
        x_label=x_label,
        y_label="IoU",
        levels=[
            _level([one for one in known if start <= value_of(one) < stop], start, stop)
            for start, stop in itertools.pairwise(ends)
        ],
        log_x=True,
        percent_x=is_share,
    )


def _level(members: Sequence[FrameFigures], start: float, stop: float) -> Level:
    """Give the mean IoU of a stratum with its interval over scenes; NaN if it is empty."""
    if not members:
        return Level(start, stop, math.nan)
    overlaps = np.array([one.iou for one in members])

    def mean(times: np.ndarray) -> float:
        return float(times @ overlaps / times.sum()) if times.sum() else math.nan

    low, high = scene_interval([one.scene for one in members], mean)
    value = float(overlaps.mean())
    return Level(start, stop, value, low, high, f"{value:.2f} ({len(members)})")


def _told(one: FrameFigures) -> str:
    opacity = f", opacity {one.opacity:.2f}" if math.isfinite(one.opacity) else ""
    return f"{one.id}: IoU {one.iou:.2f}, smoke on {percent(one.smoke_share)}{opacity}"
