"""Settle scenes and splits of imported frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from weakseg.checks import check_in_unit, check_one_of
from weakseg.data.frames import Frame
from weakseg.data.hashing import near_duplicate_groups
from weakseg.data.splits import cut_validation, straddling_scenes
from weakseg.importers import Marked
from weakseg.importers.names import Place, compile_pattern, place_by_pattern, place_of
from weakseg.plans import ImportPlan
from weakseg.stages.importing.pictures import Row

log = logging.getLogger(__name__)

SPLITS = ("given", "scene", "random")
SHOWN_SCENES = 5


def check_splitting(plan: ImportPlan) -> None:
    """Raise ValueError if the plan's splits or scenes cannot be."""
    check_one_of(SPLITS, split=plan.split)
    check_in_unit(val_fraction=plan.val_fraction, test_fraction=plan.test_fraction)
    if plan.val_fraction + plan.test_fraction >= 1:
        raise ValueError(
            f"val_fraction={plan.val_fraction} and test_fraction={plan.test_fraction} leave "
            "nothing to train on: their sum must stay below 1"
        )
    if plan.scene_pattern is not None:
        compile_pattern(plan.scene_pattern)


def settle_places(pictures: Sequence[Marked], plan: ImportPlan) -> list[Marked]:
    """Fill in scene, sequence and camera by the names, where the export does not give them.

    Raises:
        DataError: If `scene_pattern` does not fit a name.
    """
    pattern = compile_pattern(plan.scene_pattern) if plan.scene_pattern is not None else None
    settled = []
    for one in pictures:
        if pattern is None:
            given = Place(one.scene, one.sequence, one.camera)
            place = given if one.scene else place_of(one.name)
        else:
            place = place_by_pattern(one.name, pattern)
        settled.append(
            replace(
                one,
                scene=place.scene,
                sequence=place.sequence or one.sequence,
                camera=place.camera or one.camera,
            )
        )
    return settled


def settle_splits(rows: Sequence[Row], plan: ImportPlan) -> None:
    """Give every row its split, and those without a scene one by likeness if it takes that.

    Likeness is called in where some frames have scenes and others not, as the index is to name
    all or none, and to draw a split by scene.

    Raises:
        DataError: If a label has too few scenes to be on all sides.
    """
    bare = [row for row in rows if not row.scene]
    if bare and (len(bare) < len(rows) or plan.split == "scene"):
        log.info("%d frames name no scene: they are grouped by likeness", len(bare))
        for row, group in zip(bare, near_duplicate_groups([r.path for r in bare]), strict=True):
            row.scene = f"like-{bare[group].name}"
    if plan.split == "given":
        for row in rows:
            row.split = row.split or "train"
    else:
        _draw(rows, plan)
    _warn_of_torn_scenes(rows)


def _draw(rows: Sequence[Row], plan: ImportPlan) -> None:
    frames = _frames(rows, split="train")
    frames = cut_validation(frames, fraction=plan.test_fraction, seed=plan.seed, name="test")
    left = plan.val_fraction / (1 - plan.test_fraction)
    frames = cut_validation(frames, fraction=left, seed=plan.seed)
    for row, frame in zip(rows, frames, strict=True):
        row.split = frame.split


def _frames(rows: Sequence[Row], *, split: str = "") -> list[Frame]:
    return [
        Frame(f"{i}", row.path, row.label, row.scene or row.name, split or row.split)
        for i, row in enumerate(rows)
    ]


def _warn_of_torn_scenes(rows: Sequence[Row]) -> None:
    named = [row for row in rows if row.scene]
    torn = sorted(straddling_scenes(_frames(named)))
    if torn:
        more = ", ..." if len(torn) > SHOWN_SCENES else ""
        log.warning(
            "%d of %d scenes lie in several splits (%s%s), so the test tells too good a story: "
            "split=scene draws whole scenes",
            len(torn),
            len({row.scene for row in named}),
            ", ".join(torn[:SHOWN_SCENES]),
            more,
        )
