"""Tell by content whether two data sets are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from weakseg.data.frames import Frame
from weakseg.data.threads import map_threads
from weakseg.errors import DataError


def sha256_of(path: Path | str) -> str:
    """Hash a file's bytes.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): correct the path") from error


def dataset_fingerprint(frames: Sequence[Frame]) -> str:
    """Hash what a data set teaches: every frame's id, label, scene, split and bytes.

    The order of the frames and their place on disk do not matter.
    """
    digests = map_threads(sha256_of, [frame.path for frame in frames])
    rows = sorted(
        "\x1f".join((frame.id, str(frame.label), frame.scene, frame.split, digest))
        for frame, digest in zip(frames, digests, strict=True)
    )
    return hashlib.sha256("\x1e".join(rows).encode()).hexdigest()
