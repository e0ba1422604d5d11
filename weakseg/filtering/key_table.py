"""Number integer keys on any device: sort them once, find others by bisection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_FIRST_WORD = 1 << 62
# A later word is joined to the number of what comes before it, which is below 2^31.
_LATER_WORD = 1 << 31


class Packing:
    """Pack digits into as few int64 words as surely hold them.

    The radices are known beforehand, so nothing is read back from the device to choose the words.
    Place and colour of a frame take one.

    Args:
        radices: Of the digits, most significant first, each at most 2^31.
    """

    def __init__(self, radices: Sequence[int]) -> None:
        self.sizes = [1]
        places = []
        for radix in radices:
            if self.sizes[-1] * radix > (_LATER_WORD if len(self.sizes) > 1 else _FIRST_WORD):
                self.sizes.append(1)
            self.sizes[-1] *= radix
            places.append((len(self.sizes) - 1, self.sizes[-1]))
        self._strides = [(word, self.sizes[word] // size) for word, size in places]

    def pack(self, digits: Sequence[Tensor]) -> list[Tensor]:
        """Return the int64 words of whole digits, each in 0..radix - 1, that broadcast."""
        words: list[Tensor | None] = [None] * len(self.sizes)
        for digit, (word, stride) in zip(digits, self._strides, strict=True):
            share, held = digit.long() * stride, words[word]
            words[word] = share if held is None else held + share
        return [word for word in words if word is not None]

    def shift(self, changes: Sequence[int]) -> list[int]:
        """Return what such changes of the digits add to each word."""
        words = [0] * len(self.sizes)
        for change, (word, stride) in zip(changes, self._strides, strict=True):
            words[word] += change * stride
        return words


class Groups:
    """Rows brought together by key; within a group they keep their order, so there is but one.

    Args:
        rows: (P,) int64, the row that stands at each place.
        group: (P,) int64, the group it is in, ascending.
        starts: (G + 1,) int64, where each group begins; the last is P.
    """

    def __init__(self, rows: Tensor, group: Tensor, starts: Tensor) -> None:
        self.rows = rows
        self.group = group
        self.starts = starts
        places = torch.arange(len(rows), device=rows.device)
        self._places = torch.empty_like(rows).scatter_(0, rows, places)

    def undo(self, ordered: Tensor) -> Tensor:
        """Put rows that stand group by group, (P, ...), back in their places."""
        return ordered[self._places]

    def sum(self, ordered: Tensor) -> Tensor:
        """Sum (P, C) rows that stand group by group over each group, first to last: (G, C)."""
        # Unsafe: a check of the starts would read them back.
        return torch.segment_reduce(ordered, "sum", offsets=self.starts, axis=0, unsafe=True)


class KeyTable:
    """Number the distinct ones among P keys.

    Args:
        words: Of the keys, (P,) int64 each, as `packing` made them.
        packing: What packed them.
    """

    def __init__(self, words: Sequence[Tensor], packing: Packing) -> None:
        self._sizes = packing.sizes[1:]
        self._levels: list[Tensor] = []
        key = words[0]
        for word, size in zip(words[1:], self._sizes, strict=True):
            level, number = torch.unique(key, return_inverse=True)
            self._levels.append(level)
            key = number * size + word
        ordered, rows = torch.sort(key, stable=True)
        self._keys, group, counts = torch.unique_consecutive(
            ordered, return_inverse=True, return_counts=True
        )
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        self.order = Groups(rows, group, starts)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def firsts(self) -> Tensor:
        """For each distinct key, its first row among those given."""
        return self.order.rows[self.order.starts[:-1]]

    @property
    def counts(self) -> Tensor:
        """For each distinct key, how often it was given."""
        return self.order.starts.diff()

    def find(self, words: Sequence[Tensor]) -> Tensor:
        """Return the numbers of other keys, (Q,) int64; for those not there, how many there are."""
        key, missing = words[0], torch.zeros_like(words[0], dtype=torch.bool)
        for level, word, size in zip(self._levels, words[1:], self._sizes, strict=True):
            number = torch.searchsorted(level, key).clamp_(max=len(level) - 1)
            missing |= level[number] != key
            key = number * size + word
        number = torch.searchsorted(self._keys, key).clamp_(max=len(self) - 1)
        missing |= self._keys[number] != key
        return number.masked_fill_(missing, len(self))
