"""Type what each command is asked to do: the schema of the configuration, free of Hydra.

A field that is `"???"` has no default: the configuration must give it, and Hydra names it when it
does not. Components are `Any` because they arrive built, from `_target_` nodes whose constructors
check their own ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING = "???"


@dataclass
class HardwarePlan:
    """Where the work runs; never part of a run's fingerprint, except the precision.

    Args:
        accelerator: `auto` (a GPU when there is one), `cpu` or `gpu`.
        precision: `auto`, `32`, `bf16` or `16`.
        workers: Processes that read frames, at least 0; 0 reads in the main process.
        threads: CPU threads for torch and the C++ core; 0 takes every core.
    """

    accelerator: str = "auto"
    precision: str = "auto"
    workers: int = 0
    threads: int = 0


@dataclass
class TrackingNames:
    """How a run is named to the tracker; empty names are derived from the output folder."""

    name: str = ""
    group: str = ""


@dataclass
class RunPlan:
    """What every command that makes a run folder shares."""

    output: str = MISSING
    overwrite: bool = False
    seed: int = 0
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
    tracker: Any = None
    tracking: TrackingNames = field(default_factory=TrackingNames)
    report_frames: int = 4


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
    """Train a segmenter on pseudo-masks and evaluate it once on the test split.

    Args:
        pseudo_masks: A finished stage-2 run, or `latest`.
        selection: How the epoch and the threshold are chosen: `labels` reads image labels only,
            `val` reads the masks of the validation split, and the report says which.
        trained: A finished stage-3 run whose segmenter is taken as it is.
    """

    pseudo_masks: str = "latest"
    trained: str | None = None
    selection: str = "labels"
    threshold: Any = MISSING
    test_split: str = "test"


@dataclass
class CheckPlan:
    """Look over a data set before anything is trained on it."""

    data: Any = MISSING
    output: str = MISSING
    max_pixels: int = 100_000_000
    near_duplicate_bits: int = 16
    seed: int = 0


@dataclass
class EvaluatePlan:
    """Measure a finished run's product against masks.

    Args:
        rules: Rules for the threshold that are compared with the run's own, by name.
    """

    run: str = MISSING
    data: Any = None
    split: str | None = None
    name: str = ""
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
    resamples: int = 1000
    seed: int = 0
    report_frames: int = 4
    rules: dict[str, Any] = field(default_factory=dict)


@dataclass
class PredictPlan:
    """Segment new frames with a finished stage-3 run.

    Args:
        cut: Score from which a pixel is smoke, instead of the run's own threshold. (Hydra takes
            the word `threshold` for the group of that name.)
    """

    run: str = MISSING
    source: str = MISSING
    output: str = MISSING
    cut: float | None = None
    tile: int | None = None
    max_pixels: int = 100_000_000
    hardware: HardwarePlan = field(default_factory=HardwarePlan)


@dataclass
class StudyPlan:
    """What an ablation compares.

    Args:
        title: Of the table.
        stage1: Settings of every stage-1 run, as they are typed.
        stage2: Settings of every stage-2 run.
        parts: Texts for the rows to refer to.
        rows: Mappings with name, group, stage1, stage2, of, needs, note: see
            `weakseg.stages.ablation_study.Row`.
    """

    title: str = ""
    stage1: str = ""
    stage2: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    rows: Any = field(default_factory=list)


@dataclass
class AblationPlan:
    """Make every row of a study with every seed, and tell what each is worth.

    Args:
        only: Names of the rows wanted, with what they build on; all if empty.
        jobs: Commands at once, at least 1; they share the processors.
        shard: `I/N`: this process makes part I, from 0, of N in the same output folder.
        train_frames: Size of the sample of the training frames; None takes all.
        sample_seed: Of that sample, the same for all rows and seeds.
        train_masks: Folder with masks of training frames, for measuring only.
        weights: Name -> FILE, `hub` or `none`, for the rows to refer to; None leaves out the rows
            that need them.
        resnet_v1: Whether `weights.resnet50` has its stride in the first 1x1 convolutions.
        stage1: Settings of every stage-1 run that win over those of the study.
        stage2: The same of every stage-2 run.
        overwrite: Take other frames or masks where an ablation of others stands.
        collect_only: Write the tables of what is finished, and run nothing.
        pictures: Frames shown on the page.
    """

    data: Any = None
    study: StudyPlan = field(default_factory=StudyPlan)
    output: str = MISSING
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    only: list[str] = field(default_factory=list)
    jobs: int = 1
    shard: str = "0/1"
    train_frames: int | None = None
    sample_seed: int = 0
    train_masks: str | None = None
    weights: dict[str, str | None] = field(default_factory=dict)
    resnet_v1: bool = False
    stage1: str = ""
    stage2: str = ""
    overwrite: bool = False
    collect_only: bool = False
    pictures: int = 6
    seed: int = 0
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
