"""Make unaries and features as `pydensecrf.utils` does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_in_unit, check_positive
from weakseg.densecrf.options import Floats32, read_count, read_floats, read_sigmas


def unary_from_softmax(
    sm: npt.ArrayLike, scale: float | None = None, clip: float | None = 1e-5
) -> Floats32:
    """Turn probabilities into energies, -log(probability).

    Args:
        sm: (K, ...) floats in [0, 1]: the first axis are the classes.
        scale: Trust in them, in (0, 1]: they are mixed with (1 - scale) of the uniform
            distribution. None trusts fully.
        clip: Least probability, in (0, 1], lest an energy be infinite; None does not clip.

    Returns:
        (K, N) float32, in nats, the other axes flattened to N.

    Raises:
        ValueError: If `sm` holds NaN or is empty, or `scale` or `clip` is out of range.
    """
    probabilities = _real("sm", sm)
    if probabilities.ndim < 1 or probabilities.size == 0:
        raise ValueError(f"sm must have shape (classes, ...), got {probabilities.shape}")
    if np.isnan(probabilities).any():
        raise ValueError("sm must hold probabilities: it holds NaN")
    classes = len(probabilities)
    if scale is not None:
        _check_share("scale", scale)
        probabilities = scale * probabilities + (1 - scale) / classes
    if clip is not None:
        _check_share("clip", clip)
        probabilities = np.clip(probabilities, clip, 1.0)
    elif probabilities.min() < 0:
        raise ValueError(f"sm must hold probabilities, got {probabilities.min()}")
    with np.errstate(divide="ignore"):  # unclipped zeros: the class is impossible
        energies = -np.log(probabilities)
    return np.ascontiguousarray(energies.reshape(classes, -1), np.float32)


def unary_from_labels(
    labels: npt.ArrayLike, n_labels: int, gt_prob: float, zero_unsure: bool = True
) -> Floats32:
    """Turn one label a point into energies: `gt_prob` for it, the rest shared by the others.

    Args:
        labels: Whole numbers, of any shape: 0..n_labels with `zero_unsure`, else
            0..n_labels - 1.
        n_labels: Number of labels, at least 2; with `zero_unsure`, 0 is not counted.
        gt_prob: Trust in the labels, in (0, 1).
        zero_unsure: 0 means that any label may be right, and labels count from 1.

    Returns:
        (n_labels, N) float32, in nats.

    Raises:
        ValueError: If a label, `n_labels` or `gt_prob` is out of range.
        TypeError: If labels are no whole numbers.
    """
    count = read_count("n_labels", n_labels, minimum=2)
    if not 0 < gt_prob < 1:
        raise ValueError(f"gt_prob must lie between 0 and 1, got {gt_prob}")
    given = np.asarray(labels)
    if given.dtype.kind not in ("b", "u", "i"):
        raise TypeError(f"labels must be whole numbers, got an array of {given.dtype}")
    if given.size == 0:
        raise ValueError("labels must have at least one point, got none")
    flat = given.ravel().astype(np.int64)
    highest = count if zero_unsure else count - 1
    if flat.min() < 0 or flat.max() > highest:
        raise ValueError(
            f"labels must lie in 0..{highest} for {count} labels "
            f"{'beside 0, which is unsure' if zero_unsure else 'with 0 as one of them'}, "
            f"got {flat.min()}..{flat.max()}"
        )
    # One row for each label, after one for "unsure" that is dropped.
    rows = flat if zero_unsure else flat + 1
    energies = np.full((count + 1, flat.size), -math.log((1 - gt_prob) / (count - 1)), np.float32)
    energies[rows, np.arange(flat.size)] = -math.log(gt_prob)
    if zero_unsure:
        energies[:, flat == 0] = math.log(count)
    return energies[1:]


def create_pairwise_gaussian(sdims: float | Sequence[float], shape: Sequence[int]) -> Floats32:
    """Give every point of a grid its place, in sigmas: features for `addPairwiseEnergy`.

    Args:
        sdims: Sigma along every axis, in points, > 0; or one for all.
        shape: Size of the grid, of any number of axes; a frame has (H, W).

    Returns:
        (len(shape), N) float32, axes in the order of `shape`.

    Raises:
        ValueError: If a size is below 1, or sigmas do not fit `shape`.
    """
    sizes = [read_count("shape", size, minimum=1) for size in shape]
    sigmas = read_sigmas("sdims", sdims, len(sizes))
    return _places(sizes, sigmas).reshape(len(sizes), -1)


def create_pairwise_bilateral(
    sdims: float | Sequence[float],
    schan: float | Sequence[float],
    img: npt.ArrayLike,
    chdim: int = -1,
) -> Floats32:
    """Give every point of an image its place and values, in sigmas, for `addPairwiseEnergy`.

    Args:
        sdims: Sigma along every axis but the channels', in points, > 0; or one for all.
        schan: Sigma of every channel, in its own unit, > 0; or one for all.
        img: Numbers on a grid of any number of axes.
        chdim: The axis of the channels; -1 says that there is none.

    Returns:
        (axes + channels, N) float32.

    Raises:
        ValueError: If `img` is empty or has no such axis, or sigmas do not fit it.
    """
    values = read_floats("img", img)
    if values.size == 0 or values.ndim == 0:
        raise ValueError(f"img must have at least one point, got shape {values.shape}")
    if chdim == -1:
        channels = values[np.newaxis]
    elif not -values.ndim <= chdim < values.ndim:
        raise ValueError(f"chdim must be an axis of img, which has {values.ndim}, got {chdim}")
    else:
        channels = np.moveaxis(values, chdim, 0)
    sizes = channels.shape[1:]
    scales = np.array(read_sigmas("schan", schan, len(channels)), np.float32)
    scaled = channels / scales.reshape(-1, *[1] * len(sizes))
    places = _places(sizes, read_sigmas("sdims", sdims, len(sizes)))
    return np.concatenate([places, scaled]).reshape(len(sizes) + len(channels), -1)


def compute_unary(labels: npt.ArrayLike, M: int, GT_PROB: float = 0.5) -> Floats32:
    """Return `unary_from_labels(labels, M, GT_PROB)`: the name of old scripts."""
    warnings.warn("compute_unary is now unary_from_labels", DeprecationWarning, stacklevel=2)
    return unary_from_labels(labels, M, GT_PROB)


def softmax_to_unary(sm: npt.ArrayLike, GT_PROB: float = 1) -> Floats32:
    """Return `unary_from_softmax(sm, GT_PROB, clip=None)`: the name of old scripts."""
    warnings.warn("softmax_to_unary is now unary_from_softmax", DeprecationWarning, stacklevel=2)
    return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=None)


def _places(sizes: Sequence[int], sigmas: Sequence[float]) -> Floats32:
    """Return the grid's places in sigmas, (axes, *sizes) float32."""
    axes = [
        np.arange(size, dtype=np.float32) / np.float32(sigma)
        for size, sigma in zip(sizes, sigmas, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _real(name: str, given: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return numbers in the precision they have; whole numbers as float64."""
    array = np.asarray(given)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, got an array of {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _check_share(name: str, value: SupportsFloat) -> None:
    check_in_unit(**{name: float(value)})
    check_positive(**{name: float(value)})
