"""The order of training is a pure function that forgets no frame."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakseg.data.sampling import EpochSampler

LABELS = st.lists(st.integers(0, 1), min_size=1, max_size=70)


@given(labels=LABELS, seed=st.integers(0, 99), epoch=st.integers(0, 99), size=st.integers(1, 20))
def test_batches_depend_on_seed_and_epoch_alone(
    labels: list[int], seed: int, epoch: int, size: int
) -> None:
    one = EpochSampler(len(labels), seed=seed, batch_size=size, balance=labels)
    other = EpochSampler(len(labels), seed=seed, batch_size=size, balance=labels)
    other.batches(epoch + 1)
    assert one.batches(epoch) == other.batches(epoch)
    assert len(one.batches(epoch)) == len(one)


@given(length=st.integers(1, 90), seed=st.integers(0, 99), size=st.integers(1, 20))
def test_without_balance_every_item_comes_once(length: int, seed: int, size: int) -> None:
    batches = EpochSampler(length, seed=seed, batch_size=size).batches(3)
    assert sorted(key for batch in batches for key in batch) == [(3, i) for i in range(length)]
    assert all(len(batch) == size for batch in batches[:-1])


@given(labels=LABELS, seed=st.integers(0, 99))
def test_balance_draws_labels_equally_and_covers_everything(labels: list[int], seed: int) -> None:
    batches = EpochSampler(len(labels), seed=seed, batch_size=8, balance=labels).batches(0)
    drawn = [i for batch in batches for _, i in batch]
    assert set(drawn) == set(range(len(labels)))
    assert len(set(Counter(labels[i] for i in drawn).values())) == 1
    for label in set(labels):
        times = [count for i, count in Counter(drawn).items() if labels[i] == label]
        assert max(times) - min(times) <= 1


@given(labels=LABELS)
def test_every_balanced_batch_is_balanced(labels: list[int]) -> None:
    for batch in EpochSampler(len(labels), seed=0, batch_size=6, balance=labels).batches(1):
        counts = Counter(labels[i] for _, i in batch)
        if len(set(labels)) == 2:
            assert counts[0] == counts[1]


def test_epochs_and_seeds_differ() -> None:
    orders = {
        str([i for batch in EpochSampler(50, seed=s, batch_size=50).batches(e) for _, i in batch])
        for s in range(3)
        for e in range(3)
    }
    assert len(orders) == 9


def test_a_partial_batch_can_be_dropped_but_not_the_only_one() -> None:
    assert [len(b) for b in EpochSampler(7, seed=0, batch_size=3, drop_last=True).batches(0)] == [
        3,
        3,
    ]
    assert [len(b) for b in EpochSampler(2, seed=0, batch_size=3, drop_last=True).batches(0)] == [2]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="balance must name 3 labels, got 2"):
        EpochSampler(3, seed=0, batch_size=1, balance=[0, 1])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        EpochSampler(3, seed=0, batch_size=0)
