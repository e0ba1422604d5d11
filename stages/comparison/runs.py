"""Bring runs together on the same frames: find or make their evaluations, refuse unlike ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import ArtifactError, FinishedRun, load_run, plain, read_json
from weakseg.data import FrameSource, source_from_settings
from weakseg.plans import ComparePlan, EvaluatePlan
from weakseg.stages.evaluation.command import evaluation_name, measure_set
from weakseg.stages.evaluation.rows import (
    EVALUATION,
    MeasuredFrame,
    StoredEvaluation,
    read_evaluation,
)
from weakseg.stages.evaluation.sets import SETS
from weakseg.stages.products import open_product

log = logging.getLogger(__name__)

SPLIT: Final = "test"
"""Measured where no split is asked for and nothing was measured before."""

_NAMED = 3
"""Frames that a refusal names."""


@dataclass(frozen=True)
class Contestant:
    """A run, and what was measured of it."""

    run: FinishedRun
    measured: StoredEvaluation

    @property
    def seed(self) -> int | None:
        """Of its training; None if its configuration tells none."""
        seed = self.run.manifest.config.get("seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed, or a single run.

    Args:
        name: Of the group.
        members: In the order in which they are paired with those of other groups.
    """

    name: str
    members: Sequence[Contestant]


@dataclass(frozen=True)
class Wanted:
    """The frames that runs are compared on.

    Args:
        data: Settings of their source.
        split: The only one; None for all.
        tile: Side of the tiles in which they are read; None leaves it to the run.
    """

    data: Mapping[str, Any]
    split: str | None
    tile: int | None = None


def name_groups(plan: ComparePlan) -> dict[str, list[str]]:
    """Give the folders to compare by the name of their group; the first group is the base.

    Raises:
        ValueError: If too little is given, or groups are of different sizes.
    """
    if bool(plan.runs) == bool(plan.groups):
        raise ValueError("give two runs or more, RUN RUN, or groups.NAME=[RUN,RUN] of seeds")
    if plan.runs:
        if len(plan.runs) == 1:
            raise ValueError(f"{plan.runs[0]} alone cannot be compared: give a second run")
        return {name: [run] for name, run in zip(short_names(plan.runs), plan.runs, strict=True)}
    sizes = {name: len(runs) for name, runs in plan.groups.items()}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        told = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"groups are compared seed by seed, but {told}: give as many runs of each")
    return dict(plan.groups)


def short_names(runs: Sequence[str]) -> list[str]:
    """Name folders by as few of their last parts as tell them apart.

    Raises:
        ValueError: If a folder is given twice.
    """
    parts = [Path(run).absolute().parts for run in runs]
    if len(set(parts)) < len(parts):
        raise ValueError(f"a run cannot be compared with itself, got {', '.join(runs)}")
    deepest = max(map(len, parts))
    for depth in range(1, deepest + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def gather(plan: ComparePlan, named: Mapping[str, Sequence[str]]) -> tuple[str, list[Group]]:
    """Read the runs' evaluations, measuring what was not measured yet.

    Returns:
        Name of the evaluation, and the groups, their members paired by seed where seeds tell.

    Raises:
        ArtifactError: If runs were measured on different frames, or by different masks.
    """
    runs = {path: load_run(Path(path)) for paths in named.values() for path in paths}
    name = plan.name
    if not name and not _asks_for_frames(plan):
        name = _newest_common(list(runs.values()))
    wanted = _frames_wanted(plan, name, list(runs.values()))
    name = name or evaluation_name(wanted.data, wanted.split, tile=wanted.tile)
    contestants = {
        path: Contestant(run, _evaluation(plan, run, name, wanted)) for path, run in runs.items()
    }
    _refuse_unlike(list(contestants.values()))
    groups = [Group(group, [contestants[path] for path in paths]) for group, paths in named.items()]
    return name, _paired(groups)


def frames_of(contestant: Contestant, ids: Sequence[str]) -> list[MeasuredFrame]:
    """Give a run's frames in the order of `ids`."""
    return [contestant.measured.frames[id] for id in ids]


def _newest_common(runs: Sequence[FinishedRun]) -> str:
    """Name the newest evaluation that all runs have; nothing if there is none."""
    times: dict[str, list[float]] = {}
    for run in runs:
        for path in (run.path / EVALUATION).glob("*.json"):
            if path.stem != SETS and _is_of(run, path):
                times.setdefault(path.stem, []).append(path.stat().st_mtime)
    common = {name: min(when) for name, when in times.items() if len(when) == len(runs)}
    if not common:
        return ""
    newest = max(common, key=lambda name: (common[name], name))
    others = sorted(common.keys() - {newest})
    log.info("evaluation %s%s", newest, f"; name= also takes {', '.join(others)}" * bool(others))
    return newest


def _is_of(run: FinishedRun, path: Path) -> bool:
    """Say whether an evaluation is of the run that stands there now."""
    told = read_json(path)
    return isinstance(told, dict) and told.get("run") == run.fingerprint


def _asks_for_frames(plan: ComparePlan) -> bool:
    """Say whether certain frames are asked for, whatever was measured before."""
    return plan.data is not None or plan.split != ""


def _frames_wanted(plan: ComparePlan, name: str, runs: Sequence[FinishedRun]) -> Wanted:
    """Say which frames a run is measured on that has no such evaluation yet."""
    split = SPLIT if plan.split == "" else plan.split
    if plan.data is not None:
        return Wanted(plan.data.settings(), split)
    if _asks_for_frames(plan):
        return Wanted(runs[0].data, split)
    for run in runs if name else ():
        path = run.path / EVALUATION / f"{name}.json"
        if path.is_file() and _is_of(run, path):
            told = read_json(path)
            return Wanted(told["data"], told["split"], told.get("tile"))
    return Wanted(runs[0].data, split)


def _evaluation(plan: ComparePlan, run: FinishedRun, name: str, wanted: Wanted) -> StoredEvaluation:
    path = run.path / EVALUATION / f"{name}.json"
    there = path.is_file() and _is_of(run, path)
    if there and _asks_for_frames(plan) and not _is_as_wanted(path, wanted):
        log.info("%s is of other frames than those asked for: measured anew", path)
        there = False
    elif not there:
        log.info("%s has no evaluation %s: measured now", run.path, name)
    if not there:
        how = EvaluatePlan(
            run=str(run.path),
            tile=wanted.tile,
            hardware=plan.hardware,
            resamples=plan.resamples,
            seed=plan.seed,
        )
        same = dict(wanted.data) == dict(run.data)
        source: FrameSource | None = None if same else source_from_settings(wanted.data)
        product = open_product(run, plan.hardware, tile=wanted.tile)
        measure_set(how, run, product, source=source, split=wanted.split, name=name)
    return read_evaluation(path)


def _is_as_wanted(path: Path, wanted: Wanted) -> bool:
    """Say whether a stored evaluation is of the data and split that are wanted."""
    told = read_json(path)
    return bool(told["data"] == plain(dict(wanted.data)) and told["split"] == wanted.split)


def _refuse_unlike(contestants: Sequence[Contestant]) -> None:
    first = contestants[0]
    for other in contestants[1:]:
        ours, theirs = first.measured.frames, other.measured.frames
        pair = f"{first.measured.path} and {other.measured.path}"
        tiles = [one.measured.tile for one in (first, other)]
        if tiles[0] != tiles[1]:
            raise ArtifactError(
                f"{pair} were read in unlike tiles, {_told_tile(tiles[0])} and "
                f"{_told_tile(tiles[1])}: measure both with the same tile="
            )
        missing = [*(ours.keys() - theirs.keys()), *(theirs.keys() - ours.keys())]
        if missing:
            raise ArtifactError(
                f"{pair} are of different frames: {_some(missing)} in one only; measure both with "
                "the same data and split"
            )
        unlike = [id for id, one in ours.items() if _truth(one) != _truth(theirs[id])]
        if unlike:
            raise ArtifactError(
                f"{pair} judge {_some(unlike)} by different masks, labels or scenes: measure both "
                "with the same data"
            )


def _told_tile(tile: int | None) -> str:
    return "the run's own" if tile is None else f"of {tile} pixels"


def _truth(frame: MeasuredFrame) -> tuple[str, int, str]:
    return frame.truth, frame.figures.label, frame.figures.scene


def _some(ids: Sequence[str]) -> str:
    named = ", ".join(sorted(ids)[:_NAMED])
    return f"{named} and {len(ids) - _NAMED} more" if len(ids) > _NAMED else named


def _paired(groups: Sequence[Group]) -> list[Group]:
    """Order every group by seed, if all have the same seeds, each once; else leave the order."""
    seeds = [[member.seed for member in group.members] for group in groups]
    alike = {tuple(sorted(one)) for one in seeds if None not in one}  # type: ignore[type-var]
    told = all(None not in one and len(set(one)) == len(one) for one in seeds)
    if not told or len(alike) > 1:
        return list(groups)
    return [
        Group(group.name, sorted(group.members, key=lambda member: member.seed or 0))
        for group in groups
    ]


def folder_name(names: Sequence[str]) -> str:
    """Name the folder of a comparison after its groups."""
    return re.sub(r"[^A-Za-z0-9.+_-]+", "_", "-vs-".join(names))[:120]
