"""Refuse wrong arguments in words: what was expected, what came."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def check_at_least(minimum: float, **values: float) -> None:
    """Raise ValueError unless every value is at least `minimum`."""
    for name, value in values.items():
        _check_number(name, value)
        if not value >= minimum:
            raise ValueError(f"{name} must be at least {minimum:g}, got {value}")


def check_positive(**values: float) -> None:
    """Raise ValueError unless every value is finite and above zero."""
    for name, value in values.items():
        _check_number(name, value)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be above 0, got {value}")


def check_in_unit(**values: float) -> None:
    """Raise ValueError unless every value lies in [0, 1]."""
    for name, value in values.items():
        _check_number(name, value)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")


def check_one_of(options: Collection[Any], **values: Any) -> None:
    """Raise ValueError unless every value is one of `options`."""
    for name, value in values.items():
        if value not in options:
            listed = ", ".join(map(str, options))
            raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def check_shape(shape: tuple[int | None, ...], **arrays: Any) -> None:
    """Raise ValueError unless every array has `shape`; None stands for any size."""
    for name, array in arrays.items():
        found = tuple(array.shape)
        fits = len(found) == len(shape) and all(
            want is None or want == got for want, got in zip(shape, found, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"{name} must have shape ({wanted}), got {found}")


def _check_number(name: str, value: Any) -> None:
    """A text from the command line would fail at the comparison, in words of Python's own."""
    if isinstance(value, str) or value is None:
        raise ValueError(f"{name} must be a number, got {value!r}")
