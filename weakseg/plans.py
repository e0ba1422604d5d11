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
class RefinePlan:
    """The steps that refine a CAM, in order: either named nodes or names in a list."""

    steps: Any = field(default_factory=dict)


@dataclass
class Stage2Plan(RunPlan):
    """Refine CAMs into pseudo-masks. There is no field for masks, on purpose."""

    cams: str = "latest"
    background: Any = MISSING
    refine: RefinePlan = field(default_factory=RefinePlan)
    threshold: Any = MISSING
    masks: Any = MISSING
    sam_checkpoint: str | None = None


@dataclass
class Stage3Plan(RunPlan):
    """Train a segmenter on pseudo-masks and evaluate it once on the test split.

    Args:
        pseudo_masks: A finished stage-2 run, or `latest`.
        selection: How the epoch and the threshold are chosen: `labels` reads image labels only,
            `val` reads the masks of the validation split, and the report says which.
        trained: A finished stage-3 run whose segmenter is taken as it is.
    """

    pseudo_masks: str = "latest"
    trained: str | None = None
    segmenter: Any = MISSING
    image_size: int = 256
    augmentation: Any = None
    loss: Any = MISSING
    optimizer: Any = MISSING
    head_lr_factor: float = 10.0
    fit: Any = MISSING
    inference: Any = MISSING
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
    """Measure a finished run's product against masks."""

    run: str = MISSING
    data: Any = None
    split: str | None = None
    name: str = ""
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
    resamples: int = 1000
    seed: int = 0
    report_frames: int = 4


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
