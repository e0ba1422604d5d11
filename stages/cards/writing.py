"""Write a stage-3 run's model card: what is known of its segmenter, and what is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from weakseg.artifacts import FinishedRun, RunFolder
from weakseg.data import Frame
from weakseg.metrics.alarms import MIN_AREA
from weakseg.report import Document, Section, Table, write_markdown
from weakseg.stages.cards.data import cameras_line, data_section, night_line, taught_section
from weakseg.stages.cards.limits import NOT_MEASURED, limits
from weakseg.stages.cards.making import (
    learner_of,
    loading_section,
    network_section,
    provenance_section,
    supervision_section,
    training_section,
)
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.pages.common import percent
from weakseg.stages.pages.plots import evaluation_tables
from weakseg.stages.pages.words import (
    choice_of,
    counted,
    told_frames,
    told_threshold,
)

MODEL_CARD: Final = "MODEL_CARD.md"

_FIGURES: Final = {
    "iou_per_image": "IoU per image (mean over frames with smoke)",
    "iou_pooled": "IoU pooled over pixels",
    "miou": "mIoU of smoke and background",
    "boundary_iou": "boundary IoU",
    "precision": "precision of pixels",
    "recall": "recall of pixels",
    "f_beta": "F-beta (beta^2 = 0.3)",
    "pixel_ap": "average precision of pixels",
    "auroc": "AUROC of frames",
    "average_precision": "average precision of frames",
    "fpr_at_tpr95": "false positives at 95 % of the smoke frames",
    "ece": "expected calibration error of frames",
}
_ALARMS: Final = {
    "false_alarm_share": "smoke-free frames with an alarm",
    "false_area_mean": "mean share of a smoke-free frame called smoke",
}
_USE: Final = (
    "To outline smoke in pictures of cameras like those it was trained on: research on "
    "segmentation, first outlines for people who draw masks, pictures and statistics that people "
    "look over.",
)
_NO_USE: Final = (
    "The only ground on which anybody is warned, evacuated or not: a person, or another system, "
    "must look as well.",
    "Flames, heat or hot spots: it was taught smoke alone.",
    "How much smoke there is in mass, density or emissions: its scores say how sure it is.",
    "Infrared or thermal cameras, satellite pictures and microscopes, without training on them.",
    "Watching people: if frames show some, the law on their pictures holds for its output, too.",
)


def write_model_card(
    run: RunFolder | FinishedRun,
    *,
    frames: Sequence[Frame],
    test: Evaluation | None,
    summary: Mapping[str, Any],
    kept: tuple[int, int] | None,
    config: Mapping[str, Any],
) -> str:
    """Write `MODEL_CARD.md` into the run; give its text.

    Args:
        run: A stage-3 run, its segmenter and threshold on disk.
        frames: All frames it knows, of every split.
        test: What was measured on the test split; None without masks of it.
        summary: Of the run.
        kept: The epoch that was kept, and how many there were; None if the log does not say.
        config: The resolved configuration.

    References:
        Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
    """
    manifest = run.manifest
    learner = learner_of(config)
    is_taken = bool(config.get("trained"))
    learnt = config if not is_taken else learner.manifest.config if learner else None
    cameras = cameras_line(manifest.data, frames)
    if is_taken:
        cameras = "Unseen cameras: unknown, for an earlier run was the one that learnt."
    card = Document(
        f"Model card: {run.path.name}",
        "A network that outlines smoke in single frames, trained by weakseg "
        f"{manifest.version}. What is not known is said to be unknown; no figure is here that "
        "this run did not measure.",
        [
            Section("Intended use", points=_USE),
            Section("Not for", points=_NO_USE),
            data_section(manifest.data, frames, is_learnt=not is_taken),
            *([taught_section(learner)] if is_taken else []),
            supervision_section(summary, kept, learnt),
            network_section(run, config),
            training_section(run, summary, config),
            *_results(test),
            Section("Threshold", [told_threshold(choice_of(run)), *_gap(test)]),
            Section(
                "Limits",
                points=[
                    *limits(test, summary),
                    cameras,
                    night_line(frames),
                ],
            ),
            provenance_section(manifest, config),
            loading_section(config),
        ],
    )
    path = write_markdown(run.path / MODEL_CARD, card)
    return path.read_text(encoding="utf-8")


def _results(test: Evaluation | None) -> list[Section]:
    if test is None:
        return [Section("Figures", NOT_MEASURED)]
    told = (
        f"On the test split, read once after all choices were made: {told_frames(test.figures)}. "
        "Intervals hold 95 % of the figures of resampled scenes; a dash is an unknown figure."
    )
    lines = [told]
    if not test.figures.get("smoke_frames"):
        lines.append(
            "None of the frames shows smoke: overlaps of pixels are 1 if nothing is found."
        )
    strata = [table for table in evaluation_tables(test) if not table.sortable]
    clear = int(test.figures.get("smoke_free_frames", 0))
    alarms = (
        f"Of {counted(clear, 'smoke-free frame')}. An alarm is smoke on more than "
        f"{percent(MIN_AREA)} of the frame."
    )
    if not clear:
        alarms = "Unknown: no frame that was measured is smoke-free."
    return [
        Section("Figures", lines, tables=[_figures("All frames", _FIGURES, test)]),
        Section(
            "Where it works, and where it fails",
            ["Means over few frames say little: look at their numbers first."],
            tables=strata,
        ),
        Section(
            "False alarms",
            [alarms],
            tables=[_figures("Smoke-free frames", _ALARMS, test)] if clear else (),
        ),
    ]


def _figures(title: str, names: Mapping[str, str], test: Evaluation) -> Table:
    rows = [
        [told, *(test.figures.get(f"{key}{end}") for end in ("", "_low", "_high"))]
        for key, told in names.items()
        if key in test.figures
    ]
    return Table(title, ["figure", "value", "low", "high"], rows)


def _gap(test: Evaluation | None) -> list[str]:
    gap = math.nan if test is None else test.figures.get("oracle_gap_per_image", math.nan)
    if not math.isfinite(gap):
        return ["What the best threshold would have given is unknown: there were no masks to tell."]
    return [
        f"The best threshold, known only to an oracle that sees the test masks, would have won "
        f"{gap:.3f} of IoU per image."
    ]
