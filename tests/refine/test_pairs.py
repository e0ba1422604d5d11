"""Steps compose in any order: every pair of them, on frames with smoke and on frames without."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import register, write_weights
from tiny_sam import tiny_sam

from weakseg.arrays import FrameArray, Mask, ScoreMap, Scores
from weakseg.cam import CamRecipe
from weakseg.labels import SMOKE
from weakseg.refine import (
    AffinityStep,
    CamFusion,
    ClipStep,
    DarkChannel,
    DenseCrf,
    FrameContext,
    MultiScale,
    SamStep,
    SlidingWindow,
    Step,
)
from weakseg.refine import sam as sam_module
from weakseg.refine.pipeline import apply_step
from weakseg.refine.step import scores_of_smoke

PROBABILITY = 0.9
NEEDS = {"clip": "open_clip", "sam": "segment_anything"}
NAMES = (
    "affinity",
    "cam_fusion",
    "clip",
    "crf",
    "dark_channel",
    "multi_scale",
    "sam",
    "sliding_window",
)


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("open_clip")
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        return write_weights(tmp_path_factory.mktemp("clip") / "tiny.safetensors")


@pytest.fixture
def build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[str], Step]:
    """Build a step by name, as small as it can be."""

    def make(name: str) -> Step:
        if name == "affinity":
            step = AffinityStep(encoder="test_resnet", weights=None, steps=20)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                step.network = step.new_network().eval()
            return step
        if name == "clip":
            weights = request.getfixturevalue("clip_weights")
            known = register(monkeypatch)
            return ClipStep(known, pretrained=None, weights=weights, longer_side=64, device="cpu")
        if name == "sam":
            monkeypatch.setattr(sam_module, "load_sam", lambda kind, checkpoint: tiny_sam())
            path = tmp_path / "sam.safetensors"
            path.write_bytes(b"weights")
            return SamStep(checkpoint=str(path), acceptance="none", combine="blend", device="cpu")
        plain: dict[str, Callable[[], Step]] = {
            "cam_fusion": CamFusion,
            "crf": DenseCrf,
            "dark_channel": DarkChannel,
            "multi_scale": MultiScale,
            "sliding_window": SlidingWindow,
        }
        return plain[name]()

    return make


@pytest.fixture
def context(plume_mask: Mask) -> FrameContext:
    """Soft evidence of the plume, and a second look that sees it a little to the side."""
    evidence = (0.7 * plume_mask * PROBABILITY).astype(np.float32)

    def look(recipe: CamRecipe) -> ScoreMap:
        return np.roll(evidence, 3, axis=1)

    return FrameContext("frame", PROBABILITY, evidence, None, look)


def apply(step: Step, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
    [result] = apply_step(step.name, step, [frame], [scores], [context])
    assert not isinstance(result, Exception), result
    return result


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_every_pair_of_steps_composes(
    build: Callable[[str], Step],
    plume: FrameArray,
    context: FrameContext,
    first: str,
    second: str,
) -> None:
    """Scores stay scores, the second step sees what the first made, and repeats itself."""
    for name in {first, second} & NEEDS.keys():
        if importlib.util.find_spec(NEEDS[name]) is None:
            pytest.skip(f"{NEEDS[name]} is not installed")
    one, two = build(first), build(second)
    begun = scores_of_smoke(context.evidence)
    between = apply(one, plume, begun, context)
    ended = apply(two, plume, between, context)
    for scores in (between, ended):
        assert scores.shape == (2, *plume.shape[:2])
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-5)
        assert 0 <= scores.min() <= scores.max() <= 1
    assert between[SMOKE].max() > 0.1
    np.testing.assert_array_equal(ended, apply(two, plume, between, context))
    if not np.array_equal(between, begun):
        # What a step makes of other scores is other scores.
        assert not np.array_equal(ended, apply(two, plume, begun, context))
