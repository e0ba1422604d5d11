"""A stage-1 run with the pixel-correlation module trains by its loss and serves as any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from doors import STAGES, Doors

from weakseg.artifacts import FinishedRun, load_run, read_cam
from weakseg.cam import CamRecipe
from weakseg.data import ClassificationData
from weakseg.models import PcmClassifier
from weakseg.stages.evidence import cam_path, load_classifier
from weakseg.stages.work import frame_of

FIT = ("fit.epochs=1", "fit.max_steps_per_epoch=2")
PCM = tuple(
    "classifier=resnet50_pcm" if item == "classifier=resnet50" else item
    for item in STAGES["stage1"]
)


@pytest.fixture(scope="module")
def run(doors: Doors, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    root = tmp_path_factory.mktemp("pcm")
    data = ("data=index", f"data.index={tiny_folder / 'index.csv'}", "output=runs/stage1/pcm")
    doors.must("stage1", *PCM, *FIT, *data, cwd=root)  # the classifier chooses loss=equivariance
    return load_run(root / "runs" / "stage1" / "pcm")


def test_every_term_is_logged(run: FinishedRun) -> None:
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    epoch = next(row for row in rows if "train/loss" in row)
    total = epoch["train/classification"] + epoch["train/er"] + epoch["train/ecr"]
    assert epoch["train/loss"] == pytest.approx(total, rel=1e-4)
    assert 0 <= epoch["train/er"] <= 1


def test_the_classifier_is_built_again_and_makes_the_same_cams(run: FinishedRun) -> None:
    classifier = load_classifier(run)
    assert isinstance(classifier, PcmClassifier)
    frame = frame_of(run.frames[0])
    image = ClassificationData([frame], image_size=64)[0]["image"]
    recipe = CamRecipe(method="pcm", scales=(1.0, 1.5), flip=True)
    maps, logits = recipe.raw_cam(classifier, image[None])
    stored = read_cam(cam_path(run.cams, frame.id))
    # CAMs are kept as 16-bit floats.
    torch.testing.assert_close(maps[0], torch.tensor(stored[0]).float(), rtol=2e-3, atol=2e-3)
    assert float(logits[0]) == pytest.approx(stored[1], abs=1e-3)


def test_the_next_stages_take_it(doors: Doors, run: FinishedRun) -> None:
    root = run.path.parents[2]
    taken = (f"cams={run.path}", "output=runs/stage2/pcm")
    doors.must("stage2", *STAGES["stage2"], *taken, cwd=root)
    doors.must("evaluate", f"run={run.path}", "resamples=0", "report_frames=1", cwd=root)
    other = ("trained=" + str(run.path), "cam=layer_cam", "output=runs/stage1/other")
    data = (f"data.index={run.manifest.data['index']}", "data=index")
    doors.must("stage1", *PCM, *other, *data, cwd=root)


def test_unfit_choices_are_refused_before_training(
    doors: Doors, tiny_folder: Path, tmp_path: Path
) -> None:
    data = ("data=index", f"data.index={tiny_folder / 'index.csv'}", "output=runs/stage1/x")
    plain = doors.run("stage1", *STAGES["stage1"], "loss=equivariance", *data, cwd=tmp_path)
    assert "classifier=resnet50_pcm" in plain.sentence
    local = doors.run("stage1", *PCM, "cam=local", *data, cwd=tmp_path)
    assert "method=local needs a classifier with local heads" in local.sentence
    untrained = doors.run("stage1", *PCM, "loss=classification", *data, cwd=tmp_path)
    assert "only loss=equivariance with loss.ecr_weight above 0 trains" in untrained.sentence
    assert not (tmp_path / "runs").exists()
