"""Carry tensors to a lattice and back, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weakseg.filtering.features import read_floats
from weakseg.filtering.native import NativeLattice
from weakseg.filtering.torch_lattice import TorchLattice

float32 = torch.float32
cpu = torch.device("cpu")
ones = torch.ones


def widen(values: Tensor, *, exact: bool) -> Tensor:
    """Return the type that the sums are taken in: float32, or what is wider if `exact`."""
    return values if exact and values.dtype == torch.float64 else values.float()


def floating_type(values: Tensor) -> torch.dtype:
    """Return the type that the sums of such values come back in."""
    return values.dtype if values.dtype.is_floating_point else torch.float32


def to_tensor(array: Tensor | npt.NDArray[Any]) -> Tensor:
    """Return a tensor without its graph: bytes stay bytes, other arrays become float32."""
    if isinstance(array, Tensor):
        return array.detach()
    # A copy: torch takes no read-only or reversed memory.
    return torch.from_numpy(
        np.array(array if array.dtype == np.uint8 else read_floats("array", array), order="C")
    )


def to_numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a CPU tensor's numbers; NumPy knows no bfloat16."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def filter_tensor(
    lattice: NativeLattice | TorchLattice, values: Tensor, *, planes: bool, symmetric: bool
) -> Tensor:
    """Sum (B, N, C) or, with `planes`, (B, C, N); differentiable by `values`."""
    sums: Tensor = _Sum.apply(values, lattice, planes, symmetric, False)
    return sums


class _Sum(torch.autograd.Function):
    """Apply the operator or, with `transposed`, its transpose, which is the gradient."""

    @staticmethod
    def forward(  # noqa: PLR0917 - apply takes no names
        ctx: Any,
        values: Tensor,
        lattice: NativeLattice | TorchLattice,
        planes: bool,
        symmetric: bool,
        transposed: bool,
    ) -> Tensor:
        ctx.settings = lattice, planes, symmetric, transposed
        sums = _sums(lattice, values, planes, symmetric)
        if transposed and not symmetric:
            # The symmetric operator is the mean of the one order and its transpose.
            return 2 * _sums(lattice, values, planes, True) - sums
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        lattice, planes, symmetric, transposed = ctx.settings
        sums = _Sum.apply(gradient, lattice, planes, symmetric, not transposed)
        return sums, None, None, None, None


def _sums(
    lattice: NativeLattice | TorchLattice, values: Tensor, planes: bool, symmetric: bool
) -> Tensor:
    if isinstance(lattice, TorchLattice):
        return lattice.filter(values, planes=planes, symmetric=symmetric)
    sums = lattice.filter(to_numpy(values), planes=planes, symmetric=symmetric)
    return torch.from_numpy(sums).to(values.dtype)
