"""Hold energies that do not depend on neighbours, as pydensecrf's classes do."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_shape
from weakseg.densecrf.options import Floats32, read_floats

_IMPOSSIBLE: Final = np.float32(1e30)
"""An energy that no kernel outweighs, in place of infinity, which subtractions make NaN."""


class Unary:
    """Hold the energy of every label at every point, (K, N) float32, in nats."""

    def __init__(self, energies: Floats32) -> None:
        self.energies = energies


class ConstUnary(Unary):
    """Hold energies as they are given: `u` (K, N) floats."""

    def __init__(self, u: npt.ArrayLike) -> None:
        super().__init__(read_floats("u", u))


class LogisticUnary(Unary):
    """Hold the energies L f of a linear model: `L` (K, D) and `f` (D, N) floats."""

    def __init__(self, L: npt.ArrayLike, f: npt.ArrayLike) -> None:
        weights, features = read_floats("L", L), read_floats("f", f)
        check_shape((None, None), L=weights, f=features)
        if weights.shape[1] != len(features):
            raise ValueError(f"L has {weights.shape[1]} columns, but f has {len(features)} rows")
        super().__init__(weights @ features)


def read_unary(unary: Unary, labels: int, points: int) -> Floats32:
    """Return energies as a mean field takes them: (points, labels) float32, finite.

    Raises:
        ValueError: If the shape does not fit, energies are NaN or -inf, or a point is left
            without a possible label.
        TypeError: If it is no unary.
    """
    if not isinstance(unary, Unary):
        raise TypeError(f"the unary must be a ConstUnary or LogisticUnary, got {type(unary)}")
    given = unary.energies
    if given.ndim < 2 or len(given) != labels or given.size != labels * points:
        raise ValueError(
            f"the unary must have shape ({labels}, {points}), labels by points, got {given.shape}"
        )
    if np.isnan(given).any() or given.min() == -np.inf:
        raise ValueError("the unary must be finite or +inf: it holds NaN or -inf")
    rows = np.minimum(given.reshape(labels, points), _IMPOSSIBLE).T
    ruled_out = np.all(rows >= _IMPOSSIBLE, axis=1)
    if ruled_out.any():
        raise ValueError(f"the unary leaves point {ruled_out.argmax()} no possible label")
    return np.ascontiguousarray(rows)
