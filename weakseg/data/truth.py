"""Read ground-truth masks: for evaluation, the check, and supervised references; nothing else.

The only modules that may import this one are the recipes of evaluation and of the check, and the
one that says whose masks stage 3 learns from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weakseg.arrays import Mask
from weakseg.checks import check_one_of
from weakseg.data.assembly import absolute
from weakseg.data.folders import SPLIT_FOLDERS, pictures_in
from weakseg.data.reading import read_ids
from weakseg.data.tables import read_table
from weakseg.errors import DataError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE


def load_masks(index: Path | str, root: Path | str | None = None) -> dict[Path, Path]:
    """Map frames to their masks by a CSV with the columns path and mask_path.

    Rows without a mask_path are left out.

    Args:
        index: The CSV file.
        root: Folder that relative paths start from; the CSV's own folder if None.

    Returns:
        Absolute frame path to absolute mask path.
    """
    base = absolute(Path.cwd(), str(root if root is not None else Path(index).parent))
    table = read_table(index, needs=("path", "mask_path"))
    return {
        absolute(base, row.cells["path"]): absolute(base, row.cells["mask_path"])
        for row in table.rows
        if row.cells["path"] and row.cells["mask_path"]
    }


def masks_of(settings: Mapping[str, Any]) -> dict[Path, Path]:
    """Map a source's frames to their masks, by the source's settings.

    An index may have a mask_path column; a folder may hold `masks/NAME.png` beside its label
    folders. A source without masks gives an empty mapping.
    """
    check_one_of(("index", "folder", "synthetic"), kind=settings["kind"])
    if settings["kind"] == "folder":
        return _masks_beside_labels(Path(settings["folder"]))
    if settings["kind"] == "synthetic":
        return load_masks(Path(settings["folder"]) / "index.csv")
    if "mask_path" not in read_table(settings["index"], needs=("path",)).columns:
        return {}
    return load_masks(settings["index"], settings["root"])


def instances_of(settings: Mapping[str, Any]) -> dict[Path, Path]:
    """Map a source's frames to PNGs of the instances in their masks, by the source's settings.

    Only an index knows them, by its column instances_path, which starts from where path starts.
    """
    if settings["kind"] != "index":
        return {}
    table = read_table(settings["index"], needs=("path",))
    if "instances_path" not in table.columns:
        return {}
    base = absolute(Path.cwd(), str(settings["root"]))
    return {
        absolute(base, row.cells["path"]): absolute(base, row.cells["instances_path"])
        for row in table.rows
        if row.cells["path"] and row.cells["instances_path"]
    }


def read_mask(path: Path | str, *, height: int, width: int) -> Mask:
    """Read a ground-truth mask of a frame of `height` x `width` pixels.

    Two codings are understood: ids, 0 background, 1 smoke, 255 ignore; and black and white, where
    a file of nothing but 0 and 255 means smoke by 255.

    Returns:
        (H, W) uint8 in {0, 1, 255}.

    Raises:
        DataError: If the mask has another size or other values, or cannot be read.
    """
    ids = read_ids(path)
    if ids.shape != (height, width):
        raise DataError(
            f"{path} covers {ids.shape[0]}x{ids.shape[1]} pixels but its frame {height}x{width}: "
            "make the mask again at the frame's size"
        )
    values = np.flatnonzero(np.bincount(ids.reshape(-1), minlength=IGNORE + 1)).tolist()
    if not set(values) <= {BACKGROUND, SMOKE, IGNORE}:
        shown = ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")
        raise DataError(
            f"{path} holds the values {shown}: a mask holds 0 and 1 (255 to ignore) or 0 and 255; "
            "cut it at half and save it as PNG"
        )
    if SMOKE not in values:
        ids = np.where(ids == IGNORE, SMOKE, BACKGROUND).astype(np.uint8)
    return ids


def _masks_beside_labels(folder: Path) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for split in ("", *SPLIT_FOLDERS):
        for label in ("smoke", "nonsmoke"):
            home = folder / split / label
            for frame in pictures_in(home) if home.is_dir() else ():
                mask = folder / split / "masks" / frame.relative_to(home).with_suffix(".png")
                if mask.is_file():
                    found[frame] = mask
    return found
