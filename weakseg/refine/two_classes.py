"""Split the scores of the frames labelled smoke into two classes: Otsu's way, and by a mixture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from weakseg.checks import check_at_least, check_in_unit
from weakseg.refine.choice import ThresholdChoice, make_choice
from weakseg.refine.statistics import BINS, EvidenceStatistics, Shares, pooled_shares

CENTRES: Final = (np.arange(BINS) + 0.5) / BINS
"""(256,) the score that stands for each bin."""


@dataclass(frozen=True)
class OtsuThreshold:
    """Split the scores of the smoke frames where the two sides differ most.

    Maximises the variance between the classes of the mean histogram; frames count the same,
    whatever their size.

    Args:
        min_probability: Frames labelled smoke that the classifier doubts are left out, in [0, 1];
            all count if it doubts all.
        band: Width of the ignore band, in [0, 1]: the share of the way from the threshold to the
            mean of each class that is ignored.

    References:
        Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE SMC 1979.
    """

    min_probability: float = 0.5
    band: float = 0.2

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1]."""
        check_in_unit(min_probability=self.min_probability, band=self.band)

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Choose the cut.

        Raises:
            ValueError: If no frame is labelled smoke.
        """
        frames = statistics.smoke_frames(min_probability=self.min_probability)
        edge, means = _otsu_split(pooled_shares(frames))
        threshold = edge / BINS
        detail = self.settings() | {"smoke_frames": len(frames), "means": means}
        return make_choice(
            threshold,
            threshold - self.band * (threshold - means[0]),
            threshold + self.band * (means[1] - threshold),
            rule="otsu",
            detail=detail,
        )

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class MixtureThreshold:
    """Split the scores of the smoke frames where a second component becomes the likelier one.

    Two Gaussians are fitted to the mean histogram by expectation-maximisation, from Otsu's split
    on. Unlike Otsu's rule it lets the classes have different widths: a narrow background near 0
    leaves more of the scores to smoke.

    Args:
        min_probability: As in `OtsuThreshold`.
        iterations: Updates of the fit, at least 1.
        band: Width of the ignore band, in [0, 1): pixels whose posterior probability of smoke lies
            within band / 2 of one half.
    """

    min_probability: float = 0.5
    iterations: int = 200
    band: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_in_unit(min_probability=self.min_probability, band=self.band)
        check_at_least(1, iterations=self.iterations)

    def choose(self, statistics: EvidenceStatistics) -> ThresholdChoice:
        """Choose the cut.

        Raises:
            ValueError: If no frame is labelled smoke.
        """
        frames = statistics.smoke_frames(min_probability=self.min_probability)
        fit = _fit_two(pooled_shares(frames), iterations=self.iterations)
        posterior = fit.posterior()
        detail = self.settings() | {"smoke_frames": len(frames)} | fit.to_dict()
        return make_choice(
            fit.edge_at(0.5, posterior) / BINS,
            fit.edge_at(0.5 - self.band / 2, posterior) / BINS,
            fit.edge_at(0.5 + self.band / 2, posterior) / BINS,
            rule="mixture",
            detail=detail,
        )

    def settings(self) -> dict[str, Any]:
        """Return what changes the choice, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _TwoGaussians:
    """A mixture over [0, 1]: each array holds background first, smoke second."""

    weights: Shares
    means: Shares
    deviations: Shares

    def densities(self) -> Shares:
        """(2, 256) weighted density of each component at the bins' centres."""
        away = (CENTRES - self.means[:, None]) / self.deviations[:, None]
        scale = (self.weights / self.deviations)[:, None]
        # The factor 1 / sqrt(2 pi) is the same for both, and cancels.
        return np.asarray(scale * np.exp(-0.5 * away**2) + 1e-300, np.float64)

    def posterior(self) -> Shares:
        """(256,) probability of smoke at the bins' centres."""
        densities = self.densities()
        return np.asarray(densities[1] / densities.sum(axis=0), np.float64)

    def edge_at(self, probability: float, posterior: Shares) -> int:
        """Return the first edge between the means from which smoke is that probable.

        Outside the means a wide component wins on both sides, which says nothing of a cut.
        """
        first, last = np.clip((self.means * BINS).astype(int), 1, BINS - 1)
        likely = np.flatnonzero(posterior[first : last + 1] >= probability)
        return int(first + likely[0]) if likely.size else int(last)

    def to_dict(self) -> dict[str, Any]:
        """Return the fit ready for JSON."""
        parts = ("weights", "means", "deviations")
        return {part: getattr(self, part).tolist() for part in parts}


def _fit_two(shares: Shares, *, iterations: int) -> _TwoGaussians:
    edge, _ = _otsu_split(shares)
    belongs = np.stack([np.arange(BINS) < edge, np.arange(BINS) >= edge]).astype(np.float64)
    fit = _moments(shares, belongs)
    for _ in range(iterations):
        densities = fit.densities()
        fit = _moments(shares, densities / densities.sum(axis=0))
    # The means may have crossed: smoke is the component with the higher one.
    order = np.argsort(fit.means, kind="stable")
    return _TwoGaussians(fit.weights[order], fit.means[order], fit.deviations[order])


def _moments(shares: Shares, belongs: Shares) -> _TwoGaussians:
    """Return the components that fit the histogram, given how far (2, 256) bins belong to each."""
    mass = belongs * shares
    weights = mass.sum(axis=1) + 1e-12
    means = (mass * CENTRES).sum(axis=1) / weights
    variances = (mass * (CENTRES - means[:, None]) ** 2).sum(axis=1) / weights
    # A component narrower than a bin would swallow it whole and never move again.
    return _TwoGaussians(weights, means, np.sqrt(np.maximum(variances, BINS**-2)))


def _otsu_split(shares: Shares) -> tuple[int, tuple[float, float]]:
    """Return the edge that parts `shares` best, and the mean score of either side."""
    below = np.cumsum(shares)[:-1]  # (255,) mass under the edges 1 to 255.
    sums = np.cumsum(shares * CENTRES)
    above = 1 - below
    possible = (below > 1e-12) & (above > 1e-12)
    if not possible.any():
        # One filled bin: nothing to part, so the cut lies just above it.
        only = int(np.argmax(shares))
        return min(only + 1, BINS - 1), (float(CENTRES[only]), float(CENTRES[only]))
    low = sums[:-1] / np.maximum(below, 1e-12)
    high = (sums[-1] - sums[:-1]) / np.maximum(above, 1e-12)
    between = np.where(possible, below * above * (high - low) ** 2, -1)
    # Empty bins between two classes tie: the middle of the tie is the fairest cut.
    ties = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    best = int(ties[len(ties) // 2])
    return best + 1, (float(low[best]), float(high[best]))
