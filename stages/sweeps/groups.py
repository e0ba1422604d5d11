"""Compare the points of a sweep: seeds merged, the best and the next, what each setting moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from weakseg.stages.sweeps.ledger import FINISHED, Point

LEVEL: Final = 0.95
_BINS: Final = 4
# Quantiles of Student's t at 97.5 %, for 1 to 10 degrees of freedom; beyond, by a series from the
# normal's (Abramowitz and Stegun, 26.7.5).
_T: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
_NORMAL, _FIRST, _SECOND = 1.95996, 2.37227, 2.82250


@dataclass(frozen=True)
class Group:
    """Points that differ in their seed alone.

    Args:
        parameters: What they have in common: name -> value.
        points: Their numbers.
        values: Seed -> the metric, of the finished ones; without a seed among the parameters, all
            count as one.
    """

    parameters: Mapping[str, Any]
    points: tuple[int, ...]
    values: Mapping[str, float]

    @property
    def name(self) -> str:
        """The settings as they are typed."""
        return " ".join(f"{key}={value}" for key, value in self.parameters.items()) or "all points"

    @property
    def mean(self) -> float:
        """Of the metric; NaN if no point is finished."""
        return float(np.mean(list(self.values.values()))) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN below two."""
        return deviation(list(self.values.values()))

    @property
    def half_width(self) -> float:
        """Of the 95 % interval of the mean, by Student's t; NaN below two seeds."""
        return half_width(list(self.values.values()))


@dataclass(frozen=True)
class Verdict:
    """How the best group stands against the next.

    Args:
        best: The group with the best mean.
        other: The one after it; None if there is none.
        difference: Mean of the best less that of the other, seed by seed where both have them.
        half_width: Of the 95 % interval of that difference; NaN below two seeds.
        is_paired: Whether seeds were compared one by one.
        sign: 1 if more is better, -1 if less is.
    """

    best: Group
    other: Group | None
    difference: float
    half_width: float
    is_paired: bool
    sign: float = 1.0

    @property
    def is_clear(self) -> bool:
        """Whether the best is better by more than what seeds alone make."""
        return math.isfinite(self.half_width) and self.sign * self.difference > self.half_width

    @property
    def is_contradicted(self) -> bool:
        """Whether the other is better on the seeds that both have: some seeds are missing."""
        return self.is_paired and self.sign * self.difference < 0


def is_seed(parameter: str) -> bool:
    """Say whether a parameter is a seed: `seed`, or a dotted name that ends in it."""
    return parameter.rpartition(".")[2] == "seed"


def group_points(points: Sequence[Point]) -> list[Group]:
    """Merge points that differ in their seed alone, in the order in which they appear."""
    found: dict[tuple[tuple[str, str], ...], list[Point]] = {}
    for point in points:
        kept = {key: value for key, value in point.parameters.items() if not is_seed(key)}
        found.setdefault(tuple((key, str(value)) for key, value in kept.items()), []).append(point)
    groups = []
    for own in found.values():
        kept = {key: value for key, value in own[0].parameters.items() if not is_seed(key)}
        values = {
            _seed_of(point): point.metric
            for point in own
            if point.status == FINISHED and point.metric is not None
        }
        groups.append(Group(kept, tuple(point.number for point in own), values))
    return groups


def merged_by(points: Sequence[Point], setting: str) -> list[Group]:
    """Merge points that share a setting's value, everything else being equal.

    What the other settings and seeds make is averaged by seed, over those of their combinations
    that every value of the setting has a finished point for: no value gains by easier company.

    Args:
        points: Of a sweep.
        setting: Name of a parameter.

    Returns:
        A group a value; none where no combination is complete.
    """
    known = [
        one
        for one in points
        if one.status == FINISHED and one.metric is not None and setting in one.parameters
    ]
    values = {str(one.parameters[setting]): one.parameters[setting] for one in known}
    company: dict[tuple[str, ...], dict[str, Point]] = {}
    for one in known:
        others = [f"{key}={value}" for key, value in one.parameters.items() if key != setting]
        company.setdefault(tuple(sorted(others)), {})[str(one.parameters[setting])] = one
    complete = [row for row in company.values() if len(row) == len(values)]
    groups = []
    for text, value in values.items() if complete else ():
        by_seed: dict[str, list[float]] = {}
        for row in complete:
            by_seed.setdefault(_seed_of(row[text]), []).append(float(row[text].metric or 0.0))
        means = {seed: float(np.mean(own)) for seed, own in by_seed.items()}
        groups.append(Group({setting: value}, tuple(r[text].number for r in complete), means))
    return groups


def judge(groups: Sequence[Group], sign: float) -> Verdict | None:
    """Set the best group against the next; None before anything is finished.

    Args:
        groups: Any number.
        sign: 1 if more is better, -1 if less is.
    """
    known = sorted((one for one in groups if one.values), key=lambda one: -sign * one.mean)
    if not known:
        return None
    best = known[0]
    if len(known) == 1:
        return Verdict(best, None, math.nan, math.nan, is_paired=False, sign=sign)
    other = known[1]
    shared = [seed for seed in best.values if seed in other.values]
    if len(shared) >= 2:
        pairs = [best.values[seed] - other.values[seed] for seed in shared]
        difference = float(np.mean(pairs))
        return Verdict(best, other, difference, half_width(pairs), is_paired=True, sign=sign)
    both = math.hypot(best.half_width, other.half_width)
    return Verdict(best, other, best.mean - other.mean, both, is_paired=False, sign=sign)


def importance(points: Sequence[Point]) -> dict[str, float | None]:
    """Give for each parameter the share of the metric's variance that it alone explains, in [0, 1].

    This is epsilon squared of a one-way analysis of variance (Kelley, 1935): 0 is what chance would
    explain, so that a setting with many values gains nothing by that. Numbers with more than four
    values are cut into four bins of equal count. What settings only do together is not seen. None
    where there are no more points than values: nobody can say.

    Args:
        points: Of those, the finished ones count.
    """
    known = [one for one in points if one.status == FINISHED and one.metric is not None]
    metric = np.array([one.metric for one in known], dtype=np.float64)
    names = dict.fromkeys(key for one in known for key in one.parameters)
    found: dict[str, float | None] = {}
    for name in names:
        levels = _levels([one.parameters.get(name) for one in known])
        is_known = len(known) > len(set(levels))
        found[name] = epsilon_squared(metric, levels) if is_known else None
    return dict(sorted(found.items(), key=lambda item: -(item[1] if item[1] is not None else -1)))


def epsilon_squared(values: np.ndarray, levels: Sequence[int]) -> float:
    """Give the share of variance between levels, corrected for chance, in [0, 1]."""
    count, kinds = len(values), sorted(set(levels))
    total = float(((values - values.mean()) ** 2).sum()) if count else 0.0
    if len(kinds) < 2 or count <= len(kinds) or total == 0:
        return 0.0
    chosen = np.array(levels)
    within = sum(
        float(((values[chosen == kind] - values[chosen == kind].mean()) ** 2).sum())
        for kind in kinds
    )
    noise = within / (count - len(kinds))
    return max(0.0, min(1.0, (total - within - (len(kinds) - 1) * noise) / total))


def deviation(values: Sequence[float]) -> float:
    """Give the standard deviation of a sample; NaN below two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def half_width(values: Sequence[float]) -> float:
    """Give half the 95 % interval of a mean, by Student's t; NaN below two values."""
    if len(values) < 2:
        return math.nan
    freedom = len(values) - 1
    series = _NORMAL + _FIRST / freedom + _SECOND / freedom**2
    quantile = _T[freedom - 1] if freedom <= len(_T) else series
    return quantile * deviation(values) / math.sqrt(len(values))


def _levels(values: Sequence[Any]) -> list[int]:
    """Number the kinds of values; many different numbers are cut into bins."""
    kinds = list(dict.fromkeys(map(str, values)))
    is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    if is_number and len(kinds) > _BINS:
        numbers = np.array(values, dtype=np.float64)
        ends = np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1])
        return [int(one) for one in np.searchsorted(ends, numbers, side="right")]
    return [kinds.index(str(one)) for one in values]


def _seed_of(point: Point) -> str:
    """Name the seeds that the sweep sets, whatever their order; all alike where it sets none."""
    seeds = sorted((key, str(value)) for key, value in point.parameters.items() if is_seed(key))
    return "+".join(value for _, value in seeds)
