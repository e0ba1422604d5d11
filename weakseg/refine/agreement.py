"""Say without masks whether a round of self-training helped, and when to stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from weakseg.arrays import Mask
from weakseg.checks import check_at_least, check_in_unit, check_shape
from weakseg.labels import SMOKE

_ROUNDING = 1e-9


def mask_agreement(one: Mask, other: Mask) -> float | None:
    """Return the IoU of the smoke in two masks of a frame; None if neither shows any.

    Ignored pixels are no smoke: what one mask is sure of and the other is not counts against both.

    Args:
        one: (H, W) uint8: 0 background, 1 smoke, 255 ignore.
        other: The same frame's other mask.

    Returns:
        A number in [0, 1], the same for both orders, or None.

    Raises:
        ValueError: If the two do not cover the same pixels.
    """
    check_shape((None, None), one=one)
    check_shape(one.shape, other=other)
    first, second = one == SMOKE, other == SMOKE
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else None


def mean_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known (neither None nor NaN); None if none is."""
    known = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class RoundFigures:
    """Hold what image labels, and the round before, tell of a round's pseudo-masks.

    Every figure is a share in [0, 1], or None where no frame tells it.

    Args:
        agreement: Mean IoU with the masks of the round before, over the training frames labelled
            smoke; None for round 0.
        auroc: Of the frame scores of val, by image labels.
        false_alarms: Share of the smoke-free frames of val that have a mask.
        recall: Share of the smoke frames of val that have a mask.
        coverage: Share of the smoke frames of train that have a mask to learn from.
        smoke_share: Mean share of smoke pixels in the training frames labelled smoke.
        segmenter_auroc: Of the segmenter's own scores on val, without the classifier's gate; None
            for round 0.
    """

    agreement: float | None = None
    auroc: float | None = None
    false_alarms: float | None = None
    recall: float | None = None
    coverage: float | None = None
    smoke_share: float | None = None
    segmenter_auroc: float | None = None

    def __post_init__(self) -> None:
        """Refuse figures outside [0, 1]."""
        check_in_unit(**self.known())

    def known(self) -> dict[str, float]:
        """Return the figures that are known, by their names."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_dict(self) -> dict[str, float | None]:
        """Return the figures ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RoundFigures:
        """Rebuild figures from what `to_dict` returned."""
        return cls(**stored)


@dataclass(frozen=True)
class Verdict:
    """Hold what becomes of a round.

    Args:
        is_accepted: Whether its pseudo-masks take the place of the earlier ones.
        is_last: Whether no further round is worth its time.
        reason: Why, in words.
    """

    is_accepted: bool
    is_last: bool
    reason: str


@dataclass(frozen=True)
class StopRule:
    """Stop self-training when a round got worse, or changes next to nothing.

    It sees image labels and how far the masks moved, never a mask of the truth. Every figure is
    compared with the best among the accepted rounds, so small losses cannot add up.

    Args:
        converged: Agreement with the round before, in [0, 1], from which the masks stand still.
        false_alarm_target: Share of smoke-free frames with a mask that is put up with, in [0, 1].
            Below it false alarms may move freely; above it they may not rise at all.
        tolerance: How far AUROC, recall and coverage may fall, in [0, 1].
        max_growth: How many times larger than in round 0 the mean smoke may become, at least 1.
            Image labels cannot see smoke that spills over its edges.
        least_auroc: AUROC on val, in [0, 1], that a segmenter must reach by itself. One that paints
            smoke wherever it looks lives on the classifier's gate, which hides it from the others.
    """

    converged: float = 0.95
    false_alarm_target: float = 0.05
    tolerance: float = 0.02
    max_growth: float = 3.0
    least_auroc: float = 0.8

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_in_unit(
            converged=self.converged,
            false_alarm_target=self.false_alarm_target,
            tolerance=self.tolerance,
            least_auroc=self.least_auroc,
        )
        check_at_least(1, max_growth=self.max_growth)

    def judge(self, accepted: Sequence[RoundFigures], now: RoundFigures) -> Verdict:
        """Judge a round by those accepted before it.

        A figure that is not known, then or now, decides nothing.

        Args:
            accepted: The accepted rounds in their order, round 0 first; at least that one.
            now: The figures of the round after them.

        Raises:
            ValueError: If there is no earlier round.
        """
        if not accepted:
            raise ValueError("accepted must hold the figures of round 0 at least, got none")
        worse = [
            *self._alarms(accepted, now),
            *self._falls(accepted, now),
            *self._growth(accepted[0], now),
            *self._blindness(now),
        ]
        if worse:
            return Verdict(is_accepted=False, is_last=True, reason="; ".join(worse))
        if now.agreement is not None and now.agreement >= self.converged:
            return Verdict(
                is_accepted=True,
                is_last=True,
                reason=f"converged: its masks agree with those before by {now.agreement:.3f}",
            )
        return Verdict(is_accepted=True, is_last=False, reason="no figure by labels got worse")

    def _alarms(self, accepted: Sequence[RoundFigures], now: RoundFigures) -> list[str]:
        earlier = [each.false_alarms for each in accepted if each.false_alarms is not None]
        if now.false_alarms is None or not earlier:
            return []
        fewest = min(earlier)
        if now.false_alarms <= max(self.false_alarm_target, fewest) + _ROUNDING:
            return []
        return [
            f"false alarms rose from {fewest:.3f} to {now.false_alarms:.3f}, "
            f"above the target of {self.false_alarm_target:.3f}"
        ]

    def _falls(self, accepted: Sequence[RoundFigures], now: RoundFigures) -> list[str]:
        fallen = []
        for name in ("auroc", "recall", "coverage"):
            earlier = [each.known()[name] for each in accepted if name in each.known()]
            found = now.known().get(name)
            if found is not None and earlier and found < max(earlier) - self.tolerance - _ROUNDING:
                fallen.append(f"{name} fell from {max(earlier):.3f} to {found:.3f}")
        return fallen

    def _growth(self, first: RoundFigures, now: RoundFigures) -> list[str]:
        if not first.smoke_share or now.smoke_share is None:
            return []
        growth = now.smoke_share / first.smoke_share
        if growth <= self.max_growth + _ROUNDING:
            return []
        return [f"smoke covers {growth:.1f} times as much as in round 0"]

    def _blindness(self, now: RoundFigures) -> list[str]:
        if now.segmenter_auroc is None or now.segmenter_auroc >= self.least_auroc - _ROUNDING:
            return []
        return [
            f"the segmenter tells smoke frames from others by an AUROC of {now.segmenter_auroc:.3f}"
            f" only, below {self.least_auroc:.3f}"
        ]
