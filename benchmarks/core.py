"""Time the lattice, the CRF and the DenseCRF loss on one frame: `python benchmarks/core.py`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from weakseg.filtering import Lattice, bilateral_features
from weakseg.losses.energy import dense_crf_loss
from weakseg.refine.crf import DenseCrf


def best_milliseconds(work: Callable[[], object], *, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


def make_frame(side: int) -> np.ndarray:
    """A sky with a soft plume and camera noise, (side, side, 3) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    plume = np.exp(-0.5 * (((x - 0.5) / 0.1) ** 2 + ((y - 0.5) / 0.3) ** 2))[..., None]
    sky = np.array([90, 140, 210]) * (0.7 + 0.3 * y[..., None])
    levels = (1 - plume) * sky + plume * 205 + rng.normal(0, 4, (side, side, 3))
    return np.clip(levels, 0, 255).astype(np.uint8)


def energy_step(frame: np.ndarray) -> None:
    frames = torch.from_numpy(frame.astype(np.float32).transpose(2, 0, 1))[None]
    probabilities = torch.full((1, 2, *frame.shape[:2]), 0.5, requires_grad=True)
    dense_crf_loss(probabilities, frames).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=384, help="frame side in pixels")
    parser.add_argument("--threads", type=int, default=1, help="0 for all")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    frame = make_frame(options.side)
    smoke = np.random.default_rng(1).random((options.side, options.side), dtype=np.float32)
    scores = np.stack([1 - smoke, smoke])
    features = bilateral_features(frame, sigma_xy_pixels=60, sigma_rgb_levels=5)
    lattice = Lattice(features, threads=options.threads)
    rows = scores.reshape(2, -1).T
    crf = DenseCrf(threads=options.threads)
    tasks: dict[str, Callable[[], object]] = {
        "lattice: build, 5 features": lambda: Lattice(features, threads=options.threads),
        "lattice: filter, 2 channels": lambda: lattice.filter(rows),
        "CRF, 5 iterations": lambda: crf(frame, scores),
        "DenseCRF loss and gradient": lambda: energy_step(frame),
    }
    print(f"{options.side} x {options.side} pixels on {lattice.vertices} vertices")
    for name, work in tasks.items():
        print(f"{name:30s} {best_milliseconds(work, repeats=options.repeats):8.1f} ms")


if __name__ == "__main__":
    main()
