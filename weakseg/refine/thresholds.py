"""Choose the threshold of the pseudo-masks without masks.

The rules see image labels, the classifier's probabilities and histograms of scores. Each returns a
threshold with an ignore band around it, whose width is its `band`: 0 is no band.

- `FalseAlarmThreshold` bounds the harm: as low as the smoke-free frames allow.
- `OtsuThreshold` and `MixtureThreshold` split the scores of the frames labelled smoke in two.
- `SizeThreshold` makes the smoke as large as the user says smoke is.
- `FixedThreshold` takes a number, and `HighestThreshold` the most careful of several rules.

A classifier that knows its training frames by heart gives its smoke-free frames next to no
evidence, and then the false-alarm rule alone asks for very little: join it with another rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from weakseg.checks import check_at_least, check_in_unit, check_positive
from weakseg.labels import BACKGROUND
from weakseg.refine.choice import (
    LOWEST,
    ThresholdChoice,
    ThresholdRule,
    band_around,
    make_choice,
)
from weakseg.refine.statistics import BINS, EvidenceStatistics, Shares, pooled_shares
from weakseg.refine.two_classes import OtsuThreshold


@dataclass(frozen=True)
class FixedThreshold:
    """Take `value` as it is, for scores whose scale is known: the thesis cuts at 0.3.

    Args:
        value: Smoke score in [1/256, 1].
        band: Width of the ignore band, in [0, 1]: the share of the way from the threshold to 0
            and to 1 that is ignored.
    """

    value: float = 0.3
    band: float = 0.2

    def __post_init__(self) -> None:
        """Refuse a cut at or below the scores that mean nothing."""
        check_in_unit(value=self.value, band=self.band)
        if self.value < LOWEST:
            raise ValueError(f"value must be at least {LOWEST}, got {self.value}")

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Return the value; the statistics are not looked at."""
        low, high = band_around(self.value, self.band)
        return make_choice(self.value, low, high, rule="fixed", detail=self.settings())

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class FalseAlarmThreshold:
    """Cut as low as the smoke-free frames allow.

    The smallest threshold at which at most `target` of the frames labelled smoke-free would show
    smoke on `min_area` of their pixels or more. The area is the frame's whole area of smoke, so
    the share of frames with one connected region that large is at most the target too.

    Args:
        target: Share of smoke-free frames that may raise an alarm, in [0, 1].
        min_area: Share of a frame's pixels that makes an alarm, in (0, 1].
        floor: The threshold never falls below this smoke score, in [0, 1]. Where no smoke-free
            frame has evidence at all, nothing else would bound it.
        ceiling: Nor does it rise above this one, in [floor, 1]. A few smoke-free frames with
            saturated scores (a wrong label is enough) would else cut the smoke of all others;
            `target_met` in the choice's detail says whether the target was reached.
        band: Width of the ignore band, in [0, 1], as in `FixedThreshold`.
    """

    target: float = 0.02
    min_area: float = 0.001
    floor: float = 0.0
    ceiling: float = 1.0
    band: float = 0.2

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1]."""
        check_in_unit(target=self.target, min_area=self.min_area, floor=self.floor, band=self.band)
        check_in_unit(ceiling=self.ceiling)
        check_positive(min_area=self.min_area)
        check_at_least(self.floor, ceiling=self.ceiling)

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Choose the cut.

        Raises:
            ValueError: If no frame is labelled smoke-free.
        """
        frames = statistics.frames(label=BACKGROUND)
        if not frames:
            raise ValueError("no smoke-free frame was counted: the false-alarm rule needs some")
        alarms = np.mean([frame.shares_above >= self.min_area for frame in frames], axis=0)
        allowed = np.flatnonzero(alarms[1:] <= self.target) + 1  # Edge 0 would let in every pixel.
        edge = int(allowed[0]) if allowed.size else BINS - 1
        threshold = min(max(edge / BINS, self.floor), self.ceiling)
        low, high = band_around(threshold, self.band)
        detail = self.settings() | {
            "smoke_free_frames": len(frames),
            "alarm_share": float(alarms[min(int(threshold * BINS), BINS - 1)]),
            "target_met": bool(allowed.size) and edge / BINS <= self.ceiling,
        }
        return make_choice(threshold, low, high, rule="false_alarm", detail=detail)

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SizeThreshold:
    """Make the smoke as large as smoke is known to be.

    The threshold at which the frames labelled smoke show, on the mean, the share of smoke that the
    user expects. It is knowledge about the camera, not about a frame: 0.03 suits zoomed crops,
    0.003 whole frames of wide-angle cameras.

    Args:
        expected_share: Mean share of a smoke frame's pixels that is smoke, in (0, 1).
        min_probability: Frames labelled smoke that the classifier doubts are left out, in [0, 1];
            all count if it doubts all.
        band: Width of the ignore band, in [0, 1): its ends are the cuts at 1 + band and 1 - band
            times the expected share.
    """

    expected_share: float = 0.03
    min_probability: float = 0.5
    band: float = 0.5

    def __post_init__(self) -> None:
        """Refuse shares out of range."""
        check_in_unit(min_probability=self.min_probability, band=self.band)
        if not 0 < self.expected_share < 1:
            raise ValueError(f"expected_share must lie inside (0, 1), got {self.expected_share}")

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Choose the cut.

        Raises:
            ValueError: If no frame is labelled smoke.
        """
        frames = statistics.smoke_frames(min_probability=self.min_probability)
        above = np.cumsum(pooled_shares(frames)[::-1])[::-1]
        wanted = self.expected_share
        edge = _edge_with_share(above, wanted)
        detail = self.settings() | {
            "smoke_frames": len(frames),
            "share_reached": float(above[edge]),
        }
        return make_choice(
            edge / BINS,
            _edge_with_share(above, wanted * (1 + self.band)) / BINS,
            _edge_with_share(above, wanted * (1 - self.band)) / BINS,
            rule="size",
            detail=detail,
        )

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class HighestThreshold:
    """Take the highest threshold of several rules: each then holds what it promises.

    Args:
        rules: The rules asked, at least one.
    """

    rules: Sequence[ThresholdRule] = (FalseAlarmThreshold(), OtsuThreshold())

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if not self.rules:
            raise ValueError("rules must name at least one rule")

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Ask every rule, and return the most careful answer with all answers in its detail."""
        choices = [rule.choose(statistics) for rule in self.rules]
        best = max(choices, key=lambda choice: choice.threshold)
        detail = {"choices": [choice.to_dict() for choice in choices]}
        return make_choice(
            best.threshold, best.low, best.high, rule=f"highest:{best.rule}", detail=detail
        )

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        return {"rules": [rule.settings() for rule in self.rules]}


def _edge_with_share(above: Shares, share: float) -> int:
    """Return the first edge from which at most `share` of the pixels remain; the last if none."""
    fits = np.flatnonzero(above[1:] <= share) + 1
    return int(fits[0]) if fits.size else BINS - 1
