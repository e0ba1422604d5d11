"""Bars start at 0 on one scale; the spread lies round their ends; names cannot break the page."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from weakseg.report import Bar, Bars, Report, write_report
from weakseg.report.bars import WIDTH, lay_out


def test_lengths_are_in_proportion() -> None:
    chart = lay_out(Bars("IoU", [Bar("a", 0.2), Bar("b", 0.4), Bar("none", 0.0)]))
    a, b, none = ((bar.end - chart.left) for bar in chart.bars)
    assert b == pytest.approx(2 * a, abs=0.02)
    assert none == 0
    assert [bar.text for bar in chart.bars] == ["0.200", "0.400", "0.000"]


def test_spread_lies_round_the_end_and_stays_on_the_page() -> None:
    chart = lay_out(Bars("IoU", [Bar("a", 0.5, 0.1), Bar("b", 0.01, 0.1), Bar("c", 0.3)]))
    a, b, c = chart.bars
    assert a.high - a.end == pytest.approx(a.end - a.low, abs=0.02)
    assert a.text == "0.500 ± 0.100"
    assert b.low == chart.left
    assert c.low == c.high == c.end
    assert all(bar.high <= WIDTH for bar in chart.bars)
    assert [bar.y for bar in chart.bars] == sorted(bar.y for bar in chart.bars)
    assert chart.height > chart.bars[-1].y + chart.thick


def test_unknown_values_are_left_out_and_negative_ones_refused() -> None:
    assert [bar.name for bar in lay_out(Bars("x", [Bar("a", math.nan), Bar("b", 1.0)])).bars] == [
        "b"
    ]
    assert lay_out(Bars("x", [])).bars == []
    assert lay_out(Bars("x", [Bar("a", 0.0)])).bars[0].end == lay_out(Bars("x", [])).left
    with pytest.raises(ValueError, match="at least 0"):
        lay_out(Bars("x", [Bar("a", -0.1)]))


def test_page_shows_the_bars(tmp_path: Path) -> None:
    bars = Bars("IoU <val>", [Bar("a & b", 0.5, 0.1)], "one & two")
    page = write_report(tmp_path, Report("Title", bars=[bars])).read_text()
    assert "IoU &lt;val&gt;" in page
    assert "a &amp; b" in page
    assert 'class="spread"' in page
    assert "Compared" not in write_report(tmp_path, Report("Title")).read_text()
