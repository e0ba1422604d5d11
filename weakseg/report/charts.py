"""Lay out line charts as plain numbers; the page's template turns them into inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]

WIDTH: Final = 440.0
HEIGHT: Final = 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 14.0, 12.0, 28.0


@dataclass(frozen=True)
class Tick:
    """A grid line: where, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A place on a chart's x axis worth pointing at, such as the epoch that was kept."""

    x: float
    text: str


@dataclass(frozen=True)
class Series:
    """One line: its path in SVG units, its last point, and what that point says."""

    name: str
    path: str
    end: Point
    last: str
    is_dot: bool


@dataclass(frozen=True)
class Chart:
    """A chart ready to draw."""

    title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    series: Sequence[Series]
    mark: Tick | None = None
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


def charts(
    curves: Mapping[str, Sequence[Point]], marks: Mapping[str, Mark] | None = None
) -> list[Chart]:
    """Group curves by the part of their name before "/": "loss/train" and "loss/val" share one.

    Points that are not finite are left out, and so are curves without any.

    Args:
        curves: Name -> points.
        marks: The part before "/" -> what is marked; beyond the ends of the curves nothing is.
    """
    grouped: dict[str, dict[str, list[Point]]] = {}
    for name, points in curves.items():
        title, _, series = name.partition("/")
        kept = [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        if kept:
            grouped.setdefault(title, {})[series or title] = kept
    told = marks or {}
    return [_chart(title, series, told.get(title)) for title, series in grouped.items()]


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Choose round numbers that cover [low, high], about `count` of them."""
    if not high > low:
        high, low = low + max(abs(low), 1.0) * 0.5, low - max(abs(low), 1.0) * 0.5
    rough = (high - low) / max(count - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _chart(title: str, series: Mapping[str, Sequence[Point]], mark: Mark | None) -> Chart:
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_marks, y_marks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    # The line fills the width; only the height is rounded up to the marks.
    x_low, x_high = (min(xs), max(xs)) if max(xs) > min(xs) else (x_marks[0], x_marks[-1])
    y_low, y_high = y_marks[0], y_marks[-1]

    def place(point: Point) -> Point:
        across = (point[0] - x_low) / (x_high - x_low)
        up = (point[1] - y_low) / (y_high - y_low)
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 2),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 2),
        )

    is_inside = mark is not None and x_low <= mark.x <= x_high
    return Chart(
        title=title,
        mark=Tick(place((mark.x, y_low))[0], mark.text) if mark and is_inside else None,
        x_ticks=[Tick(place((x, y_low))[0], f"{x:g}") for x in x_marks if x_low <= x <= x_high],
        y_ticks=[Tick(place((x_low, y))[1], f"{y:g}") for y in y_marks],
        series=[_series(name, list(map(place, points)), points) for name, points in series.items()],
    )


def _series(name: str, placed: Sequence[Point], points: Sequence[Point]) -> Series:
    path = "M" + "L".join(f"{x:g},{y:g}" for x, y in placed)
    return Series(name, path, placed[-1], f"{points[-1][1]:.4g}", len(placed) == 1)
