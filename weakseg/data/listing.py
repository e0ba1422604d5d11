"""Read what an index tells of its frames beside what training needs: their order, and cameras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.checks import check_one_of
from weakseg.data.assembly import absolute
from weakseg.data.tables import read_table


def cameras_of(settings: Mapping[str, Any]) -> dict[Path, str]:
    """Map a source's frames to the cameras that filmed them, in the order they are listed.

    Args:
        settings: Of a frame source, as it tells them.

    Returns:
        Absolute frame path to the camera, from an index's column `camera`; to "" where there is no
        such column or its cell is empty. Of a folder, which has no list, nothing.

    Raises:
        DataError: If the index cannot be read.
    """
    check_one_of(("index", "folder", "synthetic"), kind=settings["kind"])
    if settings["kind"] == "folder":
        return {}
    if settings["kind"] == "synthetic":
        index, root = Path(settings["folder"]) / "index.csv", settings["folder"]
    else:
        index, root = settings["index"], settings["root"]
    base = absolute(Path.cwd(), str(root if root is not None else Path(index).parent))
    return {
        absolute(base, row.cells["path"]): row.cells.get("camera", "")
        for row in read_table(index, needs=("path",)).rows
        if row.cells["path"]
    }
