"""Say in words which settings are best, and whether by more than seeds make."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weakseg.stages.sweeps.file import Metric
from weakseg.stages.sweeps.groups import Verdict, is_seed, judge, merged_by
from weakseg.stages.sweeps.ledger import Point


def words_of(verdict: Verdict | None, metric: Metric | None) -> str:
    """Say which settings are best, and whether by more than seeds make."""
    if metric is None:
        return "The sweep file names no metric, so no point is better than another here."
    if verdict is None:
        return f"No finished point has the metric {metric.name} yet."
    best = verdict.best
    spread = f" ± {best.spread:.4f} (standard deviation)" if math.isfinite(best.spread) else ""
    seeds = f"{len(best.values)} seed{'s' if len(best.values) != 1 else ''}"
    told = f"Best {metric.name}: {best.name}, {best.mean:.4f}{spread} over {seeds}."
    if verdict.other is None:
        return told
    size = abs(verdict.difference)
    told += f" It is {size:.4f} {'above' if verdict.difference > 0 else 'below'} the next, "
    return f"{told}{verdict.other.name} ({verdict.other.mean:.4f}): {_weighed(verdict)}"


def words_by_setting(points: Sequence[Point], metric: Metric | None) -> list[str]:
    """Say of each setting which of its values is best on average, everything else being equal.

    With a single setting the verdict on the whole sweep has said it all.
    """
    names = dict.fromkeys(name for point in points for name in point.parameters)
    settings = [name for name in names if not is_seed(name)]
    if metric is None or len(settings) < 2:
        return []
    told = []
    for setting in settings:
        verdict = judge(merged_by(points, setting), metric.sign)
        if verdict is None or verdict.other is None:
            continue
        best, other, size = verdict.best, verdict.other, abs(verdict.difference)
        told.append(
            f"{best.name} ({best.mean:.4f} on average) is {size:.4f} "
            f"{'above' if verdict.difference > 0 else 'below'} {other.name} ({other.mean:.4f}): "
            f"{_weighed(verdict)}"
        )
    return told


def _weighed(verdict: Verdict) -> str:
    """Say whether the difference is more than what seeds make."""
    if not math.isfinite(verdict.half_width):
        return "with one seed, nobody knows whether that is more than chance; run three."
    if verdict.is_contradicted:
        return "on the seeds that both have the other is better, so wait for the missing ones."
    how = "seed by seed" if verdict.is_paired else "seeds of their own"
    interval = f"95 % interval of the difference ± {verdict.half_width:.4f}, {how}"
    if verdict.is_clear:
        return f"more than seeds alone make ({interval})."
    if verdict.other is not None and min(map(len, (verdict.best.values, verdict.other.values))) < 3:
        return f"two seeds are too few to say whether that is chance ({interval}); run three."
    return f"no more than seeds alone could make ({interval}), so take the simpler one."
