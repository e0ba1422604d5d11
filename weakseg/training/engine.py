"""Choose device and precision, by Lightning Fabric."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

_PRECISIONS: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

ACCELERATORS = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", *_PRECISIONS)


def choose_accelerator(accelerator: str) -> Literal["cpu", "cuda"]:
    """Return where to train: `auto` takes a CUDA device if there is one.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    if accelerator == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if accelerator == "gpu":
        raise ValueError("accelerator is gpu, but torch finds no CUDA device: use auto or cpu")
    return "cpu"


def choose_precision(precision: str, accelerator: str) -> Precision:
    """Return the arithmetic to use: `auto` is bf16 on GPUs that have it, else 32 bits.

    Raises:
        ValueError: If 16-bit floats are asked for on a CPU.
    """
    if precision == "auto":
        # Without emulation: older cards only pretend to have bf16, and are slow at it.
        has_bf16 = accelerator == "cuda" and torch.cuda.is_bf16_supported(False)
        return "bf16-mixed" if has_bf16 else "32-true"
    if precision == "16" and accelerator == "cpu":
        raise ValueError("precision 16 needs a GPU: use 32 or bf16 on a CPU")
    return _PRECISIONS[precision]


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """Return a Fabric for one device, whatever scheduler this process was started by."""
    # Imported late: Fabric takes seconds to load, and most commands never train.
    from lightning_fabric import Fabric  # noqa: PLC0415
    from lightning_fabric.plugins.environments.lightning import (  # noqa: PLC0415
        LightningEnvironment,
    )

    device = choose_accelerator(accelerator)
    return Fabric(
        accelerator=device,
        devices=1,
        precision=choose_precision(precision, device),
        # Named outright, or Fabric would take a cluster's job for a job of several processes.
        plugins=[LightningEnvironment()],
    )


def casting(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which networks compute as they are trained, for use outside of training.

    Raises:
        ValueError: If 16-bit floats are asked for on a CPU.
    """
    chosen = choose_precision(precision, device.type)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(chosen)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def scaler_of(fabric: Fabric) -> torch.amp.GradScaler | None:
    """Return the gradient scaler of 16-bit training; None for other precisions."""
    precision = cast("Any", fabric.strategy).precision
    return cast("torch.amp.GradScaler | None", getattr(precision, "scaler", None))


@contextmanager
def repeatable_kernels(wanted: bool) -> Iterator[None]:
    """Ask torch for deterministic kernels inside the block, and put its settings back."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
