"""Sum frames up in numbers from which every figure follows, for one data set or a thousand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_in_unit, check_shape
from weakseg.metrics.alarms import MIN_AREA
from weakseg.metrics.frames import FrameFigures
from weakseg.metrics.pixel import F_BETA_SQUARED, iou

Numbers = npt.NDArray[np.float64]

COLUMNS: Final = (
    *("tp", "fp", "fn", "tn"),
    *("smoky", "iou"),
    *("with_boundary", "boundary_iou"),
    *("with_mae", "mae"),
    *("clear", "alarm", "false_area", "empty"),
    *("with_found_iou", "found_iou", "with_true_iou", "true_iou"),
    *("steps", "flicker", "switch"),
)
"""What a frame adds: pixels; then how many frames a mean is over, beside what is averaged."""


def frame_sums(frames: Sequence[FrameFigures], *, min_area: float = MIN_AREA) -> Numbers:
    """Return what each frame adds to a data set's figures.

    Args:
        frames: N of them.
        min_area: Share of a frame beyond which something found is an alarm, in [0, 1].

    Returns:
        (N, len(COLUMNS)), to be summed over frames, each as often as it counts.
    """
    check_in_unit(min_area=min_area)
    rows = [_row(frame, min_area) for frame in frames]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))


def pooled_figures(sums: Numbers) -> dict[str, Numbers]:
    """Return the figures of data sets from the sums over their frames.

    Args:
        sums: (D, len(COLUMNS)), a row a data set.

    Returns:
        Name -> (D,); NaN where there is nothing to tell. The edge cases are those of
        `weakseg.metrics.pixel`: nothing found where nothing is counts as right.
    """
    check_shape((None, len(COLUMNS)), sums=sums)
    of = dict(zip(COLUMNS, sums.T, strict=True))
    tp, fp, fn, tn = (of[name] for name in ("tp", "fp", "fn", "tn"))
    smoke, background = _share(tp, tp + fp + fn, of), _share(tn, tn + fp + fn, of)
    nothing_found, nothing_there = tp + fp == 0, tp + fn == 0
    return {
        "iou_per_image": _mean(of["iou"], of["smoky"]),
        "iou_pooled": smoke,
        "miou": (smoke + background) / 2,
        "precision": np.where(nothing_found & (fn > 0), 0.0, _share(tp, tp + fp, of)),
        "recall": np.where(nothing_there & (fp > 0), 0.0, _share(tp, tp + fn, of)),
        "f1": _f_beta(of, beta2=1.0),
        "f_beta": _f_beta(of, beta2=F_BETA_SQUARED),
        "boundary_iou": _mean(of["boundary_iou"], of["with_boundary"]),
        "mae": _mean(of["mae"], of["with_mae"]),
        "empty_on_empty": _mean(of["empty"], of["clear"]),
        "false_alarm_share": _mean(of["alarm"], of["clear"]),
        "false_area_mean": _mean(of["false_area"], of["clear"]),
        "temporal_iou": _mean(of["found_iou"], of["with_found_iou"]),
        "temporal_iou_truth": _mean(of["true_iou"], of["with_true_iou"]),
        "flicker": _mean(of["flicker"], of["steps"]),
        "alarm_switches": _mean(of["switch"], of["steps"]),
    }


def _row(frame: FrameFigures, min_area: float) -> list[float]:
    counts, change = frame.counts, frame.change
    clear, area = frame.is_smoke_free, frame.predicted_share
    edge = iou(frame.boundary) if frame.boundary is not None and frame.has_smoke else math.nan
    steps = change is not None and math.isfinite(change.flicker)
    return [
        *(counts.tp, counts.fp, counts.fn, counts.tn),
        *(_known(frame.iou) if frame.has_smoke else (0.0, 0.0)),
        *_known(edge),
        *_known(frame.mae),
        *((1.0, area > min_area, area, counts.is_empty_on_empty) if clear else (0.0,) * 4),
        *_known(change.found_iou if change else math.nan),
        *_known(change.true_iou if change else math.nan),
        *((1.0, change.flicker, change.is_switch) if change and steps else (0.0,) * 3),
    ]


def _known(value: float) -> tuple[float, float]:
    """Return how many frames know a value, one or none, and the value or 0."""
    return (1.0, value) if math.isfinite(value) else (0.0, 0.0)


def _f_beta(of: dict[str, Numbers], *, beta2: float) -> Numbers:
    found = (1 + beta2) * of["tp"]
    return _share(found, found + beta2 * of["fn"] + of["fp"], of)


def _share(part: Numbers, whole: Numbers, of: dict[str, Numbers]) -> Numbers:
    """Return part / whole: 1 where there is nothing to find, NaN where there is nothing at all."""
    pixels = of["tp"] + of["fp"] + of["fn"] + of["tn"]
    shares = np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
    return np.where(pixels > 0, shares, math.nan)


def _mean(total: Numbers, count: Numbers) -> Numbers:
    return np.divide(total, count, out=np.full_like(total, math.nan), where=count > 0)
