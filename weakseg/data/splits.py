"""Split frames by scene: what one camera saw stays on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weakseg.checks import check_in_unit
from weakseg.data.frames import Frame
from weakseg.errors import DataError
from weakseg.labels import CLASS_NAMES

Counts = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def cut_validation(
    frames: Sequence[Frame], *, fraction: float, seed: int, source: str = "train", name: str = "val"
) -> list[Frame]:
    """Move about `fraction` of the frames of one split to another, whole scenes at a time.

    Scenes are drawn in a seeded order and taken while they bring both labels' counts nearer to
    the wanted share. Both sides keep every label. The order of the frames does not matter.

    Args:
        frames: All frames; those of other splits pass unchanged.
        fraction: Share of the frames to move, in [0, 1); 0 moves none.
        seed: Names the draw.
        source: The split to cut from.
        name: The split to cut.

    Raises:
        DataError: If a label has only one scene, so that it cannot be on both sides.
    """
    check_in_unit(fraction=fraction)
    counts = _counts_by_scene([frame for frame in frames if frame.split == source])
    if fraction == 0 or not counts:
        return list(frames)
    _refuse_single_scenes(counts, source=source)
    moved = _choose_scenes(counts, fraction=fraction, seed=seed)
    return [
        replace(frame, split=name) if frame.split == source and frame.scene in moved else frame
        for frame in frames
    ]


def straddling_scenes(frames: Sequence[Frame]) -> dict[str, list[str]]:
    """Name the scenes that lie in more than one split, with those splits."""
    splits: dict[str, set[str]] = {}
    for frame in frames:
        splits.setdefault(frame.scene, set()).add(frame.split)
    return {scene: sorted(found) for scene, found in splits.items() if len(found) > 1}


def _counts_by_scene(frames: Sequence[Frame]) -> dict[str, Counts]:
    counts: dict[str, Counts] = {}
    for frame in frames:
        counts.setdefault(frame.scene, np.zeros(len(CLASS_NAMES), dtype=np.int64))[frame.label] += 1
    return dict(sorted(counts.items()))


def _refuse_single_scenes(counts: dict[str, Counts], *, source: str) -> None:
    for label, name in enumerate(CLASS_NAMES):
        scenes = [scene for scene, count in counts.items() if count[label]]
        if len(scenes) == 1:
            raise DataError(
                f"all {source} frames of label {label} ({name}) belong to one scene ({scenes[0]}), "
                "so no validation part can be cut by scene: name more scenes, give a val split, "
                "or set val_fraction=0"
            )


def _choose_scenes(counts: dict[str, Counts], *, fraction: float, seed: int) -> set[str]:
    total = np.sum(list(counts.values()), axis=0)
    wanted = fraction * total
    scale = np.maximum(total, 1)
    rng = np.random.default_rng(seed)
    order = [list(counts)[i] for i in rng.permutation(len(counts))]
    chosen: set[str] = set()
    taken = np.zeros_like(total)
    for scene in order:
        after = taken + counts[scene]
        nearer = _distance(after, wanted, scale) < _distance(taken, wanted, scale)
        if nearer and ((total - after > 0) | (total == 0)).all():
            chosen.add(scene)
            taken = after
    return chosen | _scenes_for_missing_labels(counts, taken, total)


def _distance(
    taken: Counts, wanted: np.ndarray[tuple[int, ...], np.dtype[np.float64]], scale: Counts
) -> float:
    return float(np.sum(((taken - wanted) / scale) ** 2))


def _scenes_for_missing_labels(counts: dict[str, Counts], taken: Counts, total: Counts) -> set[str]:
    """Add the smallest scene of each label that the draw left out; every label keeps one."""
    added: set[str] = set()
    for label in np.flatnonzero((taken == 0) & (total > 0)):
        able = [
            scene
            for scene, count in counts.items()
            if count[label] and ((total - taken - count > 0) | (total == 0)).all()
        ]
        if able and taken[label] == 0:
            scene = min(able, key=lambda scene: (int(counts[scene].sum()), scene))
            added.add(scene)
            taken = taken + counts[scene]
    return added
