"""Read the options of pydensecrf: kernel types, normalisations, compatibilities, sigmas."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_positive
from weakseg.mean_field import KernelNormalisation

Floats32: TypeAlias = npt.NDArray[np.float32]
Option = TypeVar("Option", bound=IntEnum)


class KernelType(IntEnum):
    """Name the parameters of a kernel that learning may change.

    Inference starts from features as they are given, whatever the type: all three infer alike.
    """

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


class NormalizationType(IntEnum):
    """Name what scales a kernel by the sums of its weights: see `weakseg.mean_field`."""

    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


CONST_KERNEL: Final = KernelType.CONST_KERNEL
DIAG_KERNEL: Final = KernelType.DIAG_KERNEL
FULL_KERNEL: Final = KernelType.FULL_KERNEL

NO_NORMALIZATION: Final = NormalizationType.NO_NORMALIZATION
NORMALIZE_BEFORE: Final = NormalizationType.NORMALIZE_BEFORE
NORMALIZE_AFTER: Final = NormalizationType.NORMALIZE_AFTER
NORMALIZE_SYMMETRIC: Final = NormalizationType.NORMALIZE_SYMMETRIC

_NORMALISATIONS: Final[dict[NormalizationType, KernelNormalisation]] = {
    NO_NORMALIZATION: "none",
    NORMALIZE_BEFORE: "before",
    NORMALIZE_AFTER: "after",
    NORMALIZE_SYMMETRIC: "symmetric",
}


def read_kernel(kernel: int) -> KernelType:
    """Return the kernel type that `kernel` numbers, or raise ValueError."""
    return _member(KernelType, "kernel", kernel)


def read_normalization(normalization: int) -> KernelNormalisation:
    """Return the name of the normalisation that `normalization` numbers, or raise ValueError."""
    return _NORMALISATIONS[_member(NormalizationType, "normalization", normalization)]


def read_compat(compat: npt.ArrayLike, nlabels: int) -> Floats32:
    """Turn `compat` into what a class costs beside its neighbours' classes.

    Args:
        compat: A number w is Potts, w for every two unlike neighbours. (K,) floats are the costs of
            like neighbours: mind the sign, (K,) times -w is the Potts of w. (K, K) floats are
            the costs of any two, of which the symmetric half counts.
        nlabels: K.

    Returns:
        (K, K) float32, symmetric.

    Raises:
        ValueError: If `compat` has another shape or is not finite.
    """
    costs = read_floats("compat", compat)
    if not np.all(np.isfinite(costs)):
        raise ValueError("compat must be finite: it holds NaN or infinity")
    if costs.ndim == 0:
        return -costs * np.eye(nlabels, dtype=np.float32)
    if costs.shape == (nlabels,):
        return np.diag(costs)
    if costs.shape == (nlabels, nlabels):
        return (costs + costs.T) / np.float32(2)
    raise ValueError(
        f"compat must be a number, ({nlabels},) or ({nlabels}, {nlabels}) for {nlabels} labels, "
        f"got shape {costs.shape}"
    )


def read_sigmas(name: str, given: Any, axes: int) -> tuple[float, ...]:
    """Return one positive number for each of `axes`, from one for all or a sequence of them."""
    sigmas = read_floats(name, given)
    values = tuple(map(float, sigmas.ravel())) if sigmas.ndim else (float(sigmas),) * axes
    if len(values) != axes:
        raise ValueError(f"{name} must be one number or {axes}, got {len(values)}")
    for value in values:
        check_positive(**{name: value})
    return values


def read_count(name: str, given: Any, *, minimum: int) -> int:
    """Return a whole number of at least `minimum`; TypeError if it is no whole number."""
    try:
        count = given.__index__()
    except AttributeError:
        raise TypeError(f"{name} must be a whole number, got {given!r}") from None
    check_at_least(minimum, **{name: count})
    return int(count)


def read_floats(name: str, given: npt.ArrayLike) -> Floats32:
    """Return numbers as float32, of whatever layout; TypeError if they are no real numbers."""
    try:
        array = np.asarray(given)
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, got an array of {array.dtype}")
    with np.errstate(over="ignore"):  # what leaves float32 becomes inf
        return array.astype(np.float32, copy=False)


def _member(options: type[Option], name: str, given: int) -> Option:
    try:
        return options(given)
    except ValueError:
        named = ", ".join(f"{option.name} ({option.value})" for option in options)
        raise ValueError(f"{name} must be one of {named}, got {given!r}") from None
