"""Tell a stage-3 run on one page: how good are the masks, and where do they fail?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.artifacts import RunFolder
from weakseg.data import read_frame
from weakseg.report import Card, PanelRow, Report, write_report
from weakseg.stages.measuring import Evaluation
from weakseg.stages.pages_common import Rows, by_probability, spread, training_curves
from weakseg.stages.panels import (
    as_text,
    evaluation_cards,
    figures_table,
    judged_panels,
    pictures_of,
    strata_tables,
)
from weakseg.stages.scores import stored_scores
from weakseg.stages.work import frame_of


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
        frames = {row["id"]: frame_of(row) for row in rows}
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
            curves=training_curves(run) | ({"IoU by threshold/test": test.curve} if test else {}),
            panels=panels,
            false_alarms=alarms,
            tables=[*(strata_tables(test) if test else []), figures_table(summary)],
            config=as_text(config),
        ),
    )


def _unjudged(run: RunFolder, rows: Rows, count: int) -> list[PanelRow]:
    scores = stored_scores(run)
    panels = []
    for row in spread(by_probability(rows)[0], count):
        pixels = read_frame(row["path"])
        score, probability = scores(frame_of(row))
        pictures = pictures_of("scores", pixels, score)
        panels.append(PanelRow(row["id"], f"score of the frame {probability:.2f}", pictures))
    return panels
