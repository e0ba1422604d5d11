"""Read and write `frames.csv`: one row per frame of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from weakseg.artifacts.atomic import write_text
from weakseg.errors import ArtifactError

FrameRow: TypeAlias = dict[str, str]
"""Column -> text, as the file holds it."""


def write_frames(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows ordered by id, with `id` as the first column.

    Booleans become 0 and 1, None an empty field; floats keep every digit.

    Raises:
        ValueError: If a row has no id, or two rows have the same.
    """
    ordered = sorted((dict(row) for row in rows), key=lambda row: str(row.get("id", "")))
    ids = [str(row.get("id", "")) for row in ordered]
    twice = next((one for one, two in pairwise(ids) if one == two), None)
    if "" in ids or twice is not None:
        raise ValueError(f"every frame needs an id of its own, got {twice!r} twice or none")
    table = [{key: _text(value) for key, value in row.items()} for row in ordered]
    columns = {"id": None} | {key: None for row in ordered for key in sorted(row)}
    text = io.StringIO()
    # The csv module leaves a lone carriage return bare, and reads it as the end of the row.
    bare = any("\r" in value for row in table for value in row.values())
    writer = csv.DictWriter(
        text,
        fieldnames=list(columns),
        restval="",
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(table)
    write_text(path, text.getvalue())


def read_frames(path: Path | str) -> list[FrameRow]:
    """Read the rows in the file's order.

    Raises:
        ArtifactError: If the file is missing, or is no table with a column `id`.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): run its stage again") from error
    if "id" not in (reader.fieldnames or ()):
        raise ArtifactError(f"{path} has no column `id`: run its stage again")
    return rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)
