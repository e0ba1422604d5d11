"""Keep masks that were corrected by hand, as a data set that the stages read."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from weakseg.arrays import FrameArray, Mask
from weakseg.artifacts import write_bytes, write_text
from weakseg.artifacts.atomic import disk_errors
from weakseg.artifacts.lock import FolderLock
from weakseg.checks import check_shape
from weakseg.errors import DataError
from weakseg.labels import IGNORE, SMOKE

INDEX = "index.csv"
PATIENCE_SECONDS = 10.0
"""How long a label waits for another app that saves into the same folder."""
COLUMNS = ("path", "label", "mask_path", "source")


@dataclass(frozen=True)
class Saved:
    """Where a corrected frame lies.

    Args:
        frame: The picture.
        mask: Its mask.
        count: Frames in the data set now.
    """

    frame: Path
    mask: Path
    count: int


class LabelFolder:
    """A folder of frames and masks with an `index.csv` that `data=index` reads.

    A frame is known by its pixels: saving it again replaces its mask.

    Args:
        folder: Made when the first label is saved.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()

    def save(self, frame: FrameArray, mask: Mask, *, source: str = "") -> Saved:
        """Save a frame with its mask.

        Args:
            frame: (H, W, 3) uint8, RGB.
            mask: (H, W) uint8 in {0, 1, 255}.
            source: Where the frame came from, for the index.

        Raises:
            ArtifactError: If another app keeps the folder for itself.
            DataError: If the folder holds an index of something else.
            ValueError: If the shapes differ, or the mask holds other values.
        """
        height, width = frame.shape[:2]
        check_shape((height, width), mask=mask)
        if not set(np.unique(mask).tolist()) <= {0, SMOKE, IGNORE}:
            raise ValueError("mask must hold 0, 1 and 255 only")
        name = hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()[:16]
        row = {
            "path": f"frames/{name}.png",
            "label": str(int((mask == SMOKE).any())),
            "mask_path": f"masks/{name}.png",
            "source": source,
        }
        with self._held():
            rows = self._rows()
            rows[row["path"]] = row
            for key, pixels in (("path", frame), ("mask_path", mask)):
                write_bytes(self.folder / row[key], _png(pixels))
            write_text(self.folder / INDEX, _table(list(rows.values())))
        return Saved(self.folder / row["path"], self.folder / row["mask_path"], len(rows))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep the folder from the other threads, and from other apps that save into it."""
        with self._lock:
            self._rows()  # A folder of something else gets no lock, either.
            with disk_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(self.folder, patience_seconds=PATIENCE_SECONDS)
            try:
                yield
            finally:
                lock.release()

    def _rows(self) -> dict[str, dict[str, str]]:
        path = self.folder / INDEX
        if not path.exists():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(
                    f"{path} has the columns {', '.join(reader.fieldnames or ['none'])}, not "
                    f"{', '.join(COLUMNS)}: give labels= another folder"
                )
            return {row["path"]: row for row in reader}


def _png(pixels: FrameArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
