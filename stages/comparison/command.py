"""Compare finished runs on the same frames: differences with intervals, and what got worse."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import plain, write_json
from weakseg.checks import check_at_least
from weakseg.metrics import SceneDraws
from weakseg.plans import ComparePlan
from weakseg.stages.comparison.figures import NAMES, Difference, Judged, judge, seeds_of, spread
from weakseg.stages.comparison.frames import scene_rows
from weakseg.stages.comparison.page import write_page
from weakseg.stages.comparison.pairs import Comparison, compare
from weakseg.stages.comparison.runs import folder_name, gather, name_groups

log = logging.getLogger(__name__)

FIGURES: Final = "comparison.json"


def run(plan: ComparePlan, config: Mapping[str, Any]) -> Path:
    """Compare the runs of `plan`; write `comparison.json` and `comparison.html`."""
    check_at_least(1, resamples=plan.resamples)
    named = name_groups(plan)
    evaluation, groups = gather(plan, named)
    first = groups[0].members[0].measured.frames
    ids = list(first)
    drawn = SceneDraws(
        [first[id].figures.scene for id in ids], draws=plan.resamples, seed=plan.seed
    )
    judged = [judge(group, ids, drawn) for group in groups]
    compared = [compare(judged[0], other, drawn, seed=plan.seed) for other in judged[1:]]
    output = Path(plan.output or Path("runs") / "comparison" / folder_name(list(named)))
    told = {
        "evaluation": evaluation,
        "frames": len(ids),
        "scenes": drawn.scene_count,
        "resamples": plan.resamples,
        "groups": {one.group.name: group_json(one, drawn) for one in judged},
        "comparisons": [comparison_json(one) for one in compared],
    }
    write_json(output / FIGURES, plain(told))
    page = write_page(output, judged, compared, told, count=plan.report_frames, plan=plan)
    for line in lines_of(judged, compared):
        log.info("%s", line)
    for one in compared:
        for said in one.sentences:
            log.info("%s", said)
    log.info("figures: %s; report: %s", output / FIGURES, page)
    return output / FIGURES


def group_json(judged: Judged, drawn: SceneDraws) -> dict[str, Any]:
    """Give what a group reaches: mean, spread over its seeds, interval over scenes."""
    figures = {}
    for name, values in judged.values.items():
        mean, std = spread(values)
        low, high = drawn.interval(judged.drawn[name].mean(axis=0))
        figures[name] = {"mean": mean, "std": std, "low": low, "high": high, "values": [*values]}
    members = judged.group.members
    return {
        "runs": [str(one.run.path) for one in members],
        "fingerprints": [one.run.fingerprint for one in members],
        "seeds": seeds_of(members),
        "figures": figures,
    }


def comparison_json(one: Comparison) -> dict[str, Any]:
    """Give a comparison ready for JSON."""
    return {
        "base": one.base.group.name,
        "other": one.other.group.name,
        "figures": [_difference_json(gap) for gap in one.figures],
        "by_size": [_stratum_json(*row) for row in one.strata["size"]],
        "by_opacity": [_stratum_json(*row) for row in one.strata["opacity"]],
        "by_scene": scene_rows(one.base, one.other),
        "sentences": one.sentences,
        "frames": [gap.as_json() for gap in one.frames],
    }


def lines_of(judged: Sequence[Judged], compared: Sequence[Comparison]) -> list[str]:
    """Say all figures in lines of equal width, a heading first: a row a figure."""
    gaps = [{gap.figure: gap for gap in one.figures} for one in compared]
    head = ["", *(one.group.name for one in judged)]
    head += [f"{one.other.group.name} - {one.base.group.name}" for one in compared]
    rows = [head]
    for key, label in NAMES.items():
        if any(key in one.values for one in judged):
            cells = [_mean_cell(one, key) for one in judged]
            rows.append([label, *cells, *(_gap_cell(each.get(key)) for each in gaps)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return [
        "  ".join(
            f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _mean_cell(judged: Judged, key: str) -> str:
    if key not in judged.values:
        return "-"
    mean, std = spread(judged.values[key])
    return f"{mean:.3f} ± {std:.3f}" if len(judged.values[key]) > 1 else f"{mean:.3f}"


def _gap_cell(gap: Difference | None) -> str:
    if gap is None:
        return "-"
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] {gap.verdict:<6}"


def _difference_json(gap: Difference) -> dict[str, Any]:
    return {
        "figure": gap.figure,
        "base": gap.base,
        "other": gap.other,
        "difference": gap.value,
        "low": gap.low,
        "high": gap.high,
        "pairs": [*gap.pairs],
        "verdict": gap.verdict,
    }


def _stratum_json(stratum: str, frames: int, gap: Difference) -> dict[str, Any]:
    return {"stratum": stratum, "frames": frames, **_difference_json(gap)}
