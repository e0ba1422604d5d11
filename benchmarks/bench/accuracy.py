"""Compare the lattice with the Gaussian's exact sums, in float64, at sampled pixels."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import contenders
from bench.frames import Floats32, Frame, Frames, class_probabilities, one_hot, size_of
from weakseg import _core
from weakseg.filtering import Lattice, bilateral_features

Floats64 = npt.NDArray[np.float64]

CHANNELS = 5
SIGMA_RGB_LEVELS = 15.0
SIGMA_XY_SHARE = 50 / 512
"""Reach in the frame, in shares of its longer side."""

COMPATIBLE = "pydensecrf's lattice"
ONE_ORDER = "symmetric=False"
DEFAULT = "default"
HIGH = 'quality="high"'

Filter = Callable[[Floats32], Floats32]
"""From (C, H, W) values to their sums."""


def modes() -> dict[str, Callable[[Frame], Filter]]:
    """Return the lattice's modes by name: what builds each over a frame."""
    found: dict[str, Callable[[Frame], Filter]] = {}
    if hasattr(_core.Lattice, "from_image"):
        found[COMPATIBLE] = _build_compatible
    found[ONE_ORDER] = partial(_build, symmetric=False)
    found[DEFAULT] = _build
    if "quality" in inspect.signature(Lattice).parameters:
        found[HIGH] = partial(_build, quality="high")
    return found


def _build(frame: Frame, **settings: Any) -> Filter:
    lattice = contenders.build_lattice(frame, **_sigmas(frame), threads=1, **settings)
    return partial(contenders.filter_planes, lattice)


def _build_compatible(frame: Frame) -> Filter:
    core: Any = _core
    lattice = core.Lattice.from_image(frame, **_sigmas(frame), compatible=True, threads=1)

    def apply(values: Floats32) -> Floats32:
        planes = values.reshape(len(values), -1)
        found = lattice.filter(planes, planes=True, symmetric=False, threads=1)
        return np.asarray(found).reshape(values.shape)

    return apply


def measure(frames: Frames, *, side: int, samples: int) -> dict[tuple[str, str, str], list[float]]:
    """Return relative L2 errors by (mode, values, form), one a scene.

    Values are "soft" class probabilities or "one-hot" ones; forms are "raw", at the best scale,
    and "by row", divided by the sums of ones.
    """
    errors: dict[tuple[str, str, str], list[float]] = {}
    for scene in range(frames.scenes):
        frame = frames.get(scene, (side, side))
        soft = class_probabilities(frame, CHANNELS, seed=scene)
        kinds = {"soft": soft, "one-hot": one_hot(soft)}
        ones = np.ones((1, *size_of(frame)), np.float32)
        columns = np.concatenate([*kinds.values(), ones])
        picked = np.random.default_rng(scene).permutation(side * side)[:samples]
        exact = exact_sums(_features(frame), columns.reshape(len(columns), -1).T, picked)
        for mode, build in modes().items():
            found = build(frame)(columns)
            rows = found.reshape(len(columns), -1).T[picked].astype(np.float64)
            for index, kind in enumerate(kinds):
                part = slice(index * CHANNELS, (index + 1) * CHANNELS)
                forms = {
                    "raw": relative_error_at_best_scale(rows[:, part], exact[:, part]),
                    "by row": relative_error(
                        rows[:, part] / rows[:, -1:], exact[:, part] / exact[:, -1:]
                    ),
                }
                for form, error in forms.items():
                    errors.setdefault((mode, kind, form), []).append(error)
    return errors


def exact_sums(features: npt.NDArray[Any], values: npt.NDArray[Any], at: Any) -> Floats64:
    """Return sum_j exp(-|f_i - f_j|^2 / 2) values_j for the points i in `at`, (len(at), C)."""
    points, wide = features.astype(np.float64), values.astype(np.float64)
    squares = (points**2).sum(axis=1)
    sums = np.empty((len(at), wide.shape[1]))
    for start in range(0, len(at), 64):
        some = at[start : start + 64]
        weights = points[some] @ points.T
        weights -= 0.5 * squares
        weights -= 0.5 * squares[some, None]
        np.exp(weights, out=weights)
        sums[start : start + 64] = weights @ wide
    return sums


def relative_error(found: Floats64, exact: Floats64) -> float:
    """Return |found - exact| / |exact| in L2."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def relative_error_at_best_scale(found: Floats64, exact: Floats64) -> float:
    """Return the relative error after the one factor that makes it least."""
    return relative_error(found * ((found * exact).sum() / (found**2).sum()), exact)


def _sigmas(frame: Frame) -> dict[str, float]:
    return {
        "sigma_xy_pixels": SIGMA_XY_SHARE * max(size_of(frame)),
        "sigma_rgb_levels": SIGMA_RGB_LEVELS,
    }


def _features(frame: Frame) -> npt.NDArray[np.float32]:
    # Places from the middle on: less to cancel in the exact sums' squares.
    middle = np.asarray([4, 4, 8, 8, 8], np.float32)
    return np.asarray(bilateral_features(frame, **_sigmas(frame)) - middle)
