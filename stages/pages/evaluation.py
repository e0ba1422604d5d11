"""Tell on one page what an evaluation of a run against masks has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weakseg.arrays import Mask
from weakseg.artifacts import FinishedRun, read_json
from weakseg.data import Frame
from weakseg.report import Mark, Report, write_report
from weakseg.stages.cards.writing import MODEL_CARD
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.evaluation.rules import rule_tables
from weakseg.stages.pages.panels import evaluation_cards, figures_table, judged_panels, no_alarms
from weakseg.stages.pages.plots import evaluation_plots, evaluation_tables
from weakseg.stages.pages.words import choice_of, told_supervision, told_threshold
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
    masks_of_run: Callable[[Frame], Mask] | None = None,
) -> Path:
    """Write the page of a run's figures against masks."""
    named = {frame.id: frame for frame in frames}
    panels, alarms = judged_panels(
        result,
        named,
        data=data,
        scores=scores,
        threshold=threshold,
        count=count,
        masks_of_run=masks_of_run,
    )
    return write_report(
        folder,
        Report(
            title=f"{run.manifest.kind} {run.path.name} against the masks of {name}",
            status=[
                f"{len(frames)} frames of {int(result.figures['scenes'])} scenes; intervals by "
                "resampling scenes. Masks were read to measure, and for nothing else.",
            ],
            facts=_facts(run),
            links=_links(run),
            cards=evaluation_cards(result.figures),
            plots=evaluation_plots(result),
            curves={"IoU by threshold/per image": result.curve},
            marks={"IoU by threshold": Mark(threshold, f"cut at {threshold:.3f}")},
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


def _facts(run: FinishedRun) -> dict[str, str]:
    """Say how a stage-3 run was made, as far as its summary tells."""
    if run.manifest.kind != "stage3":
        return {}
    facts = {"Threshold": told_threshold(choice_of(run))}
    summary = read_json(run.summary_path)
    if "supervision" in summary:
        facts["Supervision"] = told_supervision(summary)
    return facts


def _links(run: FinishedRun) -> dict[str, str]:
    """Lead to what the run itself has written beside the folder of its evaluations."""
    told = {"Report of the run": run.report_path.name, "Model card": MODEL_CARD}
    return {text: f"../{name}" for text, name in told.items() if (run.path / name).exists()}
