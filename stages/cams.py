"""Stage 1: train a classifier on frame labels, export its CAMs, calibrate them to evidence."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weakseg.arrays import Mask
from weakseg.artifacts import (
    RunFolder,
    load_run,
    read_cam,
    read_json,
    write_cam,
    write_frames,
    write_json,
)
from weakseg.cam import Calibration, CalibrationStatistics, CamRecipe, calibrate
from weakseg.data import (
    ClassificationData,
    EpochSampler,
    Frame,
    dataset_fingerprint,
    sha256_of,
)
from weakseg.losses import EquivarianceLoss
from weakseg.metrics import auroc, average_precision, ece, fpr_at_tpr95
from weakseg.models import Classifier, PcmClassifier, head_of, save_weights
from weakseg.plans import Stage1Plan
from weakseg.stages.correlation import correlation_is_trained
from weakseg.stages.evidence import (
    CALIBRATION,
    CLASSIFIER,
    EvidenceReader,
    at_frame_size,
    cam_path,
    image_of,
    load_classifier,
)
from weakseg.stages.optimisers import with_faster_head
from weakseg.stages.pages.cams import cams_page
from weakseg.stages.scores import SPEED
from weakseg.stages.showing import BEST, show
from weakseg.stages.validation import validator
from weakseg.stages.work import Work, at_work, require_both_labels, settle_hardware
from weakseg.training import FitSettings, casting, fit, track

log = logging.getLogger(__name__)


def run(plan: Stage1Plan, config: Mapping[str, Any]) -> Path:
    """Run stage 1 as `plan` says; give its run folder."""
    device = settle_hardware(plan.hardware, seed=plan.seed)
    frames = plan.data.frames()
    for split in ("train", "val"):
        require_both_labels(frames, split)
    classifier, weights = _classifier(plan)
    plan.cam.check(classifier)
    if isinstance(plan.loss, EquivarianceLoss) and not isinstance(classifier, PcmClassifier):
        raise ValueError(
            "loss=equivariance needs a classifier with activations at two scales: take "
            "classifier=resnet50_pcm (head=pcm), or loss=classification"
        )
    if plan.cam.method == "pcm" and not correlation_is_trained(config):
        raise ValueError(
            "cam=pcm reads a pixel-correlation module, which only loss=equivariance with "
            "loss.ecr_weight above 0 trains: take that loss, or cam=cam"
        )
    inputs = {"frames": dataset_fingerprint(frames), "weights": weights}
    with at_work(plan, config, kind="stage1", inputs=inputs, data=plan.data.settings()) as work:
        if not work.run.is_complete:
            started = time.monotonic()
            head = {"head": head_of(classifier)}
            write_json(work.run.path / CLASSIFIER, {**classifier.settings(), **head})
            if plan.trained:
                save_weights(work.run.path / BEST, classifier)
            else:
                train_classifier(plan, classifier, frames, work)
            classifier = classifier.to(device)
            size, precision = plan.image_size, plan.fit.precision
            speed = export_cams(
                plan.cam, classifier, frames, work, image_size=size, precision=precision
            )
            rows = calibrate_evidence(plan.calibration, frames, work.run)
            summary = summarise(rows) | speed | {"seconds": time.monotonic() - started}
            show(
                work,
                rows,
                {"evidence above one half": _strong(EvidenceReader(work.run))},
                count=plan.report_frames,
                files=(
                    "cams",
                    "frames.csv",
                    CALIBRATION,
                    CLASSIFIER,
                    BEST,
                ),
                made_of=[Path(plan.trained)] if plan.trained else [],
            )
            work.tracker.finish(summary, "finished")
            cams_page(work.run, rows, summary=summary, count=plan.report_frames, config=config)
            work.run.finish(summary)
            _tell(work.run, summary)
        return work.run.path


def _classifier(plan: Stage1Plan) -> tuple[Classifier, str]:
    """Build the classifier to train, or load a trained one; with the hash of its weights."""
    if plan.trained is None:
        classifier: Classifier = plan.classifier()
        return classifier, classifier.weights_sha256 or "none"
    earlier = load_run(plan.trained, kind="stage1")
    return load_classifier(earlier), sha256_of(earlier.path / BEST)


def train_classifier(
    plan: Stage1Plan, classifier: Classifier, frames: Sequence[Frame], work: Work
) -> None:
    """Fit the classifier to the labels of the training split; keep the best epoch by `val`."""
    train = [frame for frame in frames if frame.split == "train"]
    val = [frame for frame in frames if frame.split == "val"]
    settings: FitSettings = plan.fit
    labels = [frame.label for frame in train]
    balance = labels if getattr(plan.loss, "balance", False) else None
    fit(
        classifier,
        optimizer_factory=with_faster_head(plan.optimizer, classifier, plan.head_lr_factor),
        dataset=ClassificationData(
            train, image_size=plan.image_size, augment=plan.augmentation, seed=plan.seed
        ),
        sampler=EpochSampler(
            len(train),
            seed=plan.seed,
            batch_size=settings.batch_size,
            balance=balance,
            drop_last=True,
        ),
        step_loss=functools.partial(_step_loss, plan.loss),
        validate=validator(val, plan.image_size, settings),
        monitor="selection",
        settings=settings,
        checkpoints=work.run.checkpoints,
        on_log=work.log_row,
        stop=work.stop,
        log_path=work.run.metrics_path,
    )


def _step_loss(
    loss: Callable[[Tensor, Tensor], Tensor], model: nn.Module, batch: dict[str, Tensor]
) -> dict[str, Tensor]:
    if isinstance(loss, EquivarianceLoss):
        return loss.of_model(model, batch["image"], batch["label"])
    return {"loss": loss(model(batch["image"]), batch["label"])}


def export_cams(
    recipe: CamRecipe,
    model: Classifier,
    frames: Sequence[Frame],
    work: Work,
    *,
    image_size: int,
    precision: str,
) -> dict[str, float]:
    """Write the raw CAM and the logit of every frame that has none yet; tell how long it took."""
    device = next(model.parameters()).device

    def is_missing(frame: Frame) -> bool:
        return not cam_path(work.run.cams, frame.id).exists()

    # Always the same batches: a frame's last bits depend on how many others share its own.
    parts = [part for part in _parts(frames, recipe) if any(map(is_missing, part))]
    told, started = work.run.path / SPEED, time.monotonic()
    for part in track(parts, what="export CAMs", unit="batches"):
        work.check_stop()
        images = [image_of(frame, None if recipe.window else image_size) for frame in part]
        with casting(precision, device):
            maps, logits = recipe.raw_cam(model, torch.stack(images).to(device))
        for frame, raw, logit in zip(part, maps.cpu().numpy(), logits.tolist(), strict=True):
            if is_missing(frame):
                write_cam(cam_path(work.run.cams, frame.id), raw, logit)
    if parts:
        seconds = (time.monotonic() - started) / sum(map(len, parts))
        write_json(told, {"seconds_per_frame/cam": seconds})
    # A run that was stopped in between knows no times.
    return dict(read_json(told)) if told.exists() else {}


def _parts(frames: Sequence[Frame], recipe: CamRecipe) -> Iterator[Sequence[Frame]]:
    """Cut into batches; whole frames of different sizes cannot share one."""
    size = 1 if recipe.window else recipe.batch_size
    return (frames[start : start + size] for start in range(0, len(frames), size))


def calibrate_evidence(
    rule: Mapping[str, Any], frames: Sequence[Frame], run: RunFolder
) -> list[dict[str, str]]:
    """Choose the calibration by image labels, write it, and write one row a frame."""
    statistics = CalibrationStatistics()
    for frame in track(frames, what="calibrate evidence", unit="frames"):
        raw, logit = read_cam(cam_path(run.cams, frame.id))
        statistics.add(raw, logit, label=frame.label, split=frame.split)
    calibration = calibrate(statistics, **rule)
    write_json(run.path / CALIBRATION, calibration.to_dict())
    rows = [_row(frame, run, calibration) for frame in frames]
    write_frames(run.frames_csv, rows)
    return rows


def _strong(evidence: EvidenceReader) -> Callable[[Mapping[str, str], int, int], Mask]:
    """Draw where a frame's evidence is above one half."""

    def draw(row: Mapping[str, str], height: int, width: int) -> Mask:
        low, _ = evidence(row["id"])
        return (at_frame_size(low, height, width) > 0.5).astype(np.uint8)

    return draw


def _row(frame: Frame, run: RunFolder, calibration: Calibration) -> dict[str, str]:
    raw, logit = read_cam(cam_path(run.cams, frame.id))
    evidence = calibration.evidence(raw, logit)
    return {
        "id": frame.id,
        "path": str(frame.path),
        "label": str(frame.label),
        "scene": frame.scene,
        "split": frame.split,
        "sequence": frame.sequence,
        "sha256": sha256_of(frame.path),
        "logit": f"{logit:.6g}",
        "probability": f"{calibration.probability(logit):.6g}",
        "evidence_max": f"{float(evidence.max()):.6g}",
        "evidence_mean": f"{float(evidence.mean()):.6g}",
    }


def summarise(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Measure the classifier by image labels, for each split that holds both."""
    figures: dict[str, float] = {}
    for split in sorted({row["split"] for row in rows}):
        chosen = [row for row in rows if row["split"] == split]
        labels = np.array([int(row["label"]) for row in chosen])
        figures[f"{split}/frames"] = len(chosen)
        if set(labels.tolist()) != {0, 1}:
            continue
        logits = np.array([float(row["logit"]) for row in chosen])
        probabilities = np.array([float(row["probability"]) for row in chosen])
        figures[f"{split}/auroc"] = auroc(labels, logits)
        figures[f"{split}/average_precision"] = average_precision(labels, logits)
        figures[f"{split}/fpr_at_tpr95"] = fpr_at_tpr95(labels, logits)
        figures[f"{split}/ece"] = ece(labels, probabilities)
    return figures


def _tell(run: RunFolder, summary: Mapping[str, float]) -> None:
    for split in ("val", "test"):
        if f"{split}/auroc" in summary:
            log.info("%s: AUROC %.3f", split, summary[f"{split}/auroc"])
    log.info("report: %s", run.report_path)
