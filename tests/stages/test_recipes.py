"""What each stage learns from, and what it makes of little evidence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from doors import Chain

from weakseg.arrays import FrameArray
from weakseg.artifacts import FinishedRun, load_run, read_json, write_cam, write_json
from weakseg.artifacts.manifest import Manifest
from weakseg.artifacts.paths import RunPaths
from weakseg.cam import Calibration
from weakseg.data import DataError, SegmentationData, SegmentationItem
from weakseg.errors import ArtifactError
from weakseg.plans import SupervisionPlan
from weakseg.refine import Background, MaskRule, ThresholdChoice, refine
from weakseg.stages.evidence import (
    CALIBRATION,
    EnsembleReader,
    EvidenceReader,
    at_frame_size,
    cam_path,
    load_classifier,
)
from weakseg.stages.learning import overlaps
from weakseg.stages.predictor import load_predictor
from weakseg.stages.scores import THRESHOLD, mask_path, stored_scores
from weakseg.stages.segmenters import INFERENCE, load_segmenter
from weakseg.stages.supervision import Teaching, training_items
from weakseg.stages.work import Work, frames_of
from weakseg.tracking import NoTracker
from weakseg.training import StopFlag


@pytest.fixture
def pseudo(chain: Chain) -> FinishedRun:
    return load_run(chain.run_of("stage2"), kind="stage2")


def with_shares(run: FinishedRun, shares: dict[str, str]) -> FinishedRun:
    rows = tuple({**row, "smoke_share": shares.get(row["id"], "0")} for row in run.frames)
    return FinishedRun(run.path, run.manifest, rows)


# ---- stage 3 learns from labels and pseudo-masks


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(RunPaths(tmp_path), NoTracker(), StopFlag())  # type: ignore[arg-type]


def weak_items(pseudo: FinishedRun, work: Work) -> list[SegmentationItem]:
    teaching = Teaching(SupervisionPlan(), frames_of(pseudo), {}, pseudo)
    return training_items(teaching, work)


def test_smoke_free_training_frames_are_background(pseudo: FinishedRun, work: Work) -> None:
    items = weak_items(pseudo, work)
    clear = [item for item in items if item.frame.label == 0]
    assert len(clear) == 4
    assert all(item.mask_path is None for item in clear)
    assert (SegmentationData(clear, image_size=32)[0]["mask"] == 0).all()


def test_smoke_frames_teach_their_pseudo_mask(pseudo: FinishedRun, work: Work) -> None:
    items = weak_items(pseudo, work)
    smoky = [item for item in items if item.frame.label == 1]
    assert [item.mask_path for item in smoky] == [
        mask_path(pseudo, item.frame.id) for item in smoky
    ]


def test_smoke_frames_with_an_empty_mask_are_left_out(pseudo: FinishedRun, work: Work) -> None:
    kept = with_shares(pseudo, {"scene2_1": "0.01", "scene4_0": "0.5"})
    items = weak_items(kept, work)
    assert [item.frame.id for item in items if item.frame.label == 1] == ["scene2_1"]


def test_only_the_training_split_teaches(pseudo: FinishedRun, work: Work) -> None:
    items = weak_items(pseudo, work)
    assert {item.frame.split for item in items} == {"train"}


def test_nothing_to_learn_says_what_to_do(pseudo: FinishedRun, work: Work) -> None:
    with pytest.raises(DataError, match="every pseudo-mask of a training frame"):
        weak_items(with_shares(pseudo, {}), work)


def test_overlap_with_pseudo_masks_leaves_ignored_pixels_out() -> None:
    mask = torch.tensor([[[1, 1, 0, 255]], [[0, 0, 0, 255]]])
    smoke = torch.tensor([[[0.9, 0.1, 0.9, 0.9]], [[0.9, 0.9, 0.9, 0.9]]])
    # The second frame has no pseudo-mask of smoke to agree with.
    assert overlaps(smoke, mask) == [pytest.approx(1 / 3)]


# ---- evidence


@pytest.fixture
def evidence(tmp_path: Path) -> EvidenceReader:
    """Frames whose maps are full of evidence; the classifier believes the first alone."""
    run = RunPaths(tmp_path)
    write_json(run.path / CALIBRATION, Calibration(0.0, 1.0, 1.0, 0.0).to_dict())
    raw = np.linspace(0, 2, 12, dtype=np.float32).reshape(3, 4)
    for name, logit in (("sure", 10.0), ("doubtful", 0.0), ("clear", -12.0)):
        write_cam(cam_path(run.cams, name), raw, logit)
    return EvidenceReader(run)  # type: ignore[arg-type]


def test_evidence_is_gated_by_the_probability(evidence: EvidenceReader) -> None:
    sure, probability = evidence("sure")
    assert probability == pytest.approx(1, abs=1e-3)
    assert sure.max() == pytest.approx(1, abs=1e-3)
    doubtful, probability = evidence("doubtful")
    assert probability == pytest.approx(0.5)
    np.testing.assert_allclose(doubtful, sure / 2, atol=1e-3)


def test_frame_the_classifier_calls_clear_ends_empty(
    evidence: EvidenceReader, plume: FrameArray
) -> None:
    """Whatever the map says: no step and no threshold can make smoke of it."""
    low, probability = evidence("clear")
    scores = refine(
        plume,
        at_frame_size(low, *plume.shape[:2]),
        probability,
        background=Background(),
        steps={},
    ).smoke
    assert scores.max() == 0
    lowest = ThresholdChoice(1 / 256, 1 / 256, 1 / 256, "fixed", {})
    assert not (MaskRule(ignore_band=False, min_area=0.0)(scores, lowest) == 1).any()


def finished(
    folder: Path, maps: dict[str, tuple[np.ndarray, float]], *, frames: str
) -> FinishedRun:
    run = RunPaths(folder)
    write_json(run.path / CALIBRATION, Calibration(0.0, 1.0, 1.0, 0.0).to_dict())
    for name, (raw, logit) in maps.items():
        write_cam(cam_path(run.cams, name), raw.astype(np.float32), logit)
    manifest = Manifest("stage1", "complete", {"name": folder.name}, {"frames": frames}, "0")
    return FinishedRun(folder, manifest, ())


def test_ensemble_is_the_mean_of_gated_evidence(tmp_path: Path) -> None:
    """On the finest grid; each run is gated by its own probability."""
    sure = {"a": (np.full((2, 2), 0.8), 20.0)}
    unsure = {"a": (np.array([[0.4, 0.4, 0.0, 0.0]] * 4), 0.0)}
    first = finished(tmp_path / "first", sure, frames="same")
    other = finished(tmp_path / "other", unsure, frames="same")
    found, probability = EnsembleReader(first, [other])("a")
    assert probability == pytest.approx(0.75)
    expected = np.array([[0.5, 0.5, 0.4, 0.4]] * 4)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    alone, certain = EnsembleReader(first)("a")
    np.testing.assert_array_equal(alone, EvidenceReader(first)("a")[0])
    assert certain == EvidenceReader(first)("a")[1]


def test_ensemble_of_other_frames_is_refused(tmp_path: Path) -> None:
    first = finished(tmp_path / "first", {}, frames="these")
    other = finished(tmp_path / "other", {}, frames="those")
    with pytest.raises(ArtifactError, match="other was made of other frames than"):
        EnsembleReader(first, [other])


def test_evidence_at_frame_size_stays_evidence(rng: np.random.Generator) -> None:
    large = at_frame_size(rng.random((3, 4), dtype=np.float32), 30, 41)
    assert large.shape == (30, 41)
    assert large.dtype == np.float32
    assert 0 <= large.min() <= large.max() <= 1


# ---- what runs hand over


def test_classifier_comes_back_as_it_was_trained(chain: Chain) -> None:
    run = load_run(chain.run_of("stage1"))
    classifier = load_classifier(run)
    assert not classifier.training
    reader = EvidenceReader(run)
    _, probability = reader("scene6_0")
    assert probability > 0.5
    assert reader("scene7_0")[1] < 0.5


def test_segmenter_comes_back_with_its_threshold(chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.run_of("stage3"), tmp_path / "run")
    choice = ThresholdChoice(0.3, 0.2, 0.45, "otsu", {})
    write_json(tmp_path / "run" / THRESHOLD, choice.to_dict())
    run = load_run(tmp_path / "run")
    model, inference, threshold = load_segmenter(run)
    assert not model.training
    assert inference.settings()["image_size"] == 64
    assert threshold == load_predictor(run.path).threshold == 0.3
    assert load_predictor(run.path, cut=0.7).threshold == 0.7


def test_what_is_asked_of_a_predictor_takes_the_place_of_the_runs_own(chain: Chain) -> None:
    run = chain.run_of("stage3")
    own = read_json(run / INFERENCE)
    assert load_predictor(run).inference.settings() == own
    asked = {"image_size": 96, "overlap": 0.25, "flip": not own["flip"]}
    found = load_predictor(run, tile=96, overlap=0.25, flip=not own["flip"]).inference.settings()
    assert found == own | asked != own


def test_stored_scores_come_with_the_classifiers_probability(pseudo: FinishedRun) -> None:
    read = stored_scores(pseudo)
    for frame, row in zip(frames_of(pseudo), pseudo.frames, strict=True):
        scores, probability = read(frame)
        assert scores.shape == (48, 64)
        assert probability == float(row["probability"])
