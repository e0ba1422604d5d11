"""Type what the three stages are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weakseg.plans.common import MISSING, RunPlan
from weakseg.plans.supervision import SupervisionPlan


@dataclass
class Stage1Plan(RunPlan):
    """Train a classifier on image labels and export its CAMs.

    There is no field for masks, on purpose: this stage cannot read one.

    Args:
        trained: A finished stage-1 run whose classifier is taken as it is, to export other CAMs.
    """

    data: Any = MISSING
    trained: str | None = None
    classifier: Any = MISSING
    image_size: int = 224
    augmentation: Any = None
    loss: Any = None
    optimizer: Any = MISSING
    head_lr_factor: float = 10.0
    fit: Any = MISSING
    cam: Any = MISSING
    calibration: dict[str, float] = field(default_factory=dict)


@dataclass
class LearningPlan:
    """How a segmenter learns from pseudo-masks, and how it then reads frames."""

    segmenter: Any = MISSING
    image_size: int = 256
    augmentation: Any = None
    loss: Any = MISSING
    optimizer: Any = MISSING
    head_lr_factor: float = 10.0
    fit: Any = MISSING
    inference: Any = MISSING


@dataclass
class SelfTrainingPlan(LearningPlan):
    """How the rounds of stage 2 learn, and when they stop; none of it needs masks.

    Args:
        confidence_floor: Weight of a pixel whose score is at the threshold, in [0, 1]; pixels far
            from it weigh 1. At 1 all pixels weigh alike.
        blend: Share of the round before in the new scores, in [0, 1).
        refine_again: Run the steps of `refine` that need neither learning nor the classifier on
            the segmenter's scores, too.
        converged: Agreement with the masks of the round before from which nothing more is won.
        false_alarm_target: Share of smoke-free frames of `val` with a mask that is put up with.
        tolerance: How far AUROC, and the shares of smoke frames with a mask, may fall.
        max_growth: How many times larger than in round 0 the smoke may become, at least 1.
        least_auroc: AUROC on `val` that the segmenter must reach without the classifier's gate.
    """

    confidence_floor: float = 0.3
    blend: float = 0.0
    refine_again: bool = False
    converged: float = 0.95
    false_alarm_target: float = 0.05
    tolerance: float = 0.02
    max_growth: float = 3.0
    least_auroc: float = 0.8


@dataclass
class ConsistencyPlan:
    """How a student of another architecture learns from a teacher before its CAMs are refined.

    Args:
        mode: `none` takes the CAMs as they are; `frozen` follows the classifier of `cams`;
            `cotraining` trains two networks that follow each other.
        student: The network whose CAMs are exported.
        teacher_classifier: For co-training only: the other network.
        teacher_scales: Sizes at which a frozen teacher reads the frame, above 0.
        teacher_flip: Whether a frozen teacher reads the mirrored frame, too.
        loss: What the student is told beside the label.
        classification: The loss of the labels; not `EquivarianceLoss`, which needs two views.
        lookalikes: How many false alarms the look-alike term remembers; at least 1 with that term.
        collapse_floor: Spread of maps or features below which they are flat, above 0.
        select: Which epoch is kept: the `last`, as following goes on to sharpen maps when labels
            have no more to say, or the best by the student's `auroc` on val.
        collapse_steps: Steps in a row after which flatness is a collapse, at least 1.
    """

    mode: str = "none"
    student: Any = None
    teacher_classifier: Any = None
    teacher_scales: list[float] = field(default_factory=lambda: [1.0])
    teacher_flip: bool = False
    loss: Any = None
    classification: Any = None
    lookalikes: int = 256
    image_size: int = 224
    augmentation: Any = None
    optimizer: Any = None
    head_lr_factor: float = 10.0
    fit: Any = None
    cam: Any = None
    calibration: dict[str, float] = field(default_factory=dict)
    collapse_floor: float = 1e-3
    collapse_steps: int = 50
    select: str = "last"


@dataclass
class RefinePlan:
    """The steps that refine a CAM, in order: either named nodes or names in a list."""

    steps: Any = field(default_factory=dict)


@dataclass
class Stage2Plan(RunPlan):
    """Refine CAMs into pseudo-masks. There is no field for masks, on purpose.

    Args:
        ensemble: Other finished stage-1 runs of the same frames, whose evidence is averaged with
            that of `cams` or its student.
        rounds: Rounds of self-training after the refinement, at least 0.
    """

    cams: str = "latest"
    ensemble: list[str] = field(default_factory=list)
    consistency: ConsistencyPlan = field(default_factory=ConsistencyPlan)
    background: Any = MISSING
    refine: RefinePlan = field(default_factory=RefinePlan)
    threshold: Any = MISSING
    masks: Any = MISSING
    rounds: int = 0
    self_training: SelfTrainingPlan = field(default_factory=SelfTrainingPlan)
    sam_checkpoint: str | None = None
    cache: str | None = None


@dataclass
class Stage3Plan(LearningPlan, RunPlan):
    """Train a segmenter on masks and evaluate it once on the test split.

    Args:
        pseudo_masks: A finished stage-2 run, or `latest`.
        data: A source of frames with real masks; it takes the place of a stage-2 run.
        cams: A stage-1 run whose network the segmenter starts from; None takes that behind the
            stage-2 run.
        supervision: Whose masks are learnt.
        selection: How the epoch and the threshold are chosen: `labels` reads image labels only,
            `val` reads the masks of the validation split, and the report says which.
        keep: Which epoch is kept: the `best` by `selection`, the `last`, or `auto`: the best where
            real or pseudo-masks of the validation split can tell it, else the last.
        trained: A finished stage-3 run whose segmenter is taken as it is.
    """

    pseudo_masks: str = "latest"
    data: Any = None
    cams: str | None = None
    supervision: SupervisionPlan = field(default_factory=SupervisionPlan)
    trained: str | None = None
    selection: str = "labels"
    keep: str = "auto"
    threshold: Any = MISSING
    test_split: str = "test"
