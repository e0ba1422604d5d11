"""What the core is held to, judged by the figures of one run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench import accuracy
from bench.figures import Figures, table

SIDE = 512
LARGE = (1920, 1280)
CPU_RATIO = "times faster than pydensecrf (CPU)"
WALL_SPEEDUP = "speed-up by 2 threads (wall)"
CAPACITY = "speed-up of hashing by 2 threads (wall)"
"""What two threads that share nothing reach here: below 1.9, the cores are not free."""
GAP = "largest gap between instruction sets"

Verdict = Literal["met", "MISSED", "not measured", "cores busy"]


@dataclass(frozen=True)
class Target:
    """A bound on a figure, and what this run says of it."""

    name: str
    found: float | None
    bound: float
    at_least: bool
    verdict: Verdict

    def row(self) -> list[str]:
        """Return its line of the table."""
        sign = ">=" if self.at_least else "<="
        found = "-" if self.found is None else f"{self.found:.4g}"
        return [self.name, f"{sign} {self.bound:g}", found, self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


def judge(figures: Figures, *, best: str) -> list[Target]:
    """Judge every target; `best` is the instruction set that the figures without one are of."""
    at = {"width": SIDE, "height": SIDE, "threads": 1}
    # 1/36 and 1/14 of pydensecrf's five iterations; the mean field against the same.
    bounds = [
        ("loss filter", 2, 36.0),
        ("loss filter", 21, 14.0),
        ("mean field", 2, 8.0),
        ("mean field", 5, 5.0),
        ("mean field", 21, 5.0),
    ]
    targets = [
        _at_least(
            f"{what}, C = {channels}, {SIDE} x {SIDE}, one thread: {CPU_RATIO}",
            _median(figures, what, CPU_RATIO, channels=channels, **at),
            bound,
        )
        for what, channels, bound in bounds
    ]
    targets += [
        _at_most(
            "memory of the loss filter's lattice, B/pixel",
            _median(figures, "loss filter", "lattice B/pixel"),
            24.0,
        ),
        _at_most(
            "growth of memory over 1,000 calls, B/call",
            _largest(figures, "growth B/call"),
            # One lost block of the smallest kind a call would show as 32.
            32.0,
        ),
    ]
    targets += _thread_targets(figures)
    targets += _instruction_targets(figures, best)
    targets += [
        _at_most(
            f"relative L2 error by row, {mode}",
            _median(figures, mode, "relative L2 error by row", values="soft"),
            bound,
        )
        for mode, bound in ((accuracy.DEFAULT, 0.0105), (accuracy.HIGH, 0.0075))
    ]
    return targets


def show(targets: list[Target]) -> str:
    """Lay the targets out as a table."""
    rows = [target.row() for target in targets]
    return table("Targets", ["target", "bound", "found", "verdict"], rows)


def _thread_targets(figures: Figures) -> list[Target]:
    capacity = _median(figures, "hashing", CAPACITY)
    targets = []
    for what in ("loss filter", "mean field"):
        place = {"width": LARGE[0], "height": LARGE[1], "channels": 2}
        found = _median(figures, what, WALL_SPEEDUP, **place)
        target = _at_least(f"{what}, C = 2, {LARGE[0]} x {LARGE[1]}: {WALL_SPEEDUP}", found, 1.8)
        if target.verdict == "MISSED" and capacity is not None and capacity < 1.9:
            target = Target(target.name, target.found, 1.8, True, "cores busy")
        targets.append(target)
    return targets


def _instruction_targets(figures: Figures, best: str) -> list[Target]:
    targets = []
    for what in ("loss filter", "mean field"):
        share = _median(figures, what, f"speed as a share of {best}'s", instructions="avx2")
        judged = share if best == "avx512" else None
        targets.append(
            _at_least(f"{what}, C = 2: AVX2's speed as a share of AVX-512's", judged, 0.6)
        )
    for channels in (2, 5, 21):
        place = {"instructions": "portable", "channels": channels}
        found = _median(figures, "mean field", CPU_RATIO, **place)
        targets.append(_at_least(f"mean field, C = {channels}, portable: {CPU_RATIO}", found, 1.0))
    # The mean field's exponentials stretch the same gaps: it is shown, not judged.
    gaps = [
        figure.median
        for figure in figures.all
        if (figure.contender, figure.quantity) == ("loss filter", GAP)
    ]
    name = f"loss filter: {GAP}, relative"
    return [*targets, _at_most(name, max(gaps, default=None), 1e-5)]


def _at_least(name: str, found: float | None, bound: float) -> Target:
    verdict: Verdict = "not measured" if found is None else "met" if found >= bound else "MISSED"
    return Target(name, found, bound, True, verdict)


def _at_most(name: str, found: float | None, bound: float) -> Target:
    verdict: Verdict = "not measured" if found is None else "met" if found <= bound else "MISSED"
    return Target(name, found, bound, False, verdict)


def _median(figures: Figures, contender: str, quantity: str, **where: Any) -> float | None:
    figure = figures.find(contender, quantity, **where)
    return None if figure is None else figure.median


def _largest(figures: Figures, quantity: str) -> float | None:
    return max((f.median for f in figures.all if f.quantity == quantity), default=None)
