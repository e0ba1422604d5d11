"""Tell a stage-2 run on one page: what became of the evidence?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weakseg.arrays import ScoreMap
from weakseg.artifacts import RunFolder, read_mask_ids
from weakseg.artifacts.pictures import write_picture
from weakseg.data import read_frame
from weakseg.report import Card, PanelRow, Report, heatmap, overlay, panel_sheet, write_report
from weakseg.stages.evidence import at_frame_size
from weakseg.stages.pages.common import Rows, by_probability, percent, spread
from weakseg.stages.pages.panels import as_text, figures_table
from weakseg.stages.scores import mask_path, stored_scores
from weakseg.stages.work import frame_of


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
        score, _ = scores(frame_of(row))
        mask = read_mask_ids(mask_path(run, row["id"]))
        caption = (
            f"probability {probability:.2f}, smoke {percent(row['smoke_share'])}, "
            f"ignored {percent(row['ignored_share'])}"
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

    smoke, clear = by_probability(rows)
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
            panels=[panel(row) for row in spread(smoke, count)],
            colours=("mask",),
            false_alarms=[panel(row) for row in alarms[-count:][::-1]],
            tables=[figures_table(summary)],
            config=as_text(config),
        ),
    )


def overlay_sheet(run: RunFolder, rows: Rows, count: int) -> None:
    """Write `overlays.jpg`: pseudo-masks over frames, from the surest to the least sure."""
    chosen = spread(by_probability(rows)[0], count)
    drawn = [
        overlay(read_frame(row["path"]), read_mask_ids(mask_path(run, row["id"]))) for row in chosen
    ]
    if drawn:
        strips = [drawn[start : start + 4] for start in range(0, len(drawn), 4)]
        write_picture(run.path / "overlays.jpg", panel_sheet(strips))


def _rounds(summary: Mapping[str, Any]) -> list[str]:
    """Say whose masks these are, if there were rounds of self-training."""
    if "round/accepted" not in summary:
        return []
    number, reason = summary["round/accepted"], summary["round/stopped"]
    return [f"Self-training took round {number}: {reason}. Round 0 is the refined evidence."]
