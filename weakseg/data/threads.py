"""Do one thing to many files at once: reading and hashing release the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from weakseg.processors import count_processors

T = TypeVar("T")
R = TypeVar("R")


def map_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `work(item)` in the order of `items`, a few items at a time."""
    workers = min(16, 2 * count_processors())
    with ThreadPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(work, items)
