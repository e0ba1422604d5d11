"""A budget of masks is spent on whole sequences, scene by scene, and a larger one contains it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakseg.data import Frame
from weakseg.data.labelling import labelled_first


def frames_of(sizes: dict[str, list[int]]) -> list[Frame]:
    """Frames of scenes whose sequences have these lengths."""
    return [
        Frame(
            f"{scene}-{number}-{i}", Path(f"/{scene}/{number}/{i}"), 1, scene, "train", f"{number}"
        )
        for scene, lengths in sizes.items()
        for number, length in enumerate(lengths)
        for i in range(length)
    ]


scenes = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1
)
shares = st.floats(0.01, 1.0)


@given(scenes, shares, shares, st.integers(0, 99))
def test_smaller_budgets_lie_within_larger_ones(
    sizes: dict[str, list[int]], one: float, other: float, seed: int
) -> None:
    frames = frames_of(sizes)
    low, high = sorted((one, other))
    few = {f.id for f in labelled_first(frames, fraction=low, seed=seed)}
    many = {f.id for f in labelled_first(frames, fraction=high, seed=seed)}
    assert few <= many
    assert few


@given(scenes, shares, st.integers(0, 99))
def test_sequences_are_whole_and_the_share_is_as_near_as_the_next_sequence_allows(
    sizes: dict[str, list[int]], fraction: float, seed: int
) -> None:
    frames = frames_of(sizes)
    drawn = labelled_first(frames, fraction=fraction, seed=seed)
    counts = Counter((f.scene, f.sequence) for f in drawn)
    assert counts == {key: sizes[key[0]][int(key[1])] for key in counts}
    longest = max(max(lengths) for lengths in sizes.values())
    wanted = fraction * len(frames)
    assert abs(len(drawn) - wanted) <= max(longest / 2, longest - wanted) + 1e-9


def test_a_whole_budget_is_every_frame() -> None:
    frames = frames_of({"a": [3, 1], "b": [2]})
    assert labelled_first(frames, fraction=1.0, seed=3) == frames


def test_the_order_of_the_frames_does_not_matter(rng: np.random.Generator) -> None:
    frames = frames_of({"a": [3, 1, 4], "b": [2, 2], "c": [5]})
    mixed = [frames[i] for i in rng.permutation(len(frames))]
    one = {f.id for f in labelled_first(frames, fraction=0.4, seed=1)}
    assert {f.id for f in labelled_first(mixed, fraction=0.4, seed=1)} == one


def test_every_scene_gives_its_share() -> None:
    """With many short sequences each scene gives what it should, whatever its size."""
    frames = frames_of({"large": [1] * 400, "small": [1] * 100})
    counts = Counter(f.scene for f in labelled_first(frames, fraction=0.2, seed=0))
    assert counts == {"large": pytest.approx(80, abs=2), "small": pytest.approx(20, abs=2)}


def test_every_frame_is_as_likely_as_any_other() -> None:
    """Over many seeds: a long sequence is drawn no more often than short ones, frame by frame."""
    frames = frames_of({"a": [8, 1, 1], "b": [5, 5]})
    times = Counter(
        frame.id
        for seed in range(2000)
        for frame in labelled_first(frames, fraction=0.5, seed=seed)
    )
    likely = np.array([times[frame.id] / 2000 for frame in frames])
    # Whole sequences: the count is only near the half, and so are the frames' chances.
    assert likely.min() > 0.35
    assert likely.max() < 0.65


def test_frames_without_a_sequence_go_with_their_scene() -> None:
    frames = [Frame(f"x{i}", Path(f"/x{i}"), 1, f"s{i % 2}", "train") for i in range(6)]
    drawn = labelled_first(frames, fraction=0.1, seed=0)
    assert len(drawn) == 3
    assert len({f.scene for f in drawn}) == 1


def test_nothing_to_draw_from_gives_nothing() -> None:
    assert labelled_first([], fraction=0.5, seed=0) == []


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_impossible_budgets_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must"):
        labelled_first(frames_of({"a": [1]}), fraction=fraction, seed=0)
