from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sam import tiny_sam

from weakseg.arrays import FrameArray, Mask
from weakseg.data import read_frame
from weakseg.errors import MissingExtraError, WeightsError
from weakseg.refine import Background, FrameContext, SamStep, refine
from weakseg.refine import sam as sam_module
from weakseg.refine.sam import PROMPTS
from weakseg.refine.step import scores_of_smoke

SHARED = Path(__file__).parents[2].parent / "shared"
MOBILE_SAM = SHARED / "weights" / "mobile_sam_vit_t.safetensors"
PHOTOS = SHARED / "data" / "smoke_bench" / "val" / "images"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the loading of SAM by a tiny one; gives the models loaded."""
    loaded: list[Any] = []

    def load(kind: str, checkpoint: str) -> Any:
        loaded.append(tiny_sam())
        return loaded[-1]

    monkeypatch.setattr(sam_module, "load_sam", load)
    return loaded


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """A file to hash; nothing reads it."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"weights")
    return str(path)


@pytest.fixture
def evidence(plume_mask: Mask) -> np.ndarray:
    """Evidence of the plume, and of a speck beside it."""
    evidence = plume_mask.astype(np.float32) * np.float32(0.6)
    evidence[2:6, 55:60] = 0.4
    return evidence


def refined(
    step: SamStep, frame: FrameArray, evidence: np.ndarray, cache: Path | None = None
) -> np.ndarray:
    recipe = {"background": Background(), "steps": {"sam": step}, "cache_dir": cache}
    return refine(frame, evidence, 1.0, **recipe).smoke


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("combine", ["union", "trim", "blend"])
def test_every_way_of_asking_gives_scores(
    prompts: str,
    combine: str,
    plume: FrameArray,
    evidence: np.ndarray,
    checkpoint: str,
    loads: list[Any],
) -> None:
    step = SamStep(
        checkpoint=checkpoint,
        prompts=prompts,
        combine=combine,
        acceptance="none",
        min_quality=0,
        min_stability=0,
        points_per_side=4,
        floor=0.6,
        max_area=1,
    )
    smoke = refined(step, plume, evidence)
    assert smoke.shape == evidence.shape
    assert np.all(smoke[evidence >= 0.6] >= 0.6 - 1e-6)
    np.testing.assert_array_equal(smoke, refined(step, plume, evidence))
    assert len(loads) == 1


@pytest.mark.parametrize("prompts", ["boxes", "points", "both"])
def test_sam_is_asked_with_the_boxes_and_the_peaks_of_regions(
    prompts: str,
    plume: FrameArray,
    checkpoint: str,
    loads: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, Any, Any, bool]] = []

    def predict(self: Any, points: Any, labels: Any, boxes: Any, *, multimask_output: bool) -> Any:
        asked.append((points, labels, boxes, multimask_output))
        return torch.zeros(2, 1, 24, 32), None, None

    package = pytest.importorskip("segment_anything")
    monkeypatch.setattr(package.SamPredictor, "predict_torch", predict)
    evidence = np.zeros((24, 32), np.float32)
    evidence[4:14, 3:12] = 0.5
    evidence[9, 6] = 0.9
    evidence[20, 30] = 0.6
    refined(SamStep(checkpoint=checkpoint, prompts=prompts), plume[::2, ::2], evidence)
    ((points, labels, boxes, gives_three),) = asked
    assert (points is None) == (labels is None) == (prompts == "boxes")
    assert (boxes is None) == gives_three == (prompts == "points")
    # In pixels of what SAM reads: here twice the frame.
    if boxes is not None:
        assert boxes.tolist() == [[6, 8, 24, 28], [60, 40, 62, 42]]
    if points is not None:
        assert labels.tolist() == [[1, 1, 1], [1, -1, -1]]
        assert points[:, 0].tolist() == [[12, 18], [60, 40]]


@pytest.mark.parametrize("prompts", ["automatic", "everything"])
def test_masks_of_points_pass_sams_own_filters(
    prompts: str,
    plume: FrameArray,
    evidence: np.ndarray,
    checkpoint: str,
    loads: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[dict[str, Any]] = []

    class Generator(SimpleNamespace):
        def __init__(self, sam: Any, **settings: Any) -> None:
            super().__init__(predictor=SimpleNamespace())
            made.append(settings)

        def generate(self, frame: FrameArray) -> list[Any]:
            return []

    package = pytest.importorskip("segment_anything")
    monkeypatch.setattr(package, "SamAutomaticMaskGenerator", Generator)
    filters = {"min_quality": 0.3, "min_stability": 0.6}
    step = SamStep(checkpoint=checkpoint, prompts=prompts, points_per_side=2, **filters)
    refined(step, plume, evidence)
    (settings,) = made
    assert (settings["pred_iou_thresh"], settings["stability_score_thresh"]) == (0.3, 0.6)
    if prompts == "everything":
        grid = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
        assert settings["point_grids"][0].tolist() == grid


def test_accepted_masks_change_the_scores(
    plume: FrameArray, evidence: np.ndarray, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown = np.roll(evidence > 0.5, 1, axis=1) | (evidence > 0.5)
    monkeypatch.setattr(SamStep, "candidates", lambda *_: [grown])
    smoke = refined(SamStep(checkpoint=checkpoint, combine="union"), plume, evidence)
    np.testing.assert_allclose(smoke[evidence > 0.5], 0.8, atol=1e-6)
    np.testing.assert_allclose(smoke[grown & (evidence == 0)], 0.5, atol=1e-6)
    np.testing.assert_array_equal(smoke[~grown], evidence[~grown])


def test_a_refused_mask_changes_nothing(
    plume: FrameArray, evidence: np.ndarray, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SamStep, "candidates", lambda *_: [evidence == 0])
    smoke = refined(SamStep(checkpoint=checkpoint, combine="blend", max_area=1), plume, evidence)
    np.testing.assert_array_equal(smoke, evidence)


def test_without_a_seed_sam_is_not_even_loaded(
    plume: FrameArray, evidence: np.ndarray, checkpoint: str, loads: list[Any]
) -> None:
    faint = evidence * np.float32(0.4)
    smoke = refined(SamStep(checkpoint=checkpoint, acceptance="none"), plume, faint)
    np.testing.assert_allclose(smoke, faint, atol=1e-6)
    assert not loads


@pytest.mark.parametrize("prompts", ["boxes", "automatic"])
def test_the_cache_spares_the_encoder_and_changes_no_score(
    prompts: str,
    plume: FrameArray,
    evidence: np.ndarray,
    checkpoint: str,
    tmp_path: Path,
    loads: list[Any],
) -> None:
    settings = {"prompts": prompts, "acceptance": "none", "min_quality": 0, "min_stability": 0}
    step = SamStep(checkpoint=checkpoint, points_per_side=4, max_area=1, **settings)
    fresh = refined(step, plume, evidence)
    kept = refined(step, plume, evidence, tmp_path / "cache")
    assert loads[0].image_encoder.calls == 2
    again = refined(step, plume, evidence, tmp_path / "cache")
    assert loads[0].image_encoder.calls == 2
    np.testing.assert_array_equal(fresh, kept)
    np.testing.assert_array_equal(kept, again)


def test_a_missing_package_is_told_by_the_extra_that_brings_it(
    plume: FrameArray, evidence: np.ndarray, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    step = SamStep(checkpoint=checkpoint)
    with pytest.raises(MissingExtraError, match=r"weakseg\[sam\]"):
        refine(plume, evidence, 1.0, background=Background(), steps={"sam": step})


def test_the_settings_know_the_weights_but_no_path(checkpoint: str, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(b"weights")
    here = SamStep(checkpoint=checkpoint).settings()
    assert here == SamStep(checkpoint=str(copy), device="cuda", points_per_batch=1).settings()
    assert here != SamStep(checkpoint=checkpoint, weight=0.6).settings()
    copy.write_bytes(b"other weights")
    assert here != SamStep(checkpoint=str(copy)).settings()
    json.dumps(here)


def test_missing_weights_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="set its checkpoint"):
        SamStep().settings()
    with pytest.raises(WeightsError, match=r"there is no weights file .*nowhere"):
        SamStep(checkpoint=str(tmp_path / "nowhere")).settings()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "vit_x"},
        {"prompts": "text"},
        {"acceptance": "iuo"},
        {"combine": "add"},
        {"weight": 1.5},
        {"seed_threshold": 0},
        {"max_area": 0},
        {"points_per_side": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamStep(**wrong)


@pytest.mark.skipif(not (MOBILE_SAM.exists() and PHOTOS.exists()), reason="needs the shared data")
def test_mobile_sam_cuts_a_blob_of_evidence_at_the_edge_of_the_forest(tmp_path: Path) -> None:
    pytest.importorskip("segment_anything")
    frame = read_frame(PHOTOS / "s5a_ckau394sayogg0721svj5ibii_p.jpg")
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    # Around the plume that stands above the trees, but wider: it reaches down into them.
    blob = np.exp(-0.5 * (((x - 0.65) / 0.09) ** 2 + ((y - 0.46) / 0.1) ** 2))
    evidence = (0.65 * blob).astype(np.float32)
    trees, plume = (evidence >= 0.3) & (y > 0.56), (evidence >= 0.3) & (y < 0.5)
    common = {"checkpoint": str(MOBILE_SAM), "prompts": "boxes"}
    trimmed = refined(SamStep(combine="trim", **common), frame, evidence, tmp_path)
    assert np.all(trimmed[trees] < 0.2)
    np.testing.assert_allclose(trimmed[plume], evidence[plume], atol=1e-6)
    added = refined(SamStep(combine="union", **common), frame, evidence, tmp_path)
    assert added[plume].mean() > 0.7
    assert len(list((tmp_path / "sam").iterdir())) == 1


def test_what_only_the_floor_kept_is_noted(
    plume: FrameArray, evidence: np.ndarray, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a share of the evidence that is sure: here a mask leaves the lower half of it out."""
    sure = evidence >= 0.5
    upper = sure.copy()
    upper[24:] = False
    monkeypatch.setattr(SamStep, "candidates", lambda *_: [upper])
    step = SamStep(checkpoint=checkpoint, acceptance="none", combine="trim", floor=0.5)
    context = FrameContext("frame", 1.0, evidence)
    step(plume, scores_of_smoke(evidence), context)
    share = 1 - upper.sum() / sure.sum()
    assert 0.1 < share < 0.9
    assert context.notes == {"sam/kept_by_floor": pytest.approx(share)}
