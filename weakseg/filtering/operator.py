"""What the lattice in C++ and the one in torch have in common."""

from __future__ import annotations

from typing import Any, Protocol


class Operator(Protocol):
    """Sums of (B, N, C), or (B, C, N) with `planes`."""

    @property
    def vertices(self) -> int:
        """Vertices of all frames of the batch."""

    def filter(self, values: Any, *, planes: bool, symmetric: bool, before: Any, after: Any) -> Any:
        """Sum `values` times `before` over the points, times `after`; None stands for ones."""
