"""Read CSV tables, and say which line is wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weakseg.errors import DataError


@dataclass(frozen=True)
class TableRow:
    """One row of a CSV file.

    Args:
        line: Its line in the file, counted from 1.
        cells: Column name to text, stripped.
    """

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV file with a header.

    Args:
        path: The file.
        columns: The header's names.
        rows: The rows that are not blank.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path | str, *, needs: Sequence[str], may_be_empty: bool = False) -> Table:
    """Read a comma-separated UTF-8 file with a header.

    Args:
        path: The file.
        needs: Columns that must be there; others are welcome.
        may_be_empty: Whether a header alone will do.

    Raises:
        DataError: If the file is missing, not text, empty, or lacks a column.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            columns = tuple(name.strip() for name in reader.fieldnames or ())
            reader.fieldnames = list(columns)
            rows = tuple(
                TableRow(reader.line_num, {k: v.strip() for k, v in cells.items() if k})
                for cells in reader
            )
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): correct the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a UTF-8 CSV file ({error}): save it as one") from error
    _check_columns(path, columns, needs)
    if not rows and not may_be_empty:
        raise DataError(f"{path} lists no frames: it has a header and nothing else")
    return Table(path, columns, rows)


def _check_columns(path: Path, columns: Sequence[str], needs: Sequence[str]) -> None:
    if not columns:
        raise DataError(f"{path} is empty: it needs a header with {', '.join(needs)}")
    missing = [name for name in needs if name not in columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)} among {', '.join(columns)}: "
            "name it in the first line, separated by commas"
        )
