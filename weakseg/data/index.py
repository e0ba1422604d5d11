"""Read frames from a CSV index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from weakseg.data.assembly import AssemblyRules, Listed, absolute, assemble, relative_to
from weakseg.data.frames import Frame
from weakseg.data.tables import Table, TableRow, read_table
from weakseg.errors import DataError

LABELS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("1", "1.0", "smoke", "yes", "true"), 1),
    **dict.fromkeys(("0", "0.0", "nonsmoke", "non-smoke", "no_smoke", "no", "false"), 0),
}


@dataclass(frozen=True)
class IndexSource:
    """Frames listed in a CSV with the columns path and label.

    The columns scene, split and sequence are read if they are there, others are left alone.

    Args:
        index: The CSV file.
        root: Folder that relative paths start from; the CSV's own folder if None.
        where: Keep only rows with these values, such as {"subset": "core"}.
        scenes: Where scenes come from; see `AssemblyRules`.
        scene_pattern: See `AssemblyRules`.
        val_fraction: See `AssemblyRules`.
        seed: Names the cut of the validation part.
        quarantine: CSV of frames to leave out.
    """

    index: str
    root: str | None = None
    where: dict[str, str] | None = None
    scenes: str = "auto"
    scene_pattern: str | None = None
    val_fraction: float = 0.15
    seed: int = 0
    quarantine: str | None = None

    def __post_init__(self) -> None:
        self._rules()

    def frames(self) -> list[Frame]:
        """List the frames in the order of the rows."""
        return list(self._frames)

    def settings(self) -> dict[str, Any]:
        """Say how to build this source again."""
        return {
            "kind": "index",
            "index": str(absolute(Path.cwd(), self.index)),
            "root": str(self.base),
            "where": dict(self.where) if self.where else None,
            "scenes": self.scenes,
            "scene_pattern": self.scene_pattern,
            "val_fraction": self.val_fraction,
            "seed": self.seed,
            "quarantine": self.quarantine and str(absolute(Path.cwd(), self.quarantine)),
        }

    @property
    def base(self) -> Path:
        """The folder that relative paths start from."""
        start = self.root if self.root is not None else Path(self.index).parent
        return absolute(Path.cwd(), str(start))

    @cached_property
    def _frames(self) -> tuple[Frame, ...]:
        table = read_table(self.index, needs=("path", "label"))
        rows = _kept_rows(table, self.where or {})
        listed = [_listed(table, row, self.base) for row in rows]
        _refuse_repeats(table, rows, listed)
        return tuple(assemble(listed, self._rules(), origin=str(self.index)))

    def _rules(self) -> AssemblyRules:
        return AssemblyRules(
            scenes=self.scenes,
            scene_pattern=self.scene_pattern,
            val_fraction=self.val_fraction,
            seed=self.seed,
            quarantine=self.quarantine,
        )


def _kept_rows(table: Table, where: Mapping[str, str]) -> list[TableRow]:
    unknown = [name for name in where if name not in table.columns]
    if unknown:
        raise DataError(
            f"{table.path} has no column {', '.join(unknown)} to select by: "
            f"it has {', '.join(table.columns)}"
        )
    wanted = {name: str(value) for name, value in where.items()}
    rows = [row for row in table.rows if all(row.cells[k] == v for k, v in wanted.items())]
    if not rows:
        raise DataError(f"{table.path} has no row where {wanted}: correct `where`")
    return rows


def _listed(table: Table, row: TableRow, base: Path) -> Listed:
    cells = row.cells
    if not cells["path"]:
        raise DataError(f"{table.path} line {row.line} has no path: fill it in or delete the line")
    label = LABELS.get(cells["label"].casefold())
    if label is None:
        raise DataError(
            f"{table.path} line {row.line} has label {cells['label']!r}: "
            "it must be 0 or 1 (or nonsmoke or smoke, no or yes)"
        )
    path = absolute(base, cells["path"])
    return Listed(
        relative=relative_to(base, path),
        path=path,
        label=label,
        scene=cells.get("scene", ""),
        split=cells.get("split", ""),
        sequence=cells.get("sequence", ""),
        folder=relative_to(base, path.parent),
    )


def _refuse_repeats(table: Table, rows: list[TableRow], listed: list[Listed]) -> None:
    first: dict[Path, TableRow] = {}
    for row, one in zip(rows, listed, strict=True):
        other = first.setdefault(one.path, row)
        if other is not row:
            raise DataError(
                f"{table.path} line {row.line} lists {one.path.name} again, "
                f"after line {other.line}: delete one of them"
            )
