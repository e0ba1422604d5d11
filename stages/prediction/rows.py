"""Write what is found in each frame as it is found, as CSV and as JSON lines, and go on later."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from weakseg.artifacts import disk_errors, write_text

TABLE: Final = "predictions.csv"
LINES: Final = "predictions.jsonl"

Row = Mapping[str, Any]
"""What is found in one frame: by column, a text or a number."""

_FORMS: Final = {"smoke_probability": ".4f", "smoke_share": ".6f", "seconds": ".3f"}
"""How numbers are rounded."""


class RowFiles:
    """The table of an output folder and its JSON lines, both appended to at once.

    A row that a killed command left half written is dropped when the files are opened again.

    Args:
        folder: Holds both.
        columns: Of the table; the JSON lines have all that a row has.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self._folder = folder
        self._columns = tuple(columns)
        self._open: tuple[IO[str], IO[str]] | None = None

    def read(self) -> list[dict[str, Any]]:
        """Give the rows that are there, whole ones only."""
        path, rows = self._folder / LINES, []
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        for line in lines[:-1]:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def start(self, rows: Sequence[Row] = ()) -> None:
        """Write `rows` in place of what is there, and be ready for more."""
        self.close()
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerow(self._columns)
        write_text(self._folder / TABLE, table.getvalue() + "".join(map(self._as_csv, rows)))
        write_text(self._folder / LINES, "".join(map(_as_json, rows)))

    def append(self, row: Row) -> None:
        """Add a row to both files, and hand it to the system."""
        if self._open is None:
            with disk_errors(self._folder / TABLE):
                self._open = (
                    (self._folder / TABLE).open("a", encoding="utf-8", newline=""),
                    (self._folder / LINES).open("a", encoding="utf-8", newline=""),
                )
        texts = (self._as_csv(row), _as_json(row))
        for file, text in zip(self._open, texts, strict=True):
            with disk_errors(file.name):
                file.write(text)
                file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in self._open or ():
            with disk_errors(file.name):
                file.close()
        self._open = None

    def _as_csv(self, row: Row) -> str:
        text = io.StringIO()
        cells = [format(row[name], _FORMS.get(name, "")) for name in self._columns]
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue()


def rounded(row: Row) -> dict[str, Any]:
    """Round the numbers of a row to what the table shows, so that both files say the same."""
    return {
        name: float(format(value, _FORMS[name])) if name in _FORMS else value
        for name, value in row.items()
    }


def _as_json(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
