"""Tell on one page what an evaluation of a run against masks has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weakseg.artifacts import FinishedRun
from weakseg.data import Frame
from weakseg.report import Report, write_report
from weakseg.stages.measuring import Evaluation
from weakseg.stages.pages_plots import evaluation_plots, evaluation_tables
from weakseg.stages.panels import evaluation_cards, figures_table, judged_panels, no_alarms
from weakseg.stages.rules import rule_tables
from weakseg.stages.scores import ScoresOf


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
            plots=evaluation_plots(result),
            curves={"IoU by threshold/per image": result.curve},
            panels=panels,
            false_alarms=alarms,
            no_false_alarms=no_alarms(result.figures),
            tables=[
                *evaluation_tables(result),
                *rule_tables(result),
                figures_table(result.figures),
            ],
        ),
        name=f"{name}.html",
    )
