"""No choice of any stage depends on the test split, nor the masks of `val` where none is asked."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from weakseg.arrays import FloatArray
from weakseg.artifacts import RunFolder, read_json, write_cam, write_scores
from weakseg.data import Frame, IndexSource
from weakseg.models import TiledInference
from weakseg.plans import Stage3Plan, SupervisionPlan
from weakseg.refine import OtsuThreshold
from weakseg.stages import segmentation
from weakseg.stages.cams import calibrate_evidence
from weakseg.stages.evidence import CALIBRATION, cam_path
from weakseg.stages.refinement import cutting
from weakseg.stages.scores import score_path
from weakseg.stages.supervision import Teaching
from weakseg.training import FitSettings

SIDE = 32
SPLITS = ("train", "val", "test")
SCORE_OF_SMOKE = {"train": 0.5, "val": 0.6, "test": 0.95}
"""So that the threshold moves with every split that is looked at."""
SHADE_OF_SMOKE = {"train": 120, "val": 160, "test": 250}


@pytest.fixture
def source(tmp_path: Path) -> IndexSource:
    """A frame with smoke in its upper half and one without, of every split, and their masks."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[: SIDE // 2] = 255
    rows = []
    for split in SPLITS:
        for label in (1, 0):
            name = f"{split}{label}"
            shade = mask // 255 * SHADE_OF_SMOKE[split] if label else mask * 0
            if name == "test0":
                shade += 255  # what val is sure of is wrong here
            Image.fromarray(np.stack([shade] * 3, axis=-1)).save(tmp_path / f"{name}.png")
            Image.fromarray(mask * label).save(tmp_path / f"{name}_mask.png")
            rows.append([f"{name}.png", label, name, split, f"{name}_mask.png"])
    index = tmp_path / "index.csv"
    with index.open("w", newline="") as table:
        csv.writer(table).writerows([["path", "label", "scene", "split", "mask_path"], *rows])
    return IndexSource(str(index))


@pytest.fixture
def run(tmp_path: Path, source: IndexSource) -> Iterator[RunFolder]:
    """A run with the scores and CAMs of all frames."""
    with RunFolder.open(
        tmp_path / "run", kind="stage3", config={}, settings={}, inputs={}, data=source.settings()
    ) as run:
        for frame in source.frames():
            scores = scores_of(frame)
            write_scores(score_path(run, frame.id), scores)
            write_cam(cam_path(run.cams, frame.id), 10 * scores, 20 * float(scores.max()) - 10)
        yield run


def scores_of(frame: Frame) -> FloatArray:
    """Smoke above, and nearly as high a score below: the best cut of each split is its own."""
    high = SCORE_OF_SMOKE[frame.split] if frame.label else 0.1
    scores = np.full((SIDE, SIDE), high - 0.1, np.float32)
    scores[: SIDE // 2] = high
    return scores


def of_splits(source: IndexSource, *splits: str) -> list[Frame]:
    return [frame for frame in source.frames() if frame.split in splits]


def test_pseudo_masks_are_cut_without_the_test_split(run: RunFolder, source: IndexSource) -> None:
    probability = {frame.id: float(frame.label) for frame in source.frames()}

    def threshold(frames: list[Frame]) -> float:
        return cutting.choose_threshold(OtsuThreshold(), frames, probability, run).threshold

    everything = threshold(source.frames())
    assert everything == threshold(of_splits(source, "train", "val"))
    as_if_known = [replace(one, split="val") for one in of_splits(source, "test")]
    assert everything != threshold([*of_splits(source, "train", "val"), *as_if_known])


@pytest.mark.parametrize("selection", ["labels", "val"])
def test_a_segmenter_is_cut_by_val_alone(
    run: RunFolder, source: IndexSource, selection: str
) -> None:
    plan = Stage3Plan(selection=selection, threshold=OtsuThreshold())

    def threshold(frames: list[Frame]) -> float:
        return segmentation.choose_threshold(plan, frames, run).threshold

    everything = threshold(source.frames())
    assert everything == threshold(of_splits(source, "val"))
    as_if_known = [replace(one, split="val") for one in of_splits(source, "test")]
    assert everything != threshold(as_if_known)
    if selection == "val":
        assert SCORE_OF_SMOKE["val"] - 0.1 < everything <= SCORE_OF_SMOKE["val"]


def test_evidence_is_calibrated_by_the_training_split(run: RunFolder, source: IndexSource) -> None:
    def calibration(frames: list[Frame]) -> dict[str, float]:
        calibrate_evidence({}, frames, run)
        return dict(read_json(run.path / CALIBRATION))

    everything = calibration(source.frames())
    assert everything == calibration(of_splits(source, "train"))
    as_if_learnt = [replace(one, split="train") for one in source.frames()]
    assert everything != calibration(as_if_learnt)


class Bright(nn.Module):
    """Calls smoke what is brighter than a shade in [0, 1]."""

    def __init__(self, shade: float) -> None:
        super().__init__()
        self.shade = nn.Parameter(torch.tensor(shade), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Give (B, 2, H, W) logits of (B, 3, H, W) images in [0, 1]."""
        lead = 50 * (images.mean(dim=1, keepdim=True) - self.shade)
        return torch.cat([-lead, lead], dim=1)


@pytest.mark.parametrize(
    ("selection", "figure"), [("labels", "auroc"), ("val", "val_iou_per_image")]
)
def test_epochs_are_judged_by_val_alone(source: IndexSource, selection: str, figure: str) -> None:
    plan = Stage3Plan(
        selection=selection,
        image_size=SIDE,
        inference=TiledInference(image_size=SIDE, flip=False),
        fit=FitSettings(batch_size=2, workers=0),
    )
    supervision = SupervisionPlan(mode="full")

    def judged(frames: list[Frame]) -> float:
        teaching = Teaching(supervision, frames, source.settings(), None)
        return segmentation._validator(plan, teaching)(Bright(0.55))[figure]

    everything = judged(source.frames())
    assert everything == judged(of_splits(source, "val")) == pytest.approx(1)
    others = of_splits(source, "train", "test")
    assert judged([replace(one, split="val") for one in others]) < 0.8
