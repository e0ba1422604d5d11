"""Train a student beside a teacher of another architecture, and export its CAMs as stage 1 does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from weakseg.artifacts import FinishedRun, RunFolder, load_run, read_json, write_json
from weakseg.checks import check_one_of
from weakseg.data import ClassificationData, EpochSampler, Frame, make_loader
from weakseg.metrics import auroc
from weakseg.models import Classifier, head_of, save_weights
from weakseg.models.student import (
    ConsistentClassifier,
    has_cells,
    probe,
)
from weakseg.plans import ConsistencyPlan, Stage2Plan
from weakseg.stages.cams import calibrate_evidence, export_cams, summarise
from weakseg.stages.evidence import CLASSIFIER, load_classifier
from weakseg.stages.optimisers import with_faster_head
from weakseg.stages.pages import cams_page
from weakseg.stages.showing import BEST
from weakseg.stages.work import Work, frames_of, require_both_labels, what_counts
from weakseg.training import FitSettings, fit
from weakseg.training.consistency import (
    ConsistencyStep,
    FrozenTeacher,
    collapse_of,
    lesson_of,
    measure,
)
from weakseg.training.engine import choose_accelerator

log = logging.getLogger(__name__)

MODES: Final = ("none", "frozen", "cotraining")
STUDENT: Final = "student"
"""Folder of the student's run inside that of stage 2."""

_PAIR: Final = "pair"
_TEACHER: Final = "teacher"


def initial_weights(plan: Stage2Plan, teacher: FinishedRun) -> dict[str, str]:
    """Give the hashes of the weights that networks start from: inputs of the stage-2 run.

    The networks are built and joined once for it, so that what cannot be is refused before there
    is a run.

    Raises:
        ValueError: If the mode is unknown, a network is missing, or one lacks what is compared.
        DataError: If the frames of `teacher` cannot be learnt from.
    """
    check_one_of(MODES, **{"consistency.mode": plan.consistency.mode})
    if plan.consistency.mode == "none":
        return {}
    for split in ("train", "val"):
        require_both_labels(frames_of(teacher), split)
    pair, _ = _join(plan, teacher)
    found = {"weights of the student": pair.student.weights_sha256 or "none"}
    if pair.peer is not None:
        found["weights of the teacher"] = pair.peer.weights_sha256 or "none"
    return found


def student_cams(
    plan: Stage2Plan, teacher: FinishedRun, config: Mapping[str, Any], work: Work
) -> FinishedRun:
    """Train the student in `OUTPUT/student` and export its CAMs; go on where that was stopped.

    Args:
        plan: Of stage 2; `plan.consistency` says how.
        teacher: A finished stage-1 run: its frames are learnt from, and with mode=frozen its
            classifier is followed.
        config: The resolved configuration of stage 2.
        work: Stage 2 at work.

    Returns:
        The student's run, of the kind that stage 1 makes.
    """
    settings = plan.consistency
    own = {**config["consistency"], "seed": plan.seed}
    own["classifier"] = own.pop("student")
    inputs = {"frames": teacher.manifest.inputs["frames"], **initial_weights(plan, teacher)}
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
    kept = ("collapsed", "collapse", "val/auroc", "test/auroc", "seconds")
    summary = read_json(run.summary_path)
    return {f"{STUDENT}/{name}": summary[name] for name in kept if name in summary}


def _make_run(
    plan: Stage2Plan, teacher: FinishedRun, config: Mapping[str, Any], work: Work
) -> None:
    started = time.monotonic()
    settings, run = plan.consistency, work.run
    frames = frames_of(teacher)
    pair, frozen = _join(plan, teacher)
    head = {"head": head_of(pair.student)}
    write_json(run.path / CLASSIFIER, {**pair.student.settings(), **head})
    collapse = train_pair(plan, pair, frozen, frames, work)
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
        "collapsed": bool(collapse),
        "collapse": "; ".join(collapse),
        "seconds": time.monotonic() - started,
    }
    cams_page(run, rows, summary=summary, count=plan.report_frames, config=config)
    run.finish(summary)
    log.info("student: AUROC on val %.3f; report: %s", summary["val/auroc"], run.report_path)


def _build(plan: ConsistencyPlan, *, seed: int) -> tuple[Classifier, Classifier | None]:
    """Build the student and, for co-training, the teacher that learns with it."""
    if plan.student is None:
        raise ValueError("consistency.student is missing: name a classifier to train")
    torch.manual_seed(seed)
    student: Classifier = plan.student()
    if plan.mode != "cotraining":
        return student, None
    if plan.teacher_classifier is None:
        raise ValueError("consistency.teacher_classifier is missing: co-training trains two")
    peer: Classifier = plan.teacher_classifier()
    return student, peer


def _join(plan: Stage2Plan, run: FinishedRun) -> tuple[ConsistentClassifier, FrozenTeacher | None]:
    """Join the student to what it follows, checked to have what is compared."""
    settings = plan.consistency
    student, peer = _build(settings, seed=plan.seed)
    settings.cam.check(student)
    loss = settings.loss
    teacher = load_classifier(run) if peer is None else peer
    channels = lesson_of(probe(teacher), loss.target).target.shape[1]
    answers = has_cells(student)
    if loss.of == "evidence":
        channels = 0 if answers else 1
    elif loss.needs_cells and not answers:
        raise ValueError(
            f"boundary, background and look-alike terms need a class map, and {student.name} with "
            "one pooled answer has none: take consistency.student.local=true, or "
            "consistency.loss.of=evidence, by which one is learnt"
        )
    memory = settings.lookalikes if loss.lookalike_weight > 0 else 0
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
) -> tuple[str, ...]:
    """Fit the pair; leave it with the best epoch by the labels of `val`.

    Everything that is trained is saved in `checkpoints/pair`, and goes on from there.

    Returns:
        By what the student shows to have collapsed; nothing if it has not.
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
        validate=validator(val, settings.image_size, fitting),
        monitor="selection",
        settings=fitting,
        checkpoints=work.run.checkpoints / _PAIR,
        on_log=work.log_row,
        stop=work.stop,
        log_path=work.run.metrics_path,
    )
    epochs = [
        int(row["epoch"])
        for row in work.run.metrics.rows()
        if float(row.get("train/collapsed") or 0) > 0
    ]
    return collapse_of(result.best, epochs=epochs, floor=settings.collapse_floor)


def validator(
    frames: Sequence[Frame], image_size: int, settings: FitSettings
) -> Callable[[nn.Module], dict[str, float]]:
    """Measure a pair by the image labels of `frames`, and by what shows a collapse.

    "auroc" is of the student's answers, "map_auroc" of the peaks of its maps, "peer_auroc" of the
    teacher that learns with it; "map_spread" is the highest of all frames.
    """
    data = ClassificationData(frames, image_size=image_size)
    size = settings.batch_size
    batches = [
        [(0, i) for i in range(start, min(start + size, len(frames)))]
        for start in range(0, len(frames), size)
    ]
    labels = np.array([frame.label for frame in frames])

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        told: dict[str, list[Tensor]] = {}
        for batch in make_loader(data, batches, workers=settings.workers):
            for name, values in measure(model, batch["image"].to(device)).items():
                told.setdefault(name, []).append(values.float().cpu())
        found = {name: torch.cat(parts).double().numpy() for name, parts in told.items()}
        answers = found["auroc"]
        entropy = float(np.mean(np.logaddexp(0, np.where(labels == 1, -answers, answers))))
        figures = {k: auroc(labels, v) for k, v in found.items() if k.endswith("auroc")}
        figures |= {k: float(v.max()) for k, v in found.items() if k.endswith("spread")}
        # AUROC saturates on easy data: cross-entropy settles ties, far below AUROC's own steps.
        selection = figures["auroc"] - 1e-4 * entropy
        return {**figures, "cross_entropy": entropy, "selection": selection}

    return validate
