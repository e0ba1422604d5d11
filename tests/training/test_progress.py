"""Progress is told when the wait is long enough to notice, in a way that suits the place."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest
from rich.console import Console

from weakseg.training.progress import clock_face, track


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that moves on at every look."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += seconds
        return now

    return clock


def terminal(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=is_terminal, width=100), file


@pytest.mark.parametrize("is_terminal", [True, False])
def test_items_pass_unchanged(is_terminal: bool) -> None:
    console, _ = terminal(is_terminal=is_terminal)
    assert list(track(range(5), what="count", console=console, clock=ticking(3))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_short_loops_are_silent(is_terminal: bool, caplog: pytest.LogCaptureFixture) -> None:
    console, file = terminal(is_terminal=is_terminal)
    with caplog.at_level(logging.INFO):
        list(track(range(5), what="count", console=console, clock=ticking(0.1)))
    assert file.getvalue() == ""
    assert not caplog.records


def test_a_terminal_gets_a_bar() -> None:
    console, file = terminal(is_terminal=True)
    list(track(range(5), what="read frames", console=console, clock=ticking(3)))
    assert "read frames" in file.getvalue()
    assert "/5" in file.getvalue()


def test_elsewhere_lines_come_about_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    console, file = terminal(is_terminal=False)
    items = track(
        iter(range(40)), total=40, what="read", unit="frames", console=console, clock=ticking(1)
    )
    with caplog.at_level(logging.INFO):
        list(items)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "read: 9 of 40 frames, about 34 s left"
    assert lines[-1].startswith("read: 40 frames in 4")
    assert len(lines) == 5
    assert file.getvalue() == ""


def test_an_unknown_total_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    console, _ = terminal(is_terminal=False)
    with caplog.at_level(logging.INFO):
        list(track(iter(range(12)), what="walk", console=console, clock=ticking(1)))
    assert "so far" in caplog.records[0].getMessage()


def test_leaving_early_closes_the_bar() -> None:
    console, file = terminal(is_terminal=True)
    for item in track(range(5), what="leave", console=console, clock=ticking(3)):
        if item == 2:
            break
    list(track(range(5), what="again", console=console, clock=ticking(3)))
    assert "again" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "face"), [(7.6, "8 s"), (125, "2 min 05 s"), (12000, "3 h 20 min"), (-1, "0 s")]
)
def test_durations_are_said_as_people_say_them(seconds: float, face: str) -> None:
    assert clock_face(seconds) == face
