"""Make figures fit for JSON files that every reader knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Turn numpy numbers into Python's, and what JSON cannot say (NaN, infinity) into None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested names by `/`; what is neither number nor word is left out."""
    found: dict[str, Any] = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}/")
        elif value is None or isinstance(value, bool | int | float | str):
            found[f"{prefix}{key}"] = value
    return found
