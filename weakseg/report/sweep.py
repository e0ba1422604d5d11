"""Draw the page of a sweep: one HTML file with its data, styles and scripts inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(frozen=True)
class SweepData:
    """What the page of a sweep shows.

    Args:
        title: Of the page.
        status: Lines under it; the first is the verdict.
        metric: Name of what the sweep looks for; empty if it looks for nothing.
        sign: 1 if more of it is better, -1 if less is.
        groups: Of points that differ in their seed alone: name, parameters, points, mean, spread,
            half_width, seeds.
        by_setting: What is best of each setting, a sentence each.
        importance: Parameter -> share of the metric's variance that it explains, in [0, 1]; None
            where there are too few points to say.
        points: Number, name, parameters, status, seconds, metric, figures, run, command, why.
        curves: Key -> number of a point -> (epoch, value).
        pictures: `frames` (id, label, picture) and `of` (number of a point -> a picture a frame),
            pictures as data addresses.
    """

    title: str
    status: Sequence[str]
    metric: str
    sign: float
    groups: Sequence[Mapping[str, Any]]
    importance: Mapping[str, float | None]
    points: Sequence[Mapping[str, Any]]
    by_setting: Sequence[str] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)


def sweep_page(data: SweepData) -> str:
    """Give the page's HTML; nothing in it leads to another host."""
    environment = Environment(
        loader=PackageLoader("weakseg", "report"), autoescape=True, undefined=StrictUndefined
    )
    # Within a script element, only a closing tag could end it.
    text = json.dumps(asdict(data), allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("sweep.html.j2").render(data=data, json=text)
