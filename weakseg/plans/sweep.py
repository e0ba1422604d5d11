"""Type what a sweep, a chain of stages and an upload are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weakseg.plans.common import MISSING, HardwarePlan, RunPlan


@dataclass
class SweepPlan:
    """Run the points of a wandb sweep file without a server.

    Args:
        file: Path of the file, or the bare name of one of weakseg's own.
        output: Folder of the sweep; `runs/sweeps/NAME` if empty.
        settings: Words for every run, as they are typed; they win over those of the file.
        points: Largest number of points, beside the file's `run_cap`; None for no other limit.
        jobs: Points at once, at least 1; they share the processors.
        seed: Of what `random` and `bayes` draw.
        retry: Make failed points again.
        ignore_early_terminate: Run a file with `early_terminate` all the same, every point to its
            end.
        collect_only: Write the tables of what is there, and run nothing.
        dry: Say what would be run, and write nothing.
        cluster: None runs the points here; `slurm` submits them as a job array; `local` and
            `debug` try that without a cluster.
        slurm: What submitit's executor is told: `timeout_min`, `slurm_partition`, ...;
            `slurm_max_num_timeout` of them, at least 0, 1000 if nothing is said.
    """

    file: str = MISSING
    output: str = ""
    settings: str = ""
    points: int | None = None
    jobs: int = 1
    seed: int = 0
    retry: bool = False
    ignore_early_terminate: bool = False
    collect_only: bool = False
    dry: bool = False
    cluster: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    hardware: HardwarePlan = field(default_factory=HardwarePlan)


@dataclass
class ChainPlan(RunPlan):
    """Run several stages, one on the other, as one run with one summary.

    Args:
        stages: Which, in their order: stage1, stage2, stage3, evaluate.
        stage1: Settings of stage 1, as they are typed: `image_size=256`. On the command line, each
            is written `stage1.image_size=256`.
        stage2: The same of stage 2.
        stage3: The same of stage 3.
        evaluate: The same of the evaluation, which measures the last stage's product.
        shared: Folder for stage-1 runs that several chains have in common; None keeps them apart.
    """

    stages: list[str] = field(default_factory=lambda: ["stage1", "stage2", "evaluate"])
    stage1: list[str] = field(default_factory=list)
    stage2: list[str] = field(default_factory=list)
    stage3: list[str] = field(default_factory=list)
    evaluate: list[str] = field(default_factory=list)
    shared: str | None = None


@dataclass
class SyncPlan:
    """Upload wandb runs that were written offline.

    Args:
        runs: A folder; every offline run below it is meant.
        dry: Say what would be uploaded, and upload nothing.
        project: Where they go, instead of the project they were logged to.
        entity: The account or team; the login's own if None.
        again: Upload again what was uploaded before.
        timeout_seconds: How long to wait for the server's first answer, above 0.
    """

    runs: str = "runs"
    dry: bool = False
    project: str | None = None
    entity: str | None = None
    again: bool = False
    timeout_seconds: float = 10.0
