"""Stage 3: train a segmenter on masks, choose its threshold, measure it once on test."""

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
    RunFolder,
    load_run,
    read_scores,
    write_json,
    write_scores,
)
from weakseg.checks import check_one_of
from weakseg.data import Frame, read_frame
from weakseg.labels import SMOKE
from weakseg.models import SegmentationModel, TiledInference, save_weights
from weakseg.plans import Stage3Plan
from weakseg.refine import EvidenceStatistics, ThresholdChoice
from weakseg.stages.doubt import noise_of
from weakseg.stages.evaluation.measuring import (
    evaluate_split,
    iou_against_masks,
    oracle_threshold,
)
from weakseg.stages.instances import INSTANCES, write_instances
from weakseg.stages.learning import fit_segmenter, validate_by_labels
from weakseg.stages.pages.segmentation import segmentation_page
from weakseg.stages.scores import THRESHOLD, frame_score, score_path
from weakseg.stages.segmentation_summary import frame_rows, summarise
from weakseg.stages.segmenters import (
    INFERENCE,
    SEGMENTER,
    new_segmenter,
    starting_segmenter,
    write_segmenter,
)
from weakseg.stages.showing import BEST, show
from weakseg.stages.supervision import (
    SUPERVISION,
    Teaching,
    inherit,
    open_teaching,
    supervision_of,
    training_items,
)
from weakseg.stages.work import Work, at_work, require_both_labels, settle_hardware
from weakseg.training import NoisyMasks, track
from weakseg.training.fit import Validate

log = logging.getLogger(__name__)

SELECTIONS: Final = ("labels", "val")
KEEP: Final = ("auto", "best", "last")


def run(plan: Stage3Plan, config: Mapping[str, Any]) -> Path:
    """Run stage 3 as `plan` says; give its run folder."""
    check_one_of(SELECTIONS, selection=plan.selection)
    check_one_of(KEEP, keep=plan.keep)
    device = settle_hardware(plan.hardware, seed=plan.seed)
    teaching = open_teaching(plan)
    frames = teaching.frames
    require_labels(plan, frames)
    segmenter = build_segmenter(plan, teaching)
    noise = noise_of(plan.supervision, precision=plan.fit.precision)
    if noise is not None and segmenter.learns_itself:
        raise ValueError(
            f"{type(segmenter).__name__} learns by itself: leave supervision.trim_share, "
            "correction_confidence and consistency_weight out"
        )
    inputs = teaching.inputs | {"weights": segmenter.weights_sha256 or "none"}
    with at_work(plan, config, kind="stage3", inputs=inputs, data=teaching.data) as work:
        if not work.run.is_complete:
            started = time.monotonic()
            write_segmenter(work.run, segmenter)
            write_json(work.run.path / INFERENCE, plan.inference.settings())
            if plan.trained is None:
                train_segmenter(plan, segmenter, teaching, noise, work)
            else:
                inherit(plan, work.run)
                save_weights(work.run.path / BEST, segmenter)
            held_out = [frame for frame in frames if frame.split in ("val", plan.test_split)]
            predict_frames(plan.inference, segmenter.to(device).eval(), held_out, work)
            choice = choose_threshold(plan, frames, work.run)
            # Before measuring, which reads them: a run that goes on has them already.
            rows = frame_rows(held_out, work.run, choice.threshold)
            test = evaluate_split(work.run, frames, plan.test_split, choice.threshold)
            summary = summarise(rows, choice, plan, test) | describe(plan, teaching, work.run)
            summary |= write_instances(
                segmenter,
                held_out,
                plan.inference,
                work,
                drawn_split=plan.test_split,
                data=teaching.data,
                shown_score=choice.threshold,
                sheet_frames=3 * plan.report_frames,
            )
            summary |= {"seconds": time.monotonic() - started}
            show(
                work,
                rows,
                {"prediction": lambda row, *_: _cut(work.run, row["id"], choice.threshold)},
                count=plan.report_frames,
                files=("frames.csv", SEGMENTER, INFERENCE, SUPERVISION, THRESHOLD, BEST, INSTANCES),
                made_of=[*teaching.origins, *(Path(p) for p in (plan.cams, plan.trained) if p)],
                measured=test,
            )
            work.tracker.finish(summary, "finished")
            segmentation_page(
                work.run,
                rows,
                test=test,
                summary=summary,
                count=plan.report_frames,
                config=config,
                frames=frames,
            )
            work.run.finish(summary)
            _tell(work.run, summary, plan.test_split)
        return work.run.path


def require_labels(plan: Stage3Plan, frames: Sequence[Frame]) -> None:
    """Refuse frames of one label, but where masks alone teach and choose: those tell both."""
    if plan.supervision.mode == "full" and plan.selection == "val":
        if all(frame.label == SMOKE for frame in frames):
            log.warning("no frame is smoke-free: false alarms are neither unlearnt nor measured")
        return
    for split in ("train", "val"):
        require_both_labels(frames, split)


def build_segmenter(plan: Stage3Plan, teaching: Teaching) -> SegmentationModel:
    """Build the segmenter to train, or take a trained one.

    Raises:
        ValueError: If it is to start from a classifier's network, and none is known.
    """
    if plan.trained is not None:
        return starting_segmenter(plan, teaching.pseudo)
    if plan.cams is not None:
        return new_segmenter(plan, load_run(Path(plan.cams), kind="stage1"))
    if teaching.pseudo is None and plan.segmenter.keywords.get("encoder") == "auto":
        raise ValueError(
            "segmenter.encoder=auto takes the network of a classifier, and data= comes without "
            "one: give cams=RUN, a stage-1 run, or segmenter.encoder=tu-resnet50 (any timm name) "
            "with segmenter.encoder_weights=hub, none or a FILE"
        )
    return starting_segmenter(plan, teaching.pseudo)


def train_segmenter(
    plan: Stage3Plan,
    segmenter: SegmentationModel,
    teaching: Teaching,
    noise: NoisyMasks | None,
    work: Work,
) -> None:
    """Fit the segmenter to the masks of the training split."""
    fit_segmenter(
        plan,
        segmenter,
        training_items(teaching, work),
        seed=plan.seed,
        validate=_validator(plan, teaching),
        monitor="selection" if keeps_best(plan, teaching) else None,
        folder=work.run,
        on_log=work.log_row,
        stop=work.stop,
        noise=noise,
    )


def keeps_best(plan: Stage3Plan, teaching: Teaching) -> bool:
    """Tell whether the best epoch is kept, or the last.

    Without masks of `val`, pseudo or real, only image labels could choose the epoch, and those are
    all right long before the masks are: then `auto` keeps the last.
    """
    if plan.keep == "auto":
        return plan.selection == "val" or teaching.pseudo is not None
    return plan.keep == "best"


def _validator(plan: Stage3Plan, teaching: Teaching) -> Validate:
    """Measure a model on `val`: by labels and pseudo-masks, or by masks if the user asked."""
    val = [frame for frame in teaching.frames if frame.split == "val"]

    def by_masks(model: nn.Module) -> dict[str, float]:
        masks_iou = iou_against_masks(model, val, plan.inference, teaching.data)
        return {"val_iou_per_image": masks_iou, "selection": masks_iou}

    return by_masks if plan.selection == "val" else validate_by_labels(plan, val, teaching.pseudo)


def describe(plan: Stage3Plan, teaching: Teaching, run: RunFolder) -> dict[str, Any]:
    """Say for the summary who taught, and by what the epoch was chosen."""
    if plan.trained is not None:
        epoch = "trained"
    elif not keeps_best(plan, teaching):
        epoch = "last"
    elif plan.selection == "val":
        epoch = "val_masks"
    else:
        epoch = "labels" if teaching.pseudo is None else "labels_and_pseudo_masks"
    taught = supervision_of(run)
    figures = {
        f"supervision/{key}": value
        for key, value in taught.items()
        if key not in ("mode", "frames", "seed")
    }
    return {"supervision": taught["mode"], "epoch_by": epoch, **figures}


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


def _tell(run: RunFolder, summary: Mapping[str, Any], split: str) -> None:
    for key in ("iou_per_image", "iou_pooled", "miou", "false_alarm_share", "auroc"):
        if f"{split}/{key}" in summary:
            log.info("%s %s: %.3f", split, key, summary[f"{split}/{key}"])
    log.info("report: %s", run.report_path)
