"""Sum under the Gaussian exactly, pair by pair: the yardstick of the lattices, for small frames."""

from __future__ import annotations

import torch
from torch import Tensor

from weakseg.checks import check_shape

_PAIRS_AT_ONCE = 1 << 24


def exact_filter(values: Tensor, features: Tensor) -> Tensor:
    """Compute `out_i = sum_j exp(-|f_i - f_j|^2 / 2) values_j`, j = i included.

    Time is quadratic in N; memory is not.

    Args:
        values: (B, N, C) floats.
        features: (B, N, d) floats of the same type, in standard deviations of the Gaussian.

    Returns:
        (B, N, C) of the values' type.

    Raises:
        ValueError: If the two do not cover the same points.
    """
    check_shape((None, None, None), features=features)
    batch, points, _ = features.shape
    check_shape((batch, points, None), values=values)
    rows_at_once = max(1, _PAIRS_AT_ONCE // max(1, batch * points))
    sums = []
    for rows in torch.split(features, rows_at_once, dim=1):
        # The shortcut by matrix products would cost half of the digits.
        gaps = torch.cdist(rows, features, compute_mode="donot_use_mm_for_euclid_dist")
        sums.append(torch.exp(-0.5 * gaps**2) @ values)
    return torch.cat(sums, dim=1)
