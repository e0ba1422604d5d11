"""Tell a sweep on one page: which settings are best, by how much, and what the pictures say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import write_text
from weakseg.report.sweep import SweepData, sweep_page
from weakseg.stages.sweeps.curves import all_curves
from weakseg.stages.sweeps.file import SweepFile
from weakseg.stages.sweeps.folders import folders_of
from weakseg.stages.sweeps.groups import Verdict, group_points, importance, judge
from weakseg.stages.sweeps.ledger import FINISHED, Point
from weakseg.stages.sweeps.pictures import all_pictures, most_promising
from weakseg.stages.sweeps.verdicts import words_by_setting, words_of

PAGE: Final = "sweep.html"


def write_sweep_page(output: Path, file: SweepFile, points: Sequence[Point], total: int) -> Path:
    """Write `sweep.html` into the sweep's folder; give its path."""
    metric = file.metric
    sign = metric.sign if metric is not None else 1.0
    groups = group_points(points)
    folders = {point.number: folders_of(output, point) for point in points}
    pictured = most_promising(points, sign)
    verdict = judge(groups, sign)
    data = SweepData(
        title=f"Sweep {file.name}",
        status=_status(file, points, total, verdict),
        metric="" if metric is None else metric.name,
        sign=sign,
        groups=[
            {
                "name": one.name,
                "parameters": {key: str(value) for key, value in one.parameters.items()},
                "points": list(one.points),
                "mean": _known(one.mean),
                "spread": _known(one.spread),
                "half_width": _known(one.half_width),
                "seeds": len(one.values),
            }
            for one in groups
        ],
        by_setting=words_by_setting(points, metric),
        importance=importance(points) if metric is not None else {},
        points=[_told(point) for point in points],
        curves=all_curves(folders),
        pictures=all_pictures({point.number: folders[point.number] for point in pictured}),
    )
    path = output / PAGE
    write_text(path, sweep_page(data))
    return path


def _status(
    file: SweepFile, points: Sequence[Point], total: int, verdict: Verdict | None
) -> list[str]:
    done = sum(point.status == FINISHED for point in points)
    others: dict[str, int] = {}
    for point in points:
        if point.status != FINISHED:
            others[point.status] = others.get(point.status, 0) + 1
    told = "".join(f", {count} {status}" for status, count in sorted(others.items()))
    return [
        words_of(verdict, file.metric),
        f"{done} of {total} points finished{told}; method {file.method}.",
    ]


def _told(point: Point) -> dict[str, Any]:
    figures = {
        key: value
        for key, value in point.figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return {
        "number": point.number,
        "name": point.name,
        "parameters": dict(point.parameters),
        "status": point.status,
        "seconds": round(point.seconds, 1),
        "metric": _known(point.metric),
        "figures": figures,
        "run": point.run,
        "command": point.command,
        "why": point.why,
    }


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
