"""Keep every figure with its spread, and show them: tables for people, JSON for programs."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

FORMAT = 1
PACKAGES = ("weakseg", "pydensecrf2", "numpy", "torch", "opencv-python-headless")


@dataclass(frozen=True)
class Figure:
    """One figure: what of which contender, where, and every run of it."""

    contender: str
    quantity: str
    where: dict[str, Any]
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure itself."""
        return median(self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, four digits a number."""
        return {
            "contender": self.contender,
            "quantity": self.quantity,
            **self.where,
            "median": _digits(self.median),
            "min": _digits(min(self.runs)),
            "max": _digits(max(self.runs)),
            "runs": [_digits(run) for run in self.runs],
        }


@dataclass
class Figures:
    """All figures of one run of the benchmark."""

    all: list[Figure] = field(default_factory=list)

    def add(self, contender: str, quantity: str, runs: Iterable[float], **where: Any) -> None:
        """Keep a figure; one without runs is left out."""
        kept = tuple(runs)
        if kept:
            self.all.append(Figure(contender, quantity, where, kept))

    def find(self, contender: str, quantity: str, **where: Any) -> Figure | None:
        """Return the first figure of that name whose place agrees with `where`."""
        for figure in self.all:
            if (figure.contender, figure.quantity) == (contender, quantity) and all(
                figure.where.get(key) == value for key, value in where.items()
            ):
                return figure
        return None

    def show(self, contender: str, quantity: str, form: str = "{:.1f}", **where: Any) -> str:
        """Return a figure's median for a table, "-" where there is none."""
        figure = self.find(contender, quantity, **where)
        return "-" if figure is None else form.format(figure.median)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table with columns of even width; first column left, others right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]

    def line(cells: Sequence[str]) -> str:
        first, *rest = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if column == 0 else "-" * (width + 1) + ":"
        for column, width in enumerate(widths)
    )
    return "\n".join([title, "", line(head), rule + "|", *(line(row) for row in rows), ""])


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_at_start": [_digits(load) for load in os.getloadavg()],
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def list_versions() -> dict[str, str]:
    """Return the version of every package that matters and is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_json(path: Path, content: dict[str, Any], figures: Figures) -> None:
    """Write `content` (machine, versions, settings, targets) and all figures, one a line."""
    parts = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    lines = ",\n".join(f"    {json.dumps(figure.as_dict())}" for figure in figures.all)
    body = ",\n".join([f'  "format": {FORMAT}', *parts, f'  "figures": [\n{lines}\n  ]'])
    path.write_text(f"{{\n{body}\n}}\n", encoding="utf-8")


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
