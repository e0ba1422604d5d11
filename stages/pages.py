"""Tell each stage's run on one page: figures, curves, and the frames that teach most."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.artifacts import FinishedRun, MetricsLog, RunFolder, read_mask_ids
from weakseg.data import Frame, read_frame
from weakseg.labels import SMOKE
from weakseg.metrics import FrameFigures
from weakseg.report import (
    Card,
    PanelRow,
    Report,
    Table,
    comparison,
    heatmap,
    overlay,
    write_report,
)
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.measuring import Evaluation, truths
from weakseg.stages.scores import ScoresOf, mask_path, stored_scores

Rows = Sequence[Mapping[str, str]]
_PERCENT = 100


def cams_page(
    run: RunFolder,
    rows: Rows,
    *,
    summary: Mapping[str, float],
    count: int,
    config: Mapping[str, Any],
) -> Path:
    """Write the page of a stage-1 run: does the classifier know, and where does it look?"""
    evidence = EvidenceReader(run)

    def panel(row: Mapping[str, str]) -> PanelRow:
        pixels = read_frame(row["path"])
        low, probability = evidence(row["id"])
        score = at_frame_size(low, *pixels.shape[:2])
        pictures = _three("evidence", pixels, score)
        return PanelRow(row["id"], f"probability of smoke {probability:.2f}", pictures)

    smoke, clear = _by_probability(rows)
    return write_report(
        run.path,
        Report(
            title=f"Stage 1: CAMs of {config['classifier']['name']}",
            status=[
                "Trained on image labels alone; the best epoch is chosen by the labels of val.",
                "Evidence is absolute: 0 is none, 1 is full, on one scale for all frames.",
            ],
            cards=[
                Card(f"AUROC on {split}", summary[f"{split}/auroc"], "by image labels")
                for split in ("val", "test", "train")
                if f"{split}/auroc" in summary
            ],
            curves=_curves(run),
            panels=[panel(row) for row in _spread(smoke, count)],
            false_alarms=[panel(row) for row in clear[-count:][::-1]],
            tables=[_figures_table(summary)],
            config=_as_text(config),
        ),
    )


def pseudo_masks_page(
    run: RunFolder,
    rows: Rows,
    *,
    cams: FinishedRun,
    summary: Mapping[str, Any],
    count: int,
    config: Mapping[str, Any],
) -> Path:
    """Write the page of a stage-2 run: what became of the evidence?"""
    evidence, scores = EvidenceReader(cams), stored_scores(run)

    def panel(row: Mapping[str, str]) -> PanelRow:
        pixels = read_frame(row["path"])
        low, probability = evidence(row["id"])
        score, _ = scores(_frame(row))
        mask = read_mask_ids(mask_path(run, row["id"]))
        caption = (
            f"probability {probability:.2f}, smoke {_percent(row['smoke_share'])}, "
            f"ignored {_percent(row['ignored_share'])}"
        )
        return PanelRow(
            row["id"],
            caption,
            [
                ("frame", pixels),
                ("evidence", heatmap(at_frame_size(low, *pixels.shape[:2]))),
                ("refined", heatmap(score)),
                ("pseudo-mask", overlay(pixels, mask)),
            ],
        )

    smoke, clear = _by_probability(rows)
    alarms = [row for row in clear if float(row["smoke_share"]) > 0]
    steps = " then ".join(config["refine"]["steps"]) or "nothing"
    return write_report(
        run.path,
        Report(
            title=f"Stage 2: pseudo-masks, refined by {steps}",
            status=[
                f"Threshold {summary['threshold']:.3f}, chosen without masks by the rule "
                f"{summary['threshold_rule']}. No mask was read to make these.",
            ],
            cards=[
                Card(
                    "smoke frames with a mask",
                    summary.get("train/smoke_frames_with_mask"),
                    "share of training frames labelled smoke",
                ),
                Card(
                    "smoke-free frames with a mask",
                    summary.get("train/smoke_free_frames_with_mask"),
                    "share of training frames: lower is better",
                ),
                Card("mean smoke share", summary.get("train/smoke_mean_share"), "of smoke frames"),
            ],
            panels=[panel(row) for row in _spread(smoke, count)],
            false_alarms=[panel(row) for row in alarms[-count:][::-1]],
            tables=[_figures_table(summary)],
            config=_as_text(config),
        ),
    )


def segmentation_page(
    run: RunFolder,
    rows: Rows,
    *,
    test: Evaluation | None,
    summary: Mapping[str, Any],
    count: int,
    config: Mapping[str, Any],
) -> Path:
    """Write the page of a stage-3 run: how good are the masks, and where do they fail?"""
    chosen = {
        "labels": "Epoch and threshold were chosen by image labels and pseudo-masks of val.",
        "val": "Epoch and threshold were chosen by the masks of val.",
    }[str(summary["selection"])]
    status = [chosen]
    if test is None:
        status.append("No masks of the test split: figures by image labels only.")
        panels, alarms = _unjudged(run, rows, count), None
        cards = [Card("AUROC on val", summary.get("val/auroc"), "by image labels")]
    else:
        status.append("The test split was read once, after all choices were made.")
        frames = {row["id"]: _frame(row) for row in rows}
        scores = stored_scores(run)
        panels, alarms = judged_panels(
            test,
            frames,
            data=run.manifest.data,
            scores=scores,
            threshold=float(summary["threshold"]),
            count=count,
        )
        cards = evaluation_cards(test.figures)
    return write_report(
        run.path,
        Report(
            title=f"Stage 3: {config['segmenter']['architecture']} on pseudo-masks",
            status=status,
            cards=cards,
            curves=_curves(run) | ({"IoU by threshold/test": test.curve} if test else {}),
            panels=panels,
            false_alarms=alarms,
            tables=[*(strata_tables(test) if test else []), _figures_table(summary)],
            config=_as_text(config),
        ),
    )


def evaluation_page(
    folder: Path,
    name: str,
    *,
    run: FinishedRun,
    result: Evaluation,
    frames: Sequence[Frame],
    data: Mapping[str, Any],
    scores: ScoresOf,
    threshold: float,
    count: int,
) -> Path:
    """Write the page of a run's figures against masks."""
    named = {frame.id: frame for frame in frames}
    panels, alarms = judged_panels(
        result, named, data=data, scores=scores, threshold=threshold, count=count
    )
    return write_report(
        folder,
        Report(
            title=f"{run.manifest.kind} {run.path.name} against the masks of {name}",
            status=[
                f"{len(frames)} frames of {int(result.figures['scenes'])} scenes; intervals by "
                "resampling scenes. Masks were read to measure, and for nothing else.",
            ],
            cards=evaluation_cards(result.figures),
            curves={"IoU by threshold/per image": result.curve},
            panels=panels,
            false_alarms=alarms,
            tables=[*strata_tables(result), _figures_table(result.figures)],
        ),
        name=f"{name}.html",
    )


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


def _three(name: str, pixels: FrameArray, score: ScoreMap) -> list[tuple[str, FrameArray]]:
    return [("frame", pixels), (name, heatmap(score)), ("over it", overlay(pixels, score))]


def _unjudged(run: RunFolder, rows: Rows, count: int) -> list[PanelRow]:
    scores = stored_scores(run)
    panels = []
    for row in _spread(_by_probability(rows)[0], count):
        pixels = read_frame(row["path"])
        score, probability = scores(_frame(row))
        pictures = _three("scores", pixels, score)
        panels.append(PanelRow(row["id"], f"score of the frame {probability:.2f}", pictures))
    return panels


def _by_probability(rows: Rows) -> tuple[Rows, Rows]:
    """Give the frames labelled smoke and those labelled smoke-free, rising in probability."""
    ordered = sorted(rows, key=lambda row: float(row["probability"]))
    smoke = [row for row in ordered if int(row["label"]) == SMOKE]
    return smoke, [row for row in ordered if int(row["label"]) != SMOKE]


def _spread(rows: Rows, count: int) -> Rows:
    """Take frames from the whole range, the surest first."""
    if not rows:
        return []
    places = np.linspace(len(rows) - 1, 0, num=min(3 * count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _curves(run: RunFolder) -> dict[str, list[tuple[float, float]]]:
    """Read what was logged: losses and figures by epoch, each chart with its series."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in MetricsLog(run.metrics_path).rows():
        for key, value in row.items():
            group, _, name = key.partition("/")
            if group in ("train", "val") and isinstance(value, int | float):
                chart = f"{name.replace('_', ' ')}/{group}"
                curves.setdefault(chart, []).append((float(row["epoch"]), float(value)))
    return curves


def _figures_table(figures: Mapping[str, Any]) -> Table:
    return Table("All figures", ["figure", "value"], [[k, v] for k, v in figures.items()])


def _span(figures: Mapping[str, float], key: str) -> str:
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    if low is None or high is None:
        return ""
    return f"95 % of scene resamples: {low:.3f} to {high:.3f}"


def _percent(share: str) -> str:
    return f"{_PERCENT * float(share):.1f} %"


def _frame(row: Mapping[str, str]) -> Frame:
    return Frame(row["id"], Path(row["path"]), int(row["label"]), row["scene"], row["split"])


def _as_text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2, default=str)
