"""Platt scaling: turn a classifier's logits into probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weakseg.arrays import FloatArray

_ITERATIONS = 100
_RIDGE = 1e-6
_TOLERANCE = 1e-10


def sigmoid(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def fit_platt(logits: FloatArray, labels: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Fit slope and bias so that sigmoid(slope * logit + bias) is the probability of smoke.

    Minimises the cross-entropy to Platt's smoothed targets, (N+ + 1) / (N+ + 2) for smoke and
    1 / (N- + 2) else, by damped Newton steps; the targets keep the fit finite when the classes are
    fully separated. A ridge of 1e-6 settles the case of constant logits.

    Args:
        logits: (N,) float, N >= 1.
        labels: (N,) 0 or 1.

    Returns:
        Slope and bias. The slope is not negative: a classifier that is wrong more often than right
        is not turned round, it says the base rate.

    References:
        Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Lin, Lin and Weng, "A
        Note on Platt's Probabilistic Outputs", 2007. They write the slope with the other sign.
    """
    x = np.asarray(logits, dtype=np.float64)
    smoke = np.asarray(labels) == 1
    positive, negative = int(smoke.sum()), int((~smoke).sum())
    targets = np.where(smoke, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # Newton is at ease with logits of mean 0 and spread 1.
    centre, spread = float(x.mean()), max(float(x.std()), 1e-12)
    slope, bias = _newton((x - centre) / spread, targets)
    slope /= spread
    bias -= slope * centre
    if slope < 0:
        rate = float(targets.mean())
        return 0.0, float(np.log(rate / (1 - rate)))
    return slope, bias


def _newton(x: FloatArray, targets: FloatArray) -> tuple[float, float]:
    design = np.stack([x, np.ones_like(x)], axis=1)  # (N, 2)
    point = np.zeros(2)
    value = _cross_entropy(design @ point, targets) + _RIDGE * float(point @ point)
    for _ in range(_ITERATIONS):
        probability = sigmoid(design @ point)
        gradient = design.T @ (probability - targets) + 2 * _RIDGE * point
        curvature = design.T @ (design * (probability * (1 - probability))[:, None])
        step = np.linalg.solve(curvature + 2 * _RIDGE * np.eye(2), gradient)
        length = 1.0
        while length > _TOLERANCE:
            nearer = point - length * step
            lower = _cross_entropy(design @ nearer, targets) + _RIDGE * float(nearer @ nearer)
            if lower <= value:
                break
            length /= 2
        else:
            break
        improvement, point, value = value - lower, nearer, lower
        if improvement < _TOLERANCE:
            break
    return float(point[0]), float(point[1])


def _cross_entropy(logits: FloatArray, targets: FloatArray) -> float:
    return float(np.sum(np.logaddexp(0, logits) - targets * logits))
