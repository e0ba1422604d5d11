"""Find who lies beside whom among the vertices of a permutohedral lattice, on any device.

Keys are those of `key_table`: digits that count whole sides, and last the remainder that all
coordinates of a vertex share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from weakseg.filtering.key_table import KeyTable, Packing
from weakseg.filtering.quality import GIVE_BACK, Scheme


class Axis(NamedTuple):
    """Both neighbours of every vertex along one axis.

    Args:
        below: (vertices + 1,) int32; the number of vertices stands for what is missing, and is its
            own neighbour.
        above: The same.
        centre: (vertices + 1, 1) float32, the weight of the vertex itself.
    """

    below: Tensor
    above: Tensor
    centre: Tensor


class Vertices:
    """The vertices of a lattice: those in use, in the order of `table`, and those of a ring.

    Args:
        words: Of the keys of `table`, in its order.
        table: Of the vertices in use.
        packing: What packed the keys.
        side: d + 1.
        scheme: Of the blur; its ring adds the missing neighbours that are met at least twice.
    """

    def __init__(
        self, words: Sequence[Tensor], table: KeyTable, packing: Packing, side: int, scheme: Scheme
    ) -> None:
        self._given_back = GIVE_BACK * scheme.blur
        self._words, self._table, self._packing, self._side = words, table, packing, side
        self._numbers: Tensor | None = None
        if scheme.ring:
            self._words = [
                torch.cat(pair) for pair in zip(words, self._missing_twice(), strict=True)
            ]
            self._table = KeyTable(self._words, packing)
            # From the place of a key in the table to that among the words.
            self._numbers = torch.nn.functional.pad(
                self._table.firsts, (0, 1), value=len(self._table)
            )

    def __len__(self) -> int:
        return len(self._table)

    def axes(self) -> list[Axis]:
        """Find both neighbours of every vertex along every axis."""
        return [self._axis(axis) for axis in range(self._side)]

    def _axis(self, axis: int) -> Axis:
        count = len(self)
        below, above = (
            torch.nn.functional.pad(self._find(self._beside(axis, sign)), (0, 1), value=count).int()
            for sign in (-1, 1)
        )
        missing = (below == count).float() + (above == count).float()
        return Axis(below, above, (1 + self._given_back * missing)[:, None])

    def _find(self, words: Sequence[Tensor]) -> Tensor:
        found = self._table.find(words)
        return found if self._numbers is None else self._numbers[found]

    def _beside(self, axis: int, sign: int) -> list[Tensor]:
        """Return the keys of the neighbours of all vertices in one direction."""
        # A step is side - 1 along the axis and -1 elsewhere; digits count whole sides.
        on_axis = [int(i == axis) for i in range(self._side - 1)]
        within = self._packing.shift([0, *(sign * i for i in on_axis), -sign])
        across = self._packing.shift(
            [0, *(sign * (i - 1) for i in on_axis), sign * (self._side - 1)]
        )
        wraps = self._words[-1] % self._side == (0 if sign > 0 else self._side - 1)
        return [
            word + torch.where(wraps, far, near)
            for word, near, far in zip(self._words, within, across, strict=True)
        ]

    def _missing_twice(self) -> list[Tensor]:
        """Return the keys beside at least two vertices, or one on two axes, that have none."""
        beside = [self._beside(axis, sign) for axis, sign in product(range(self._side), (-1, 1))]
        words = [torch.cat(parts) for parts in zip(*beside, strict=True)]
        met = KeyTable(words, self._packing)
        candidates = [word[met.firsts] for word in words]
        is_wanted = (met.counts > 1) & (self._table.find(candidates) == len(self._table))
        wanted = is_wanted.nonzero()[:, 0]
        return [word[wanted] for word in candidates]
