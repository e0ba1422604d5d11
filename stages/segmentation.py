"""Stage 3: train a segmenter on pseudo-masks, choose its threshold, measure it once on test."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import nn

from weakseg.arrays import Mask
from weakseg.artifacts import (
    FinishedRun,
    RunFolder,
    read_scores,
    write_frames,
    write_json,
    write_scores,
)
from weakseg.checks import check_one_of
from weakseg.data import Frame, SegmentationItem, read_frame
from weakseg.errors import DataError
from weakseg.metrics import auroc
from weakseg.models import SegmentationModel, TiledInference, save_weights
from weakseg.plans import Stage3Plan
from weakseg.refine import EvidenceStatistics, ThresholdChoice
from weakseg.stages.learning import fit_segmenter, list_items, validate_by_labels
from weakseg.stages.measuring import Evaluation, evaluate_split, iou_against_masks, oracle_threshold
from weakseg.stages.pages import segmentation_page
from weakseg.stages.scores import THRESHOLD, frame_score, score_path
from weakseg.stages.segmenters import (
    INFERENCE,
    SEGMENTER,
    starting_segmenter,
    write_segmenter,
)
from weakseg.stages.showing import BEST, show
from weakseg.stages.work import (
    Work,
    at_work,
    find_run,
    frames_of,
    require_both_labels,
    settle_hardware,
)
from weakseg.training import track
from weakseg.training.fit import Validate

log = logging.getLogger(__name__)

SELECTIONS: Final = ("labels", "val")


def run(plan: Stage3Plan, config: Mapping[str, Any]) -> Path:
    """Run stage 3 as `plan` says; give its run folder."""
    check_one_of(SELECTIONS, selection=plan.selection)
    device = settle_hardware(plan.hardware, seed=plan.seed)
    pseudo = find_run(plan.pseudo_masks, kind="stage2", beside=plan.output)
    frames = frames_of(pseudo)
    for split in ("train", "val"):
        require_both_labels(frames, split)
    segmenter = starting_segmenter(plan, pseudo)
    inputs = {
        "frames": pseudo.manifest.inputs["frames"],
        "stage2": pseudo.manifest.fingerprint,
        "weights": segmenter.weights_sha256 or "none",
    }
    with at_work(plan, config, kind="stage3", inputs=inputs, data=pseudo.manifest.data) as work:
        if not work.run.is_complete:
            started = time.monotonic()
            write_segmenter(work.run, segmenter)
            write_json(work.run.path / INFERENCE, plan.inference.settings())
            if plan.trained is None:
                train_segmenter(plan, segmenter, frames, pseudo, work)
            else:
                save_weights(work.run.path / BEST, segmenter)
            held_out = [frame for frame in frames if frame.split in ("val", plan.test_split)]
            predict_frames(plan.inference, segmenter.to(device).eval(), held_out, work)
            choice = choose_threshold(plan, frames, work.run)
            # Before measuring, which reads them: a run that goes on has them already.
            rows = _rows(held_out, work.run, choice.threshold)
            test = evaluate_split(work.run, frames, plan.test_split, choice.threshold)
            summary = summarise(rows, choice, plan, test)
            summary |= {"seconds": time.monotonic() - started}
            show(
                work,
                rows,
                {"prediction": lambda row, *_: _cut(work.run, row["id"], choice.threshold)},
                count=plan.report_frames,
                files=(
                    "frames.csv",
                    SEGMENTER,
                    INFERENCE,
                    THRESHOLD,
                    BEST,
                ),
            )
            work.tracker.finish(summary, "finished")
            segmentation_page(
                work.run,
                rows,
                test=test,
                summary=summary,
                count=plan.report_frames,
                config=config,
            )
            work.run.finish(summary)
            _tell(work.run, summary, plan.test_split)
        return work.run.path


def train_segmenter(
    plan: Stage3Plan,
    segmenter: SegmentationModel,
    frames: Sequence[Frame],
    pseudo: FinishedRun,
    work: Work,
) -> None:
    """Fit the segmenter to the pseudo-masks of the training split."""
    fit_segmenter(
        plan,
        segmenter,
        training_items(frames, pseudo),
        seed=plan.seed,
        validate=_validator(plan, frames, pseudo),
        folder=work.run,
        on_log=work.log_row,
        stop=work.stop,
    )


def training_items(frames: Sequence[Frame], pseudo: FinishedRun) -> list[SegmentationItem]:
    """List what to learn from: see `list_items`.

    Raises:
        DataError: If no training frame has a pseudo-mask of smoke.
    """
    kept = {row["id"] for row in pseudo.frames if float(row["smoke_share"]) > 0}
    items = list_items(frames, pseudo, kept=kept)
    masked = sum(item.mask_path is not None for item in items)
    if not masked:
        raise DataError(
            f"every pseudo-mask of a training frame in {pseudo.path} is empty: run stage 2 with a "
            "lower threshold, or train the classifier of stage 1 longer"
        )
    log.info("learn from %d frames, %d with a pseudo-mask", len(items), masked)
    return items


def _validator(plan: Stage3Plan, frames: Sequence[Frame], pseudo: FinishedRun) -> Validate:
    """Measure a model on `val`: by labels and pseudo-masks, or by masks if the user asked."""
    val = [frame for frame in frames if frame.split == "val"]

    def by_masks(model: nn.Module) -> dict[str, float]:
        masks_iou = iou_against_masks(model, val, plan.inference, pseudo.manifest.data)
        return {"val_iou_per_image": masks_iou, "selection": masks_iou}

    return by_masks if plan.selection == "val" else validate_by_labels(plan, val, pseudo)


def predict_frames(
    inference: TiledInference, model: nn.Module, frames: Sequence[Frame], work: Work
) -> None:
    """Write the soft scores of every frame that has none yet."""
    missing = [frame for frame in frames if not score_path(work.run, frame.id).exists()]
    for frame in track(missing, what="segment held-out frames", unit="frames"):
        work.check_stop()
        write_scores(score_path(work.run, frame.id), inference(model, read_frame(frame.path)))


def choose_threshold(plan: Stage3Plan, frames: Sequence[Frame], run: RunFolder) -> ThresholdChoice:
    """Choose the cut on `val`: by labels, or by masks if the user asked for it."""
    val = [frame for frame in frames if frame.split == "val"]
    if plan.selection == "val":
        choice = oracle_threshold(run, val)
    else:
        statistics = EvidenceStatistics()
        for frame in val:
            scores = read_scores(score_path(run, frame.id))
            statistics.add(frame.id, scores, label=frame.label, probability=frame_score(scores))
        choice = plan.threshold.choose(statistics)
    write_json(run.path / THRESHOLD, choice.to_dict())
    return choice


def _cut(run: RunFolder, frame_id: str, threshold: float) -> Mask:
    return (read_scores(score_path(run, frame_id)) >= threshold).astype(np.uint8)


def _rows(frames: Sequence[Frame], run: RunFolder, threshold: float) -> list[dict[str, str]]:
    rows = []
    for frame in frames:
        scores = read_scores(score_path(run, frame.id))
        rows.append(
            {
                "id": frame.id,
                "path": str(frame.path),
                "label": str(frame.label),
                "scene": frame.scene,
                "split": frame.split,
                "sequence": frame.sequence,
                "probability": f"{frame_score(scores):.6f}",
                "smoke_share": f"{float((scores >= threshold).mean()):.6f}",
            }
        )
    write_frames(run.frames_csv, rows)
    return rows


def summarise(
    rows: Sequence[Mapping[str, str]],
    choice: ThresholdChoice,
    plan: Stage3Plan,
    test: Evaluation | None,
) -> dict[str, Any]:
    """Gather the figures of the run; each says by which selection."""
    figures: dict[str, Any] = {
        "selection": plan.selection,
        "threshold": choice.threshold,
        "threshold_rule": choice.rule,
    }
    for split in ("val", plan.test_split):
        chosen = [row for row in rows if row["split"] == split]
        labels = np.array([int(row["label"]) for row in chosen])
        if set(labels.tolist()) == {0, 1}:
            scores = np.array([float(row["probability"]) for row in chosen])
            figures[f"{split}/auroc"] = auroc(labels, scores)
    if test is not None:
        figures |= {f"{plan.test_split}/{key}": value for key, value in test.figures.items()}
    return figures


def _tell(run: RunFolder, summary: Mapping[str, Any], split: str) -> None:
    for key in ("iou_per_image", "iou_pooled", "miou", "false_alarm_share", "auroc"):
        if f"{split}/{key}" in summary:
            log.info("%s %s: %.3f", split, key, summary[f"{split}/{key}"])
    log.info("report: %s", run.report_path)
