"""Tell a comparison on one page: what differs, how surely, and the frames that got worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray, Mask
from weakseg.data import Frame, read_frame
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.plans import ComparePlan
from weakseg.report import (
    Bar,
    Bars,
    Card,
    PanelRow,
    Report,
    Table,
    comparison,
    overlay,
    write_report,
)
from weakseg.stages.comparison.figures import NAMES, Difference, Judged, spread
from weakseg.stages.comparison.frames import (
    FrameGap,
    gains,
    new_alarms,
    regressions,
    scene_rows,
)
from weakseg.stages.comparison.pairs import Comparison
from weakseg.stages.comparison.runs import Contestant
from weakseg.stages.evaluation.measuring import truths
from weakseg.stages.products import open_product

PAGE: Final = "comparison.html"
_SHOWN: Final = ("iou_per_image", "boundary_iou", "false_alarm_share")
_NOTE: Final = (
    "Difference: other less base, paired frame by frame and seed by seed. Interval: 95 % of "
    "resamples in which whole scenes, and pairs of seeds where there are several, are drawn with "
    "replacement, the same for both. Unsure: 0 lies within."
)


def write_page(
    output: Path,
    judged: Sequence[Judged],
    compared: Sequence[Comparison],
    told: Mapping[str, Any],
    *,
    count: int,
    plan: ComparePlan,
) -> Path:
    """Write `comparison.html` into the comparison's folder."""
    names = [one.group.name for one in judged]
    seeds = len(judged[0].group.members)
    panels, alarms = _panels(judged, compared, count, plan)
    report = Report(
        title=_title(names),
        status=[
            f"{told['frames']} frames of {told['scenes']} scenes, evaluation {told['evaluation']}; "
            f"{seeds} {'run' if seeds == 1 else 'runs'} of each, {names[0]} is the base.",
            *(said for one in compared for said in one.sentences),
        ],
        cards=[card for one in compared for card in _cards(one)],
        bars=[
            Bars(
                NAMES[key],
                [Bar(one.group.name, *spread(one.values[key])) for one in judged],
                "The line over a bar's end is one standard deviation over seeds." * (seeds > 1),
            )
            for key in _SHOWN
            if all(key in one.values for one in judged)
        ],
        panels=panels,
        false_alarms=alarms if compared else None,
        tables=[
            _merged(judged),
            *(table for one in compared for table in _tables(one)),
            Table(
                "Runs",
                ["group", "seed", "folder"],
                [
                    [
                        one.group.name,
                        "" if member.seed is None else member.seed,
                        member.run.path.name,
                    ]
                    for one in judged
                    for member in one.group.members
                ],
            ),
        ],
    )
    return write_report(output, report, name=PAGE)


def _title(names: Sequence[str]) -> str:
    base, *others = names
    return f"{', '.join(others)} against {base}" if others else f"{base} over its seeds"


def _cards(one: Comparison) -> list[Card]:
    gaps = {gap.figure: gap for gap in one.figures}
    return [
        Card(
            f"{NAMES[key]}: {one.other.group.name} less {one.base.group.name}",
            f"{gaps[key].value:+.3f}",
            f"95 % of resamples: {gaps[key].low:+.3f} to {gaps[key].high:+.3f}",
        )
        for key in _SHOWN
        if key in gaps
    ]


def _merged(judged: Sequence[Judged]) -> Table:
    keys = [key for key in NAMES if any(key in one.values for one in judged)]
    columns = [f"{one.group.name} {part}" for one in judged for part in ("mean", "std")]
    rows: list[list[float | str]] = [
        [NAMES[key], *(cell for one in judged for cell in spread(_values(one, key)))]
        for key in keys
    ]
    note = "Sample standard deviation over seeds (n - 1)."
    return Table("All figures, over seeds", ["figure", *columns], rows, note)


def _values(judged: Judged, key: str) -> np.ndarray:
    return judged.values.get(key, np.array([], dtype=np.float64))


def _tables(one: Comparison) -> list[Table]:
    base, other = one.base.group.name, one.other.group.name
    columns = [base, other, "difference", "low", "high", "verdict"]
    tables = [
        Table(
            f"{other} against {base}",
            ["figure", *columns],
            [[NAMES[gap.figure], *_cells(gap)] for gap in one.figures],
            _NOTE,
        )
    ]
    for by, rows in one.strata.items():
        if rows:
            cells = [[name, count, *_cells(gap)] for name, count, gap in rows]
            title = f"IoU per image by {by} of the smoke: {other} against {base}"
            tables.append(Table(title, ["stratum", "frames", *columns], cells, _NOTE))
    scenes = scene_rows(one.base, one.other)
    head = ["scene", "frames with smoke", f"IoU {base}", f"IoU {other}", "difference"]
    head += ["smoke-free frames", f"false alarms {base}", f"false alarms {other}"]
    title = f"By scene, what lost most first: {other} against {base}"
    return [*tables, Table(title, head, [list(row.values()) for row in scenes])]


def _cells(gap: Difference) -> list[float | str | None]:
    return [gap.base, gap.other, gap.value, gap.low, gap.high, gap.verdict]


def _panels(
    judged: Sequence[Judged], compared: Sequence[Comparison], count: int, plan: ComparePlan
) -> tuple[list[PanelRow], list[PanelRow]]:
    """Show the worst regressions, gains and new false alarms of each comparison's first pair."""
    sides = {one.group.name: _side(one.group.members[0], plan) for one in judged}
    shown: list[PanelRow] = []
    alarms: list[PanelRow] = []
    for one in compared:
        pair = {name: sides[name] for name in (one.base.group.name, one.other.group.name)}
        shown += [_panel(gap, "worse", pair) for gap in regressions(one.frames, count)]
        shown += [_panel(gap, "better", pair) for gap in gains(one.frames, max(1, count // 2))]
        alarms += [_panel(gap, "more alarm", pair) for gap in new_alarms(one.frames, count)]
    return shown, alarms


@dataclass(frozen=True)
class _Side:
    """What a panel needs of a run: its frames by id, their truth, and the masks it found."""

    member: Contestant
    truth: Callable[[Frame, int, int], Mask]
    found: Callable[[Frame], Mask]

    def frame(self, id: str) -> Frame:
        one = self.member.measured.frames[id]
        told = one.figures
        return Frame(id, one.path, told.label, told.scene, split="", sequence=told.sequence)


def _side(member: Contestant, plan: ComparePlan) -> _Side:
    """Open a run's masks as they were measured."""
    product = open_product(member.run, plan.hardware, tile=member.measured.tile)

    def found(frame: Frame) -> Mask:
        if product.mask_of is not None:
            return np.where(product.mask_of(frame) == SMOKE, SMOKE, BACKGROUND).astype(np.uint8)
        scores, _ = product.scores_of(frame)
        return (scores >= member.measured.threshold).astype(np.uint8)

    return _Side(member, truths(member.measured.data), found)


def _panel(gap: FrameGap, title: str, pair: Mapping[str, _Side]) -> PanelRow:
    """Show a frame, its truth, and what each side found, missed or made up."""
    base, other = pair
    frame = pair[base].frame(gap.id)
    pixels = read_frame(frame.path)
    real = pair[base].truth(frame, *pixels.shape[:2])
    images: list[tuple[str, FrameArray]] = [("frame", pixels), ("truth", overlay(pixels, real))]
    images += [
        (name, comparison(pixels, side.found(side.frame(gap.id)), real))
        for name, side in pair.items()
    ]
    what = "IoU" if gap.has_smoke else "false area"
    caption = f"{what}: {base} {gap.base:.3f}, {other} {gap.other:.3f}"
    return PanelRow(f"{title}: {gap.id}", caption, images)
