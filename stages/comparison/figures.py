"""Judge runs by the same draws of scenes: what each group reaches, and what tells two apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from weakseg.metrics import (
    FrameFigures,
    SceneDraws,
    drawn_figures,
    frame_sums,
    opacity_stratum,
    pooled_figures,
    ranked_answers,
    size_stratum,
)
from weakseg.stages.comparison.runs import Contestant, Group, frames_of

Numbers = npt.NDArray[np.float64]

HIGHER: Final = {
    "iou_per_image": "IoU per image",
    "iou_pooled": "IoU pooled",
    "miou": "mIoU",
    "boundary_iou": "boundary IoU",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "f_beta": "F-beta",
    "auroc": "AUROC of the frames",
    "average_precision": "AP of the frames",
    "temporal_iou": "IoU of consecutive masks",
}
"""Figures of which more is better, and what they are called."""
LOWER: Final = {
    "mae": "MAE",
    "false_alarm_share": "false alarms",
    "false_area_mean": "false area",
    "fpr_at_tpr95": "FPR at 95 % TPR",
    "ece": "ECE of the frames",
    "flicker": "flicker",
    "alarm_switches": "alarm switches",
}
"""Figures of which less is better."""
NAMES: Final[Mapping[str, str]] = HIGHER | LOWER


@dataclass(frozen=True)
class Judged:
    """A group by the draws.

    Args:
        group: Which.
        frames: Of each member, in one order for all groups.
        values: Figure -> (K,) of each member.
        drawn: Figure -> (K, D) of each member in each draw.
    """

    group: Group
    frames: Sequence[Sequence[FrameFigures]]
    values: Mapping[str, Numbers]
    drawn: Mapping[str, Numbers]


@dataclass(frozen=True)
class Difference:
    """How much of a figure another group has over the base.

    Args:
        figure: Its name.
        base: Mean over the base's members.
        other: Mean over the other's.
        value: The mean of the pairs' differences, other less base.
        low: Lower end of 95 % of the resamples; NaN if unknown.
        high: Upper end.
        pairs: Difference of each pair.
    """

    figure: str
    base: float
    other: float
    value: float
    low: float
    high: float
    pairs: Sequence[float]

    @property
    def is_told_apart(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0

    @property
    def is_better(self) -> bool:
        """Whether the other is on the better side, by however little."""
        return self.value < 0 if self.figure in LOWER else self.value > 0

    @property
    def verdict(self) -> str:
        """Better, worse, or unsure where the interval holds 0 or is not known."""
        if not self.is_told_apart:
            return "unsure"
        return "better" if self.is_better else "worse"


def judge(group: Group, ids: Sequence[str], drawn: SceneDraws) -> Judged:
    """Figure out what each member of a group reaches, in all frames and in every draw.

    Args:
        group: K members.
        ids: Frames, in the order that `drawn` was made for.
        drawn: D data sets.
    """
    frames = [[one.figures for one in frames_of(member, ids)] for member in group.members]
    values, draws = zip(*(_of_member(one, drawn) for one in frames), strict=True)
    keys = [key for key in NAMES if all(key in one for one in values)]
    return Judged(
        group,
        frames,
        {key: np.array([one[key] for one in values]) for key in keys},
        {key: np.stack([one[key] for one in draws]) for key in keys},
    )


def differences(
    base: Judged, other: Judged, drawn: SceneDraws, *, seed: int, level: float = 0.95
) -> list[Difference]:
    """Give the differences of all figures that both groups know, seed paired with seed.

    Each draw takes whole scenes with replacement, the same for both; with several seeds it takes
    pairs of seeds with replacement, too, so that the interval also covers how training fell out.

    Args:
        base: What is compared with.
        other: What is compared.
        drawn: The draws that both were judged by.
        seed: Of the draws of pairs.
        level: Share of the draws within an interval.
    """
    return [
        _difference(
            figure,
            (base.values[figure], other.values[figure]),
            (base.drawn[figure], other.drawn[figure]),
            drawn,
            seed=seed,
            level=level,
        )
        for figure in NAMES
        if figure in base.values and figure in other.values
    ]


def stratum_differences(
    base: Judged, other: Judged, drawn: SceneDraws, *, by: str, seed: int
) -> list[tuple[str, int, Difference]]:
    """Give the differences in IoU per image within each stratum of the frames with smoke.

    Args:
        base: What is compared with.
        other: What is compared.
        drawn: The draws that both were judged by.
        by: "size" or "opacity", which is the same for both, as the frames and masks are.
        seed: Of the draws of pairs.

    Returns:
        Name of the stratum, its frames, and the difference; strata without frames are left out.
    """
    names = np.array([_stratum(frame, by) for frame in base.frames[0]])
    found = []
    for name in ("small", "medium", "large") if by == "size" else ("faint", "medium", "dense"):
        members = names == name
        if members.any():
            there = members[:, None].astype(np.float64)
            sums = [[frame_sums(one) * there for one in side.frames] for side in (base, other)]
            gap = _difference(
                "iou_per_image",
                _pair([np.array([_iou(one.sum(0, keepdims=True))[0] for one in s]) for s in sums]),
                _pair([np.stack([_iou(drawn.sums(one)) for one in s]) for s in sums]),
                drawn,
                seed=seed,
            )
            found.append((name, int(members.sum()), gap))
    return found


def _difference(
    figure: str,
    values: tuple[Numbers, Numbers],
    draws: tuple[Numbers, Numbers],
    drawn: SceneDraws,
    *,
    seed: int,
    level: float = 0.95,
) -> Difference:
    """Pair the (K,) values and (K, D) draws of base and other."""
    pairs = values[1] - values[0]
    low, high = drawn.interval(_over_pairs(draws[1] - draws[0], seed), level=level)
    return Difference(
        figure=figure,
        base=float(np.mean(values[0])),
        other=float(np.mean(values[1])),
        value=float(np.mean(pairs)),
        low=low,
        high=high,
        pairs=pairs.tolist(),
    )


def _pair(sides: Sequence[Numbers]) -> tuple[Numbers, Numbers]:
    base, other = sides
    return base, other


def spread(values: Numbers) -> tuple[float, float]:
    """Give mean and sample standard deviation (n - 1); NaN for the latter of a single value."""
    known = values[np.isfinite(values)]
    mean = float(np.mean(known)) if len(known) else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def sentence(gap: Difference, base: str, other: str) -> str:
    """Say a difference in words, and whether these frames tell the two apart."""
    name = NAMES[gap.figure]
    start = f"{name}: {base} {gap.base:.3f}, {other} {gap.other:.3f}"
    if not any(gap.pairs):
        return f"{start}: the same."
    if not math.isfinite(gap.low):
        return f"{start}. The frames are of one scene: how sure that is cannot be said."
    span = f"{gap.low:+.3f} to {gap.high:+.3f}"
    if not gap.is_told_apart:
        return (
            f"{start}. The difference of {gap.value:+.3f} may be chance: 95 % of resamples give "
            f"{span}, and these frames do not tell which is better."
        )
    return (
        f"{start}. {other} is {gap.verdict} by {abs(gap.value):.3f}; 95 % of resamples give {span}."
    )


def _of_member(
    frames: Sequence[FrameFigures], drawn: SceneDraws
) -> tuple[dict[str, float], dict[str, Numbers]]:
    sums, answers = frame_sums(frames), ranked_answers(frames)
    values = {k: float(v[0]) for k, v in pooled_figures(sums.sum(0, keepdims=True)).items()}
    values |= answers.figures() if answers else {}
    known = {key: value for key, value in values.items() if math.isfinite(value)}
    return known, drawn_figures(drawn, sums, answers)


def _over_pairs(gaps: Numbers, seed: int) -> Numbers:
    """Average (K, D) over K pairs drawn with replacement, anew in each draw: (D,)."""
    count, draws = gaps.shape
    if count == 1:
        return gaps.reshape(draws)
    chosen = np.random.default_rng(seed).integers(count, size=(count, draws))
    return np.asarray(np.take_along_axis(gaps, chosen, axis=0).mean(axis=0), dtype=np.float64)


def _iou(sums: Numbers) -> Numbers:
    return pooled_figures(sums)["iou_per_image"]


def _stratum(frame: FrameFigures, by: str) -> str:
    if not frame.has_smoke:
        return ""
    return size_stratum(frame.smoke_share) if by == "size" else opacity_stratum(frame.opacity)


def seeds_of(members: Sequence[Contestant]) -> list[int | None]:
    """Give the seeds of a group's members."""
    return [member.seed for member in members]
