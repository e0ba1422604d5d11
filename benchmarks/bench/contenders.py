"""What is measured: the loss filter and the mean field, by weakseg and by pydensecrf.

Everything goes through the public interface, from the uint8 frame to the result.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from bench.frames import Floats32, Frame
from bench.timing import Work
from weakseg import _core, filtering
from weakseg.losses.energy import dense_crf_loss
from weakseg.refine.crf import DenseCrf

LOSS_SIGMA_XY_PIXELS = 50.0
LOSS_SIGMA_RGB_LEVELS = 15.0
BILATERAL = {"sxy": 80.0, "srgb": 13.0, "compat": 10.0}
GAUSSIAN = {"sxy": 3.0, "compat": 3.0}
ITERATIONS = 5

Scene = tuple[Frame, Floats32]
"""A frame (H, W, 3) uint8 and class probabilities (C, H, W) float32."""

BUILT_IN = "built in"
"""The instruction set of a core that offers no choice."""


def instruction_sets() -> list[str]:
    """List what the core can use here, best first."""
    offered: Any = getattr(_core, "instruction_sets", None)
    return list(offered()) if offered else [BUILT_IN]


def use_instructions(name: str) -> None:
    """Let the core use the instruction set of this name."""
    if name != BUILT_IN:
        core: Any = _core
        core.use_instructions(name)


def has_pydensecrf() -> bool:
    """Say whether pydensecrf is installed."""
    return _module("pydensecrf.densecrf") is not None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def build_lattice(
    frame: Frame, *, sigma_xy_pixels: float, sigma_rgb_levels: float, threads: int, **settings: Any
) -> Any:
    """Build the bilateral lattice of `frame`; `settings` go to the constructor."""
    make: Any = getattr(filtering.Lattice, "from_image", None)
    sigmas = {"sigma_xy_pixels": sigma_xy_pixels, "sigma_rgb_levels": sigma_rgb_levels}
    if make is not None:
        return make(frame, **sigmas, threads=threads, **settings)
    features = filtering.bilateral_features(frame, **sigmas)
    return filtering.Lattice(features, threads=threads, **settings)


def filter_planes(lattice: Any, values: Floats32) -> Floats32:
    """Filter (C, H, W) values; without `from_image`, only (N, C) values are known."""
    if hasattr(filtering.Lattice, "from_image"):
        return np.asarray(lattice.filter(values))
    found = lattice.filter(values.reshape(len(values), -1).T)
    return np.asarray(found).T.reshape(values.shape)


def loss_filter(scenes: list[Scene], *, threads: int = 1) -> Work:
    """Build the lattice of a frame and filter its probabilities once, as the DenseCRF loss does."""

    def work(scene: int) -> Floats32:
        frame, values = scenes[scene % len(scenes)]
        lattice = build_lattice(
            frame,
            sigma_xy_pixels=LOSS_SIGMA_XY_PIXELS,
            sigma_rgb_levels=LOSS_SIGMA_RGB_LEVELS,
            threads=threads,
        )
        return filter_planes(lattice, values)

    return work


def loss_and_gradient(scenes: list[Scene]) -> Work:
    """Compute `dense_crf_loss` at full size and its gradient, on one torch thread."""
    batches = [
        (torch.from_numpy(frame).permute(2, 0, 1)[None].float(), torch.from_numpy(values)[None])
        for frame, values in scenes
    ]

    def work(scene: int) -> torch.Tensor:
        frames, values = batches[scene % len(batches)]
        probabilities = values.clone().requires_grad_()
        loss = dense_crf_loss(
            probabilities,
            frames,
            sigma_rgb_levels=LOSS_SIGMA_RGB_LEVELS,
            sigma_xy_pixels=LOSS_SIGMA_XY_PIXELS,
            scale=1.0,
            normalisation="none",
        )
        (gradient,) = torch.autograd.grad(loss, probabilities)
        return gradient

    return work


def mean_field(scenes: list[Scene], *, iterations: int = ITERATIONS, threads: int = 1) -> Work:
    """Refine the probabilities by `DenseCrf`: energies, lattices, mean field."""
    crf = DenseCrf(
        iterations=iterations,
        gaussian_weight=GAUSSIAN["compat"],
        gaussian_sigma_xy_pixels=GAUSSIAN["sxy"],
        bilateral_weight=BILATERAL["compat"],
        sigma_xy_pixels=BILATERAL["sxy"],
        sigma_rgb_levels=BILATERAL["srgb"],
        threads=threads,
    )

    def work(scene: int) -> Floats32:
        frame, values = scenes[scene % len(scenes)]
        return crf(frame, values)

    return work


def pydensecrf(scenes: list[Scene], *, iterations: int = ITERATIONS) -> Work:
    """Do the same by pydensecrf, which is spared the energies: it gets them ready."""
    return _scripted("pydensecrf.densecrf", scenes, iterations)


def drop_in(scenes: list[Scene], *, iterations: int = ITERATIONS) -> Work | None:
    """Run the same script on `weakseg.densecrf`, on one thread; None where there is none."""
    if _module("weakseg.densecrf") is None:
        return None
    return _scripted("weakseg.densecrf", scenes, iterations, threads=1)


def _scripted(module: str, scenes: list[Scene], iterations: int, **settings: int) -> Work:
    densecrf = _module(module)
    energies = [
        -np.log(np.clip(values.reshape(len(values), -1), 1e-5, 1)).astype(np.float32)
        for _, values in scenes
    ]

    def work(scene: int) -> Floats32:
        frame, values = scenes[scene % len(scenes)]
        channels, height, width = values.shape
        crf = densecrf.DenseCRF2D(width, height, channels, **settings)
        crf.setUnaryEnergy(energies[scene % len(scenes)])
        crf.addPairwiseGaussian(**GAUSSIAN)
        crf.addPairwiseBilateral(rgbim=frame, **BILATERAL)
        return np.array(crf.inference(iterations))

    return work
