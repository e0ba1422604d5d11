"""Type what evaluations and comparisons are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weakseg.plans.common import MISSING, HardwarePlan


@dataclass
class EvaluatePlan:
    """Measure a finished run's product against masks.

    Args:
        run: The folder of a finished run, of any stage.
        data: Of other frames or masks than the run's own; a stage-3 run looks at frames that are
            new to it.
        split: The only one measured.
        name: Of the figures' files; derived from data and split if empty.
        sets: Name -> path of an index, or a mapping with `index`, `split` and what else an index
            takes: frames the run was not made for, measured one set after another.
        tile: Side in pixels of the tiles in which a stage-3 run reads larger frames, instead of
            its own; None keeps its own, and the scores it has kept.
        resamples: Of scenes, behind each interval; 0 for none.
        report_frames: Best, median and worst frames shown.
        rules: Rules for the threshold that are compared with the run's own, by name.
        tracker: Gets each evaluation as a run of its own; None tells nobody.
    """

    run: str = MISSING
    data: Any = None
    split: str | None = None
    name: str = ""
    sets: dict[str, Any] = field(default_factory=dict)
    tile: int | None = None
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
    resamples: int = 1000
    seed: int = 0
    report_frames: int = 4
    rules: dict[str, Any] = field(default_factory=dict)
    tracker: Any = None


@dataclass
class ComparePlan:
    """Compare finished runs on the same frames.

    Args:
        runs: Folders of finished runs, of any stage; all are compared with the first.
        groups: Name -> runs that differ by nothing but their seed; instead of `runs`. All groups
            are compared with the first, seed by seed.
        name: Of the evaluation of each run that is compared, RUN/evaluation/NAME.json; the newest
            that all runs have if empty, and no data or split is given.
        data: Measured first where a run has no evaluation of them; None means the run's own.
        split: Of those frames, None for all; if empty, that of the evaluation, or else test.
        output: Folder of the comparison; derived from the names if empty.
        resamples: Of scenes, and of pairs of seeds, behind each interval.
        report_frames: Worst regressions, gains and new false alarms shown.
    """

    runs: list[str] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    name: str = ""
    data: Any = None
    split: str | None = ""
    output: str = ""
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
    resamples: int = 2000
    seed: int = 0
    report_frames: int = 6
