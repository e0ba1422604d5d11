"""Type what an ablation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weakseg.plans.common import MISSING, HardwarePlan


@dataclass
class StudyPlan:
    """What an ablation compares.

    Args:
        title: Of the table.
        stage1: Settings of every stage-1 run, as they are typed.
        stage2: Settings of every stage-2 run.
        parts: Texts for the rows to refer to.
        rows: Mappings with name, group, stage1, stage2, of, needs, note: see
            `weakseg.stages.ablation.study.Row`.
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
