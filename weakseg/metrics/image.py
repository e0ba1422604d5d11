"""Judge the yes/no answers per frame, from probabilities and labels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_in_unit, check_shape

Numbers = npt.NDArray[np.float64]


def image_figures(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Return all figures of this file by their names."""
    return {
        "auroc": auroc(labels, probabilities),
        "average_precision": average_precision(labels, probabilities),
        "fpr_at_tpr95": fpr_at_tpr95(labels, probabilities),
        "ece": ece(labels, probabilities),
    }


def auroc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the chance that a frame with smoke scores above one without; ties count half.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) any numbers that grow with the belief in smoke.

    Returns:
        A number in [0, 1]; NaN if only one kind of frame is there.
    """
    _, hits, alarms = _steps(labels, probabilities)
    if hits[-1] == 0 or alarms[-1] == 0:
        return math.nan
    return float(np.trapezoid(hits / hits[-1], alarms / alarms[-1]))


def average_precision(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the mean precision over the found frames with smoke; NaN if there are none."""
    _, hits, alarms = _steps(labels, probabilities)
    if hits[-1] == 0:
        return math.nan
    precisions = hits[1:] / (hits[1:] + alarms[1:])
    return float(np.sum(np.diff(hits) / hits[-1] * precisions))


def fpr_at_tpr95(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the smallest share of false alarms at which 95 % of the smoke is found."""
    _, hits, alarms = _steps(labels, probabilities)
    if hits[-1] == 0 or alarms[-1] == 0:
        return math.nan
    # Whole frames: 0.95 x 20 must not become 19.000000000000004.
    enough = hits >= math.ceil(0.95 * hits[-1] - 1e-9)
    return float(alarms[enough][0] / alarms[-1])


def ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 15) -> float:
    """Return how far probabilities are from the shares they promise, a mean over frames.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) in [0, 1], of smoke.
        bins: Equal bins of the probability, at least 1.

    References:
        Naeini et al., AAAI 2015, for the probability of smoke and not of the likelier class.
    """
    check_at_least(1, bins=bins)
    truth, belief = checked(labels, probabilities)
    if len(truth) == 0:
        return math.nan
    check_in_unit(smallest_probability=belief.min(), largest_probability=belief.max())
    which = np.minimum((belief * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=belief - truth, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def _steps(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Numbers, Numbers, Numbers]:
    """Return falling thresholds with the hits and false alarms at each, from none to all."""
    truth, belief = checked(labels, probabilities)
    order = np.argsort(-belief, kind="stable")
    truth, belief = truth[order], belief[order]
    last_of_ties = np.flatnonzero(np.diff(belief, append=-np.inf))
    hits = np.cumsum(truth)[last_of_ties]
    alarms = np.cumsum(1 - truth)[last_of_ties]
    thresholds = np.concatenate([[np.inf], belief[last_of_ties]])
    return thresholds, np.concatenate([[0.0], hits]), np.concatenate([[0.0], alarms])


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
