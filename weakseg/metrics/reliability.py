"""Say in bins whether probabilities keep what they promise: the reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_in_unit
from weakseg.metrics.frames import FrameFigures
from weakseg.metrics.image import checked

BINS = 15
"""As many as `ece` has."""

Numbers = npt.NDArray[np.float64]


def reliability_bins(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = BINS
) -> list[dict[str, float]]:
    """Return what was promised and what came, in equal bins of the probability.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) in [0, 1], of smoke.
        bins: How many, at least 1.

    Returns:
        A row a bin with its ends `low` and `high` (a probability at `high` lies in the next bin,
        but 1 in the last), `count`, `mean_score`, the mean probability, and `smoke_rate`, the
        share that is smoke; NaN where the bin is empty. ECE is the mean of their distance.

    References:
        Niculescu-Mizil and Caruana, "Predicting Good Probabilities With Supervised Learning",
        ICML 2005, for the probability of smoke and not of the likelier class.
    """
    check_at_least(1, bins=bins)
    truth, belief = checked(labels, probabilities)
    if len(belief):
        check_in_unit(smallest_probability=belief.min(), largest_probability=belief.max())
    which = np.minimum((belief * bins).astype(np.int64), bins - 1)
    return bin_rows(
        np.bincount(which, minlength=bins).astype(np.float64),
        np.bincount(which, weights=belief, minlength=bins).astype(np.float64),
        np.bincount(which, weights=truth, minlength=bins).astype(np.float64),
    )


def reliability_of(frames: Sequence[FrameFigures], *, bins: int = BINS) -> list[dict[str, float]]:
    """Return the bins of the frames' probabilities; none if one of them is not known."""
    beliefs = [frame.probability for frame in frames]
    if not beliefs or not all(math.isfinite(belief) for belief in beliefs):
        return []
    return reliability_bins([frame.label for frame in frames], beliefs, bins=bins)


def bin_rows(counts: Numbers, scores: Numbers, smoke: Numbers) -> list[dict[str, float]]:
    """Return the rows of equal bins of [0, 1].

    Args:
        counts: (N,) what lies in each bin.
        scores: (N,) the sum of its scores.
        smoke: (N,) how much of it is smoke.
    """
    ends = np.arange(len(counts) + 1) / len(counts)
    shared = np.where(counts > 0, counts, math.nan)
    return [
        {"low": low, "high": high, "count": count, "mean_score": mean, "smoke_rate": rate}
        for low, high, count, mean, rate in zip(
            ends[:-1].tolist(),
            ends[1:].tolist(),
            counts.tolist(),
            (scores / shared).tolist(),
            (smoke / shared).tolist(),
            strict=True,
        )
    ]


def calibration_error(rows: Sequence[dict[str, float]]) -> float:
    """Return the mean distance of `mean_score` from `smoke_rate` over all that was binned."""
    filled = [row for row in rows if row["count"]]
    total = math.fsum(row["count"] for row in filled)
    gaps = (row["count"] * abs(row["mean_score"] - row["smoke_rate"]) for row in filled)
    return math.fsum(gaps) / total if total else math.nan
