"""Tell a stage-3 run on one page: how good are the masks, and where do they fail?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import MetricsLog, RunFolder, read_scores
from weakseg.data import Frame
from weakseg.refine import (
    EvidenceStatistics,
    FalseAlarmThreshold,
    FixedThreshold,
    HighestThreshold,
    MixtureThreshold,
    OtsuThreshold,
    SizeThreshold,
    ThresholdChoice,
    ThresholdRule,
)
from weakseg.report import Card, Mark, Report, write_report
from weakseg.stages.cards.writing import MODEL_CARD, write_model_card
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.evaluation.rules import by_rule, rule_tables
from weakseg.stages.instances import INSTANCES, SHEET
from weakseg.stages.pages.common import Rows, by_probability, spread, training_curves
from weakseg.stages.pages.panels import (
    as_text,
    evaluation_cards,
    figures_table,
    judged_panels,
    no_alarms,
    unjudged_panels,
)
from weakseg.stages.pages.plots import evaluation_plots, evaluation_tables, label_plots
from weakseg.stages.pages.words import (
    choice_of,
    kept_epoch,
    network_of,
    told_frames,
    told_selection,
    told_supervision,
    told_threshold,
)
from weakseg.stages.scores import score_path, stored_scores
from weakseg.stages.work import frame_of

_MASKS: Final = {"weak": "pseudo-masks", "full": "real masks", "mixed": "real and pseudo-masks"}
_RULES: Final[Mapping[str, ThresholdRule]] = {
    "false_alarm": FalseAlarmThreshold(),
    "otsu": OtsuThreshold(),
    "mixture": MixtureThreshold(),
    "size": SizeThreshold(),
    "highest": HighestThreshold(),
    "fixed": FixedThreshold(),
}
"""Compared on the page, each as it is by default; `evaluate` takes their settings."""


def segmentation_page(
    run: RunFolder,
    rows: Rows,
    *,
    test: Evaluation | None,
    summary: Mapping[str, Any],
    count: int,
    config: Mapping[str, Any],
    frames: Sequence[Frame] = (),
) -> Path:
    """Write the page of a stage-3 run, and its model card beside it.

    Args:
        run: Whose page it is; its scores and its threshold are on disk.
        rows: Of frames.csv: the frames of val and test.
        test: What was measured on the test split; None without masks of it.
        summary: The run's figures.
        count: Frames to show of each kind.
        config: The resolved configuration.
        frames: All frames the run knows, of every split; those of `rows` if there are none.
    """
    choice = choice_of(run)
    kept = kept_epoch(MetricsLog(run.metrics_path).rows(), summary)
    curves = training_curves(run)
    marks = {} if kept is None else {"selection": Mark(kept[0], f"epoch {kept[0]} was kept")}
    if test is None:
        report = _unmeasured(run, rows, summary, count)
    else:
        report = _measured(run, rows, test, choice, count)
        curves |= {"IoU by threshold/test": test.curve}
        marks["IoU by threshold"] = Mark(choice.threshold, f"cut at {choice.threshold:.3f}")
    card = write_model_card(
        run,
        frames=frames or [frame_of(row) for row in rows],
        test=test,
        summary=summary,
        kept=kept,
        config=config,
    )
    facts = {
        "Supervision": told_supervision(summary),
        "Selection": told_selection(summary, kept),
        "Threshold": told_threshold(choice),
    }
    report = dataclasses.replace(
        report,
        title=f"Stage 3: {network_of(config)} on {_MASKS[str(summary['supervision'])]}",
        facts=facts | dict(report.facts),
        links=_links(run),
        curves=curves,
        marks=marks,
        tables=[*report.tables, figures_table(summary)],
        texts={"Model card": card},
        config=as_text(config),
    )
    return write_report(run.path, report)


def _links(run: RunFolder) -> dict[str, str]:
    links = {"Model card: data, licences, limits, provenance": MODEL_CARD}
    if (run.path / SHEET).exists():
        links |= {"Instances: frame, truth, and what was found, with boxes and scores": SHEET}
        links |= {"Instances of all held-out frames, as COCO has them": INSTANCES}
    return links


def _measured(
    run: RunFolder, rows: Rows, test: Evaluation, choice: ThresholdChoice, count: int
) -> Report:
    """Tell what the masks of the test split say."""
    panels, alarms = judged_panels(
        test,
        {row["id"]: frame_of(row) for row in rows},
        data=run.manifest.data,
        scores=stored_scores(run),
        threshold=choice.threshold,
        count=count,
    )
    rules = by_rule(
        _RULES, _val_statistics(run, rows), test, own=choice.threshold, own_rule=choice.rule
    )
    tables = rule_tables(dataclasses.replace(test, rules=rules))
    read = "This run read the test split once, after all its choices were made"
    return Report(
        title="",
        facts={"Test": f"{read}: {told_frames(test.figures)}."},
        cards=evaluation_cards(test.figures),
        plots=evaluation_plots(test),
        panels=panels,
        false_alarms=alarms,
        no_false_alarms=no_alarms(test.figures),
        tables=[*evaluation_tables(test), *tables],
    )


def _unmeasured(run: RunFolder, rows: Rows, summary: Mapping[str, Any], count: int) -> Report:
    """Tell what image labels alone can say."""
    smoke, clear = by_probability(rows)
    alarms = [row for row in clear if float(row["smoke_share"]) > 0]
    alarms.sort(key=lambda row: -float(row["smoke_share"]))
    scores = stored_scores(run)
    return Report(
        title="",
        facts={"Test": "No masks of the test split: figures by image labels only."},
        cards=[Card("AUROC on val", summary.get("val/auroc"), "by image labels")],
        plots=label_plots(
            [int(row["label"]) for row in rows], [float(row["probability"]) for row in rows]
        ),
        panels=unjudged_panels(spread(smoke, count), scores),
        colours=(),
        false_alarms=unjudged_panels(alarms[:count], scores),
        no_false_alarms=no_alarms({"smoke_free_frames": len(clear)}),
    )


def _val_statistics(run: RunFolder, rows: Rows) -> EvidenceStatistics:
    """Count the scores of val: what the run's own threshold was chosen from."""
    statistics = EvidenceStatistics()
    for row in rows:
        if row["split"] == "val":
            statistics.add(
                row["id"],
                read_scores(score_path(run, row["id"])),
                label=int(row["label"]),
                probability=float(row["probability"]),
            )
    return statistics
