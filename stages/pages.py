"""Tell each stage's run on one page: figures, curves, and the frames that teach most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weakseg.arrays import ScoreMap
from weakseg.artifacts import FinishedRun, MetricsLog, RunFolder, read_mask_ids
from weakseg.artifacts.pictures import write_picture
from weakseg.data import Frame, read_frame
from weakseg.labels import SMOKE
from weakseg.report import (
    Card,
    PanelRow,
    Report,
    heatmap,
    overlay,
    panel_sheet,
    write_report,
)
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.measuring import Evaluation
from weakseg.stages.panels import (
    as_text,
    evaluation_cards,
    figures_table,
    judged_panels,
    pictures_of,
    strata_tables,
)
from weakseg.stages.rules import rule_tables
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
        pictures = pictures_of("evidence", pixels, score)
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
            tables=[figures_table(summary)],
            config=as_text(config),
        ),
    )


def pseudo_masks_page(
    run: RunFolder,
    rows: Rows,
    *,
    evidence: Callable[[str], tuple[ScoreMap, float]],
    summary: Mapping[str, Any],
    count: int,
    config: Mapping[str, Any],
) -> Path:
    """Write the page of a stage-2 run: what became of the evidence?"""
    scores = stored_scores(run)

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
                *_rounds(summary),
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
            tables=[figures_table(summary)],
            config=as_text(config),
        ),
    )


def _rounds(summary: Mapping[str, Any]) -> list[str]:
    """Say whose masks these are, if there were rounds of self-training."""
    if "round/accepted" not in summary:
        return []
    number, reason = summary["round/accepted"], summary["round/stopped"]
    return [f"Self-training took round {number}: {reason}. Round 0 is the refined evidence."]


def overlay_sheet(run: RunFolder, rows: Rows, count: int) -> None:
    """Write `overlays.jpg`: pseudo-masks over frames, from the surest to the least sure."""
    chosen = _spread(_by_probability(rows)[0], count)
    drawn = [
        overlay(read_frame(row["path"]), read_mask_ids(mask_path(run, row["id"]))) for row in chosen
    ]
    if drawn:
        strips = [drawn[start : start + 4] for start in range(0, len(drawn), 4)]
        write_picture(run.path / "overlays.jpg", panel_sheet(strips))


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
        "labels": "The epoch was chosen by image labels and pseudo-masks of val, without masks.",
        "val": "Epoch and threshold were chosen by the masks of val.",
    }[str(summary["selection"])]
    rule = f"Smoke is where the score reaches {summary['threshold']:.3f}, by the rule"
    status = [chosen, f"{rule} {summary['threshold_rule']}."]
    if test is None:
        status.append("No masks of the test split: figures by image labels only.")
        panels, alarms = _unjudged(run, rows, count), None
        cards = [Card("AUROC on val", summary.get("val/auroc"), "by image labels")]
    else:
        status.append("This run read the test split once, after all its choices were made.")
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
            tables=[*(strata_tables(test) if test else []), figures_table(summary)],
            config=as_text(config),
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
            tables=[*rule_tables(result), *strata_tables(result), figures_table(result.figures)],
        ),
        name=f"{name}.html",
    )


def _unjudged(run: RunFolder, rows: Rows, count: int) -> list[PanelRow]:
    scores = stored_scores(run)
    panels = []
    for row in _spread(_by_probability(rows)[0], count):
        pixels = read_frame(row["path"])
        score, probability = scores(_frame(row))
        pictures = pictures_of("scores", pixels, score)
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


def _percent(share: str) -> str:
    return f"{_PERCENT * float(share):.1f} %"


def _frame(row: Mapping[str, str]) -> Frame:
    return Frame(row["id"], Path(row["path"]), int(row["label"]), row["scene"], row["split"])
