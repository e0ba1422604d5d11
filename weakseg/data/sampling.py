"""Decide the order in which frames are trained on: a pure function of seed and epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from weakseg.checks import check_at_least

Key = tuple[int, int]
"""(epoch, index of the item): all that an item's randomness depends on, with the seed."""


class EpochSampler:
    """Batches of keys for every epoch, the same whenever they are asked for.

    Args:
        length: Number of items, at least 1.
        seed: Names the order, at least 0.
        batch_size: Items a batch, at least 1.
        balance: Label of every item, to draw all labels equally often: every item comes at least
            once an epoch, those of rarer labels more often. Batches then hold all labels equally,
            up to rounding. None takes every item once.
        drop_last: Leave out the last batch if it is not full (but never the only one).
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int,
        batch_size: int,
        balance: Sequence[int] | None = None,
        drop_last: bool = False,
    ) -> None:
        check_at_least(1, length=length, batch_size=batch_size)
        check_at_least(0, seed=seed)
        if balance is not None and len(balance) != length:
            raise ValueError(f"balance must name {length} labels, got {len(balance)}")
        self.length = length
        self.seed = seed
        self.batch_size = batch_size
        self.drop_last = drop_last
        labels = np.zeros(length, dtype=np.int64) if balance is None else np.asarray(balance)
        self._classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        items = len(self._classes) * max(map(len, self._classes))
        if self.drop_last and items >= self.batch_size:
            return items // self.batch_size
        return math.ceil(items / self.batch_size)

    def batches(self, epoch: int) -> list[list[Key]]:
        """List the batches of one epoch.

        Args:
            epoch: Counted from 0.
        """
        check_at_least(0, epoch=epoch)
        order = self._order(np.random.default_rng((self.seed, epoch)))
        size = self.batch_size
        return [
            [(epoch, index) for index in order[start : start + size]]
            for start in range(0, size * len(self), size)
        ]

    def _order(self, rng: np.random.Generator) -> list[int]:
        """Shuffle each label's items, repeat the rarer ones, and lay the labels side by side."""
        most = max(map(len, self._classes))
        columns = [_shuffled(items, most, rng) for items in self._classes]
        return [int(index) for index in np.stack(columns, axis=1).reshape(-1)]


def _shuffled(
    items: np.ndarray[tuple[int, ...], np.dtype[np.int64]], count: int, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Draw `count` of the items in rounds: each comes again only after all have come."""
    rounds = math.ceil(count / len(items))
    return np.concatenate([rng.permutation(items) for _ in range(rounds)])[:count]
