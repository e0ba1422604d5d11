"""Make small exports as annotation tools and data sets do, and import them."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weakseg.arrays import Instances, Mask
from weakseg.data.reading import read_instances
from weakseg.data.truth import read_mask
from weakseg.plans import ImportPlan
from weakseg.stages.importing.command import run

HEIGHT, WIDTH = 40, 60


def save_picture(path: Path, *, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Path:
    """Write a picture that looks like no other with another seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def save_mask(path: Path, values: Any, *, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write a mask: an array, or one value in a box of rows 10-19 and columns 20-39."""
    if isinstance(values, int):
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[10:20, 20:40] = values
        values = mask
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def save_json(path: Path, content: Any) -> Path:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@dataclass(frozen=True)
class Imported:
    """What an import left: its folder, the rows of its index by the frames' names, its summary."""

    folder: Path
    rows: dict[str, dict[str, str]]
    summary: dict[str, Any]

    def mask(self, name: str, *, height: int = HEIGHT, width: int = WIDTH) -> Mask:
        """Read a frame's mask as the evaluation does."""
        return read_mask(self.folder / self.rows[name]["mask_path"], height=height, width=width)

    def instances(self, name: str) -> Instances:
        """Read a frame's instance numbers."""
        return read_instances(self.folder / self.rows[name]["instances_path"])


def import_from(reader: Any, source: Path, output: Path, **settings: Any) -> Imported:
    """Import, and check that every region is accounted for."""
    plan = ImportPlan(format=reader, source=str(source), output=str(output), **settings)
    index = run(plan, {"seed": 0})
    with index.open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    summary = json.loads((output / "summary.json").read_text())
    regions = summary["regions"]
    assert regions["found"] == regions["drawn"] + regions["skipped"]
    assert sum(regions["skipped_because"].values()) == regions["skipped"]
    return Imported(output, rows, summary)
