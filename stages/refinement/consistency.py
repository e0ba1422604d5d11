"""Train a student beside a teacher of another architecture, and export its CAMs as stage 1 does."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from weakseg.artifacts import FinishedRun, RunFolder, load_run, read_json, write_json
from weakseg.checks import check_one_of
from weakseg.data import ClassificationData, EpochSampler, Frame
from weakseg.losses import EquivarianceLoss
from weakseg.models import Classifier, head_of, save_weights
from weakseg.models.student import ConsistentClassifier, has_cells, probe
from weakseg.plans import ConsistencyPlan, Stage2Plan
from weakseg.stages.cams import calibrate_evidence, export_cams, summarise
from weakseg.stages.correlation import correlation_is_trained
from weakseg.stages.evidence import CLASSIFIER, load_classifier
from weakseg.stages.optimisers import with_faster_head
from weakseg.stages.pages.cams import cams_page
from weakseg.stages.showing import BEST
from weakseg.stages.validation import validator
from weakseg.stages.work import Work, frame_of, require_both_labels, what_counts
from weakseg.training import FitSettings, fit
from weakseg.training.consistency import (
    ConsistencyStep,
    FrozenTeacher,
    collapse_of,
    flatness_of,
    lesson_of,
    measure,
)
from weakseg.training.engine import choose_accelerator

log = logging.getLogger(__name__)

MODES: Final = ("none", "frozen", "cotraining")
SELECTIONS: Final = ("last", "auroc")
STUDENT: Final = "student"
"""Folder of the student's run inside that of stage 2."""

_PAIR: Final = "pair"
_TEACHER: Final = "teacher"
_WEIGHTS: Final = ("weights of the student", "weights of the teacher")


def initial_weights(plan: Stage2Plan, teacher: FinishedRun) -> dict[str, str]:
    """Give the hashes of the weights that networks start from: inputs of the stage-2 run.

    The networks are built and joined once for it, so that what cannot be is refused before there
    is a run.

    Args:
        plan: Of stage 2.
        teacher: A finished stage-1 run, whose frames were checked to be the same still.

    Raises:
        ValueError: If the mode is unknown, a network is missing, or one lacks what is compared.
        DataError: If the frames of `teacher` cannot be learnt from.
    """
    check_one_of(MODES, **{"consistency.mode": plan.consistency.mode})
    check_one_of(SELECTIONS, **{"consistency.select": plan.consistency.select})
    if plan.consistency.mode == "none":
        return {}
    frames = _frames_of(teacher)
    for split in ("train", "val"):
        require_both_labels(frames, split)
    pair, _ = _join(plan, teacher)
    networks = [pair.student] if pair.peer is None else [pair.student, pair.peer]
    return {
        name: network.weights_sha256 or "none"
        for name, network in zip(_WEIGHTS, networks, strict=False)
    }


def _frames_of(teacher: FinishedRun) -> list[Frame]:
    """Give the frames of a run that were checked already: reading them all takes its time."""
    return [frame_of(row) for row in teacher.frames]


def student_cams(
    plan: Stage2Plan, teacher: FinishedRun, config: Mapping[str, Any], work: Work
) -> FinishedRun:
    """Train the student in `OUTPUT/student` and export its CAMs; go on where that was stopped.

    Args:
        plan: Of stage 2; `plan.consistency` says how.
        teacher: A finished stage-1 run: its frames are learnt from, and with mode=frozen its
            classifier is followed.
        config: The resolved configuration of stage 2.
        work: Stage 2 at work, with what `initial_weights` gave among its inputs.

    Returns:
        The student's run, of the kind that stage 1 makes.
    """
    settings = plan.consistency
    own = {**config["consistency"], "seed": plan.seed}
    own["classifier"] = own.pop("student")
    known = work.run.manifest.inputs
    inputs = {name: known[name] for name in ("frames", *_WEIGHTS) if name in known}
    if settings.mode == "frozen":
        inputs["teacher"] = teacher.fingerprint
    with RunFolder.open(
        work.run.path / STUDENT,
        kind="stage1",
        config=own,
        settings=what_counts(own),
        inputs=inputs,
        data=teacher.data,
    ) as run:
        if not run.is_complete:
            _make_run(plan, teacher, own, Work(run, work.tracker, work.stop))
    student = load_run(work.run.path / STUDENT, kind="stage1")
    if told := student_figures(student)["student/collapse"]:
        log.warning("the student has collapsed: %s", told)
    return student


def student_figures(run: FinishedRun) -> dict[str, Any]:
    """Give what stage 2 tells of its student's run: "student/collapsed", AUROCs and the like."""
    kept = ("collapsed", "collapse", "flat_epochs", "val/auroc", "test/auroc", "seconds")
    summary = read_json(run.summary_path)
    return {f"{STUDENT}/{name}": summary[name] for name in kept if name in summary}


def _make_run(
    plan: Stage2Plan, teacher: FinishedRun, config: Mapping[str, Any], work: Work
) -> None:
    started = time.monotonic()
    settings, run = plan.consistency, work.run
    frames = _frames_of(teacher)
    pair, frozen = _join(plan, teacher)
    head = {"head": head_of(pair.student)}
    write_json(run.path / CLASSIFIER, {**pair.student.settings(), **head})
    signs = train_pair(plan, pair, frozen, frames, work)
    save_weights(run.path / BEST, pair.student)
    if pair.peer is not None:
        save_weights(run.checkpoints / f"{_TEACHER}.safetensors", pair.peer)
        head = {"head": head_of(pair.peer)}
        write_json(run.path / f"{_TEACHER}.json", {**pair.peer.settings(), **head})
    device = torch.device(choose_accelerator(plan.hardware.accelerator))
    speed = export_cams(
        settings.cam,
        pair.student.to(device),
        frames,
        work,
        image_size=settings.image_size,
        precision=settings.fit.precision,
    )
    rows = calibrate_evidence(settings.calibration, frames, run)
    summary: dict[str, Any] = {
        **summarise(rows),
        **speed,
        **signs,
        "seconds": time.monotonic() - started,
    }
    cams_page(run, rows, summary=summary, count=plan.report_frames, config=config)
    run.finish(summary)
    log.info("student: AUROC on val %.3f; report: %s", summary["val/auroc"], run.report_path)


def _build(plan: ConsistencyPlan, *, seed: int) -> tuple[Classifier, Classifier | None]:
    """Build the student and, for co-training, the teacher that learns with it."""
    torch.manual_seed(seed)
    student: Classifier = plan.student()
    peer: Classifier | None = plan.teacher_classifier() if plan.mode == "cotraining" else None
    return student, peer


def _check(settings: ConsistencyPlan) -> None:
    """Refuse settings that do not go together, whatever the networks."""
    if settings.student is None:
        raise ValueError("consistency.student is missing: name a classifier to train")
    if settings.mode == "cotraining" and settings.teacher_classifier is None:
        raise ValueError("consistency.teacher_classifier is missing: co-training trains two")
    for name in ("loss", "classification", "optimizer", "fit", "cam"):
        if getattr(settings, name) is None:
            raise ValueError(f"consistency.{name} is missing: the files of the group name one")
    if isinstance(settings.classification, EquivarianceLoss):
        raise ValueError(
            "consistency.classification: er and ecr are not computed beside a teacher: take "
            "loss@consistency.classification=classification"
        )
    if settings.mode == "cotraining" and settings.loss.target == "pcm":
        raise ValueError(
            "consistency.loss.target=pcm: nothing flows back through pixel correlation, so a peer "
            "would follow nobody: take target=cam, or consistency=resnet_to_vit"
        )
    if settings.loss.lookalike_weight > 0 and settings.lookalikes < 1:
        raise ValueError(
            "consistency.loss.lookalike_weight is above 0, but consistency.lookalikes is 0: "
            "remember some, or leave the term out"
        )
    if settings.cam.method == "pcm":
        raise ValueError(
            "consistency.cam.method=pcm: a student does not learn pixel correlation: take cam"
        )


def _join(plan: Stage2Plan, run: FinishedRun) -> tuple[ConsistentClassifier, FrozenTeacher | None]:
    """Join the student to what it follows, checked to have what is compared."""
    settings = plan.consistency
    _check(settings)
    # What is drawn for the networks is the same whoever asks, and takes nothing from the caller.
    with torch.random.fork_rng(devices=[]):
        student, peer = _build(settings, seed=plan.seed)
        settings.cam.check(student)
        loss = settings.loss
        teacher = load_classifier(run) if peer is None else peer
        channels = lesson_of(probe(teacher), loss.target).target.shape[1]
        if loss.target == "pcm" and not correlation_is_trained(run.manifest.config):
            raise ValueError(
                f"consistency.loss.target=pcm: the pixel-correlation module of {run.path} was not "
                "trained: give a stage-1 run of loss=equivariance, or take target=cam"
            )
        if loss.needs_cells and not has_cells(student):
            raise ValueError(
                "of=evidence and the boundary, background and look-alike terms need a class map, "
                f"and {student.name} with one pooled answer has none: take "
                "consistency.student.local=true"
            )
        memory = settings.lookalikes if loss.lookalike_weight > 0 else 0
        channels = channels if loss.needs_projection else 0
        pair = ConsistentClassifier(student, channels=channels, peer=peer, memory=memory)
    if peer is not None:
        return pair, None
    return pair, FrozenTeacher(
        teacher,
        target=loss.target,
        scales=settings.teacher_scales,
        flip=settings.teacher_flip,
        precision=settings.fit.precision,
        accelerator=settings.fit.accelerator,
    )


def train_pair(
    plan: Stage2Plan,
    pair: ConsistentClassifier,
    teacher: FrozenTeacher | None,
    frames: Sequence[Frame],
    work: Work,
) -> dict[str, Any]:
    """Fit the pair; leave it with the best epoch by the labels of `val`.

    Everything that is trained is saved in `checkpoints/pair`, and goes on from there.

    Returns:
        "collapsed", whether the student has, and "collapse", by what it shows that; "flat_epochs",
        a sentence, where epochs that are not kept were flat.
    """
    settings = plan.consistency
    fitting: FitSettings = settings.fit
    train = [frame for frame in frames if frame.split == "train"]
    val = [frame for frame in frames if frame.split == "val"]
    labels = [frame.label for frame in train]
    result = fit(
        pair,
        optimizer_factory=with_faster_head(settings.optimizer, pair, settings.head_lr_factor),
        dataset=ClassificationData(
            train, image_size=settings.image_size, augment=settings.augmentation, seed=plan.seed
        ),
        sampler=EpochSampler(
            len(train),
            seed=plan.seed,
            batch_size=fitting.batch_size,
            balance=labels if getattr(settings.classification, "balance", False) else None,
            drop_last=True,
        ),
        step_loss=ConsistencyStep(
            pair,
            loss=settings.loss,
            classification=settings.classification,
            teacher=teacher,
            floor=settings.collapse_floor,
            patience=settings.collapse_steps,
        ),
        validate=validator(val, settings.image_size, fitting, measure=measure),
        monitor="selection" if settings.select == "auroc" else None,
        settings=fitting,
        checkpoints=work.run.checkpoints / _PAIR,
        on_log=work.log_row,
        stop=work.stop,
        log_path=work.run.metrics_path,
    )
    flat = [
        int(row["epoch"])
        for row in work.run.metrics.rows()
        if float(row.get("train/collapsed") or 0) > 0
    ]
    kept, floor = result.best_epoch, settings.collapse_floor
    found = collapse_of(result.best, epoch=kept, flat_epochs=flat, floor=floor)
    signs: dict[str, Any] = {"collapsed": bool(found), "collapse": "; ".join(found)}
    if note := flatness_of(epoch=kept, flat_epochs=flat):
        log.info("student: %s, and epoch %d is kept", note, kept)
        signs["flat_epochs"] = note
    return signs
