"""Carry tensors to a lattice and back, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


def filter_tensor(values: Tensor, call: FilterCall) -> Tensor:
    """Sum (B, N, C), or (B, C, N) with `call.planes`; differentiable by `values`."""
    sums: Tensor = _Sum.apply(values, call)
    return sums


@dataclass(frozen=True)
class FilterCall:
    """How to filter: after * A (before * values), or its transpose.

    Args:
        lattice: A.
        planes: Values are (B, C, N).
        symmetric: Make A its own transpose.
        before: (B, N), None for 1.
        after: (B, N), None for 1.
        transposed: Apply A' in place of A.
    """

    lattice: NativeLattice | TorchLattice
    planes: bool
    symmetric: bool
    before: Tensor | None = None
    after: Tensor | None = None
    transposed: bool = False

    def transpose(self) -> FilterCall:
        """Return the transposed operator, which is the gradient."""
        return replace(self, before=self.after, after=self.before, transposed=not self.transposed)

    def sum(self, values: Tensor) -> Tensor:
        """Apply it."""
        sums = self._sum(values, symmetric=self.symmetric)
        if self.transposed and not self.symmetric:
            # The symmetric operator is the mean of the one order and its transpose.
            return 2 * self._sum(values, symmetric=True) - sums
        return sums

    def _sum(self, values: Tensor, *, symmetric: bool) -> Tensor:
        lattice, how = self.lattice, {"planes": self.planes, "symmetric": symmetric}
        if isinstance(lattice, TorchLattice):
            return lattice.filter(values, before=self.before, after=self.after, **how)
        before, after = (
            None if factor is None else to_numpy(factor) for factor in (self.before, self.after)
        )
        sums = lattice.filter(to_numpy(values), before=before, after=after, **how)
        return torch.from_numpy(sums).to(values.dtype)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, call: FilterCall) -> Tensor:
        ctx.call = call
        return call.sum(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return filter_tensor(gradient, ctx.call.transpose()), None
