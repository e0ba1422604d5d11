"""Bytes that the core keeps, needs at its peak, and must not lose."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import contenders
from bench.contenders import LOSS_SIGMA_RGB_LEVELS, LOSS_SIGMA_XY_PIXELS, Scene
from bench.timing import Work
from weakseg import _core, filtering


def lattice_bytes(scene: Scene) -> int | None:
    """Return what the loss filter's lattice holds, None where the core does not tell."""
    sigmas = {"sigma_xy_pixels": LOSS_SIGMA_XY_PIXELS, "sigma_rgb_levels": LOSS_SIGMA_RGB_LEVELS}
    lattice: Any = contenders.build_lattice(scene[0], **sigmas, threads=1)
    if not hasattr(lattice, "nbytes"):
        make: Any = getattr(_core.Lattice, "from_image", None)
        if make is None:
            lattice = _core.Lattice(filtering.bilateral_features(scene[0], **sigmas))
        else:
            lattice = make(scene[0], **sigmas)
    found: int | None = getattr(lattice, "nbytes", None)
    return found


def peak_bytes(contender: str, scene: Scene, small: Scene) -> int | None:
    """Return by how much one call raises the resident memory at its peak; None if not told.

    It is measured in a process of its own: in this one, memory that is kept for the next call
    would not count. What the first call of all needs, it needs on the `small` scene.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (contender, scene, small))


def _peak_here(contender: str, scene: Scene, small: Scene) -> int | None:
    makers: dict[str, Callable[[list[Scene]], Work]] = {
        "loss filter": contenders.loss_filter,
        "mean field": contenders.mean_field,
        "pydensecrf": contenders.pydensecrf,
    }
    makers[contender]([small])(0)
    work = makers[contender]([scene])
    _return_free_pages()
    try:
        # 5 sets the peak back to what is resident now: see proc(5).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = _status_bytes("VmRSS")
    work(0)
    peak = _status_bytes("VmHWM")
    return None if peak is None or before is None else peak - before


def growth_bytes(work: Work, *, calls: int) -> int | None:
    """Return by how much `calls` calls raise the resident memory, after as many as settle it."""
    for call in range(calls // 5):
        work(call)
    _return_free_pages()
    before = _status_bytes("VmRSS")
    for call in range(calls):
        work(call)
    _return_free_pages()
    after = _status_bytes("VmRSS")
    return None if after is None or before is None else after - before


def _return_free_pages() -> None:
    """Let the C library give back what is free, so that what stays resident is in use."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_bytes(name: str) -> int | None:
    """Return a size of /proc/self/status, None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(sizes[0]) if sizes else None
