"""SAM's masks of a whole frame are kept on disk; whatever they are, scores stay in bounds."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.arrays import FrameArray
from weakseg.refine import FrameContext, SamStep
from weakseg.refine.acceptance import COMBINATIONS, RULES, combine_scores, kept_by_floor
from weakseg.refine.prompts import points_on
from weakseg.refine.sam_masks import cached_masks, points_at_once
from weakseg.refine.step import scores_of_smoke

SHAPE = (5, 7)
UNIT_MAPS = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))
MASKS = st.lists(hnp.arrays(np.bool_, SHAPE), max_size=3)


class Counter:
    """Give fixed masks, and count how often."""

    def __init__(self, count: int = 3, shape: tuple[int, int] = (11, 13)) -> None:
        self.calls = 0
        rng = np.random.default_rng(0)
        self.masks = [rng.random(shape) < 0.3 for _ in range(count)]

    def __call__(self) -> list[np.ndarray]:
        self.calls += 1
        return self.masks


def context_of(evidence: np.ndarray, cache: Path | None = None) -> FrameContext:
    return FrameContext("frame", 1.0, evidence, cache)


# ---- the cache


@pytest.mark.parametrize("count", [0, 1, 3])
def test_masks_are_computed_once_and_come_back_bit_for_bit(tmp_path: Path, count: int) -> None:
    compute, path = Counter(count), tmp_path / "deep" / "a.npz"
    for found in (cached_masks(path, compute), cached_masks(path, compute)):
        assert len(found) == count
        assert all(mask.dtype == np.bool_ for mask in found)
        assert all(map(np.array_equal, found, compute.masks))
    assert compute.calls == 1
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_without_a_path_no_mask_is_kept() -> None:
    compute = Counter()
    assert cached_masks(None, compute) is compute.masks
    cached_masks(None, compute)
    assert compute.calls == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "flipped", "pickled", "other"])
def test_damaged_masks_are_computed_anew_and_mended(tmp_path: Path, damage: str) -> None:
    compute, path = Counter(shape=(40, 60)), tmp_path / "a.npz"
    cached_masks(path, compute)
    whole = path.read_bytes()
    middle = whole.index(b"bits.npy") + 150
    other = tmp_path / "other.npz"
    np.savez(other, bits=np.array([None] if damage == "pickled" else [1]))
    broken = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "garbage": b"\xff" * 300,
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "pickled": other.read_bytes(),
        "other": other.read_bytes(),
    }
    path.write_bytes(broken[damage])
    assert all(map(np.array_equal, cached_masks(path, compute), compute.masks))
    assert compute.calls == 2
    assert path.read_bytes() == whole


def test_masks_of_the_whole_frame_depend_on_frame_weights_and_grid_alone(
    plume: FrameArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[np.ndarray] = []

    def answer(step: SamStep, points: np.ndarray, *_: Any) -> list[np.ndarray]:
        asked.append(points)
        return Counter(shape=plume.shape[:2]).masks

    monkeypatch.setattr(SamStep, "_masks_at", answer)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    step = SamStep(checkpoint=str(weights), prompts="everything", points_per_side=4)
    here = context_of(np.ones(plume.shape[:2], np.float32), tmp_path / "cache")
    first = step.frame_masks(plume, here)
    assert asked[0].shape == (16, 2)
    elsewhere = replace(here, frame_id="another", evidence=here.evidence * np.float32(0.1))
    same = (replace(step, weight=0.1, acceptance="sepl", prompts="boxes", device="auto"), step)
    for other in same:
        assert all(map(np.array_equal, other.frame_masks(plume, elsewhere), first))
    assert len(asked) == 1
    weights_too = tmp_path / "other.safetensors"
    weights_too.write_bytes(b"other weights")
    for changed in (
        {"points_per_side": 5},
        {"min_quality": 0.1},
        {"min_stability": 0.1},
        {"checkpoint": str(weights_too)},
    ):
        replace(step, **changed).frame_masks(plume, here)
    step.frame_masks(plume[::-1], here)
    assert len(asked) == 6
    assert len(list((tmp_path / "cache" / "sam_masks").iterdir())) == 6


def test_points_lie_on_the_grid_and_on_the_peaks() -> None:
    region, score = np.zeros((8, 8), bool), np.zeros((8, 8), np.float32)
    region[:4, :4] = True
    score[3, 2] = 1
    points = points_on([region, region], score, points_per_side=4, peaks=1)
    assert points.tolist() == [[1, 1], [1, 3], [2, 3], [3, 1], [3, 3]]


# ---- bounds


@settings(deadline=None)
@given(UNIT_MAPS, UNIT_MAPS, MASKS, MASKS, st.sampled_from(COMBINATIONS), st.floats(0, 1))
def test_the_floor_kept_what_would_have_been_lowered_without_it(
    smoke: np.ndarray,
    evidence: np.ndarray,
    masks: list[np.ndarray],
    regions: list[np.ndarray],
    combine: str,
    floor: float,
) -> None:
    told = {"combine": combine, "floor": floor}
    kept = kept_by_floor(smoke, masks, regions, evidence=evidence, **told)
    with_floor = combine_scores(smoke, masks, regions, evidence=evidence, weight=1, **told)
    # A floor above all evidence, as 1 may be reached.
    told["floor"] = 1
    without = combine_scores(smoke, masks, regions, evidence=evidence * 0, weight=1, **told)
    np.testing.assert_array_equal(kept, without < with_floor)
    assert np.all(evidence[kept] >= floor)


@settings(deadline=None, max_examples=80)
@given(
    smoke=UNIT_MAPS,
    evidence=UNIT_MAPS,
    masks=MASKS,
    combine=st.sampled_from(COMBINATIONS),
    rule=st.sampled_from(RULES),
    weight=st.floats(0, 1),
    floor=st.floats(0, 1),
    max_area=st.sampled_from((0.5, 1.0)),
)
def test_whatever_sam_says_scores_stay_within_bounds(
    smoke: np.ndarray,
    evidence: np.ndarray,
    masks: list[np.ndarray],
    combine: str,
    rule: str,
    weight: float,
    floor: float,
    max_area: float,
) -> None:
    step = SamStep(
        combine=combine,
        acceptance=rule,
        acceptance_threshold=0.2,
        weight=weight,
        floor=floor,
        max_area=max_area,
    )
    frame = np.zeros((*SHAPE, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SamStep, "candidates", lambda *_: masks)
        before = scores_of_smoke(smoke)
        after = step(frame, before, context_of(evidence))
    np.testing.assert_allclose(after.sum(axis=0), 1, atol=1e-6)
    smoke, refined = before[1], after[1]
    assert np.all(refined >= np.float32(1 - weight) * smoke - 1e-6)
    assert np.all(refined <= smoke + np.float32(weight) * (1 - smoke) + 1e-6)
    assert np.all(refined[evidence >= floor] >= smoke[evidence >= floor])
    if combine == "union":
        assert np.all(refined >= smoke)
    if combine == "trim":
        assert np.all(refined <= smoke)
    seen = np.any([np.zeros(SHAPE, bool), *masks], axis=0)
    assert np.all(refined[~seen] <= smoke[~seen])


def test_what_only_the_floor_kept_is_told_for_each_frame(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    evidence = np.array([[0.9, 0.9, 0.4, 0.9, 0.0]], np.float32)
    mask = np.array([[1, 0, 0, 0, 0]], bool)
    monkeypatch.setattr(SamStep, "candidates", lambda *_: [mask])
    step = SamStep(acceptance="none", floor=0.7, weight=0.5)
    with caplog.at_level(logging.DEBUG, "weakseg.refine.sam"):
        after = step(np.zeros((1, 5, 3), np.uint8), scores_of_smoke(evidence), context_of(evidence))
    np.testing.assert_allclose(after[1], [[0.9, 0.9, 0.2, 0.9, 0.0]], atol=1e-6)
    assert "frame: 1 of 1 masks" in caplog.text
    assert "frame: 2 pixels are kept by the floor alone" in caplog.text


def test_large_frames_ask_fewer_points_at_once() -> None:
    assert points_at_once(64, 256, 256) == 64
    assert points_at_once(64, 1280, 1920) == 9
    assert points_at_once(64, 30_000, 30_000) == 1
