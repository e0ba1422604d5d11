"""Lay out scatter plots and reliability diagrams as plain numbers, for inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from weakseg.report.charts import Point, Tick, ticks

WIDTH: Final = 440.0
HEIGHT: Final = 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 14.0, 12.0, 46.0
_LARGEST, _SMALLEST = 9.0, 2.5
_MANY: Final = 200
_TEXT_WIDTH, _TEXT_HEIGHT = 64.0, 8.0


@dataclass(frozen=True)
class Dot:
    """One point.

    Args:
        x: Where it lies, above 0 on a logarithmic axis.
        y: How high.
        text: What it says when pointed at.
        weight: Its share of the largest dot's radius, in [0, 1]; None draws all dots alike.
    """

    x: float
    y: float
    text: str = ""
    weight: float | None = None


@dataclass(frozen=True)
class Level:
    """The mean of the dots between two ends of the x axis.

    Args:
        start: Where it begins; NaN for the left end of the axis.
        stop: Where it ends; NaN for the right end.
        mean: Its height.
        low: Lower end of the mean's interval; NaN for none.
        high: Upper end of it.
        text: What stands above it.
    """

    start: float
    stop: float
    mean: float
    low: float = math.nan
    high: float = math.nan
    text: str = ""


@dataclass(frozen=True)
class Scatter:
    """A scatter plot; dots and levels that are not finite are left out.

    Args:
        title: What it shows.
        dots: Its points.
        x_label: What grows to the right.
        y_label: What grows upwards.
        levels: Means of parts of the x axis.
        note: A line under the title.
        x_range: Ends of the x axis; None takes those of the dots.
        y_range: Ends of the y axis.
        log_x: Whether the x axis is logarithmic.
        percent_x: Whether x is a share, told in percent.
        diagonal: Whether to draw the line on which y is x.
        joined: Whether a line joins the dots in their order.
    """

    title: str
    dots: Sequence[Dot]
    x_label: str
    y_label: str
    levels: Sequence[Level] = ()
    note: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] = (0.0, 1.0)
    log_x: bool = False
    percent_x: bool = False
    diagonal: bool = False
    joined: bool = False


@dataclass(frozen=True)
class PlacedDot:
    """A dot in SVG units."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True)
class PlacedLevel:
    """A level in SVG units: its line, and the box of its interval (`low` is below `high`)."""

    start: float
    stop: float
    y: float
    low: float
    high: float
    text: str
    text_at: Point


@dataclass(frozen=True)
class ScatterChart:
    """A scatter plot ready to draw."""

    title: str
    note: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    dots: Sequence[PlacedDot]
    levels: Sequence[PlacedLevel]
    path: str
    diagonal: tuple[Point, Point] | None
    is_crowded: bool
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


def lay_out_scatter(plot: Scatter) -> ScatterChart:
    """Place dots, levels and axes.

    Raises:
        ValueError: If a dot of a logarithmic axis lies at 0 or below.
    """
    kept = [dot for dot in plot.dots if math.isfinite(dot.x) and math.isfinite(dot.y)]
    if plot.log_x and any(dot.x <= 0 for dot in kept):
        raise ValueError(f"the x axis of {plot.title!r} is logarithmic: x must be above 0")
    x_low, x_high = _ends(plot, [dot.x for dot in kept])
    across = _scale((x_low, x_high), (_LEFT, WIDTH - _RIGHT), log=plot.log_x)
    up = _scale(plot.y_range, (HEIGHT - _BOTTOM, _TOP))
    dots = [PlacedDot(across(d.x), up(d.y), _radius(d.weight), d.text) for d in kept]
    low, high = max(x_low, plot.y_range[0]), min(x_high, plot.y_range[1])
    is_joined = plot.joined and len(dots) > 1
    return ScatterChart(
        title=plot.title,
        note=plot.note,
        x_label=plot.x_label,
        y_label=plot.y_label,
        x_ticks=[Tick(across(x), _said(x, plot)) for x in _x_ticks(plot, x_low, x_high)],
        y_ticks=[Tick(up(y), f"{y:g}") for y in ticks(*plot.y_range)],
        dots=dots,
        # By turns above and below its line, so that neighbours' texts do not meet.
        levels=[
            _place_level(level, across, up, above=place % 2 == 0)
            for place, level in enumerate(plot.levels)
            if math.isfinite(level.mean)
        ],
        path="M" + "L".join(f"{dot.x:g},{dot.y:g}" for dot in dots) if is_joined else "",
        diagonal=((across(low), up(low)), (across(high), up(high))) if plot.diagonal else None,
        is_crowded=len(dots) > _MANY,
    )


def _ends(plot: Scatter, xs: Sequence[float]) -> tuple[float, float]:
    """Give the ends of the x axis, with room beside the outermost dots."""
    if plot.x_range is not None:
        return plot.x_range
    bounds = [end for level in plot.levels for end in (level.start, level.stop)]
    known = [*xs, *(bound for bound in bounds if math.isfinite(bound))]
    if not known:
        return (0.001, 1.0) if plot.log_x else (0.0, 1.0)
    low, high = min(known), max(known)
    if plot.log_x:
        return low / 1.5, high * 1.5
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    # Room beside a share of 0 would show shares below it.
    return (low - room if low < 0 else max(0.0, low - room)), high + room


def _scale(
    ends: tuple[float, float], places: tuple[float, float], *, log: bool = False
) -> Callable[[float], float]:
    """Give what turns a value into SVG units; values beyond the ends stay at them."""
    low, high = (math.log(end) for end in ends) if log else ends

    def place(value: float) -> float:
        share = ((math.log(value) if log else value) - low) / (high - low)
        return round(places[0] + min(max(share, 0.0), 1.0) * (places[1] - places[0]), 2)

    return place


def _x_ticks(plot: Scatter, low: float, high: float) -> list[float]:
    if not plot.log_x:
        return [x for x in ticks(low, high) if low <= x <= high]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [round(m * 10.0**d, 12) for d in decades for m in (1, 2, 5)]
    inside = [x for x in fine if low <= x <= high]
    few = 7
    return inside if len(inside) <= few else [x for x in (10.0**d for d in decades) if x in inside]


def _said(x: float, plot: Scatter) -> str:
    return f"{100 * x:g} %" if plot.percent_x else f"{x:g}"


def _radius(weight: float | None) -> float:
    if weight is None:
        return _SMALLEST
    return round(_SMALLEST + min(max(weight, 0.0), 1.0) * (_LARGEST - _SMALLEST), 2)


def _place_level(
    level: Level, across: Callable[[float], float], up: Callable[[float], float], *, above: bool
) -> PlacedLevel:
    start = across(level.start) if math.isfinite(level.start) else _LEFT
    stop = across(level.stop) if math.isfinite(level.stop) else WIDTH - _RIGHT
    y = up(level.mean)
    has_span = math.isfinite(level.low) and math.isfinite(level.high)
    low, high = (up(level.low), up(level.high)) if has_span else (y, y)
    fits_above, fits_below = y - 6 > _TOP + _TEXT_HEIGHT, y + 15 < HEIGHT - _BOTTOM
    text_y = y - 6 if (above and fits_above) or not fits_below else y + 15
    room = _TEXT_WIDTH / 2
    middle = min(max((start + stop) / 2, _LEFT + room), WIDTH - _RIGHT - room)
    return PlacedLevel(start, stop, y, low, high, level.text, (round(middle, 2), text_y))
