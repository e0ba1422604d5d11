"""Find the masks of frames in a folder by their names; none is read here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from weakseg.data.frames import Frame
from weakseg.errors import DataError


def masks_by_name(
    frames: Sequence[Frame], folder: Path, *, key: str = "train_masks"
) -> dict[Path, Path]:
    """Find `ID.png`, or a PNG of the frame's own name, for every frame that has one.

    Args:
        frames: To find masks for.
        folder: Where the masks lie.
        key: What the setting is called that names the folder.

    Raises:
        DataError: If none has one, or one file would be the mask of two frames.
    """
    found: dict[Path, Path] = {}
    for frame in frames:
        names = (f"{frame.id}.png", f"{frame.path.stem}.png")
        mask = next((folder / name for name in names if (folder / name).is_file()), None)
        if mask is not None:
            found[frame.path] = Path(os.path.abspath(mask))  # noqa: PTH100 - keep links
    if not found:
        raise DataError(
            f"{key}={folder} holds a mask of no training frame: the files must be called "
            "ID.png, or as the frame with .png at the end"
        )
    twice = [mask for mask, times in Counter(found.values()).items() if times > 1]
    if twice:
        raise DataError(
            f"{twice[0]} would be the mask of two frames of the same name: call it by the "
            "frame's id"
        )
    return found
