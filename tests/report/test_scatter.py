"""Dots, means and axes of scatter plots lie where their numbers say."""

from __future__ import annotations

import math

import pytest

from weakseg.report import Dot, Level, Scatter
from weakseg.report.scatter import HEIGHT, WIDTH, lay_out_scatter


def plot(*dots: Dot, **settings: object) -> Scatter:
    return Scatter("t", dots, x_label="x", y_label="y", **settings)  # type: ignore[arg-type]


def test_up_is_more_and_right_is_more() -> None:
    chart = lay_out_scatter(plot(Dot(0.2, 0.1), Dot(0.8, 0.9), x_range=(0, 1)))
    low, high = chart.dots
    assert chart.left < low.x < high.x < chart.right
    assert chart.top < high.y < low.y < chart.bottom
    assert low.x - chart.left == pytest.approx(0.2 * (chart.right - chart.left), abs=0.01)


def test_decades_are_equally_wide_on_a_logarithmic_axis() -> None:
    chart = lay_out_scatter(plot(Dot(0.001, 0), Dot(0.01, 0), Dot(0.1, 0), log_x=True))
    first, second, third = (dot.x for dot in chart.dots)
    assert second - first == pytest.approx(third - second, abs=0.02)
    assert all(chart.left <= tick.at <= chart.right for tick in chart.x_ticks)


def test_percents_are_told_on_an_axis_of_shares() -> None:
    chart = lay_out_scatter(plot(Dot(0.01, 0), Dot(0.1, 0), log_x=True, percent_x=True))
    assert "1 %" in [tick.text for tick in chart.x_ticks]
    assert "10 %" in [tick.text for tick in chart.x_ticks]


def test_a_logarithmic_axis_has_no_zero() -> None:
    with pytest.raises(ValueError, match="x must be above 0"):
        lay_out_scatter(plot(Dot(0.0, 1.0), log_x=True))


def test_unknown_dots_and_levels_are_left_out() -> None:
    levels = [Level(math.nan, 0.5, math.nan), Level(0.5, math.nan, 0.4, text="0.40 (3)")]
    chart = lay_out_scatter(plot(Dot(0.5, math.nan), Dot(math.nan, 0.5), levels=levels))
    assert chart.dots == []
    assert [level.text for level in chart.levels] == ["0.40 (3)"]


@pytest.mark.parametrize("log_x", [False, True])
def test_a_plot_without_dots_has_axes(log_x: bool) -> None:
    chart = lay_out_scatter(plot(log_x=log_x))
    assert len(chart.x_ticks) >= 2
    assert chart.path == ""
    assert chart.diagonal is None


@pytest.mark.parametrize("log_x", [False, True])
def test_one_dot_lies_within_the_axes(log_x: bool) -> None:
    (dot,) = lay_out_scatter(plot(Dot(0.3, 0.5), log_x=log_x)).dots
    assert 0 < dot.x < WIDTH
    assert 0 < dot.y < HEIGHT


def test_shares_have_no_axis_below_zero() -> None:
    chart = lay_out_scatter(plot(Dot(0.0, 0), Dot(1.0, 0)))
    assert min(float(tick.text) for tick in chart.x_ticks) == 0


def test_open_levels_reach_the_ends_and_their_interval_encloses_them() -> None:
    levels = [Level(math.nan, 0.5, 0.4, 0.3, 0.6), Level(0.5, math.nan, 0.8, 0.7, 0.9)]
    chart = lay_out_scatter(plot(Dot(0.1, 0), Dot(0.9, 1), levels=levels))
    left, right = chart.levels
    assert left.start == chart.left
    assert right.stop == chart.right
    assert left.stop == right.start
    assert left.high < left.y < left.low  # SVG counts downwards.


def test_weights_make_dots_larger_and_lines_join_in_order() -> None:
    small, large = Dot(0.1, 0.2, weight=0.0), Dot(0.9, 0.8, weight=1.0)
    chart = lay_out_scatter(plot(small, large, joined=True, diagonal=True, x_range=(0, 1)))
    assert chart.dots[0].radius < chart.dots[1].radius
    start = f"M{chart.dots[0].x:g},{chart.dots[0].y:g}"
    assert chart.path.startswith(start)
    assert chart.diagonal == ((chart.left, chart.bottom), (chart.right, chart.top))
