"""Write pictures for people, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from weakseg.arrays import FrameArray
from weakseg.artifacts.atomic import write_bytes
from weakseg.checks import check_shape


def write_picture(path: Path | str, picture: FrameArray) -> None:
    """Write (H, W, 3) uint8 RGB as JPEG (.jpg) or PNG (.png)."""
    check_shape((None, None, 3), picture=picture)
    is_jpeg = Path(path).suffix.lower() in {".jpg", ".jpeg"}
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG" if is_jpeg else "PNG", quality=92)
    write_bytes(path, buffer.getvalue())
