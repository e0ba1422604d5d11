"""Stage 3 with Mask R-CNN tells and draws instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from weakseg.artifacts import RunPaths
from weakseg.data import IndexSource, read_frame
from weakseg.models import FoundInstances, MaskRcnn, Segmenter, TiledInference
from weakseg.stages.instances import INSTANCES, SHEET, write_instances
from weakseg.stages.work import Work


class Bright(MaskRcnn):
    """Finds one instance where the picture is brightest; counts how often it is asked."""

    asked = 0

    def instances(self, images: torch.Tensor) -> list[FoundInstances]:
        self.asked += len(images)
        height, width = images.shape[-2:]
        box = torch.tensor([[8.0, 4, 24, 28], [0.0, 0, 4, 4]])
        one = FoundInstances(box, torch.tensor([0.9, 0.2]), torch.ones(2, 4, 4), height, width)
        return [one for _ in images]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    idle = SimpleNamespace(run=RunPaths(tmp_path), check_stop=lambda: None)
    return cast(Work, idle)


def write(model: Any, source: IndexSource, work: Work) -> Mapping[str, float]:
    frames = [frame for frame in source.frames() if frame.split in ("val", "test")]
    return write_instances(
        model,
        frames,
        TiledInference(image_size=32, tile_above=4),
        work,
        drawn_split="test",
        data=source.settings(),
        shown_score=0.5,
        sheet_frames=4,
    )


def picture_names(folder: Path, suffix: str) -> Sequence[str]:
    return sorted(path.stem for path in folder.glob(f"*{suffix}"))


def test_instances_are_told_drawn_and_not_found_twice(work: Work, tiny_source: IndexSource) -> None:
    model = Bright("test_resnet", weights=None, channels=4).eval()
    figures = write(model, tiny_source, work)
    assert figures == {
        "test/instances_by_smoke_frame": 1.0,
        "test/instances_by_smoke_free_frame": 1.0,
    }
    told = json.loads((work.run.path / INSTANCES).read_text())
    held_out = [f for f in tiny_source.frames() if f.split in ("val", "test")]
    assert [picture["frame"] for picture in told["images"]] == [f.id for f in held_out]
    assert len(told["annotations"]) == 2 * len(held_out)
    # The square of 32 pixels is stretched to the frame's 48 x 64.
    assert told["annotations"][0]["bbox"] == [16, 6, 32, 36]
    # A box of full cells is full, but for the pixels at its corners, which fade both ways.
    assert 0.95 * 32 * 36 < told["annotations"][0]["area"] < 32 * 36
    test = sorted(frame.id for frame in held_out if frame.split == "test")
    assert picture_names(work.run.path / "instances", ".jpg") == test
    assert read_frame(work.run.path / "instances" / f"{test[0]}.jpg").shape == (48, 64, 3)
    assert read_frame(work.run.path / SHEET).shape[1] > 3 * 64
    before = model.asked
    write(model, tiny_source, work)
    # Only those of the sheet are read again: two with smoke, of which there are no three, and one
    # without.
    assert model.asked - before == 3


def test_segmenters_without_instances_write_none(work: Work, tiny_source: IndexSource) -> None:
    assert write(Segmenter(encoder="tu-test_resnet", encoder_weights=None), tiny_source, work) == {}
    assert list(work.run.path.iterdir()) == []
