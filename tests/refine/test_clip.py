"""CLIP only weighs evidence, within bounds; by random weights: nothing is said of its worth."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_clip import register, write_weights

from weakseg.arrays import FrameArray
from weakseg.errors import MissingExtraError, WeightsError
from weakseg.models import Clip
from weakseg.refine import Background, ClipStep, FrameContext, SamStep, refine
from weakseg.refine.ranking import class_probabilities, parted, region_similarity
from weakseg.refine.step import scores_of_smoke

pytest.importorskip("open_clip")

STEP_FILE = Path(__file__).parents[2] / "conf" / "refine" / "step" / "clip.yaml"
FEW: dict[str, Any] = {
    "smoke": ["smoke"],
    "look_alikes": {"fog": ["fog", "mist"]},
    "scenery": {"sky": ["the sky"]},
    "templates": ["{}", "a photo of {}"],
    "temperature": 0.1,
    "longer_side": 64,
    "device": "cpu",
}
UNIT_MAPS = hnp.arrays(np.float32, (12, 16), elements=st.floats(0, 1, width=32))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        return write_weights(tmp_path_factory.mktemp("clip") / "tiny.safetensors")


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch, weights: str) -> ClipStep:
    return ClipStep(register(monkeypatch), pretrained=None, weights=weights, **FEW)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often the network looks at a frame."""
    seen: list[int] = []
    look = Clip.patch_features

    def counted(network: Clip, *args: Any, **told: Any) -> torch.Tensor:
        seen.append(1)
        return look(network, *args, **told)

    monkeypatch.setattr(Clip, "patch_features", counted)
    return seen


def context_of(evidence: np.ndarray, cache: Path | None = None) -> FrameContext:
    return FrameContext("frame", 1.0, evidence, cache)


def refined(step: ClipStep, frame: FrameArray, evidence: np.ndarray, **told: Any) -> np.ndarray:
    recipe = {"background": Background(), "steps": {"clip": step}}
    return refine(frame, evidence, 1.0, **recipe, **told).smoke


def seeing(monkeypatch: pytest.MonkeyPatch, cosines: np.ndarray) -> None:
    """Let every frame look like these (K, h, w) cosines."""
    monkeypatch.setattr(ClipStep, "similarity", lambda *_: cosines.astype(np.float32))


# ---- what the network says


def test_probabilities_are_the_softmax_of_cosines(step: ClipStep, plume: FrameArray) -> None:
    context = context_of(np.zeros(plume.shape[:2], np.float32))
    found = step.probabilities(plume, context)
    assert found.shape == (3, 6, 8)
    network = step._clip
    pixels = torch.from_numpy(plume).permute(2, 0, 1)[None] / 255
    patches = network.patch_features(pixels, longer_side=64)[0].numpy()
    texts = [["smoke"], ["fog", "mist"], ["the sky"]]
    vectors = network.text_vectors(texts, FEW["templates"]).numpy()
    for y, x in np.ndindex(6, 8):
        patch = patches[:, y, x] / np.linalg.norm(patches[:, y, x])
        odds = np.exp(vectors @ patch / 0.1)
        # Directions are kept in half precision: cosines are off by up to 1e-3, odds by 1e-2.
        np.testing.assert_allclose(found[:, y, x], odds / odds.sum(), atol=5e-3)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    assert found.std() > 0.01


@given(
    hnp.arrays(np.float32, (4, 3, 5), elements=st.floats(-1, 1, width=32)),
    st.floats(0.003, 10),
)
@settings(deadline=None, max_examples=50)
def test_softmax_is_bounded_and_keeps_the_order(cosines: np.ndarray, temperature: float) -> None:
    found = class_probabilities(cosines, temperature=temperature)
    assert np.all((found >= 0) & (found <= 1))
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    best = np.take_along_axis(found, cosines.argmax(axis=0)[None], axis=0)[0]
    assert np.all(best >= found.max(axis=0) - 1e-6)


def test_the_cache_spares_the_network_and_changes_no_score(
    step: ClipStep, plume: FrameArray, tmp_path: Path, looks: list[int]
) -> None:
    evidence = np.full(plume.shape[:2], 0.5, np.float32)
    fresh = refined(step, plume, evidence)
    kept = refined(step, plume, evidence, cache_dir=tmp_path)
    assert len(looks) == 2
    other_words = replace(step, smoke=["fumes"])
    again = refined(replace(step), plume, evidence, cache_dir=tmp_path)
    changed = refined(other_words, plume, evidence, cache_dir=tmp_path)
    assert len(looks) == 2
    np.testing.assert_array_equal(fresh, kept)
    np.testing.assert_array_equal(kept, again)
    assert np.abs(changed - kept).max() > 1e-3
    refined(replace(step, longer_side=32), plume, evidence, cache_dir=tmp_path)
    assert len(looks) == 3


# ---- mode=weight


def test_scores_move_by_the_probability_of_smoke(
    step: ClipStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ClipStep, "probabilities", lambda *_: np.array([[[0.0, 0.5, 1.0]]], np.float32)
    )
    frame = np.zeros((1, 3, 3), np.uint8)
    evidence = np.full((1, 3), 0.4, np.float32)
    smoke = refined(replace(step, weight=0.5), frame, evidence)
    np.testing.assert_allclose(smoke, [[0.2, 0.4, 0.6]], atol=1e-6)
    high = refined(replace(step, weight=0.5, floor=1), frame, np.full((1, 3), 0.8, np.float32))
    np.testing.assert_allclose(high, [[0.4, 0.8, 1.0]], atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    UNIT_MAPS,
    UNIT_MAPS,
    hnp.arrays(np.float32, (3, 3, 4), elements=st.floats(-1, 1, width=32)),
    st.sampled_from(("weight", "rank")),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_scores_stay_within_the_weight_and_sure_evidence_is_never_lowered(
    smoke: np.ndarray,
    evidence: np.ndarray,
    cosines: np.ndarray,
    mode: str,
    weight: float,
    floor: float,
) -> None:
    step = ClipStep(mode=mode, weight=weight, floor=floor, seed_threshold=0.3, **FEW)
    frame = np.zeros((12, 16, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        seeing(patch, cosines)
        after = step(frame, scores_of_smoke(smoke), context_of(evidence))
    np.testing.assert_allclose(after.sum(axis=0), 1, atol=1e-6)
    highest = smoke if mode == "rank" else np.minimum(1, (1 + weight) * smoke)
    assert np.all(after[1] <= highest + 1e-6)
    assert np.all(after[1] >= (1 - weight) * smoke - 1e-6)
    assert np.all(after[1][evidence >= floor] >= smoke[evidence >= floor] - 1e-6)
    assert not after[1][smoke == 0].any()


def test_without_weight_nothing_changes(step: ClipStep, plume: FrameArray) -> None:
    evidence = np.full(plume.shape[:2], 0.5, np.float32)
    for mode in ("weight", "rank"):
        still = replace(step, weight=0.0, mode=mode)
        np.testing.assert_array_equal(refined(still, plume, evidence), evidence)


def test_what_only_the_floor_kept_is_told(
    step: ClipStep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seeing(monkeypatch, np.array([0.0, 1.0, 0.0])[:, None, None])
    evidence = np.array([[0.2, 0.5, 0.9, 0.9]], np.float32)
    with caplog.at_level(logging.DEBUG, "weakseg.refine.clip"):
        smoke = refined(replace(step, floor=0.9), np.zeros((1, 4, 3), np.uint8), evidence)
    assert "frame: 2 pixels are kept by the floor alone" in caplog.text
    np.testing.assert_allclose(smoke, [[0.1, 0.25, 0.9, 0.9]], atol=1e-3)


# ---- mode=rank

LEFT, RIGHT = np.zeros((2, 8, 12), bool)
LEFT[2:6, 1:5] = True
RIGHT[2:6, 8:11] = True


@pytest.mark.parametrize(("best", "kept"), [("smoke", 1.0), ("fog", 0.5), ("sky", 1.0)])
def test_only_regions_that_look_like_a_look_alike_are_lowered(
    step: ClipStep, monkeypatch: pytest.MonkeyPatch, best: str, kept: float
) -> None:
    cosines = np.zeros((3, 8, 12))
    cosines[0, :, :6] = 0.1
    cosines[step.classes.index(best), :, 6:] = 0.2
    seeing(monkeypatch, cosines)
    evidence = np.where(LEFT | RIGHT, 0.6, 0.1).astype(np.float32)
    smoke = refined(replace(step, mode="rank"), np.zeros((8, 12, 3), np.uint8), evidence)
    np.testing.assert_allclose(smoke[RIGHT], 0.6 * kept, atol=1e-6)
    np.testing.assert_allclose(smoke[~RIGHT], evidence[~RIGHT], atol=1e-6)


def test_a_region_without_seeds_costs_no_network(
    step: ClipStep, plume: FrameArray, looks: list[int]
) -> None:
    evidence = np.full(plume.shape[:2], 0.2, np.float32)
    smoke = refined(replace(step, mode="rank"), plume, evidence)
    np.testing.assert_allclose(smoke, evidence, atol=1e-6)
    assert not looks


def test_masks_of_sam_part_a_region(
    step: ClipStep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    half = np.zeros((8, 12), bool)
    half[:, :6] = True
    monkeypatch.setattr(SamStep, "frame_masks", lambda *_: [half, np.zeros_like(half)])
    cosines = np.zeros((3, 8, 12))
    cosines[1, :, :6] = 0.2  # Fog on the left, smoke on the right, and on the whole.
    cosines[0, :, 6:] = 0.4
    seeing(monkeypatch, cosines)
    evidence = np.full((8, 12), 0.6, np.float32)
    frame = np.zeros((8, 12, 3), np.uint8)
    whole = replace(step, mode="rank")
    np.testing.assert_allclose(refined(whole, frame, evidence), 0.6, atol=1e-6)
    smoke = refined(replace(whole, sam=SamStep()), frame, evidence)
    np.testing.assert_allclose(smoke, np.where(half, 0.3, 0.6), atol=1e-6)
    file = tmp_path / "sam.safetensors"
    file.write_bytes(b"weights")
    with_sam = replace(whole, sam=SamStep(checkpoint=str(file)))
    assert with_sam.weights_sha256.startswith(step.weights_sha256 + "+")
    assert with_sam.settings()["sam"]["weights_sha256"] in with_sam.weights_sha256
    json.dumps(with_sam.settings())


def test_a_region_counts_its_patches_by_the_share_it_covers(rng: np.random.Generator) -> None:
    cosines = rng.random((3, 2, 2), dtype=np.float32)
    region = np.zeros((8, 8), bool)
    region[:4, :4] = True  # All of one patch,
    region[:2, 4:] = True  # half of the next.
    expected = (cosines[:, 0, 0] + 0.5 * cosines[:, 0, 1]) / 1.5
    np.testing.assert_allclose(region_similarity(cosines, region), expected, atol=1e-6)


@pytest.mark.parametrize("patches", [(1, 1), (5, 7), (30, 40), (3, 40)])
@given(y=st.integers(0, 10), x=st.integers(0, 12))
@settings(deadline=None, max_examples=20)
def test_every_pixel_finds_its_patches(patches: tuple[int, int], y: int, x: int) -> None:
    region = np.zeros((11, 13), bool)
    region[y, x] = True
    found = region_similarity(np.full((2, *patches), 0.25, np.float32), region)
    np.testing.assert_allclose(found, 0.25, atol=1e-6)


@settings(deadline=None)
@given(st.lists(hnp.arrays(np.bool_, (3, 4)), max_size=4))
def test_parted_regions_are_disjoint_and_cover_the_same(regions: list[np.ndarray]) -> None:
    parts = parted(regions)
    covered = np.zeros((3, 4), int) + sum(part.astype(int) for part in parts)
    np.testing.assert_array_equal(covered, np.any([np.zeros((3, 4), bool), *regions], axis=0))
    assert all(part.any() for part in parts)
    if regions:
        smallest = min(regions, key=lambda region: region.sum())
        assert not smallest.any() or any(np.array_equal(part, smallest) for part in parts)


# ---- settings and refusals


def test_the_settings_know_the_weights_but_no_path(step: ClipStep, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(Path(step.weights or "").read_bytes())
    same = replace(step, weights=str(moved), device="auto")
    assert same.settings() == step.settings()
    assert step.settings()["weights_sha256"] == step.weights_sha256
    assert str(tmp_path) not in json.dumps(same.settings())
    for change in ({"smoke": ["fumes"]}, {"weight": 0.1}, {"mode": "rank"}, {"templates": ["{}"]}):
        assert replace(step, **change).settings() != step.settings()
    moved.write_bytes(b"other weights")
    assert replace(step, weights=str(moved)).settings() != step.settings()


def test_the_words_of_the_configuration_are_those_of_the_class() -> None:
    written = yaml.safe_load(STEP_FILE.read_text())
    default = ClipStep()
    assert tuple(written["smoke"]) == default.smoke
    assert tuple(written["templates"]) == default.templates
    for name in ("look_alikes", "scenery"):
        told = {key: tuple(phrases) for key, phrases in written[name].items()}
        assert told == getattr(default, name)
        assert list(told) == list(getattr(default, name))


def test_missing_weights_and_a_missing_package_are_told_in_words(
    plume: FrameArray, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    with pytest.raises(WeightsError, match=r"refine\.steps\.clip\.weights=FILE"):
        assert ClipStep(pretrained=None).weights_sha256
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"weakseg\[clip\]"):
        refined(ClipStep(weights=weights), plume, np.ones(plume.shape[:2], np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "raise"},
        {"weight": 1.5},
        {"floor": -1},
        {"temperature": 0},
        {"longer_side": 0},
        {"seed_threshold": 0},
        {"max_regions": 0},
        {"smoke": []},
        {"smoke": ["smoke", " "]},
        {"templates": ["a photo"]},
        {"templates": []},
        {"look_alikes": ["fog"]},
        {"look_alikes": {"fog": []}},
        {"look_alikes": {"smoke": ["smoke"]}},
        {"look_alikes": {"sky": ["a sky"]}},
        {"scenery": {}, "look_alikes": {}},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClipStep(**wrong)
