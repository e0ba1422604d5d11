"""Write one page per run: no network, no scripts, readable on a phone and in the dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeAlias

import jinja2
import numpy as np
import numpy.typing as npt

from weakseg.artifacts import write_text
from weakseg.report.bars import Bars, lay_out
from weakseg.report.charts import Point, charts
from weakseg.report.pictures import (
    FALSE_ALARM_COLOUR,
    HIT_COLOUR,
    IGNORE_COLOUR,
    MISS_COLOUR,
    SMOKE_COLOUR,
    data_uri,
)

REPORT: Final = "report.html"
_TEMPLATE: Final = "page.html.j2"

Cell: TypeAlias = float | int | str | None
Picture: TypeAlias = npt.NDArray[np.uint8]

_LEGEND: Final = (
    ("smoke in a mask", SMOKE_COLOUR),
    ("ignored: too unsure to train on", IGNORE_COLOUR),
    ("compared with the truth: found", HIT_COLOUR),
    ("false alarm", FALSE_ALARM_COLOUR),
    ("missed", MISS_COLOUR),
)


@dataclass(frozen=True)
class Card:
    """A headline figure: what it is, its value, and one line that helps to judge it."""

    label: str
    value: Cell
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of figures; numbers are set to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r} has {len(self.columns)} columns, "
                    f"but a row of {len(row)} cells"
                )


@dataclass(frozen=True)
class PanelRow:
    """One frame's pictures side by side.

    Args:
        title: "best", "median", the frame's id.
        caption: Its figures in a line.
        images: (what it shows, (H, W, 3) or (H, W) uint8) from left to right.
    """

    title: str
    caption: str
    images: Sequence[tuple[str, Picture]]


@dataclass(frozen=True)
class Report:
    """What a page tells, in the order it tells it.

    Args:
        title: What was run.
        status: Lines under it: where the figures are from, how the threshold was chosen.
        cards: Headline figures.
        bars: Charts of named values, one below the other.
        curves: "chart/series" -> points; series of one chart are drawn together.
        panels: Best, median and worst frames.
        false_alarms: Smoke-free frames on which smoke was seen.
        tables: All other figures.
        config: The resolved configuration as text, folded away.
    """

    title: str
    status: Sequence[str] = ()
    cards: Sequence[Card] = ()
    bars: Sequence[Bars] = ()
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    panels: Sequence[PanelRow] = ()
    false_alarms: Sequence[PanelRow] | None = None
    tables: Sequence[Table] = ()
    config: str = ""


def write_report(run_dir: Path | str, report: Report, *, name: str = REPORT) -> Path:
    """Write the page into `run_dir` and return its path. Same report, same bytes.

    Raises:
        ArtifactError: If the disk refuses.
    """
    path = Path(run_dir) / name
    write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """Give the page as text."""
    source = resources.files("weakseg.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"shown": shown, "is_number": _is_number, "data_uri": data_uri}
    return environment.from_string(source).render(
        report=report,
        charts=charts(report.curves),
        bar_charts=[lay_out(chart) for chart in report.bars],
        legend=[(text, f"rgb{colour}") for text, colour in _LEGEND],
    )


def shown(value: Any) -> str:
    """Write a figure for people: at most four digits, a dash for what is unknown."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, float):
        return f"{value:.3f}" if 0.001 <= abs(value) < 100 or value == 0 else f"{value:.4g}"
    return str(value)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float | np.number)
