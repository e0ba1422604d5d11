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
from weakseg.checks import check_one_of
from weakseg.report.bars import Bars, lay_out
from weakseg.report.charts import Mark, Point, charts
from weakseg.report.pictures import (
    FALSE_ALARM_COLOUR,
    HIT_COLOUR,
    IGNORE_COLOUR,
    MISS_COLOUR,
    SMOKE_COLOUR,
    data_uri,
)
from weakseg.report.scatter import Scatter, lay_out_scatter
from weakseg.report.sorting import places

REPORT: Final = "report.html"
_TEMPLATE: Final = "page.html.j2"
_TINY, _LARGE = 0.001, 100

Cell: TypeAlias = float | int | str | None
Picture: TypeAlias = npt.NDArray[np.uint8]

_LEGEND: Final = {
    "mask": (
        ("smoke in a mask", SMOKE_COLOUR),
        ("ignored: too unsure to train on", IGNORE_COLOUR),
    ),
    "comparison": (
        ("compared with the truth: found", HIT_COLOUR),
        ("false alarm", FALSE_ALARM_COLOUR),
        ("missed", MISS_COLOUR),
    ),
}


@dataclass(frozen=True)
class Card:
    """A headline figure: what it is, its value, and one line that helps to judge it."""

    label: str
    value: Cell
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of figures; numbers are set to the right.

    Args:
        title: What it is of.
        columns: Names of its columns.
        rows: One cell a column.
        note: A line under the title.
        sortable: Whether readers can order its rows by any column.
        folded: Whether only its title shows until it is opened.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    sortable: bool = False
    folded: bool = False

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
class Plots:
    """Scatter plots under one heading, with a line on how to read them."""

    title: str
    plots: Sequence[Scatter]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What a page tells, in the order it tells it.

    Args:
        title: What was run.
        status: Lines under it: where the figures are from, how the threshold was chosen.
        facts: Name -> what to know before any figure is believed.
        links: Text -> address of a file beside the page, relative to it.
        cards: Headline figures.
        bars: Charts of named values, one below the other.
        plots: Groups of scatter plots.
        curves: "chart/series" -> points; series of one chart are drawn together.
        marks: "chart" -> a place on the x axis of one of these to be marked.
        panels: Best, median and worst frames.
        colours: Kinds of pictures whose colours are explained above them: "mask", "comparison".
            Heat maps are at any rate.
        false_alarms: Smoke-free frames on which smoke was seen; None leaves the part out.
        false_alarms_note: What these frames are.
        no_false_alarms: What is said if there are none.
        tables: All other figures.
        texts: Title -> text that is folded away.
        config: The resolved configuration as text, folded away.
    """

    title: str
    status: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    cards: Sequence[Card] = ()
    bars: Sequence[Bars] = ()
    plots: Sequence[Plots] = ()
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    panels: Sequence[PanelRow] = ()
    colours: Sequence[str] = tuple(_LEGEND)
    false_alarms: Sequence[PanelRow] | None = None
    false_alarms_note: str = "Frames without smoke on which smoke was seen, the largest first."
    no_false_alarms: str = "None: no smoke was seen on a frame without smoke."
    tables: Sequence[Table] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    config: str = ""

    def __post_init__(self) -> None:
        for kind in self.colours:
            check_one_of(_LEGEND, colours=kind)
        for text, address in self.links.items():
            if "//" in address or ":" in address or address.startswith("/"):
                raise ValueError(
                    f"the link {text!r} leads to {address}: pages link to files beside them only, "
                    "by relative paths"
                )


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
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "shown": shown,
        "is_number": _is_number,
        "data_uri": data_uri,
        "places": lambda table: places(table.rows),
    }
    sortable = [len(table.columns) for table in report.tables if table.sortable]
    return environment.get_template(_TEMPLATE).render(
        report=report,
        charts=charts(report.curves, report.marks),
        bar_charts=[lay_out(chart) for chart in report.bars],
        plot_groups=[
            (group.title, group.note, [lay_out_scatter(plot) for plot in group.plots])
            for group in report.plots
        ],
        most_columns=max(sortable, default=0),
        legend=[
            (text, f"rgb{colour}") for kind in report.colours for text, colour in _LEGEND[kind]
        ],
    )


def _read_template(name: str) -> str:
    return resources.files("weakseg.report").joinpath(name).read_text(encoding="utf-8")


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
        if 0 < abs(value) < _TINY:
            return f"{value:.1g}"
        return f"{value:.3f}" if abs(value) < _LARGE else f"{value:.4g}"
    return str(value)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float | np.number)
