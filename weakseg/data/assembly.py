"""Make frames of what a source lists: ids, scenes, splits, and nothing from the quarantine."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weakseg.checks import check_in_unit, check_one_of
from weakseg.data.frames import Frame, frame_ids
from weakseg.data.hashing import near_duplicate_groups
from weakseg.data.quarantine import read_quarantine
from weakseg.data.splits import cut_validation
from weakseg.errors import DataError

log = logging.getLogger(__name__)

SCENE_RULES = ("auto", "column", "folder", "pattern", "near_duplicates", "frame")


@dataclass(frozen=True)
class Listed:
    """A frame as a source lists it, before ids, scenes and splits are settled.

    Args:
        relative: Its path relative to the data set, with forward slashes: its id and its folder.
        path: Its absolute path.
        label: 0 or 1.
        scene: As given, or empty.
        split: As given, or empty.
        sequence: As given, or empty.
        folder: The folder that may stand for its scene, or empty.
    """

    relative: str
    path: Path
    label: int
    scene: str = ""
    split: str = ""
    sequence: str = ""
    folder: str = ""


@dataclass(frozen=True)
class AssemblyRules:
    """How listed frames become frames.

    Args:
        scenes: Where scenes come from: "column" (as given), "folder" (the frame's own folder),
            "pattern" (the first group of `scene_pattern` in the relative path), "near_duplicates"
            (groups of like pictures), "frame" (each its own), or "auto": the pattern if
            there is one, else what is given if it is given for every frame, else near-duplicates.
        scene_pattern: A regular expression with one group.
        val_fraction: Share of the training frames to cut as "val" where the source has none, in
            [0, 1).
        seed: Names the cut.
        quarantine: CSV of frames to leave out.
    """

    scenes: str = "auto"
    scene_pattern: str | None = None
    val_fraction: float = 0.15
    seed: int = 0
    quarantine: str | None = None

    def __post_init__(self) -> None:
        check_one_of(SCENE_RULES, scenes=self.scenes)
        check_in_unit(val_fraction=self.val_fraction)
        if self.val_fraction == 1:
            raise ValueError("val_fraction must be below 1: nothing would be left to train on")
        if self.scenes == "pattern" and self.scene_pattern is None:
            raise ValueError('scenes="pattern" needs scene_pattern, a regular expression')
        if self.scene_pattern is not None:
            _check_pattern(self.scene_pattern)


def assemble(listed: Sequence[Listed], rules: AssemblyRules, *, origin: str) -> list[Frame]:
    """Settle ids, scenes and splits.

    Args:
        listed: What the source lists, in its order.
        rules: How.
        origin: The source's name for messages.

    Raises:
        DataError: If nothing is left, a file is missing, or the rules do not fit the frames.
    """
    ids = frame_ids([one.relative for one in listed])
    quarantine = read_quarantine(rules.quarantine)
    kept = [
        (id, one)
        for id, one in zip(ids, listed, strict=True)
        if not quarantine.holds(id=id, path=one.path)
    ]
    if not kept:
        raise DataError(f"{origin} holds no frames outside the quarantine")
    _refuse_missing_files([one for _, one in kept], origin=origin)
    scenes = _scenes([one for _, one in kept], rules, origin=origin)
    frames = [
        Frame(id, one.path, one.label, scene, one.split or "train", one.sequence)
        for (id, one), scene in zip(kept, scenes, strict=True)
    ]
    if any(frame.split == "val" for frame in frames):
        return frames
    return cut_validation(frames, fraction=rules.val_fraction, seed=rules.seed)


def absolute(base: Path, text: str) -> Path:
    """Join and tidy a path without following links, so that equal texts give equal paths."""
    return Path(os.path.abspath(base / text))  # noqa: PTH100 - resolve() would follow links


def relative_to(base: Path, path: Path) -> str:
    """Name a path under `base` with forward slashes; outside it, by its whole path."""
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix().lstrip("/")


def _refuse_missing_files(listed: Sequence[Listed], *, origin: str) -> None:
    missing = [one.path for one in listed if not one.path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{origin} names files that are not there: {missing[0]}{more}; set root to the folder "
            "that its paths start from, or quarantine them"
        )


def _scenes(listed: Sequence[Listed], rules: AssemblyRules, *, origin: str) -> list[str]:
    rule = rules.scenes if rules.scenes != "auto" else _best_rule(listed, rules)
    if rule == "pattern":
        return [_matched(one.relative, rules.scene_pattern or "", origin) for one in listed]
    if rule in ("column", "folder"):
        found = [one.scene if rule == "column" else one.folder for one in listed]
        if not all(found):
            bare = listed[found.index("")].relative
            raise DataError(f"{origin} gives no scene for {bare} by scenes={rule}: try scenes=auto")
        return found
    ids = frame_ids([one.relative for one in listed])
    if rule == "frame":
        return ids
    log.debug("grouping %d frames of %s by likeness: no scenes are given", len(listed), origin)
    return [f"like-{ids[i]}" for i in near_duplicate_groups([one.path for one in listed])]


def _best_rule(listed: Sequence[Listed], rules: AssemblyRules) -> str:
    if rules.scene_pattern is not None:
        return "pattern"
    if all(one.scene for one in listed):
        return "column"
    return "near_duplicates"


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"scene_pattern is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"scene_pattern must have one group in parentheses, got {groups}")


def _matched(relative: str, pattern: str, origin: str) -> str:
    match = re.search(pattern, relative)
    if match is None or not match.group(1):
        raise DataError(f"{origin}: scene_pattern {pattern!r} finds no scene in {relative}")
    return str(match.group(1))
