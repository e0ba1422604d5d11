"""Read what a lattice is given: NumPy or torch, one frame or a batch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from weakseg.filtering.features import Floats32, read_floats, read_reals

if TYPE_CHECKING:
    from torch import Tensor


def is_tensor(given: object) -> TypeGuard[Tensor]:
    """Tell tensors from arrays without loading torch for those who have none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)


def load_tensors() -> ModuleType:
    """Torch takes seconds to load: only for tensors."""
    from weakseg.filtering import tensors  # noqa: PLC0415 - see above

    return tensors


def read_any(name: str, given: Any) -> Any:
    """Return a tensor or an array of real numbers of any type, or raise TypeError."""
    if is_tensor(given):
        if given.is_complex():
            raise TypeError(f"{name} must hold real numbers, got a tensor of {given.dtype}")
        return given
    return read_reals(name, given)


def to_floats(name: str, given: Any) -> Floats32:
    """Return a tensor or an array of real numbers as NumPy float32."""
    return read_floats(name, load_tensors().to_numpy(given) if is_tensor(given) else given)


def to_levels(name: str, given: Any) -> npt.NDArray[Any]:
    """Return a tensor or an array as NumPy: bytes as they are, other numbers as float32."""
    array = load_tensors().to_numpy(given) if is_tensor(given) else given
    return array if array.dtype == np.uint8 else read_floats(name, array)


def is_batched(name: str, array: Any, axes: tuple[str | int, ...]) -> bool:
    """Tell whether an axis stands before those named; numbers among them are sizes."""
    shape = tuple(array.shape)
    sizes = shape[max(0, len(shape) - len(axes)) :]
    fits = len(shape) - len(axes) in {0, 1} and all(
        size == axis for size, axis in zip(sizes, axes, strict=True) if isinstance(axis, int)
    )
    if not fits:
        one = ", ".join(map(str, axes))
        raise ValueError(f"{name} must have shape ({one}) or (B, {one}), got {shape}")
    if 0 in shape:
        raise ValueError(f"{name} must not be empty, got shape {shape}")
    return len(shape) > len(axes)
