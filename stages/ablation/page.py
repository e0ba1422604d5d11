"""Tell an ablation on one page: the table, bars with their spread, and pictures of every row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from weakseg.arrays import FrameArray
from weakseg.artifacts import read_mask_ids
from weakseg.data import Frame, read_frame
from weakseg.labels import SMOKE
from weakseg.report import Bar, Bars, Card, PanelRow, Report, Table, overlay, write_report
from weakseg.stages.ablation.results import Line, Result, lines_of
from weakseg.stages.ablation.study import GROUPS, Unit
from weakseg.stages.ablation.table import (
    LEGEND,
    RULES_LEGEND,
    by_group,
    rules_table,
    short_table,
    status_lines,
)
from weakseg.stages.ablation.unit_commands import Kitchen
from weakseg.stages.evaluation.measuring import truths

PAGE: Final = "ablation.html"
_CHARTS: Final = (
    ("val/iou_per_image", "IoU per image on val, mask-free threshold"),
    ("train/iou_per_image", "IoU per image on training frames, mask-free threshold"),
    ("val/false_alarm_share", "False alarms on val"),
)


def write_page(
    kitchen: Kitchen,
    results: Sequence[Result],
    *,
    title: str,
    pictures: int,
    failed: Mapping[Unit, str],
    stale: Sequence[Unit] = (),
) -> Path:
    """Write `ablation.html` into the ablation's folder."""
    lines = lines_of(kitchen, results)
    report = Report(
        title=title,
        status=[*status_lines(kitchen, results, failed, stale), LEGEND],
        cards=_cards(lines),
        bars=[_bars(name, key, lines) for key, name in _CHARTS if _is_known(key, lines)],
        panels=_panels(kitchen, results, pictures),
        tables=[
            *(Table(g.capitalize(), *short_table(own)) for g, own in by_group(lines).items()),
            *_rules(lines),
        ],
        config="\n\n".join("\n".join(result.commands) for result in results),
    )
    return write_report(kitchen.output, report, name=PAGE)


def choose_pictures(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Choose frames of val by a hash of their ids, so that no score has a say: two thirds smoke."""
    ordered = sorted(frames, key=lambda frame: hashlib.sha256(frame.id.encode()).hexdigest())
    val = [frame for frame in ordered if frame.split == "val"]
    smoke = [frame for frame in val if frame.label == SMOKE]
    clear = [frame for frame in val if frame.label != SMOKE]
    few = count // 3
    return [*smoke[: count - few], *clear[:few]]


def _cards(lines: Sequence[Line]) -> list[Card]:
    """Name the best row of each group: by val, which is therefore no longer unseen."""
    cards = []
    for group, own in by_group(lines).items():
        known = [line for line in own if _is_known("val/iou_per_image", [line])]
        if known:
            best = max(known, key=lambda line: line.mean("val/iou_per_image"))
            note = f"IoU on val of {best.row}, chosen by the masks of val: optimistic"
            cards.append(Card(group, best.mean("val/iou_per_image"), note))
    return cards


def _bars(name: str, key: str, lines: Sequence[Line]) -> Bars:
    ordered = [line for own in by_group(lines).values() for line in own]
    note = "A colour is a group; the line over a bar's end is one standard deviation each way."
    bars = [
        Bar(line.row, line.figures[key].mean, line.figures[key].std, GROUPS.index(line.group))
        for line in ordered
        if key in line.figures
    ]
    return Bars(name, bars, note)


def _is_known(key: str, lines: Sequence[Line]) -> bool:
    return any(key in line.figures and line.figures[key].count for line in lines)


def _rules(lines: Sequence[Line]) -> list[Table]:
    columns, rows = rules_table(lines)
    return [Table("By rule for the threshold", columns, rows, RULES_LEGEND)] if rows else []


def _panels(kitchen: Kitchen, results: Sequence[Result], count: int) -> list[PanelRow]:
    """Show frame, truth and every row's pseudo-mask, of the first seed that is finished."""
    source = kitchen.frames.source(with_masks=True)
    truth = truths(source.settings())
    first = {result.unit.row: result.unit for result in reversed(results)}
    panels = []
    for frame in choose_pictures(source.frames(), count):
        pixels = read_frame(frame.path)
        real = truth(frame, *pixels.shape[:2])
        images = [("frame", pixels), ("truth", overlay(pixels, real))]
        images += [
            (name, drawn)
            for name in kitchen.study.rows
            if name in first and (drawn := _drawn(kitchen, first[name], frame, pixels)) is not None
        ]
        caption = "with smoke" if frame.label == SMOKE else "smoke-free"
        panels.append(PanelRow(frame.id, caption, images))
    return panels


def _drawn(kitchen: Kitchen, unit: Unit, frame: Frame, pixels: FrameArray) -> FrameArray | None:
    """Lay a unit's pseudo-mask over its frame; None where a run was moved away since."""
    path = kitchen.stage2_folder(unit) / "masks" / f"{frame.id}.png"
    return overlay(pixels, read_mask_ids(path)) if path.is_file() else None
