"""Read what the runs of a sweep's points logged, as curves that fit on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from weakseg.artifacts import MetricsLog

Curve: TypeAlias = list[list[float]]
"""Pairs of epoch and value."""

_CURVE_POINTS: Final = 100


def all_curves(folders: Mapping[int, Mapping[str, Path]]) -> dict[str, dict[str, Curve]]:
    """Read what each point logged: key -> number of the point -> (epoch, value).

    Args:
        folders: Number of a point -> its runs, as `folders_of` finds them.
    """
    found: dict[str, dict[str, Curve]] = {}
    read: dict[Path, dict[str, Curve]] = {}
    for number, own in folders.items():
        for place, folder in own.items():
            if folder not in read:
                read[folder] = _curves_of(folder / "metrics.jsonl")
            for key, line in read[folder].items():
                name = f"{place}/{key}" if place else key
                found.setdefault(name, {})[str(number)] = line
    return found


def _curves_of(path: Path) -> dict[str, Curve]:
    lines: dict[str, Curve] = {}
    for row in MetricsLog(path).rows():
        for key, value in row.items():
            is_figure = key.split("/")[0] in {"train", "val"} and isinstance(value, int | float)
            if is_figure and math.isfinite(value):
                lines.setdefault(key, []).append([row.get("epoch", row["step"]), value])
    return {key: _thinned(line) for key, line in lines.items()}


def _thinned(line: Curve) -> Curve:
    if len(line) <= _CURVE_POINTS:
        return line
    places = np.linspace(0, len(line) - 1, _CURVE_POINTS).round().astype(int)
    return [line[place] for place in places]
