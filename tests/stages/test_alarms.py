"""Alarms begin late, end late, survive flicker, and are listed with their peak."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakseg.plans import AlarmPlan
from weakseg.stages.prediction.alarms import Alarm, AlarmList, AlarmWatch, Moment, State

PLAN = AlarmPlan(on_share=0.3, off_share=0.1, min_seconds=2, hold_seconds=3, gap_seconds=10)


def watch(
    shares: list[float], *, plan: AlarmPlan = PLAN, step: float = 1.0
) -> tuple[list[State], list[Alarm]]:
    """Follow shares that come every `step` seconds."""
    eye = AlarmWatch(plan)
    states = [eye.see(Moment(10 * i, step * i, share)) for i, share in enumerate(shares)]
    return states, eye.alarms


def test_alarm_begins_after_its_time_and_ends_after_its_hold() -> None:
    states, alarms = watch([0, 0.3, 0.4, 0.9, 0.2, 0.05, 0.05, 0.05, 0.05, 0])
    assert [str(state) for state in states] == [
        *["quiet", "rising", "rising", "alarm", "alarm"],
        *["falling", "falling", "falling", "quiet", "quiet"],
    ]
    (alarm,) = alarms
    assert not alarm.is_open
    assert (alarm.start.seconds, alarm.end.seconds) == (1, 4)
    assert (alarm.peak.frame, alarm.peak.share) == (30, 0.9)


def test_short_smoke_is_no_alarm() -> None:
    states, alarms = watch([0, 0.9, 0.9, 0.2, 0.9, 0])
    assert State.ALARM not in states
    assert alarms == []


def test_flicker_is_one_alarm() -> None:
    # Between the two shares, and shortly below both.
    _, alarms = watch([0.5] * 4 + [0.2, 0.05, 0.05, 0.15] * 5 + [0.5] + [0] * 9)
    assert len(alarms) == 1


def test_smoke_at_the_end_is_an_open_alarm() -> None:
    _, (alarm,) = watch([0.5, 0.6, 0.7, 0.05])
    assert alarm.is_open
    assert alarm.end.seconds == 2


def test_gap_ends_what_was_going_on() -> None:
    _, alarms = watch([0.5, 0.5], step=11)
    assert alarms == []
    plan = AlarmPlan(on_share=0.3, off_share=0.1, min_seconds=0, hold_seconds=3, gap_seconds=10)
    _, alarms = watch([0.5, 0.5], plan=plan, step=11)
    assert [alarm.is_open for alarm in alarms] == [False, True]
    # Frames that are wanted so far apart leave no gap.
    eye = AlarmWatch(plan, every_seconds=11)
    for i in range(2):
        eye.see(Moment(i, 11.0 * i, 0.5))
    assert len(eye.alarms) == 1


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0, 5), st.floats(0, 5))
def test_alarms_keep_their_rules(shares: list[float], least: float, hold: float) -> None:
    plan = AlarmPlan(on_share=0.5, off_share=0.2, min_seconds=least, hold_seconds=hold)
    states, alarms = watch(shares, plan=plan)
    begun = sum(
        now is State.ALARM and was in (State.QUIET, State.RISING)
        for was, now in zip([State.QUIET, *states], states, strict=False)
    )
    assert len(alarms) == begun
    for i, alarm in enumerate(alarms):
        inside = shares[alarm.start.frame // 10 : alarm.end.frame // 10 + 1]
        assert alarm.peak.share == max(inside)
        assert alarm.end.seconds - alarm.start.seconds >= least
        assert alarm.start.share >= 0.5
        assert alarm.end.share >= 0.2
        assert alarm.is_open == (i == len(alarms) - 1 and states[-1] in ("alarm", "falling"))


def test_list_replaces_its_source_only(tmp_path: Path) -> None:
    _, alarms = watch([0.5] * 4 + [0] * 9)
    AlarmList(tmp_path).put("a, b.mp4", alarms)
    later = AlarmList(tmp_path)
    later.put("c.mp4", alarms * 2)
    later.put("c.mp4", alarms)
    with (tmp_path / "alarms.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["source"] for row in rows] == ["a, b.mp4", "c.mp4"]
    assert rows[0]["start_seconds"] == "0.000"
    assert rows[0]["peak_share"] == "0.500000"
    assert rows[0]["state"] == "ended"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on_share": 0.1, "off_share": 0.2}, "alarm.off_share must be at most alarm.on_share"),
        ({"on_share": 3}, r"alarm.on_share must lie in \[0, 1\]"),
        ({"min_seconds": -1}, "alarm.min_seconds must be at least 0"),
        ({"gap_seconds": 0}, "alarm.gap_seconds must be above 0"),
    ],
)
def test_wrong_rules_are_refused_by_name(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AlarmPlan(**settings)
