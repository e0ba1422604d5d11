from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from weakseg.arrays import FrameArray, Mask, Scores
from weakseg.refine import Background, DenseCrf, FrameContext, refine, to_mask


@dataclass(frozen=True)
class Paint:
    """Set the smoke score of every pixel: the worst that a step could invent."""

    level: float
    name: str = "paint"

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        smoke = np.full(frame.shape[:2], self.level, np.float32)
        return np.stack([1 - smoke, smoke])

    def settings(self) -> dict[str, Any]:
        return {"level": self.level}


@pytest.mark.parametrize("evidence", [0.0, 0.9 / 256])
def test_no_step_invents_smoke_on_a_frame_without_evidence(
    plume: FrameArray, evidence: float
) -> None:
    empty = np.full(plume.shape[:2], evidence, np.float32)
    steps = {"crf": DenseCrf(), "paint": Paint(1.0)}
    result = refine(plume, empty, 0.9, background=Background(score=0.01), steps=steps)
    assert np.all(result.smoke == 0)
    assert not to_mask(result.smoke, threshold=1 / 256, ignore_band=(0, 1)).any()


def test_a_frame_that_the_classifier_rules_out_shows_nothing(plume: FrameArray) -> None:
    evidence = np.full(plume.shape[:2], 0.8, np.float32)
    common = {"background": Background(), "steps": {"paint": Paint(1.0)}, "min_probability": 0.5}
    assert np.all(refine(plume, evidence, 0.4, **common).smoke == 0)
    assert np.all(refine(plume, evidence, 0.6, **common).smoke == 1)


def test_an_empty_recipe_leaves_the_evidence(plume: FrameArray, plume_mask: Mask) -> None:
    evidence = plume_mask.astype(np.float32) * np.float32(0.7)
    result = refine(plume, evidence, 1, background=Background(), steps={})
    np.testing.assert_allclose(result.smoke, evidence, atol=1e-6)
    np.testing.assert_allclose(result.scores.sum(axis=0), 1, atol=1e-6)


def test_steps_run_in_their_order_and_are_kept_when_asked(plume: FrameArray) -> None:
    evidence = np.full(plume.shape[:2], 0.5, np.float32)
    steps = {"first": Paint(0.25), "second": Paint(0.75)}
    result = refine(plume, evidence, 1, background=Background(), steps=steps, keep_steps=True)
    assert list(result.per_step) == ["background", "first", "second"]
    assert [float(s[1, 0, 0]) for s in result.per_step.values()] == [0.5, 0.25, 0.75]
    np.testing.assert_array_equal(result.scores, result.per_step["second"])
    assert not refine(plume, evidence, 1, background=Background(), steps=steps).per_step


def test_the_crf_sharpens_a_blurred_plume(plume: FrameArray, plume_mask: Mask) -> None:
    y, x = np.argwhere(plume_mask).mean(axis=0)
    rows, columns = np.mgrid[: plume.shape[0], : plume.shape[1]]
    blob = np.exp(-0.5 * (((rows - y) / 14) ** 2 + ((columns - x) / 14) ** 2))
    evidence = (0.9 * blob).astype(np.float32)

    def overlap(smoke: np.ndarray) -> float:
        cut = smoke >= 0.5
        return float((cut & (plume_mask > 0)).sum() / (cut | (plume_mask > 0)).sum())

    crf = DenseCrf(sigma_rgb_levels=20, sigma_xy_pixels=20)
    refined = refine(plume, evidence, 1, background=Background(), steps={"crf": crf})
    assert overlap(refined.smoke) > overlap(evidence) + 0.05


def test_a_step_that_returns_no_scores_is_named(plume: FrameArray) -> None:
    evidence = np.full(plume.shape[:2], 0.5, np.float32)
    with pytest.raises(ValueError, match="step bad on f1 must lie in"):
        refine(
            plume, evidence, 1, background=Background(), steps={"bad": Paint(1.5)}, frame_id="f1"
        )


def test_evidence_of_another_size_or_range_is_refused(plume: FrameArray) -> None:
    common = {"background": Background(), "steps": {}}
    with pytest.raises(ValueError, match="evidence must have shape"):
        refine(plume, np.zeros((3, 3), np.float32), 1, **common)
    with pytest.raises(ValueError, match="evidence of frame must lie in"):
        refine(plume, np.full(plume.shape[:2], 2, np.float32), 1, **common)
    with pytest.raises(ValueError, match="probability must lie in"):
        refine(plume, np.zeros(plume.shape[:2], np.float32), 1.5, **common)
