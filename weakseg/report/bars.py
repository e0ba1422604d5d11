"""Lay out bar charts with spread as plain numbers; the page's template turns them into SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from weakseg.report.charts import Tick, ticks

WIDTH: Final = 760.0
_LEFT, _RIGHT, _TOP, _BOTTOM, _STEP, _THICK = 230.0, 70.0, 8.0, 28.0, 22.0, 14.0


@dataclass(frozen=True)
class Bar:
    """A named value.

    Args:
        name: What it is of.
        value: Its length, at least 0.
        spread: Half the length of the line laid over its end; NaN or 0 for none.
        series: Bars of one series share a colour.
    """

    name: str
    value: float
    spread: float = math.nan
    series: int = 0


@dataclass(frozen=True)
class Bars:
    """A chart of named values, from top to bottom; those that are not finite are left out."""

    title: str
    bars: Sequence[Bar]
    note: str = ""


@dataclass(frozen=True)
class PlacedBar:
    """A bar in SVG units; `low` and `high` are the ends of its spread, equal for none."""

    name: str
    text: str
    y: float
    end: float
    low: float
    high: float
    series: int


@dataclass(frozen=True)
class BarChart:
    """A chart ready to draw."""

    title: str
    note: str
    bars: Sequence[PlacedBar]
    x_ticks: Sequence[Tick]
    height: float
    width: float = WIDTH
    left: float = _LEFT
    thick: float = _THICK
    bottom: float = _BOTTOM


def lay_out(chart: Bars) -> BarChart:
    """Place the bars on one scale that starts at 0.

    Raises:
        ValueError: If a value is negative.
    """
    kept = [bar for bar in chart.bars if math.isfinite(bar.value)]
    if any(bar.value < 0 for bar in kept):
        raise ValueError(f"bars of {chart.title!r} start at 0: a value must be at least 0")
    spreads = [bar.spread if math.isfinite(bar.spread) else 0.0 for bar in kept]
    longest = max((bar.value + s for bar, s in zip(kept, spreads, strict=True)), default=1.0)
    marks = ticks(0.0, longest or 1.0)
    scale = (WIDTH - _LEFT - _RIGHT) / marks[-1]

    def across(value: float) -> float:
        return round(_LEFT + scale * max(value, 0.0), 2)

    placed = [
        PlacedBar(
            bar.name,
            f"{bar.value:.3f}" + (f" ± {spread:.3f}" if spread else ""),
            _TOP + index * _STEP,
            across(bar.value),
            across(bar.value - spread),
            across(bar.value + spread),
            bar.series,
        )
        for index, (bar, spread) in enumerate(zip(kept, spreads, strict=True))
    ]
    height = _TOP + _STEP * len(placed) + _BOTTOM
    return BarChart(
        chart.title, chart.note, placed, [Tick(across(mark), f"{mark:g}") for mark in marks], height
    )
