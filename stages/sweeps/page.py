"""Tell a sweep on one page: which settings are best, by how much, and what the pictures say."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray
from weakseg.artifacts import (
    MetricsLog,
    read_frames,
    read_json,
    read_mask_ids,
    read_scores,
    write_text,
)
from weakseg.data import read_frame
from weakseg.errors import WeaksegError
from weakseg.report import overlay
from weakseg.report.pictures import data_uri
from weakseg.report.sweep import SweepData, sweep_page
from weakseg.stages.scores import THRESHOLD
from weakseg.stages.sweeps.file import SweepFile
from weakseg.stages.sweeps.groups import Verdict, group_points, importance, judge
from weakseg.stages.sweeps.ledger import FINISHED, Point
from weakseg.stages.sweeps.verdicts import words_by_setting, words_of

log = logging.getLogger(__name__)

PAGE: Final = "sweep.html"
_FRAMES: Final = 6
_PICTURED: Final = 48
"""Points with pictures, the best: 48 x 6 thumbnails are some 2 MB."""
_SIDE: Final = 176
_CURVE_POINTS: Final = 100
_NESTED: Final = ("", "stage1", "stage2", "stage3", "student")


def write_sweep_page(output: Path, file: SweepFile, points: Sequence[Point], total: int) -> Path:
    """Write `sweep.html` into the sweep's folder; give its path."""
    metric = file.metric
    sign = metric.sign if metric is not None else 1.0
    groups = group_points(points)
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
        curves=_all_curves(output, points),
        pictures=_all_pictures(output, _most_promising(points, sign)),
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


def _most_promising(points: Sequence[Point], sign: float) -> list[Point]:
    """Give the finished points that get pictures: the best, or the first without a metric."""
    known = [one for one in points if one.status == FINISHED]
    worst = -math.inf
    ordered = sorted(known, key=lambda p: -(worst if p.metric is None else sign * p.metric))
    return ordered[:_PICTURED]


def _all_curves(output: Path, points: Sequence[Point]) -> dict[str, dict[str, list[list[float]]]]:
    """Read what each point logged: key -> number of the point -> (step, value)."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for point in points:
        for place in _NESTED:
            path = output / point.run / place / "metrics.jsonl"
            if not point.run or not path.is_file():
                continue
            for key, line in _curves_of(path).items():
                name = f"{place}/{key}" if place else key
                found.setdefault(name, {})[str(point.number)] = _thinned(line)
    return found


def _curves_of(path: Path) -> dict[str, list[list[float]]]:
    lines: dict[str, list[list[float]]] = {}
    for row in MetricsLog(path).rows():
        for key, value in row.items():
            is_figure = key.split("/")[0] in {"train", "val"} and isinstance(value, int | float)
            if is_figure and math.isfinite(value):
                lines.setdefault(key, []).append([row.get("epoch", row["step"]), value])
    return lines


def _thinned(line: list[list[float]]) -> list[list[float]]:
    if len(line) <= _CURVE_POINTS:
        return line
    places = np.linspace(0, len(line) - 1, _CURVE_POINTS).round().astype(int)
    return [line[place] for place in places]


def _all_pictures(output: Path, points: Sequence[Point]) -> dict[str, Any]:
    """Draw the same frames as each point sees them; a hash chose them, so no score had a say."""
    runs = {point.number: _run_with_masks(output / point.run) for point in points if point.run}
    rows = {number: _pictured(run) for number, run in runs.items() if run is not None}
    if not rows:
        return {"frames": [], "of": {}}
    shared = set.intersection(*(set(own) for own in rows.values()))
    chosen = sorted(shared, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    first = next(iter(rows.values()))
    smoke = [name for name in chosen if first[name]["label"] == "1"]
    clear = [name for name in chosen if first[name]["label"] != "1"]
    chosen = [*smoke[: _FRAMES - 1], *clear[:1]]
    drawn: dict[str, list[str]] = {}
    for number, run in runs.items():
        if run is not None:
            drawn[str(number)] = [_thumbnail(run, rows[number][name]) for name in chosen]
    frames = []
    for name in chosen:
        told = "smoke" if first[name]["label"] == "1" else "no smoke"
        try:
            picture = data_uri(read_frame(first[name]["path"]), long_side=_SIDE)
        except WeaksegError as error:
            log.warning("%s", error)
            picture = ""
        frames.append({"id": name, "label": told, "picture": picture})
    return {"frames": frames, "of": drawn}


def _run_with_masks(run: Path) -> Path | None:
    """Find the stage whose masks a point's pictures show: the last of a chain."""
    for place in ("stage3", "stage2", ""):
        folder = run / place
        if (folder / "frames.csv").is_file() and (
            (folder / "masks").is_dir() or (folder / "scores").is_dir()
        ):
            return folder
    return None


def _pictured(run: Path) -> dict[str, Mapping[str, str]]:
    rows = [row for row in read_frames(run / "frames.csv") if row["split"] != "test"]
    held_out = [row for row in rows if row["split"] == "val"]
    return {row["id"]: row for row in held_out or rows}


def _thumbnail(run: Path, row: Mapping[str, str]) -> str:
    """Draw a frame with a run's mask of it; nothing where it cannot be read."""
    try:
        pixels: FrameArray = read_frame(row["path"])
        mask = run / "masks" / f"{row['id']}.png"
        if mask.is_file():
            return data_uri(overlay(pixels, read_mask_ids(mask)), long_side=_SIDE)
        scores = read_scores(run / "scores" / f"{row['id']}.png")
        mask_of_run = (scores >= _threshold_of(run)).astype(np.uint8)
        return data_uri(overlay(pixels, mask_of_run), long_side=_SIDE)
    except (WeaksegError, OSError) as error:
        log.warning("no picture of %s: %s", row["id"], error)
        return ""


def _threshold_of(run: Path) -> float:
    """Give the cut that a run chose; one half where it chose none."""
    path = run / THRESHOLD
    return float(read_json(path)["threshold"]) if path.is_file() else 0.5


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
