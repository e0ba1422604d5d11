"""Consecutive frames of a sequence are compared, as looking at whole masks side by side does it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weakseg.arrays import Mask
from weakseg.labels import IGNORE
from weakseg.metrics import Change, FrameFigures, Sequences, measure, summarise

SHAPE = (9, 13)


def film(rng: np.random.Generator, length: int) -> list[tuple[Mask, Mask]]:
    """Found and true masks of frames; some of the truth is ignored."""
    frames = []
    for _ in range(length):
        truth = rng.choice(np.array([0, 1, IGNORE], np.uint8), size=SHAPE, p=[0.5, 0.4, 0.1])
        frames.append(((rng.random(SHAPE) < 0.4).astype(np.uint8), truth))
    return frames


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else math.nan


def brute_force(before: tuple[Mask, Mask], now: tuple[Mask, Mask]) -> tuple[float, float, float]:
    known = (before[1] != IGNORE) & (now[1] != IGNORE)
    found = overlap((before[0] == 1) & known, (now[0] == 1) & known)
    true = overlap((before[1] == 1) & known, (now[1] == 1) & known)
    shares = [
        (found_mask[truth != IGNORE].mean(), (truth == 1).sum() / (truth != IGNORE).sum())
        for found_mask, truth in (before, now)
    ]
    flicker = abs((shares[1][0] - shares[0][0]) - (shares[1][1] - shares[0][1]))
    return found, true, float(flicker)


def test_changes_agree_with_a_brute_force(rng: np.random.Generator) -> None:
    frames = film(rng, 6)
    sequences = Sequences(["a"] * 6)
    changes = [sequences.change("a", *frame) for frame in frames]
    assert changes[0] is None
    for k, change in enumerate(changes[1:]):
        assert change is not None
        expected = brute_force(frames[k], frames[k + 1])
        found = (change.found_iou, change.true_iou, change.flicker)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_sequences_that_are_told_in_turns_stay_apart(rng: np.random.Generator) -> None:
    one, two = film(rng, 4), film(rng, 4)
    alone = Sequences(["a"] * 4)
    expected = [alone.change("a", *frame) for frame in one]
    mixed = Sequences(["a", "b"] * 4)
    found = []
    for first, second in zip(one, two, strict=True):
        found.append(mixed.change("a", *first))
        mixed.change("b", *second)
    assert found == expected


def test_nothing_is_kept_once_a_sequence_is_over(rng: np.random.Generator) -> None:
    frames = film(rng, 3)
    sequences = Sequences(["a", "b", "a"])
    for name, frame in zip("aba", frames, strict=True):
        sequences.change(name, *frame)
    assert not sequences._latest


def test_frames_of_no_sequence_have_no_change(rng: np.random.Generator) -> None:
    sequences = Sequences(["", ""])
    assert [sequences.change("", *frame) for frame in film(rng, 2)] == [None, None]


@pytest.mark.parametrize("found", [0, 1])
def test_masks_that_hold_still_are_perfect(found: int) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:7] = found
    sequences = Sequences(["a", "a"])
    sequences.change("a", mask, mask)
    change = sequences.change("a", mask, mask)
    assert change is not None
    assert change.flicker == 0
    assert not change.is_switch
    if found:
        assert change.found_iou == change.true_iou == 1
    else:  # nothing was found: that says nothing about how still it holds
        assert math.isnan(change.found_iou)


def test_alarm_that_comes_with_the_smoke_is_no_switch() -> None:
    empty, smoke = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    for truth, is_switch in ((smoke, False), (empty, True)):
        sequences = Sequences(["a", "a"])
        sequences.change("a", empty, empty)
        change = sequences.change("a", smoke, truth)
        assert change is not None
        assert change.is_switch is is_switch
        assert change.flicker == float(is_switch)


def test_frames_of_two_sizes_are_compared_by_their_shares_only() -> None:
    sequences = Sequences(["a", "a"])
    sequences.change("a", np.ones((4, 4), np.uint8), np.ones((4, 4), np.uint8))
    change = sequences.change("a", np.ones((6, 6), np.uint8), np.ones((6, 6), np.uint8))
    assert change is not None
    assert math.isnan(change.found_iou)
    assert change.flicker == 0


def test_figures_are_means_over_consecutive_frames() -> None:
    empty = np.zeros(SHAPE, np.uint8)

    def one(change: Change | None) -> FrameFigures:
        return measure(empty, empty, id="f", label=0, scene="s", change=change)

    frames = [
        one(None),
        one(Change(0.5, 1.0, 0.1, is_switch=True)),
        one(Change(math.nan, 0.5, 0.3, is_switch=False)),
        one(Change(1.0, math.nan, math.nan, is_switch=False)),
    ]
    figures = summarise(frames, draws=0)
    assert figures["temporal_iou"] == 0.75
    assert figures["temporal_iou_truth"] == 0.75
    assert figures["flicker"] == pytest.approx(0.2)
    assert figures["alarm_switches"] == 0.5
    assert "flicker" not in summarise(frames[:1], draws=0)
