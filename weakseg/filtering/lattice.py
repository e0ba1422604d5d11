"""Build a lattice once and filter many values with it: NumPy or torch, one frame or a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_one_of, check_shape
from weakseg.filtering.features import Floats32, check_sigmas, read_floats
from weakseg.filtering.inputs import (
    is_batched,
    is_tensor,
    load_tensors,
    read_any,
    to_floats,
    to_levels,
)
from weakseg.filtering.native import NativeLattice
from weakseg.filtering.operator import Operator
from weakseg.filtering.quality import QUALITIES, Quality

if TYPE_CHECKING:
    from torch import Tensor

Normalisation: TypeAlias = Literal["none", "row", "symmetric"]
Backend: TypeAlias = Literal["auto", "native", "torch"]

NORMALISATIONS: Final = ("none", "row", "symmetric")
BACKENDS: Final = ("auto", "native", "torch")


class Lattice:
    """Hold a lattice over fixed points, built once to filter many values.

    With A the matrix of the Gaussian weights and D the diagonal of its row sums, `filter` applies
    A ("none"), D^-1 A ("row": a weighted mean) or D^-1/2 A D^-1/2 ("symmetric").

    Two qualities of A are to be had; `weakseg.filtering` tells what they are worth.

    A batch holds one lattice for each frame, and no number of one frame reaches another. Points on
    the CPU go through C++; the result does not depend on `threads`, and threads live for one call
    only, so forked processes may use this too. Tensors on any other device stay there: see
    `weakseg.filtering.torch_lattice`, the same operator in torch.

    Args:
        features: (N, d) or (B, N, d) floats, d in 1..16, in standard deviations of the Gaussian,
            finite and at most 1e6 in size.
        symmetric: Make A its own transpose, by the mean over both orders of the lattice's blur, so
            that gradients are exact, for the time of a second blur. False is one order only, as
            in the paper. High quality is symmetric in any case.
        quality: "standard" or "high".
        threads: Threads of the C++ lattice, 0 for all.
        backend: "native" (C++, CPU only), "torch", or "auto": C++ for what lies on the CPU.

    Raises:
        ValueError: If `features` has another shape, or is not finite: of a batch, the message
            names the frame. The torch lattice reads nothing back to the CPU: there a frame that
            is not finite comes out as NaN, and the others are right.
        TypeError: If `features` holds no real numbers.
    """

    def __init__(
        self,
        features: npt.ArrayLike | Tensor,
        *,
        symmetric: bool = True,
        quality: Quality = "standard",
        threads: int = 0,
        backend: Backend = "auto",
    ) -> None:
        check_at_least(0, threads=threads)
        check_one_of(QUALITIES, quality=quality)
        points = read_any("features", features)
        batched = is_batched("features", points, ("N", "d"))
        stack = points if batched else points[None]
        operator: Operator
        if _is_native(backend, points):
            operator = NativeLattice.of_points(
                to_floats("features", stack), quality=quality, threads=threads
            )
        else:
            operator = load_tensors().TorchLattice.of_points(
                load_tensors().to_tensor(stack), quality=quality
            )
        self._hold(operator, points, stack.shape[1], None, batched=batched)
        self.symmetric = symmetric or quality == "high"

    @classmethod
    def from_image(
        cls,
        frame: npt.NDArray[Any] | Tensor,
        *,
        sigma_xy_pixels: float,
        sigma_rgb_levels: float,
        symmetric: bool = True,
        quality: Quality = "standard",
        threads: int = 0,
        backend: Backend = "auto",
    ) -> Lattice:
        """Build over the place and colour of every pixel, N = H W: the bilateral filter.

        The Gaussian is that of `bilateral_features`, but its sums are nearer to the exact ones:
        the lattice lies along the axes of the opponent colours r - b, r - 2 g + b and r + g + b,
        for photos mostly vary along the last.

        Args:
            frame: RGB in levels 0..255 of any real type: NumPy (H, W, 3) or (B, H, W, 3), torch
                (3, H, W) or (B, 3, H, W). Uint8 saves a pass.
            sigma_xy_pixels: Reach in the frame, in pixels, > 0.
            sigma_rgb_levels: Reach in colour, in levels of 0-255, > 0.
            symmetric: Make A its own transpose.
            quality: "standard" or "high".
            threads: Threads of the C++ lattice, 0 for all.
            backend: "native", "torch" or "auto".

        Raises:
            ValueError: As for the class, or if a sigma is out of range.
            TypeError: If `frame` holds no real numbers.
        """
        check_at_least(0, threads=threads)
        check_one_of(QUALITIES, quality=quality)
        check_sigmas(sigma_xy_pixels=sigma_xy_pixels, sigma_rgb_levels=sigma_rgb_levels)
        levels = read_any("frame", frame)
        planes = is_tensor(levels)
        batched = is_batched("frame", levels, (3, "H", "W") if planes else ("H", "W", 3))
        stack = levels if batched else levels[None]
        height, width = stack.shape[2:] if planes else stack.shape[1:3]
        operator: Operator
        if _is_native(backend, levels):
            operator = NativeLattice.of_frames(
                to_levels("frame", stack),
                planes=planes,
                sigma_xy_pixels=sigma_xy_pixels,
                sigma_rgb_levels=sigma_rgb_levels,
                quality=quality,
                threads=threads,
            )
        else:
            tensor = load_tensors().to_tensor(stack)
            operator = load_tensors().TorchLattice.of_frames(
                tensor if planes else tensor.permute(0, 3, 1, 2),
                sigma_xy_pixels=sigma_xy_pixels,
                sigma_rgb_levels=sigma_rgb_levels,
                quality=quality,
            )
        lattice = cls.__new__(cls)
        lattice._hold(operator, levels, height * width, (height, width), batched=batched)
        lattice.symmetric = symmetric or quality == "high"
        return lattice

    def _hold(
        self,
        operator: Operator,
        source: Any,
        points: int,
        size: tuple[int, int] | None,
        *,
        batched: bool,
    ) -> None:
        self._operator = operator
        self._points = points
        self._size = size
        self._batch = len(source) if batched else None
        self._device = source.device if is_tensor(source) else None
        self._degrees: dict[Any, Any] = {}
        self._factors: dict[Any, tuple[Any, Any]] = {}

    @property
    def points(self) -> int:
        """Number of points, in each frame of a batch."""
        return self._points

    @property
    def vertices(self) -> int:
        """Number of lattice vertices: what the speed depends on, besides `points`."""
        return self._operator.vertices

    @property
    def degree(self) -> Any:
        """Sum of every point's weights to all points, itself included, > 0.

        (N,) or (B, N) float32, NumPy or torch as what the lattice was built from.
        """
        degree = self._degree(
            np.dtype(np.float32) if self._device is None else load_tensors().float32
        )
        return degree if self._batch is not None else degree[0]

    @overload
    def filter(self, values: Tensor, *, normalisation: Normalisation = "none") -> Tensor: ...

    @overload
    def filter(
        self, values: npt.ArrayLike, *, normalisation: Normalisation = "none"
    ) -> Floats32: ...

    def filter(
        self, values: npt.ArrayLike | Tensor, *, normalisation: Normalisation = "none"
    ) -> Floats32 | Tensor:
        """Sum `values` under the Gaussian.

        Tensors may require a gradient: the filter is linear, and its transpose is applied.

        Args:
            values: (N, C) floats; for a lattice of a frame also (C, H, W). Of a batch, (B, N, C)
                or (B, C, H, W). NaN and inf stay within their frame.
            normalisation: "none", "row" or "symmetric", as the class tells.

        Returns:
            The same shape: NumPy float32, or a tensor of the values' device and floating type
            (float32 for integers). The C++ lattice sums in float32, the torch lattice in float64
            where the values are.

        Raises:
            ValueError: If `values` does not cover the lattice's points, or lies on another device.
            TypeError: If `values` holds no real numbers.
        """
        check_one_of(NORMALISATIONS, normalisation=normalisation)
        given = read_any("values", values)
        stack, planes = self._stack(given)
        sums: Floats32 | Tensor
        if is_tensor(stack):
            sums = self._filter_tensor(stack, planes, normalisation)
        else:
            sums = self._sum(read_floats("values", stack), planes, normalisation)
        return sums.reshape(given.shape)

    def _stack(self, values: Any) -> tuple[Any, bool]:
        """Bring values to (B, N, C), or (B, C, N) with True, checked."""
        batch = () if self._batch is None else (self._batch,)
        planes = self._size is not None and values.ndim == len(batch) + 3
        if planes and self._size is not None:
            check_shape((*batch, None, *self._size), values=values)
            return values.reshape(*(batch or (1,)), -1, self._points), True
        check_shape((*batch, self._points, None), values=values)
        return (values if batch else values[None]), False

    def _filter_tensor(self, values: Tensor, planes: bool, normalisation: Normalisation) -> Tensor:
        home = self._device or load_tensors().cpu
        if values.device != home:
            raise ValueError(
                f"values live on {values.device} but the lattice on {home}: move one of them first"
            )
        exact = not isinstance(self._operator, NativeLattice)
        sums = self._sum(load_tensors().widen(values, exact=exact), planes, normalisation)
        back: Tensor = sums.to(load_tensors().floating_type(values))
        return back

    def _sum(self, values: Any, planes: bool, normalisation: Normalisation) -> Any:
        """Filter (B, N, C) or, with `planes`, (B, C, N): tensors give tensors, NumPy NumPy."""
        if not is_tensor(values) and not isinstance(self._operator, NativeLattice):
            return self._sum(load_tensors().to_tensor(values), planes, normalisation).numpy()
        before, after = self._factors_of(values.dtype, normalisation)
        how = {"planes": planes, "symmetric": self.symmetric, "before": before, "after": after}
        if is_tensor(values):
            return load_tensors().filter_tensor(
                values, load_tensors().FilterCall(self._operator, **how)
            )
        return self._operator.filter(values, **how)

    def _factors_of(self, dtype: Any, normalisation: Normalisation) -> tuple[Any, Any]:
        """Return what multiplies the values and the sums: (B, N) of `dtype`, or None."""
        if normalisation == "none":
            return None, None
        if (dtype, normalisation) not in self._factors:
            degree = self._degree(dtype)
            if normalisation == "row":
                factors = None, 1 / degree
            else:
                root = degree**-0.5
                factors = root, root
            self._factors[dtype, normalisation] = factors
        return self._factors[dtype, normalisation]

    def _degree(self, dtype: Any) -> Any:
        """(B, N) sums of the weights, in a type of torch or NumPy."""
        if dtype not in self._degrees:
            shape = (self._batch or 1, self._points, 1)
            if isinstance(dtype, np.dtype):
                ones: Any = np.ones(shape, dtype)
            else:
                ones = load_tensors().ones(shape, dtype=dtype, device=self._device)
            self._degrees[dtype] = self._sum(ones, False, "none")[..., 0]
        return self._degrees[dtype]


def _is_native(backend: str, points: Any) -> bool:
    """Choose by where the points lie."""
    check_one_of(BACKENDS, backend=backend)
    on_cpu = not is_tensor(points) or points.device.type == "cpu"
    if backend == "native" and not on_cpu:
        raise ValueError(
            f"the native backend runs on the CPU, but the points live on {points.device}: "
            "move them, or choose backend=auto"
        )
    return on_cpu and backend != "torch"
