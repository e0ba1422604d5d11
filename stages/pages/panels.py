"""Arrange what pages show: headline figures, tables, and frames beside their truth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.data import Frame, read_frame
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.metrics import FrameFigures
from weakseg.report import Card, PanelRow, Table, comparison, heatmap, overlay
from weakseg.stages.evaluation.measuring import Evaluation, truths
from weakseg.stages.pages.common import of_many_scenes, percent
from weakseg.stages.pages.words import counted
from weakseg.stages.scores import ScoresOf
from weakseg.stages.work import frame_of


def evaluation_cards(figures: Mapping[str, float]) -> list[Card]:
    """Give the headline figures, with their intervals over scenes."""
    clear = int(figures.get("smoke_free_frames", 0))
    named = {
        "iou_per_image": ("IoU per image", ""),
        "iou_pooled": ("IoU pooled", ""),
        "false_alarm_share": ("false alarms", f"share of {counted(clear, 'smoke-free frame')}. "),
    }
    cards = [
        Card(label, figures.get(key), note + _span(figures, key))
        for key, (label, note) in named.items()
    ]
    cards.append(Card("mIoU", figures.get("miou"), "smoke and background"))
    gap = figures.get("oracle_gap_per_image")
    cards.append(Card("oracle's gap", gap, "IoU lost to a threshold chosen without masks"))
    return cards


def judged_panels(
    result: Evaluation,
    frames: Mapping[str, Frame],
    *,
    data: Mapping[str, Any],
    scores: ScoresOf,
    threshold: float,
    count: int,
    masks_of_run: Callable[[Frame], Mask] | None = None,
) -> tuple[list[PanelRow], list[PanelRow]]:
    """Show the best, median and worst frames with smoke, and the largest false alarms.

    Drawn is what was judged: the run's own masks where it has cut any, else the threshold's.
    """
    smoky = sorted((one for one in result.frames if one.has_smoke), key=lambda one: -one.iou)
    clear = [one for one in result.frames if one.is_smoke_free and one.predicted_share > 0]
    clear.sort(key=lambda one: -one.predicted_share)
    truth = truths(data)

    def found(frame: Frame, score: ScoreMap) -> Mask:
        if masks_of_run is None:
            return (score >= threshold).astype(np.uint8)
        return np.where(masks_of_run(frame) == SMOKE, SMOKE, BACKGROUND).astype(np.uint8)

    def judged(one: FrameFigures, title: str) -> PanelRow:
        frame = frames[one.id]
        pixels = read_frame(frame.path)
        score, probability = scores(frame)
        real = truth(frame, *pixels.shape[:2])
        mask = found(frame, score)
        caption = (
            f"IoU {one.iou:.2f}; smoke on {percent(one.smoke_share)} of the frame, found on "
            f"{percent(one.predicted_share)}; score of the frame {probability:.2f}"
        )
        pictures = [
            ("frame", pixels),
            ("scores", heatmap(score)),
            ("truth", overlay(pixels, real)),
            ("found, false, missed", comparison(pixels, mask, real)),
        ]
        return PanelRow(f"{title}: {one.id}", caption, pictures)

    def alarm(one: FrameFigures) -> PanelRow:
        frame = frames[one.id]
        pixels = read_frame(frame.path)
        score, probability = scores(frame)
        mask = found(frame, score)
        caption = (
            f"false area {percent(one.predicted_share)} of the frame; score of the frame "
            f"{probability:.2f}, highest of a pixel {float(score.max()):.2f}"
        )
        empty = np.zeros_like(mask)
        drawn = ("called smoke", comparison(pixels, mask, empty))
        return PanelRow(one.id, caption, [("frame", pixels), ("scores", heatmap(score)), drawn])

    return (
        [judged(one, title) for title, one in _best_median_worst(smoky, count)],
        [alarm(one) for one in _of_many_scenes(clear, count)],
    )


def no_alarms(figures: Mapping[str, float]) -> str:
    """Say what it means that there is no false alarm to show."""
    count = int(figures.get("smoke_free_frames", 0))
    if not count:
        return "Not known: no frame that was measured is smoke-free."
    return f"None: no smoke was seen on {counted(count, 'smoke-free frame')}."


def unjudged_panels(rows: Sequence[Mapping[str, str]], scores: ScoresOf) -> list[PanelRow]:
    """Show frames with their scores where no mask can tell what is right."""
    panels = []
    for row in rows:
        pixels = read_frame(row["path"])
        score, probability = scores(frame_of(row))
        share = f"called smoke on {percent(float(row['smoke_share']))} of the frame"
        caption = f"score of the frame {probability:.2f}; {share}"
        panels.append(PanelRow(row["id"], caption, pictures_of("scores", pixels, score)))
    return panels


def _best_median_worst(smoky: Sequence[FrameFigures], count: int) -> list[tuple[str, FrameFigures]]:
    """Choose from frames in the order of their IoU, the best first; none twice."""
    middle = len(smoky) // 2
    by_distance = sorted(range(len(smoky)), key=lambda place: (abs(place - middle), place))
    groups = {
        "best": smoky,
        "median": [smoky[place] for place in by_distance],
        "worst": smoky[::-1],
    }
    chosen: dict[str, tuple[str, FrameFigures]] = {}
    for title, group in groups.items():
        for one in _of_many_scenes(group, count):
            chosen.setdefault(one.id, (title, one))
    return list(chosen.values())


def _of_many_scenes(frames: Sequence[FrameFigures], count: int) -> list[FrameFigures]:
    return of_many_scenes(frames, lambda one: one.scene, count)


def pictures_of(name: str, pixels: FrameArray, score: ScoreMap) -> list[tuple[str, FrameArray]]:
    """Show a frame, its scores, and both at once."""
    return [("frame", pixels), (name, heatmap(score)), ("over it", overlay(pixels, score))]


def figures_table(figures: Mapping[str, Any]) -> Table:
    """List every figure there is."""
    rows = [[key, value] for key, value in figures.items()]
    return Table("All figures", ["figure", "value"], rows, folded=True)


def _span(figures: Mapping[str, float], key: str) -> str:
    low, high = (figures.get(f"{key}_{end}", math.nan) for end in ("low", "high"))
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"95 % of scene resamples: {low:.3f} to {high:.3f}"


def as_text(config: Mapping[str, Any]) -> str:
    """Write a configuration for people."""
    return json.dumps(config, indent=2, default=str)
