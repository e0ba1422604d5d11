"""Rows know their places by every column, and unknown cells come last both ways."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from weakseg.report import Report, Table
from weakseg.report.page import render
from weakseg.report.sorting import places


def order(styles: list[str], column: int, *, falling: bool = False) -> list[int]:
    """Sort as the page's styles do: by `--u`, or by `--d` and else by minus `--u`."""
    keys = []
    for style in styles:
        known = dict(re.findall(r"--(\w+):(-?\d+)", style))
        up = int(known[f"u{column}"])
        keys.append(int(known.get(f"d{column}", -up)) if falling else up)
    return sorted(range(len(styles)), key=lambda place: keys[place])


def test_numbers_and_texts_are_sorted_by_value() -> None:
    rows = [["s10", 0.5], ["S2", 10.0], ["s1", None], ["s3", math.nan], ["s4", 2]]
    styles = places(rows)
    assert order(styles, 1) == [0, 4, 1, 2, 3]
    assert order(styles, 1, falling=True) == [1, 4, 0, 2, 3]
    assert order(styles, 0) == [2, 0, 1, 3, 4]


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, 5)), max_size=12))
def test_places_sort_like_sorted(values: list[float | None]) -> None:
    styles = places([[value] for value in values])
    known = [v for v in values if v is not None and math.isfinite(v)]
    found = [values[place] for place in order(styles, 0)]
    assert found[: len(known)] == sorted(known)
    falling = [values[place] for place in order(styles, 0, falling=True)]
    assert falling[: len(known)] == sorted(known, reverse=True)


def test_no_rows_have_no_places() -> None:
    assert places([]) == []


def test_page_sorts_without_a_script() -> None:
    rows = [[f"scene{n}", n / 300, None] for n in range(300)]
    table = Table("Scenes", ["scene", "IoU", "unknown"], rows, sortable=True)
    page = render(Report("many", tables=[table, Table("plain", ["a"], [[1]])]))
    assert "<script" not in page
    assert page.count('type="radio"') == 6
    assert page.count("--u1:") == 300
    assert ".rising1:checked" in page
    assert ".rising3:checked" not in page


def test_page_without_sortable_tables_has_no_buttons() -> None:
    page = render(Report("plain", tables=[Table("t", ["a", "b"], [[1, "x"], [2, "y"]])]))
    assert 'type="radio"' not in page
    assert ":checked) tbody" not in page
