"""Scenes never straddle a split, whatever the frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakseg.data.frames import Frame
from weakseg.data.splits import cut_validation, straddling_scenes
from weakseg.errors import DataError


def _frames(pairs: list[tuple[int, int]]) -> list[Frame]:
    return [
        Frame(f"f{i}", Path(f"/d/f{i}.png"), label, f"s{scene}", "train")
        for i, (scene, label) in enumerate(pairs)
    ]


PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=60)


@given(pairs=PAIRS, fraction=st.floats(0.01, 0.9), seed=st.integers(0, 1000))
def test_scenes_stay_whole_and_both_sides_keep_every_label(
    pairs: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    frames = _frames(pairs)
    try:
        cut = cut_validation(frames, fraction=fraction, seed=seed)
    except DataError:
        assert any(len({s for s, label in pairs if label == one}) == 1 for one in (0, 1))
        return
    labels = {label for _, label in pairs}
    assert not straddling_scenes(cut)
    assert [frame.id for frame in cut] == [frame.id for frame in frames]
    for split in ("train", "val"):
        assert {frame.label for frame in cut if frame.split == split} == labels


@given(pairs=PAIRS, seed=st.integers(0, 9))
def test_the_order_of_frames_does_not_matter(pairs: list[tuple[int, int]], seed: int) -> None:
    frames = _frames(pairs)
    try:
        cut = cut_validation(frames, fraction=0.3, seed=seed)
    except DataError:
        return
    turned = cut_validation(frames[::-1], fraction=0.3, seed=seed)
    assert turned[::-1] == cut


def test_the_cut_is_near_its_share_of_both_labels() -> None:
    frames = _frames([(i % 30, int(i % 3 == 0)) for i in range(300)])
    val = [f for f in cut_validation(frames, fraction=0.2, seed=0) if f.split == "val"]
    assert sum(f.label for f in val) == 20
    assert sum(1 - f.label for f in val) == 40


def test_other_splits_pass_unchanged() -> None:
    frames = [*_frames([(i, i % 2) for i in range(8)])]
    test = Frame("t", Path("/d/t.png"), 1, "s0", "test")
    assert test in cut_validation([*frames, test], fraction=0.3, seed=0)


def test_another_seed_draws_other_scenes() -> None:
    frames = _frames([(i, i % 2) for i in range(40)])
    cuts = {
        tuple(f.split for f in cut_validation(frames, fraction=0.2, seed=seed)) for seed in range(5)
    }
    assert len(cuts) == 5


def test_a_single_scene_of_a_label_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"label 1 \(smoke\) belong to one scene \(s0\).*val_frac"):
        cut_validation(_frames([(0, 1), (0, 1), (1, 0), (2, 0)]), fraction=0.2, seed=0)
