"""Time works that take turns, so that a drift of the machine hits all of them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Work = Callable[[int], object]
"""Does the work once, on the scene of this number."""

LEAST_REPEATS = 3


@dataclass
class Times:
    """Seconds of one call, once a repeat."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        repeats: Repeats of every work, at least 1.
        seconds: Time for one group of works; beyond it, 3 repeats (or `repeats`) are enough.
        calls_for: A work shorter than this many seconds is called several times a repeat.
    """

    repeats: int = 9
    seconds: float = 15.0
    calls_for: float = 0.01


def interleave(works: Mapping[str, Work], effort: Effort) -> dict[str, Times]:
    """Time every work once a repeat, in turns, after a warm-up.

    Repeat r is on scene r; the order of the works is reversed from one repeat to the next.
    """
    calls = {name: _calls_needed(work, effort.calls_for) for name, work in works.items()}
    times = {name: Times() for name in works}
    start = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for repeat in range(effort.repeats):
            if repeat >= LEAST_REPEATS and time.perf_counter() - start > effort.seconds:
                break
            names = list(works) if repeat % 2 == 0 else list(works)[::-1]
            for name in names:
                cpu, wall = _time_calls(works[name], repeat, calls[name])
                times[name].cpu.append(cpu)
                times[name].wall.append(wall)
    finally:
        gc.enable()
    return times


def _calls_needed(work: Work, seconds: float) -> int:
    _, once = _time_calls(work, 0, 1)
    if once > 5 * seconds:
        return 1
    # The first call was slow for its page faults.
    _, once = _time_calls(work, 0, 1)
    return max(1, math.ceil(seconds / max(once, 1e-6)))


def _time_calls(work: Work, scene: int, calls: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        work(scene)
    return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls


def paired_ratios(slow: list[float], fast: list[float]) -> list[float]:
    """Return how many times faster `fast` was, repeat by repeat."""
    return [a / b for a, b in zip(slow, fast, strict=True)]
