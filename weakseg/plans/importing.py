"""Type what an import is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weakseg.plans.common import MISSING


@dataclass
class ImportPlan:
    """Make an index with masks of what others annotated or released.

    Args:
        format: Reads the export; chosen by `format=NAME`.
        source: The export's folder, or its annotation file.
        output: Takes index.csv, masks/, instances/ and summary.json.
        classes: Class names or attribute values that count as smoke; empty takes all if there is
            only one, `*` takes all.
        copy: Copy the frames into `output`, instead of referring to them where they are.
        unmarked: A picture without any region is `nonsmoke`, or left out (`skip`).
        split: `given` by the export (all for training where it gives none), or drawn anew: `scene`
            draws whole scenes, `random` single frames where no scene is known.
        val_fraction: Share of the frames drawn for validation, in [0, 1).
        test_fraction: Share of the frames drawn for the test, in [0, 1).
        scene_pattern: Finds the scene in a frame's relative path: a regular expression with one
            group, or with groups named scene, sequence and camera.
        max_pixels: Pictures with more are skipped.
        overwrite: Replace the import that `output` holds.
        seed: Names the draw of a split.
    """

    format: Any = MISSING
    source: str = MISSING
    output: str = MISSING
    classes: list[str] = field(default_factory=list)
    copy: bool = False
    unmarked: str = "nonsmoke"
    split: str = "given"
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    scene_pattern: str | None = None
    max_pixels: int = 100_000_000
    overwrite: bool = False
    seed: int = 0
