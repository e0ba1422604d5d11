"""Say where a command works and how its run is named."""

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
    """How a run is named to the tracker; none of it changes the run.

    Args:
        name: Of the run; derived from the output folder if empty.
        group: The sweep the run belongs to, if any.
        point: What the sweep varies, as it is typed: `refine=crf`, `seed=0`.
    """

    name: str = ""
    group: str = ""
    point: list[str] = field(default_factory=list)


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
