"""Keep a list of files that no stage should read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from weakseg.artifacts.atomic import write_text
from weakseg.data.tables import read_table


@dataclass(frozen=True)
class Quarantined:
    """One file to leave out.

    Args:
        id: The frame's id, or empty.
        path: The frame's absolute path, or empty.
        reason: Why, in words.
    """

    id: str
    path: str
    reason: str


@dataclass(frozen=True)
class Quarantine:
    """Ids and paths to leave out."""

    ids: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    def holds(self, *, id: str, path: Path) -> bool:
        """Say whether a frame is to be left out: its path is listed, or its id without a path."""
        return str(path) in self.paths or id in self.ids


def read_quarantine(path: Path | str | None) -> Quarantine:
    """Read a CSV of id, path and reason; None holds nothing.

    A row with a path means that file; a row without one means every frame of that id.
    """
    rows = () if path is None else list_quarantine(path)
    return Quarantine(
        ids=frozenset(row.id for row in rows if row.id and not row.path),
        paths=frozenset(row.path for row in rows if row.path),
    )


def list_quarantine(path: Path | str) -> list[Quarantined]:
    """Read the rows of a quarantine. It may be empty: a header alone quarantines nothing."""
    table = read_table(path, needs=("id", "path"), may_be_empty=True)
    return [
        Quarantined(row.cells["id"], row.cells["path"], row.cells.get("reason", ""))
        for row in table.rows
    ]


def write_quarantine(path: Path, rows: Iterable[Quarantined]) -> None:
    """Write the list; the file appears whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "path", "reason"))
    writer.writerows((row.id, row.path, row.reason) for row in rows)
    write_text(path, text.getvalue())
