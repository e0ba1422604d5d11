"""Give each row of a table its place by every column, so that pages can sort without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

_LAST: Final = 99_999


def places(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Write the places of rows as CSS variables: `--uN` by column N, rising.

    Falling order is the reverse, but unknown cells (None, NaN) come last both ways: they have a
    `--dN`, too. Numbers come before texts; rows that are equal keep their order.

    Args:
        rows: Cells, as many in each row.
    """
    styles: list[list[str]] = [[] for _ in rows]
    for column in range(len(rows[0]) if rows else 0):
        keys = [_key(row[column]) for row in rows]
        known = sorted({key for key in keys if key is not None})
        place = {key: number for number, key in enumerate(known)}
        for style, key in zip(styles, keys, strict=True):
            if key is None:
                style.append(f"--u{column}:{_LAST};--d{column}:{_LAST}")
            else:
                style.append(f"--u{column}:{place[key]}")
    return [";".join(style) for style in styles]


def _key(cell: Any) -> tuple[int, float, str] | None:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return None
    if isinstance(cell, str):
        return (1, 0.0, cell.casefold())
    return (0, float(cell), "")
