"""Keep what a unit measured, and bring the units of a row together: mean, spread, number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.artifacts import ArtifactError, read_json
from weakseg.stages.ablation.study import Unit
from weakseg.stages.ablation.unit_commands import Kitchen
from weakseg.stages.evaluation.rules import ORACLE, OWN

MEASURED: Final = (
    "iou_per_image",
    "iou_at_threshold",
    "oracle_iou_per_image",
    "oracle_threshold_per_image",
    "oracle_gap_per_image",
    "iou_pooled",
    "precision",
    "recall",
    "boundary_iou",
    "false_alarm_share",
    "auroc",
)
"""Of each split. `iou_per_image`, `iou_pooled`, precision, recall and false alarms are of the
pseudo-masks; `iou_at_threshold` is of the scores cut at the same threshold, which the oracle's are
to be compared with: a pseudo-mask also leaves out what lies close to the cut, and specks."""
RULE: Final = "rule/"
OF_RULE: Final = ("iou_per_image", "oracle_gap", "false_alarm_share", "threshold")
"""Of the scores cut at the threshold that a rule chooses, in each split."""
SPEEDS: Final = ("seconds_per_frame/", "frames_per_second/")
SECONDS: Final = "seconds_per_image"
FAILED_FRAMES: Final = "failed_frames"
COLLAPSED: Final = "student/collapsed"


@dataclass(frozen=True)
class Result:
    """What a finished unit gave.

    Args:
        unit: Which.
        group: Of its row.
        fingerprint: Of all that made it.
        commands: That made and measured it; folders and hardware left out.
        figures: Name -> number; None where it cannot be known.
        seconds: The commands took, of the last start.
        version: Of weakseg.
        git_commit: Of its source; empty outside a checkout.
        recipe: How its row is made, whatever the seed.
        frames: Hash of the frames and masks.
        threads: Of each command.
        jobs: Commands at once.
    """

    unit: Unit
    group: str
    fingerprint: str
    commands: Sequence[str]
    figures: Mapping[str, float | None]
    seconds: float
    version: str = ""
    git_commit: str = ""
    recipe: str = ""
    frames: str = ""
    threads: int = 0
    jobs: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give it ready for JSON."""
        return {
            "row": self.unit.row,
            "seed": self.unit.seed,
            "group": self.group,
            "fingerprint": self.fingerprint,
            "commands": list(self.commands),
            "figures": dict(self.figures),
            "seconds": self.seconds,
            "version": self.version,
            "git_commit": self.git_commit,
            "recipe": self.recipe,
            "frames": self.frames,
            "threads": self.threads,
            "jobs": self.jobs,
        }


def result_path(output: Path, unit: Unit) -> Path:
    """Say where the result of a unit is kept."""
    return output / "units" / unit.row / f"seed{unit.seed}.json"


def read_result(path: Path) -> Result | None:
    """Read the result of a unit; None if it is not there, or is damaged."""
    try:
        content = dict(read_json(path))
        unit = Unit(content.pop("row"), content.pop("seed"))
        return Result(unit=unit, **content)
    except (ArtifactError, KeyError, TypeError, ValueError):
        return None


def all_results(kitchen: Kitchen) -> list[Result]:
    """Give the results of all rows of the study, whoever made them, by row and seed."""
    folder = kitchen.output / "units"
    found = [
        read_result(path)
        for row in kitchen.study.rows
        for path in sorted((folder / row).glob("seed*.json"))
    ]
    results = [result for result in found if result is not None]
    return sorted(results, key=lambda r: (list(kitchen.study.rows).index(r.unit.row), r.unit.seed))


def up_to_date(kitchen: Kitchen, results: Sequence[Result]) -> tuple[list[Result], list[Unit]]:
    """Part results from those of other settings, weights, frames, masks or versions.

    Returns:
        The results that the commands of today would give, and the units of the others.
    """
    kept = [one for one in results if one.fingerprint == kitchen.fingerprint(one.unit)]
    return kept, [one.unit for one in results if one not in kept]


def alike(kitchen: Kitchen, results: Sequence[Result]) -> tuple[list[Result], list[Unit]]:
    """Part results from those of other frames, where the settings of today are not known.

    Returns:
        The results of the ablation's frames, and the units of the others.

    Raises:
        ArtifactError: If seeds of a row were made in different ways: they have no mean.
    """
    kept = [one for one in results if one.frames == kitchen.frames.content]
    for name in kitchen.study.rows:
        ways: dict[str, list[int]] = {}
        for one in kept:
            if one.unit.row == name:
                ways.setdefault(one.recipe, []).append(one.unit.seed)
        if len(ways) > 1:
            told = " and ".join(f"seeds {', '.join(map(str, seeds))}" for seeds in ways.values())
            raise ArtifactError(
                f"{told} of {name} were made in different ways, and have no mean: start the "
                "ablation without collect_only to make them alike, or delete those you do not "
                f"want in {kitchen.output / 'units' / name}"
            )
    return kept, [one.unit for one in results if one not in kept]


def figures_of(kitchen: Kitchen, unit: Unit) -> dict[str, float | None]:
    """Gather the figures of a unit from what its commands have written."""
    folder = kitchen.stage2_folder(unit)
    figures: dict[str, float | None] = {}
    for split in kitchen.frames.judged:
        measured = read_json(folder / "evaluation" / f"ablation-{split}.json")
        every = _of_split(measured["figures"]) | _by_rule(measured.get("by_rule", []))
        figures |= {f"{split}/{key}": value for key, value in every.items()}
    summary = read_json(folder / "summary.json")
    figures["threshold"] = summary["threshold"]
    for key in (FAILED_FRAMES, COLLAPSED):
        if key in summary:
            figures[key] = float(summary[key])
    return figures | _speeds(kitchen, unit)


def _of_split(measured: Mapping[str, float | None]) -> dict[str, float | None]:
    best, gap = measured.get("oracle_iou_per_image"), measured.get("oracle_gap_per_image")
    known = best is not None and gap is not None
    at_threshold = best - gap if known else None  # type: ignore[operator]
    every = {**measured, "iou_at_threshold": at_threshold}
    return {key: every.get(key) for key in MEASURED}


def _by_rule(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Give what each rule for the threshold would have come to."""
    return {
        f"{RULE}{row['rule']}/{key}": row[key]
        for row in rows
        if row["rule"] not in (OWN, ORACLE)
        for key in OF_RULE
    }


def _speeds(kitchen: Kitchen, unit: Unit) -> dict[str, float | None]:
    """Give seconds and frames a second of all that is done to a frame, training left out."""
    also = kitchen.study.rows[unit.row].also
    runs = [(kitchen.cams_of(unit), ""), (kitchen.stage2_folder(unit), "")]
    if also:  # The CAMs of both go by the same name.
        runs.append((kitchen.cams_of(Unit(also, unit.seed)), f"/{also}"))
    found: dict[str, float | None] = {}
    for run, ending in runs:
        summary = read_json(run / "summary.json")
        found |= {f"{k}{ending}": v for k, v in summary.items() if k.startswith(SPEEDS)}
    seconds = [v for k, v in found.items() if k.startswith(SPEEDS[0]) and v is not None]
    return found | {SECONDS: math.fsum(seconds) if seconds else None}


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds.

    Args:
        mean: NaN if no seed knows it.
        std: Of the sample (n - 1); NaN for fewer than two seeds.
        count: Seeds that know it.
    """

    mean: float
    std: float
    count: int


def spread_of(values: Iterable[float | None]) -> Spread:
    """Give mean, sample standard deviation and number of the values that are known."""
    known = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    mean = float(known.mean()) if len(known) else math.nan
    std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Spread(mean, std, len(known))


@dataclass(frozen=True)
class Line:
    """A row of the table, over its seeds."""

    row: str
    group: str
    seeds: Sequence[int]
    figures: Mapping[str, Spread]

    def mean(self, key: str) -> float:
        """Give the mean of a figure; NaN if it is not known."""
        return self.figures[key].mean if key in self.figures else math.nan


def lines_of(kitchen: Kitchen, results: Sequence[Result]) -> list[Line]:
    """Bring the results of each row together, in the order of the study."""
    lines = []
    for name, row in kitchen.study.rows.items():
        own = [result for result in results if result.unit.row == name]
        if own:
            keys = list(dict.fromkeys(key for result in own for key in result.figures))
            figures = {key: spread_of(one.figures.get(key) for one in own) for key in keys}
            lines.append(Line(name, row.group, [one.unit.seed for one in own], figures))
    return lines
