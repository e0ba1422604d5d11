"""Scores are measured against masks as a brute force does it; frames without truth stay out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.arrays import Mask, ScoreMap
from weakseg.data import DataError, Frame
from weakseg.stages.evaluation.measuring import as_json, evaluate, frames_with_truth
from weakseg.stages.scores import TOP_SHARE, frame_score

SIDE = 12


def frame(name: str, label: int, split: str = "test", scene: str = "") -> Frame:
    return Frame(name, Path(f"/frames/{name}.png"), label, scene or name, split)


@pytest.fixture
def scores(rng: np.random.Generator) -> dict[str, ScoreMap]:
    return {name: rng.random((SIDE, SIDE), dtype=np.float32) for name in "abcd"}


@pytest.fixture
def masks(rng: np.random.Generator, tmp_path: Path) -> dict[Path, Path]:
    """Truth of a and b, with ignored pixels; c and d are smoke-free and have none."""
    found = {}
    for name in "ab":
        ids = rng.choice(np.array([0, 1, 255], np.uint8), size=(SIDE, SIDE), p=[0.6, 0.3, 0.1])
        Image.fromarray(ids).save(tmp_path / f"{name}.png")
        found[Path(f"/frames/{name}.png")] = tmp_path / f"{name}.png"
    return found


def truth(name: str, masks: Mapping[Path, Path]) -> Mask:
    path = masks.get(Path(f"/frames/{name}.png"))
    if path is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    with Image.open(path) as picture:
        return np.array(picture)


def overlap(found: np.ndarray, real: np.ndarray) -> float:
    union = (found | real).sum()
    return float((found & real).sum() / union) if union else 1.0


FRAMES = [frame("a", 1), frame("b", 1), frame("c", 0), frame("d", 0)]


def test_figures_equal_a_brute_force(scores: dict[str, ScoreMap], masks: dict[Path, Path]) -> None:
    threshold = 0.8
    scores["d"][:] = 0.1
    result = evaluate(FRAMES, masks, lambda f: (scores[f.id], 0.5), threshold, draws=0)
    known = {name: truth(name, masks) != 255 for name in "abcd"}
    found = {name: (scores[name] >= threshold) & known[name] for name in "abcd"}
    real = {name: truth(name, masks) == 1 for name in "abcd"}
    each = [overlap(found[name], real[name]) for name in "ab"]
    every_found = np.concatenate([found[name][known[name]] for name in "abcd"])
    every_real = np.concatenate([real[name][known[name]] for name in "abcd"])
    figures = result.figures
    assert figures["iou_per_image"] == pytest.approx(np.mean(each))
    assert figures["iou_pooled"] == pytest.approx(overlap(every_found, every_real))
    both = (overlap(every_found, every_real) + overlap(~every_found, ~every_real)) / 2
    assert figures["miou"] == pytest.approx(both)
    assert figures["false_alarm_share"] == 0.5
    assert figures["precision"] == pytest.approx(
        (every_found & every_real).sum() / every_found.sum()
    )
    assert figures["recall"] == pytest.approx((every_found & every_real).sum() / every_real.sum())
    assert [one.id for one in result.frames] == list("abcd")


def test_oracle_is_the_best_of_all_thresholds(
    scores: dict[str, ScoreMap], masks: dict[Path, Path]
) -> None:
    result = evaluate(FRAMES, masks, lambda f: (scores[f.id], 0.5), 0.9, draws=0)
    known = {name: truth(name, masks) != 255 for name in "ab"}
    best = max(
        np.mean([overlap((scores[n] >= t) & known[n], (truth(n, masks) == 1)) for n in "ab"])
        for t in np.linspace(0, 1, 257)
    )
    assert result.figures["oracle_iou_per_image"] == pytest.approx(best, abs=0.01)
    assert max(value for _, value in result.curve) == pytest.approx(best, abs=0.01)


def test_masks_of_the_run_go_before_the_threshold(
    scores: dict[str, ScoreMap], masks: dict[Path, Path]
) -> None:
    result = evaluate(
        FRAMES,
        masks,
        lambda f: (scores[f.id], 0.5),
        0.0,
        masks_of_run=lambda f: np.where(truth(f.id, masks) == 1, 1, 255).astype(np.uint8),
        draws=0,
    )
    # What a mask ignores is not called smoke.
    assert result.figures["iou_per_image"] == 1
    assert result.figures["false_alarm_share"] == 0


def test_mask_of_another_size_is_refused(scores: dict[str, ScoreMap], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "a.png")
    wrong = {Path("/frames/a.png"): tmp_path / "a.png"}
    with pytest.raises(DataError, match="covers 3x4 pixels but its frame 12x12"):
        evaluate(FRAMES[:1], wrong, lambda f: (scores[f.id], 0.5), 0.5, draws=0)


def test_same_seed_same_intervals(scores: dict[str, ScoreMap], masks: dict[Path, Path]) -> None:
    def interval(seed: int) -> tuple[float, float]:
        found = evaluate(
            FRAMES, masks, lambda f: (scores[f.id], 0.5), 0.8, draws=200, seed=seed
        ).figures
        return found["iou_per_image_low"], found["iou_per_image_high"]

    low, high = interval(0)
    assert low <= high
    assert interval(0) == (low, high)


def test_json_says_null_for_what_cannot_be_known(scores: dict[str, ScoreMap]) -> None:
    result = evaluate(FRAMES[2:], {}, lambda f: (scores[f.id], math.nan), 0.8, draws=0)
    text = json.dumps(as_json(result), allow_nan=False)
    told = json.loads(text)
    assert told["figures"]["iou_per_image"] is None
    assert [one["iou"] for one in told["frames"]] == [None, None]
    assert [one["probability"] for one in told["frames"]] == [None, None]


# ---- which frames


def test_frames_with_masks_and_the_smoke_free_beside_them_are_judged() -> None:
    frames = [
        frame("smoke", 1),
        frame("smoke-without-mask", 1),
        frame("clear", 0),
        frame("clear-of-train", 0, "train"),
    ]
    masks = {frames[0].path: Path("/m.png")}
    assert [one.id for one in frames_with_truth(frames, masks, None)] == ["smoke", "clear"]
    assert [one.id for one in frames_with_truth(frames, masks, "test")] == ["smoke", "clear"]
    assert frames_with_truth(frames, masks, "train") == []
    assert frames_with_truth(frames, {}, None) == []


def test_clear_frame_with_a_mask_is_judged_by_it() -> None:
    one = frame("clear", 0, "train")
    assert frames_with_truth([one], {one.path: Path("/m.png")}, None) == [one]


# ---- the frame's own score


def test_frame_score_is_the_mean_of_the_most_probable_pixels(rng: np.random.Generator) -> None:
    smoke = rng.random((40, 50), dtype=np.float32)
    count = round(TOP_SHARE * smoke.size)
    assert count == 10
    assert frame_score(smoke) == pytest.approx(np.sort(smoke.ravel())[-count:].mean())


def test_frame_score_of_a_small_map_is_its_maximum() -> None:
    assert frame_score(np.array([[0.1, 0.7], [0.2, 0.3]], np.float32)) == pytest.approx(0.7)


def test_frame_score_sees_a_plume_of_half_a_percent() -> None:
    smoke = np.zeros((100, 100), np.float32)
    assert frame_score(smoke) == 0
    smoke[:5, :10] = 1
    assert frame_score(smoke) == 1
