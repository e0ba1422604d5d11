"""Choose what pages show: frames from the whole range of probabilities, curves by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from weakseg.artifacts import MetricsLog, RunFolder
from weakseg.labels import SMOKE

T = TypeVar("T")
Rows = Sequence[Mapping[str, str]]
_PERCENT = 100


def by_probability(rows: Rows) -> tuple[Rows, Rows]:
    """Give the frames labelled smoke and those labelled smoke-free, rising in probability."""
    ordered = sorted(rows, key=lambda row: float(row["probability"]))
    smoke = [row for row in ordered if int(row["label"]) == SMOKE]
    return smoke, [row for row in ordered if int(row["label"]) != SMOKE]


def spread(rows: Rows, count: int) -> Rows:
    """Take frames from the whole range, the surest first."""
    if not rows:
        return []
    places = np.linspace(len(rows) - 1, 0, num=min(3 * count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def of_many_scenes(frames: Sequence[T], scene_of: Callable[[T], str], count: int) -> list[T]:
    """Take the first frames, one of each scene while there are scenes: the others are copies."""
    first: dict[str, int] = {}
    for place, frame in enumerate(frames):
        first.setdefault(scene_of(frame), place)
    leading = set(first.values())
    rest = [frame for place, frame in enumerate(frames) if place not in leading]
    return [*(frames[place] for place in first.values()), *rest][:count]


def training_curves(run: RunFolder) -> dict[str, list[tuple[float, float]]]:
    """Read what was logged: losses and figures by epoch, each chart with its series."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in MetricsLog(run.metrics_path).rows():
        for key, value in row.items():
            group, _, name = key.partition("/")
            if group in ("train", "val") and isinstance(value, int | float):
                chart = f"{name.replace('_', ' ')}/{group}"
                curves.setdefault(chart, []).append((float(row["epoch"]), float(value)))
    return curves


def percent(share: float | str) -> str:
    """Write a share for people, two digits where it is small."""
    value = _PERCENT * float(share)
    return f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"
