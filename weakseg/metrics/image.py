"""Judge the yes/no answers per frame, from probabilities and labels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_in_unit, check_shape

Numbers = npt.NDArray[np.float64]

ECE_BINS = 15


def image_figures(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Return all figures of this file by their names."""
    return RankedAnswers(labels, probabilities).figures()


def auroc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the chance that a frame with smoke scores above one without; ties count half.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) any numbers that grow with the belief in smoke.

    Returns:
        A number in [0, 1]; NaN if only one kind of frame is there.
    """
    return RankedAnswers(labels, probabilities).auroc()


def average_precision(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the mean precision over the found frames with smoke; NaN if there are none."""
    return RankedAnswers(labels, probabilities).average_precision()


def fpr_at_tpr95(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the smallest share of false alarms at which 95 % of the smoke is found."""
    return RankedAnswers(labels, probabilities).fpr_at_tpr95()


def ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = ECE_BINS) -> float:
    """Return how far probabilities are from the shares they promise, a mean over frames.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) in [0, 1], of smoke.
        bins: Equal bins of the probability, at least 1.

    References:
        Naeini et al., AAAI 2015, for the probability of smoke and not of the likelier class.
    """
    return RankedAnswers(labels, probabilities).ece(bins=bins)


class RankedAnswers:
    """Answers that are sorted once, and judged with many weightings of the frames.

    Every figure takes `weights`, (N,) >= 0, how often each frame counts; None counts each once.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) finite; within [0, 1] for `ece`.

    Raises:
        ValueError: If the two are not of one length, or hold anything else.
    """

    def __init__(self, labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> None:
        truth, belief = checked(labels, probabilities)
        self._order = np.argsort(-belief, kind="stable")
        self._truth, self._belief = truth[self._order], belief[self._order]
        self._last_of_ties = np.flatnonzero(np.diff(self._belief, append=-np.inf))

    def figures(self, weights: Numbers | None = None) -> dict[str, float]:
        """Return all figures by their names."""
        return {
            "auroc": self.auroc(weights),
            "average_precision": self.average_precision(weights),
            "fpr_at_tpr95": self.fpr_at_tpr95(weights),
            "ece": self.ece(weights),
        }

    def auroc(self, weights: Numbers | None = None) -> float:
        """Return the chance that a frame with smoke scores above one without."""
        hits, alarms = self._steps(weights)
        if hits[-1] == 0 or alarms[-1] == 0:
            return math.nan
        return float(np.trapezoid(hits / hits[-1], alarms / alarms[-1]))

    def average_precision(self, weights: Numbers | None = None) -> float:
        """Return the mean precision over the found frames with smoke."""
        hits, alarms = self._steps(weights)
        if hits[-1] == 0:
            return math.nan
        found = np.diff(hits)
        steps = found > 0
        precisions = hits[1:][steps] / (hits[1:] + alarms[1:])[steps]
        return float(np.sum(found[steps] / hits[-1] * precisions))

    def fpr_at_tpr95(self, weights: Numbers | None = None) -> float:
        """Return the smallest share of false alarms at which 95 % of the smoke is found."""
        hits, alarms = self._steps(weights)
        if hits[-1] == 0 or alarms[-1] == 0:
            return math.nan
        # Whole frames: 0.95 x 20 must not become 19.000000000000004.
        enough = hits >= math.ceil(0.95 * hits[-1] - 1e-9)
        return float(alarms[enough][0] / alarms[-1])

    def ece(self, weights: Numbers | None = None, *, bins: int = ECE_BINS) -> float:
        """Return how far probabilities are from the shares they promise, a mean over frames."""
        check_at_least(1, bins=bins)
        times = self._sorted(weights)
        if times.sum() == 0:
            return math.nan
        check_in_unit(smallest_probability=self._belief[-1], largest_probability=self._belief[0])
        which = np.minimum((self._belief * bins).astype(np.int64), bins - 1)
        gaps = np.bincount(which, weights=times * (self._belief - self._truth), minlength=bins)
        return float(np.abs(gaps).sum() / times.sum())

    def _steps(self, weights: Numbers | None) -> tuple[Numbers, Numbers]:
        """Return the hits and false alarms at falling thresholds, from none to all."""
        times = self._sorted(weights)
        hits = np.cumsum(times * self._truth)[self._last_of_ties]
        alarms = np.cumsum(times * (1 - self._truth))[self._last_of_ties]
        return np.concatenate([[0.0], hits]), np.concatenate([[0.0], alarms])

    def _sorted(self, weights: Numbers | None) -> Numbers:
        if weights is None:
            return np.ones(len(self._order))
        check_shape((len(self._order),), weights=weights)
        return weights[self._order]


def checked(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Return labels and probabilities as (N,) float64.

    Raises:
        ValueError: If they are not of equal length, labels not 0 or 1, or numbers not finite.
    """
    truth = np.asarray(labels, dtype=np.float64)
    belief = np.asarray(probabilities, dtype=np.float64)
    check_shape((None,), labels=truth)
    check_shape(truth.shape, probabilities=belief)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not np.isfinite(belief).all():
        raise ValueError("probabilities must be finite numbers")
    return truth, belief
