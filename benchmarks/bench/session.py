"""What every section of the benchmark needs: settings, frames, and the figures found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.contenders import Scene
from bench.figures import Figures
from bench.frames import Frames, class_probabilities
from bench.targets import CPU_RATIO
from bench.timing import Effort, Times, Work, interleave, paired_ratios

Size = tuple[int, int]
"""Width and height."""

Place = dict[str, Any]
"""What a figure is of: size, channels, threads, ..."""

Works = dict[str, tuple[str, Work, Place]]
"""By a name of its own: the contender, what it does, and where."""

RIVAL = "pydensecrf"
CPU_COST, WALL_COST = "CPU ns/pixel", "wall ns/pixel"


@dataclass
class Bench:
    """Settings, frames, and the figures found so far."""

    sizes: list[Size]
    channels: list[int]
    threads: list[int]
    instructions: list[str]
    effort: Effort
    frames: Frames
    quick: bool = False
    figures: Figures = field(default_factory=Figures)

    def scenes(self, size: Size, channels: int) -> list[Scene]:
        """Return the frames of one size with their probabilities."""
        pictures = [self.frames.get(scene, size[::-1]) for scene in range(self.frames.scenes)]
        return [(p, class_probabilities(p, channels, seed=i)) for i, p in enumerate(pictures)]

    def time(self, works: Works, size: Size) -> None:
        """Time (contender, work, where) by turns; keep costs, and ratios if pydensecrf is there."""
        times = interleave({name: work for name, (_, work, _) in works.items()}, self.effort)
        rival = times.get(RIVAL)
        for name, (contender, _, given) in works.items():
            where: Place = {"width": size[0], "height": size[1], **given}
            self._keep(contender, times[name], rival if name != RIVAL else None, where)

    def _keep(
        self, contender: str, found: Times, rival: Times | None, where: dict[str, Any]
    ) -> None:
        pixels = where["width"] * where["height"]
        self.figures.add(contender, CPU_COST, [1e9 * s / pixels for s in found.cpu], **where)
        self.figures.add(contender, WALL_COST, [1e9 * s / pixels for s in found.wall], **where)
        if rival is not None:
            self.figures.add(contender, CPU_RATIO, paired_ratios(rival.cpu, found.cpu), **where)
            faster = "times faster than pydensecrf (wall)"
            self.figures.add(contender, faster, paired_ratios(rival.wall, found.wall), **where)
