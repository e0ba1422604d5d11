"""Arrange what pages show: headline figures, tables, and frames beside their truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.data import Frame, read_frame
from weakseg.metrics import FrameFigures
from weakseg.report import Card, PanelRow, Table, comparison, heatmap, overlay
from weakseg.stages.measuring import Evaluation, truths
from weakseg.stages.scores import ScoresOf


def evaluation_cards(figures: Mapping[str, float]) -> list[Card]:
    """Give the headline figures, with their intervals over scenes."""
    named = {
        "iou_per_image": "IoU per image",
        "iou_pooled": "IoU pooled",
        "false_alarm_share": "false alarms",
    }
    cards = [Card(label, figures.get(key), _span(figures, key)) for key, label in named.items()]
    cards.append(Card("mIoU", figures.get("miou"), "smoke and background"))
    gap = figures.get("oracle_gap_per_image")
    cards.append(Card("oracle's gap", gap, "IoU lost to a threshold chosen without masks"))
    return cards


def strata_tables(result: Evaluation) -> list[Table]:
    """Give the figures by size of the smoke."""
    if not result.strata:
        return []
    columns = list(result.strata[0])
    rows = [[row[key] for key in columns] for row in result.strata]
    return [Table("By size of the smoke", columns, rows)]


def judged_panels(
    result: Evaluation,
    frames: Mapping[str, Frame],
    *,
    data: Mapping[str, Any],
    scores: ScoresOf,
    threshold: float,
    count: int,
) -> tuple[list[PanelRow], list[PanelRow]]:
    """Show the best, median and worst frames with smoke, and the largest false alarms."""
    smoky = sorted((one for one in result.frames if one.has_smoke), key=lambda one: -one.iou)
    clear = [one for one in result.frames if one.is_smoke_free and one.predicted_share > 0]
    clear.sort(key=lambda one: -one.predicted_share)
    truth = truths(data)

    def panel(one: FrameFigures, title: str) -> PanelRow:
        frame = frames[one.id]
        pixels = read_frame(frame.path)
        score, _ = scores(frame)
        real = truth(frame, *pixels.shape[:2])
        mask: Mask = (score >= threshold).astype(np.uint8)
        return PanelRow(
            f"{title}: {one.id}",
            f"IoU {one.iou:.2f}" if one.has_smoke else f"false area {one.predicted_share:.2%}",
            [
                ("frame", pixels),
                ("scores", heatmap(score)),
                ("truth", overlay(pixels, real)),
                ("found, false, missed", comparison(pixels, mask, real)),
            ],
        )

    middle = len(smoky) // 2
    groups = {
        "best": smoky[:count],
        "median": smoky[middle : middle + count],
        "worst": smoky[::-1][:count],
    }
    seen: set[str] = set()
    panels = []
    for title, group in groups.items():
        for one in group:
            if one.id not in seen:
                seen.add(one.id)
                panels.append(panel(one, title))
    return panels, [panel(one, "false alarm") for one in clear[:count]]


def pictures_of(name: str, pixels: FrameArray, score: ScoreMap) -> list[tuple[str, FrameArray]]:
    """Show a frame, its scores, and both at once."""
    return [("frame", pixels), (name, heatmap(score)), ("over it", overlay(pixels, score))]


def figures_table(figures: Mapping[str, Any]) -> Table:
    """List every figure there is."""
    return Table("All figures", ["figure", "value"], [[k, v] for k, v in figures.items()])


def _span(figures: Mapping[str, float], key: str) -> str:
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    if low is None or high is None:
        return ""
    return f"95 % of scene resamples: {low:.3f} to {high:.3f}"


def as_text(config: Mapping[str, Any]) -> str:
    """Write a configuration for people."""
    return json.dumps(config, indent=2, default=str)
