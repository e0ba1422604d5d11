"""Hold a chosen threshold, its ignore band, and the reasons for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from weakseg.refine.statistics import BINS, EvidenceStatistics

LOWEST = 1 / BINS
"""The lowest threshold there is: a pixel without evidence never becomes smoke."""


@dataclass(frozen=True)
class ThresholdChoice:
    """Hold where the scores are cut, and why.

    Args:
        threshold: Smoke score in [1/256, 1] from which a pixel is smoke.
        low: Lower end of the ignore band, in [1/256, threshold]: below it a pixel is background.
        high: Upper end of the ignore band, in [threshold, 1]: from it a pixel is sure smoke.
        rule: Name of the rule that chose.
        detail: What the rule saw, ready for JSON.
    """

    threshold: float
    low: float
    high: float
    rule: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a band that does not enclose its threshold."""
        if not LOWEST <= self.low <= self.threshold <= self.high <= 1:
            raise ValueError(
                f"{LOWEST} <= low <= threshold <= high <= 1 must hold, got low {self.low}, "
                f"threshold {self.threshold}, high {self.high}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the choice ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ThresholdChoice:
        """Rebuild a choice from what `to_dict` returned."""
        return cls(**stored)


class ThresholdRule(Protocol):
    """Choose a threshold from image labels and score statistics: no rule can see a mask."""

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Choose the cut."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        ...


def make_choice(
    threshold: float,
    low: float,
    high: float,
    *,
    rule: str,
    detail: Mapping[str, Any],
) -> ThresholdChoice:
    """Return a choice whose ends are brought into range."""
    threshold = min(max(threshold, LOWEST), 1.0)
    low = min(max(low, LOWEST), threshold)
    return ThresholdChoice(threshold, low, min(max(high, threshold), 1.0), rule, dict(detail))


def band_around(threshold: float, band: float) -> tuple[float, float]:
    """Return the ends of a band: `band` of the way from the threshold to 0 and to 1."""
    return threshold * (1 - band), threshold + band * (1 - threshold)
