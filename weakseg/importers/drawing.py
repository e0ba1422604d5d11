"""Draw a picture's regions into a mask and an instance map, and account for every one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from weakseg.arrays import Instances, Mask
from weakseg.errors import DataError
from weakseg.importers.records import Region
from weakseg.importers.shapes import ShapeError
from weakseg.labels import BACKGROUND, SMOKE

EVERY_CLASS = "*"
MOST_INSTANCES = 65535


@dataclass
class Tally:
    """What became of the regions of one picture.

    Args:
        fates: For each region in turn why it was not drawn, or empty if it was.
        clipped: Drawn regions that reach outside the picture.
        crowds: Drawn regions that are no instance.
        hidden: Instances that later ones cover completely.
        overlapping: Whether instances share pixels.
    """

    fates: list[str] = field(default_factory=list)
    clipped: int = 0
    crowds: int = 0
    hidden: int = 0
    overlapping: bool = False

    @property
    def drawn(self) -> int:
        """How many regions were drawn."""
        return self.fates.count("")


def is_wanted(region: Region, classes: Collection[str]) -> bool:
    """Say whether a region counts as smoke.

    Args:
        region: Its labels are compared without regard to case.
        classes: Wanted ones in lower case; if empty, or with `*`, all are.
    """
    return (
        not classes
        or EVERY_CLASS in classes
        or any(label.casefold() in classes for label in region.labels)
    )


def draw_regions(
    regions: Sequence[Region], *, height: int, width: int, classes: Collection[str]
) -> tuple[Mask, Instances, Tally]:
    """Draw the wanted regions, later ones over earlier ones.

    Args:
        regions: In the export's order.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        classes: See `is_wanted`.

    Returns:
        (H, W) uint8 of 0 and 1; (H, W) uint16 of 0 and instances, from 1 on without gaps; and
        what became of each region.

    Raises:
        DataError: If there are more instances than 16 bits can number.
    """
    mask = np.full((height, width), BACKGROUND, dtype=np.uint8)
    instances = np.zeros((height, width), dtype=np.uint16)
    tally = Tally()
    number = 0
    for region in regions:
        fate = region.problem if is_wanted(region, classes) else "class not wanted"
        try:
            patch = region.shape.draw(height, width) if region.shape and not fate else None
        except ShapeError as error:
            patch, fate = None, str(error)
        if patch is not None and not patch.inside.any():
            fate = "outside the picture" if patch.clipped else "covers no pixel's centre"
        tally.fates.append(fate)
        if patch is None or fate:
            continue
        mask[patch.window][patch.inside] = SMOKE
        tally.clipped += patch.clipped
        tally.crowds += region.crowd
        if region.crowd:
            continue
        number += 1
        if number > MOST_INSTANCES:
            raise DataError(f"more than {MOST_INSTANCES} regions on one picture: leave it out")
        under = instances[patch.window][patch.inside]
        tally.overlapping |= bool(under.any())
        instances[patch.window][patch.inside] = number
    left = np.flatnonzero(np.bincount(instances.reshape(-1))[1:]) + 1
    tally.hidden = number - len(left)
    if tally.hidden:
        numbers = np.zeros(number + 1, dtype=np.uint16)
        numbers[left] = np.arange(1, len(left) + 1)
        instances = numbers[instances]
    return mask, instances, tally
