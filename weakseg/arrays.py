"""Name the arrays that travel between the parts: shapes and ranges are told once, here."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FrameArray: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

Scores: TypeAlias = npt.NDArray[np.float32]
"""(C, H, W) or (K, H, W) float32 in [0, 1]."""

ScoreMap: TypeAlias = npt.NDArray[np.float32]
"""(H, W) float32 in [0, 1]: one class."""

Mask: TypeAlias = npt.NDArray[np.uint8]
"""(H, W) uint8 class ids: 0 background, 1 smoke, 255 ignore."""

Instances: TypeAlias = npt.NDArray[np.uint16]
"""(H, W) uint16: 0 background, 1..N the instances."""

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
"""Any floating array."""
