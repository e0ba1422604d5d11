"""Build a lattice once and filter many values with it: NumPy or torch, one frame or a batch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeGuard, overload

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_one_of, check_shape
from weakseg.filtering.features import Floats32, check_sigmas, read_floats, read_reals
from weakseg.filtering.native import NativeLattice

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

    A batch holds one lattice for each frame, and no number of one frame reaches another. Points on
    the CPU go through C++; the result does not depend on `threads`, and threads live for one call
    only, so forked processes may use this too. Tensors on any other device stay there: see
    `weakseg.filtering.torch_lattice`, the same operator in torch.

    Args:
        features: (N, d) or (B, N, d) floats, d in 1..16, in standard deviations of the Gaussian,
            finite and at most 1e6 in size.
        symmetric: Make A its own transpose, by the mean over both orders of the lattice's blur, so
            that gradients are exact, for the time of a second blur. False is one order only, as
            in the paper.
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
        threads: int = 0,
        backend: Backend = "auto",
    ) -> None:
        check_at_least(0, threads=threads)
        points = _read("features", features)
        batched = _is_batched("features", points, ("N", "d"))
        stack = points if batched else points[None]
        operator: _Operator
        if _is_native(backend, points):
            operator = NativeLattice.of_points(_to_floats("features", stack), threads=threads)
        else:
            operator = _tensors().TorchLattice.of_points(_tensors().to_tensor(stack))
        self._hold(operator, points, stack.shape[1], None, batched=batched, symmetric=symmetric)

    @classmethod
    def from_image(
        cls,
        frame: npt.NDArray[Any] | Tensor,
        *,
        sigma_xy_pixels: float,
        sigma_rgb_levels: float,
        symmetric: bool = True,
        threads: int = 0,
        backend: Backend = "auto",
    ) -> Lattice:
        """Build over the place and colour of every pixel, N = H W: the bilateral filter.

        Args:
            frame: RGB in levels 0..255 of any real type: NumPy (H, W, 3) or (B, H, W, 3), torch
                (3, H, W) or (B, 3, H, W). Uint8 saves a pass.
            sigma_xy_pixels: Reach in the frame, in pixels, > 0.
            sigma_rgb_levels: Reach in colour, in levels of 0-255, > 0.
            symmetric: Make A its own transpose.
            threads: Threads of the C++ lattice, 0 for all.
            backend: "native", "torch" or "auto".

        Raises:
            ValueError: As for the class, or if a sigma is out of range.
            TypeError: If `frame` holds no real numbers.
        """
        check_at_least(0, threads=threads)
        check_sigmas(sigma_xy_pixels=sigma_xy_pixels, sigma_rgb_levels=sigma_rgb_levels)
        levels = _read("frame", frame)
        planes = is_tensor(levels)
        batched = _is_batched("frame", levels, (3, "H", "W") if planes else ("H", "W", 3))
        stack = levels if batched else levels[None]
        height, width = stack.shape[2:] if planes else stack.shape[1:3]
        operator: _Operator
        if _is_native(backend, levels):
            operator = NativeLattice.of_frames(
                stack if stack.dtype == np.uint8 else _to_floats("frame", stack),
                planes=planes,
                sigma_xy_pixels=sigma_xy_pixels,
                sigma_rgb_levels=sigma_rgb_levels,
                threads=threads,
            )
        else:
            tensor = _tensors().to_tensor(stack)
            operator = _tensors().TorchLattice.of_frames(
                tensor if planes else tensor.permute(0, 3, 1, 2),
                sigma_xy_pixels=sigma_xy_pixels,
                sigma_rgb_levels=sigma_rgb_levels,
            )
        lattice = cls.__new__(cls)
        size = (height, width)
        lattice._hold(operator, levels, height * width, size, batched=batched, symmetric=symmetric)
        return lattice

    def _hold(
        self,
        operator: _Operator,
        source: Any,
        points: int,
        size: tuple[int, int] | None,
        *,
        batched: bool,
        symmetric: bool,
    ) -> None:
        self.symmetric = symmetric
        self._operator = operator
        self._points = points
        self._size = size
        self._batch = len(source) if batched else None
        self._device = source.device if is_tensor(source) else None
        self._degrees: dict[Any, Any] = {}

    @property
    def points(self) -> int:
        """Number of points, in each frame of a batch."""
        return self._points

    @property
    def vertices(self) -> int:
        """Number of lattice vertices in use: what the speed depends on, besides `points`."""
        return self._operator.vertices

    @property
    def degree(self) -> Any:
        """Sum of every point's weights to all points, itself included, > 0.

        (N,) or (B, N) float32, NumPy or torch as what the lattice was built from.
        """
        degree = self._degree(None if self._device is None else _tensors().float32)
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
        given = _read("values", values)
        stack, planes = self._stack(given)
        sums: Floats32 | Tensor
        if is_tensor(stack):
            sums = self._filter_tensor(stack, planes, normalisation)
        else:
            sums = self._normalise(read_floats("values", stack), planes, normalisation)
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
        home = self._device or _tensors().cpu
        if values.device != home:
            raise ValueError(
                f"values live on {values.device} but the lattice on {home}: move one of them first"
            )
        exact = not isinstance(self._operator, NativeLattice)
        sums = self._normalise(_tensors().widen(values, exact=exact), planes, normalisation)
        back: Tensor = sums.to(_tensors().floating_type(values))
        return back

    def _normalise(self, values: Any, planes: bool, normalisation: Normalisation) -> Any:
        if normalisation == "none":
            return self._sum(values, planes)
        degree = self._degree(values.dtype if is_tensor(values) else None)
        degree = degree[:, None] if planes else degree[..., None]
        if normalisation == "row":
            return self._sum(values, planes) / degree
        scale = degree**-0.5
        return scale * self._sum(scale * values, planes)

    def _degree(self, dtype: Any) -> Any:
        """(B, N) sums of the weights: a tensor of `dtype`, or NumPy for None."""
        if dtype not in self._degrees:
            shape = (self._batch or 1, self._points, 1)
            if dtype is None:
                ones: Any = np.ones(shape, np.float32)
            else:
                ones = _tensors().ones(shape, dtype=dtype, device=self._device)
            self._degrees[dtype] = self._sum(ones, planes=False)[..., 0]
        return self._degrees[dtype]

    def _sum(self, values: Any, planes: bool) -> Any:
        """Filter (B, N, C) or, with `planes`, (B, C, N): tensors give tensors, NumPy NumPy."""
        if is_tensor(values):
            return _tensors().filter_tensor(
                self._operator, values, planes=planes, symmetric=self.symmetric
            )
        if isinstance(self._operator, NativeLattice):
            return self._operator.filter(values, planes=planes, symmetric=self.symmetric)
        return self._sum(_tensors().to_tensor(values), planes).numpy()


def is_tensor(given: object) -> TypeGuard[Tensor]:
    """Tell tensors from arrays without loading torch for those who have none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)


def _tensors() -> ModuleType:
    """Torch takes seconds to load: only for tensors."""
    from weakseg.filtering import tensors  # noqa: PLC0415 - see above

    return tensors


def _read(name: str, given: Any) -> Any:
    """Return a tensor or an array of real numbers of any type, or raise TypeError."""
    if is_tensor(given):
        if given.is_complex():
            raise TypeError(f"{name} must hold real numbers, got a tensor of {given.dtype}")
        return given
    return read_reals(name, given)


def _to_floats(name: str, given: Any) -> Floats32:
    return read_floats(name, _tensors().to_numpy(given) if is_tensor(given) else given)


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


def _is_batched(name: str, array: Any, axes: tuple[str | int, ...]) -> bool:
    """Tell whether an axis stands before those named; numbers among them are sizes."""
    shape = tuple(array.shape)
    sizes = shape[max(0, len(shape) - len(axes)) :]
    fits = len(shape) - len(axes) in {0, 1} and all(
        size == axis for size, axis in zip(sizes, axes, strict=True) if isinstance(axis, int)
    )
    if not fits:
        one = ", ".join(map(str, axes))
        raise ValueError(f"{name} must have shape ({one}) or (B, {one}), got {shape}")
    if 0 in shape:
        raise ValueError(f"{name} must not be empty, got shape {shape}")
    return len(shape) > len(axes)


class _Operator(Protocol):
    """What both lattices offer: sums of (B, N, C), or (B, C, N) with `planes`."""

    @property
    def vertices(self) -> int: ...

    def filter(self, values: Any, *, planes: bool, symmetric: bool) -> Any: ...
