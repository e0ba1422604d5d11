"""Decide who plays in which scene: splits, smoke, chimneys and what can be mistaken for smoke.

In training a chimney mostly smokes, so that it can be mistaken for a cause; in validation
and test it smokes in every second scene, so that the mistake shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weakseg.checks import check_at_least

FEWEST_SCENES = 6
HELD_OUT = 1 / 6
"""Share of the scenes in each of val and test."""
SMOKE_WITH_CHIMNEY = {"train": 0.85, "val": 0.5, "test": 0.5}
SMOKE_WITHOUT_CHIMNEY = {"train": 0.5, "val": 0.5, "test": 0.5}


@dataclass(frozen=True)
class SceneCast:
    """What a scene holds.

    Args:
        number: Of the scene.
        split: "train", "val" or "test".
        has_chimney: Whether a chimney stands in it.
        has_smoke: Whether something smokes in it.
        has_fog: Whether a fog bank lies in it.
        has_steam: Whether something steams in it.
        quiet_frames: Frames before the smoke begins.
    """

    number: int
    split: str
    has_chimney: bool
    has_smoke: bool
    has_fog: bool
    has_steam: bool
    quiet_frames: int

    @property
    def name(self) -> str:
        """The scene's name in the index."""
        return f"scene_{self.number:04d}"

    def label(self, frame: int) -> int:
        """Say whether frame number `frame` shows smoke."""
        return int(self.has_smoke and frame >= self.quiet_frames)


def cast_scenes(*, scenes: int, frames_per_scene: int, seed: int) -> list[SceneCast]:
    """Cast all scenes; a pure function of its arguments."""
    check_at_least(FEWEST_SCENES, scenes=scenes)
    check_at_least(1, frames_per_scene=frames_per_scene)
    check_at_least(0, seed=seed)
    held = max(2, round(HELD_OUT * scenes))
    counts = {"train": scenes - 2 * held, "val": held, "test": held}
    rng = np.random.default_rng((seed, 1))
    roles = [
        (split, chimney, smoke)
        for split, count in counts.items()
        for chimney, smoke in _roles(split, count)
    ]
    return [
        _cast(rng, number, split, (chimney, smoke), frames_per_scene)
        for number, (split, chimney, smoke) in enumerate(roles)
    ]


def _roles(split: str, count: int) -> list[tuple[bool, bool]]:
    """Deal out (chimney, smoke) by quota, so that small sets hold every label too."""
    # An even number, so that exactly half of them can smoke.
    with_chimney = max(1, 2 * round(count / 4))
    without = count - with_chimney
    smoking = max(1, round(SMOKE_WITH_CHIMNEY[split] * with_chimney))
    also = min(without - 1, round(SMOKE_WITHOUT_CHIMNEY[split] * without))
    return (
        [(True, True)] * smoking
        + [(True, False)] * (with_chimney - smoking)
        + [(False, True)] * also
        + [(False, False)] * (without - also)
    )


def _cast(
    rng: np.random.Generator, number: int, split: str, role: tuple[bool, bool], frames: int
) -> SceneCast:
    chimney, smoke = role
    fog, steam, waits = rng.random(3)
    # Half of the frames, more or less: the same place with and without smoke.
    quiet = min(frames - 1, int(frames * (0.3 + 0.4 * waits)))
    return SceneCast(
        number=number,
        split=split,
        has_chimney=chimney,
        has_smoke=smoke,
        has_fog=bool(fog < 0.35),
        has_steam=bool(steam < _steam_chance(chimney, smoke)),
        # Not where a chimney stands: it would no longer smoke as often as it should.
        quiet_frames=quiet if smoke and not chimney else 0,
    )


def _steam_chance(chimney: bool, smoke: bool) -> float:
    """A chimney without smoke often steams; steam from open ground is rare."""
    if not chimney:
        return 0.08
    return 0.2 if smoke else 0.5
