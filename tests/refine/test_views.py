"""Second looks are combined within bounds, kept on disk, and never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.cam import Calibration, CamRecipe
from weakseg.errors import ArtifactError
from weakseg.models import LocalClassifier
from weakseg.refine import (
    Background,
    CamFusion,
    DenseCrf,
    FrameContext,
    MultiScale,
    SlidingWindow,
)
from weakseg.refine.second_look import COMBINATIONS, combine_views
from weakseg.refine.step import scores_of_smoke

STEPS: tuple[Callable[..., Any], ...] = (CamFusion, MultiScale, SlidingWindow)
PROBABILITY = 0.8


@dataclass
class Look:
    """A second look that always sees the same, and remembers what it was asked."""

    seen: ScoreMap
    asked: list[CamRecipe] = field(default_factory=list)

    def __call__(self, recipe: CamRecipe) -> ScoreMap:
        self.asked.append(recipe)
        return self.seen


@pytest.fixture
def first(plume: FrameArray) -> ScoreMap:
    """(H, W) smoke scores, at most the probability."""
    draw = np.random.default_rng(1).random(plume.shape[:2], dtype=np.float32)
    return draw * np.float32(PROBABILITY)


@pytest.fixture
def look(plume: FrameArray) -> Look:
    draw = np.random.default_rng(2).random(plume.shape[:2], dtype=np.float32)
    return Look(draw * np.float32(PROBABILITY))


def context(evidence: ScoreMap, look: Look | None, cache: Path | None = None) -> FrameContext:
    return FrameContext("f1", PROBABILITY, evidence, cache, look)


# ---- combining


def test_combinations_are_the_documented_formulas() -> None:
    s, e = np.array([[0.4, 0.4, 0.0]], np.float32), np.array([[0.9, 0.1, 0.5]], np.float32)
    found = {name: combine_views(s, e, combine=name, weight=0.25) for name in COMBINATIONS}
    np.testing.assert_allclose(found["mean"], [[0.525, 0.325, 0.125]], rtol=1e-6)
    np.testing.assert_allclose(found["product"], [[0.4, 0.4**0.75 * 0.1**0.25, 0]], rtol=1e-6)
    np.testing.assert_allclose(found["max"], [[0.4, 0.4, 0.125]], rtol=1e-6)


@given(s=st.floats(0, 1, width=32), e=st.floats(0, 1, width=32), weight=st.floats(0, 1, width=32))
def test_no_combination_leaves_its_bounds(s: float, e: float, weight: float) -> None:
    smoke, seen = np.full((1, 1), s, np.float32), np.full((1, 1), e, np.float32)
    found = {
        name: float(combine_views(smoke, seen, combine=name, weight=weight)[0, 0])
        for name in COMBINATIONS
    }
    slack = 1e-6  # Of float32.
    assert min(s, e) - slack <= found["mean"] <= max(s, e) + slack
    assert min(s, e) - slack <= found["product"] <= s
    assert s <= found["max"] <= max(s, e)
    for name in COMBINATIONS:
        kept = combine_views(smoke, seen, combine=name, weight=0)
        np.testing.assert_allclose(kept, smoke, atol=1e-7)
        if s == e and name != "max":
            assert found[name] == pytest.approx(s, abs=slack)


# ---- steps


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("combine", COMBINATIONS)
def test_steps_combine_scores_with_what_they_see(
    plume: FrameArray, first: ScoreMap, look: Look, step: Callable[..., Any], combine: str
) -> None:
    given_scores = scores_of_smoke(first)
    before = given_scores.copy()
    found = step(combine=combine, weight=0.3)(plume, given_scores, context(first, look))
    expected = combine_views(first, look.seen, combine=combine, weight=0.3)
    # Evidence goes through float16.
    np.testing.assert_allclose(found[1], expected, atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    assert found.dtype == np.float32
    assert found[1].max() <= np.float32(PROBABILITY)
    assert np.abs(found[1] - first).max() > 0.01
    np.testing.assert_array_equal(given_scores, before)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("combine", COMBINATIONS)
def test_scores_never_rise_above_the_classifiers_probability(
    plume: FrameArray, step: Callable[..., Any], combine: str
) -> None:
    full = np.full(plume.shape[:2], PROBABILITY, np.float32)
    over = Look(np.ones(plume.shape[:2], np.float32))
    found = step(combine=combine, weight=1.0)(plume, scores_of_smoke(full), context(full, over))
    np.testing.assert_array_equal(found[1], full)


def test_each_step_looks_in_its_own_way(plume: FrameArray, first: ScoreMap, look: Look) -> None:
    for step in (CamFusion(), MultiScale(), SlidingWindow()):
        step(plume, scores_of_smoke(first), context(first, look))
    fused, scaled, slid = look.asked
    assert (fused.layer_count, fused.fusion) == (4, "mean")
    assert scaled.scales == (0.5, 1.0, 1.5, 2.0)
    assert (slid.window, slid.image_size) == (32, 224)
    assert all(recipe.flip and recipe.method == "local" for recipe in look.asked)


@pytest.mark.parametrize(
    ("window", "size", "pixels"),
    [
        (0.25, (1280, 1920), 320),
        (0.25, (1920, 1280), 320),
        (0.5, (100, 300), 50),
        (0.25, (100, 300), 32),
        (1.0, (90, 80), 80),
        (200, (1280, 1920), 200),
    ],
)
def test_windows_are_a_share_of_the_short_side_or_pixels(
    window: float, size: tuple[int, int], pixels: int
) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    assert SlidingWindow(window=window).recipe(frame).window == pixels


@pytest.mark.parametrize("step", STEPS)
def test_without_a_classifier_the_way_out_is_told(
    plume: FrameArray, first: ScoreMap, step: Callable[..., Any]
) -> None:
    looking = step()
    words = f"refine step {looking.name} .*no classifier.*give stage 2 a stage-1 run"
    with pytest.raises(ArtifactError, match=words):
        looking(plume, scores_of_smoke(first), context(first, None))


@pytest.mark.parametrize("step", STEPS)
def test_settings_tell_all_that_changes_the_result(step: Callable[..., Any]) -> None:
    plain = step().settings()
    assert json.loads(json.dumps(plain)) == plain
    others = {"method": "layer_cam", "flip": False, "combine": "max", "weight": 0.1}
    own = {
        CamFusion: {"layers": ["a"], "layer_count": 2, "fusion": "max", "scales": [2.0]},
        MultiScale: {"layers": ["a"], "fusion": "max", "scales": [2.0]},
        SlidingWindow: {"layers": ["a"], "fusion": "max", "window": 64, "image_size": None},
    }[step]
    for key, value in (others | own).items():
        assert step(**{key: value}).settings() == {**plain, key: value}
    assert set(plain) == set(others | own)
    assert step(batch_size=3).settings() == plain


@pytest.mark.parametrize(
    ("step", "settings", "words"),
    [
        (CamFusion, {"combine": "sum"}, "combine must be one of mean, product, max"),
        (MultiScale, {"weight": 1.5}, r"weight must lie in \[0, 1\]"),
        (CamFusion, {"fusion": "sum"}, "fusion must be one of"),
        (CamFusion, {"layer_count": -1}, "layer_count must be at least 0"),
        (MultiScale, {"scales": [0]}, "scales must be above 0"),
        (MultiScale, {"method": "guess"}, "method must be one of"),
        (SlidingWindow, {"window": 0}, "window must be above 0"),
        (SlidingWindow, {"window": 16}, "window must be at least 32"),
        (SlidingWindow, {"image_size": 8}, "image_size must be at least 32"),
    ],
)
def test_wrong_settings_are_refused(
    step: Callable[..., Any], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        step(**settings)


@pytest.mark.parametrize("wrong", ["size", "range"])
def test_what_is_no_evidence_is_refused(plume: FrameArray, first: ScoreMap, wrong: str) -> None:
    seen = first[:-1] if wrong == "size" else first + 1
    words = "must have shape" if wrong == "size" else "must lie in"
    with pytest.raises(ValueError, match=f"evidence of f1 {words}"):
        CamFusion()(plume, scores_of_smoke(first), context(first, Look(seen)))


# ---- the cache


def test_a_frame_is_looked_at_once(
    plume: FrameArray, first: ScoreMap, look: Look, tmp_path: Path
) -> None:
    scores = scores_of_smoke(first)
    fresh = CamFusion()(plume, scores, context(first, look))
    kept = CamFusion()(plume, scores, context(first, look, tmp_path))
    again = CamFusion(combine="mean", batch_size=2)(plume, scores, context(first, look, tmp_path))
    assert len(look.asked) == 2
    np.testing.assert_array_equal(fresh, kept)
    np.testing.assert_array_equal(kept, again)
    (file,) = (tmp_path / "views").iterdir()
    assert file.suffix == ".npz"


def test_recipe_pixels_and_classifier_name_the_file(
    plume: FrameArray, first: ScoreMap, look: Look, tmp_path: Path
) -> None:
    other = plume.copy()
    other[0, 0, 0] ^= 1
    scores = scores_of_smoke(first)
    for step in (CamFusion(), MultiScale(), SlidingWindow(), MultiScale(flip=False)):
        step(plume, scores, context(first, look, tmp_path))
    MultiScale()(other, scores, context(first, look, tmp_path))
    MultiScale()(plume, scores, context(first / 2, look, tmp_path))
    MultiScale()(plume, scores, FrameContext("f1", 0.81, first, tmp_path, look))
    assert len(look.asked) == 7
    MultiScale()(plume, scores, FrameContext("another id", PROBABILITY, first, tmp_path, look))
    assert len(look.asked) == 7


def test_what_was_seen_in_one_precision_is_not_taken_for_another(
    plume: FrameArray, first: ScoreMap, look: Look, tmp_path: Path
) -> None:
    for precision in ("cuda 32-true", "cuda bf16-mixed", "cuda 32-true"):
        seen = FrameContext("f1", PROBABILITY, first, tmp_path, look, look_precision=precision)
        MultiScale()(plume, scores_of_smoke(first), seen)
    assert len(look.asked) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "flipped", "foreign", "too high"])
def test_a_damaged_file_is_made_anew(
    plume: FrameArray, first: ScoreMap, look: Look, tmp_path: Path, damage: str
) -> None:
    def refined() -> np.ndarray:
        return MultiScale()(plume, scores_of_smoke(first), context(first, look, tmp_path))

    expected = refined()
    (file,) = (tmp_path / "views").iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    broken = {
        "empty": b"",
        "cut": whole[:middle],
        "garbage": b"\xff" * 300,
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
    }
    if damage == "foreign":
        np.savez(file, evidence=np.zeros((3, 3), np.float16))
    elif damage == "too high":
        np.savez(file, evidence=np.full(first.shape, 2, np.float16))
    else:
        file.write_bytes(broken[damage])
    np.testing.assert_array_equal(refined(), expected)
    assert len(look.asked) == 2
    assert file.read_bytes() == whole


# ---- with others


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("turned", [False, True])
def test_steps_compose_with_the_crf_in_any_order(
    plume: FrameArray, first: ScoreMap, look: Look, step: Callable[..., Any], turned: bool
) -> None:
    scores = Background()(first)
    steps = [step(), DenseCrf(iterations=1, threads=1)]
    for each in reversed(steps) if turned else steps:
        scores = each(plume, scores, context(first, look))
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-4)
    assert scores.shape == (2, *plume.shape[:2])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_real_classifier_looks_again(plume: FrameArray, name: str) -> None:
    torch.manual_seed(0)
    model, calibration = LocalClassifier(name, weights=None).eval(), Calibration(logit_slope=0)
    image = torch.from_numpy(plume).permute(2, 0, 1)[None].float() / 255

    def look(recipe: CamRecipe) -> ScoreMap:
        maps, logits = recipe.raw_cam(model, image)
        low = calibration.evidence(maps[0].numpy(), float(logits[0]))
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(low)[None, None], plume.shape[:2]
        )
        return np.asarray(resized[0, 0].numpy())

    first = look(CamRecipe(method="local"))
    seen = FrameContext("f1", 0.5, first, None, look)
    steps = (CamFusion(), MultiScale(), SlidingWindow(image_size=64))
    found = [step(plume, scores_of_smoke(first), seen)[1] for step in steps]
    for smoke in found:
        assert np.abs(smoke - first).max() > 1e-4
        assert smoke.max() <= 0.5
