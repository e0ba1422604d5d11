"""Items depend on seed, epoch and index alone, and masks move with their frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weakseg.data import DataError, IndexSource, read_frame
from weakseg.data.batches import (
    ClassificationData,
    SegmentationData,
    SegmentationItem,
    make_loader,
)
from weakseg.data.frames import Frame
from weakseg.data.sampling import EpochSampler
from weakseg.data.transforms import Augmentation

STILL = Augmentation(
    flip=0,
    crop_scale_min=1,
    rotation_degrees=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur=0,
    grey=0,
)


def _marked_item(tmp_path: Path) -> SegmentationItem:
    """Write a frame whose red channel shows its own mask: white is smoke, grey is ignore."""
    red = np.full((48, 64), 20, np.uint8)
    red[10:40, 20:50] = 230
    red[:8] = 120
    mask = np.select([red == 230, red == 120], [1, 255], 0).astype(np.uint8)
    weight = np.where(red == 230, 51, 255).astype(np.uint8)
    Image.fromarray(np.stack([red] * 3, -1)).save(tmp_path / "f.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    Image.fromarray(weight).save(tmp_path / "w.png")
    frame = Frame("f", tmp_path / "f.png", 1, "s", "train")
    return SegmentationItem(frame, tmp_path / "m.png", tmp_path / "w.png")


def test_without_augmentation_a_frame_is_only_scaled(tiny_source: IndexSource) -> None:
    frame = tiny_source.frames()[0]
    square = replace(STILL)
    data = ClassificationData([frame], image_size=48, augment=None)
    still = ClassificationData([frame], image_size=48, augment=square)
    item = data[0]
    assert item["image"].shape == (3, 48, 48)
    assert item["image"].dtype == torch.float32
    assert float(item["label"]) == frame.label
    torch.testing.assert_close(item["image"], still[(5, 0)]["image"])
    whole = torch.from_numpy(read_frame(frame.path)).permute(2, 0, 1).float() / 255
    torch.testing.assert_close(
        item["image"].mean(dim=(1, 2)), whole.mean(dim=(1, 2)), atol=0.01, rtol=0
    )


def test_items_depend_on_seed_epoch_and_index_alone(tiny_source: IndexSource) -> None:
    frames = tiny_source.frames()
    data = ClassificationData(frames, image_size=32, augment=Augmentation(), seed=4)
    again = ClassificationData(frames, image_size=32, augment=Augmentation(), seed=4)
    first = data[(2, 3)]["image"]
    torch.rand(5)
    again[(0, 1)]
    torch.testing.assert_close(again[(2, 3)]["image"], first, rtol=0, atol=0)
    assert not torch.equal(data[(3, 3)]["image"], first)
    other = ClassificationData(frames, image_size=32, augment=Augmentation(), seed=5)
    assert not torch.equal(other[(2, 3)]["image"], first)


def test_the_global_generator_is_left_alone(tiny_source: IndexSource) -> None:
    data = ClassificationData(tiny_source.frames(), image_size=32, augment=Augmentation())
    batches = EpochSampler(len(data), seed=0, batch_size=4).batches(0)
    before = torch.get_rng_state()
    for _ in make_loader(data, batches):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_and_weights_move_with_their_frame(tmp_path: Path) -> None:
    still_colour = replace(STILL, flip=0.5, crop_scale_min=0.4, rotation_degrees=15)
    data = SegmentationData([_marked_item(tmp_path)], image_size=64, augment=still_colour)
    for epoch in range(8):
        item = data[(epoch, 0)]
        red = item["image"][0] * 255
        assert item["mask"].dtype == torch.int64
        assert set(item["mask"].unique().tolist()) <= {0, 1, 255}
        # Only the blurred rims of the three areas may disagree.
        agree = (red > 200) == (item["mask"] == 1)
        assert agree.float().mean() > 0.93
        torch.testing.assert_close(
            item["weight"], torch.where(item["mask"] == 1, 0.2, 1.0), rtol=0, atol=1e-6
        )


def test_rotation_leaves_no_dark_corners(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), (200, 200, 200)).save(tmp_path / "f.png")
    frame = Frame("f", tmp_path / "f.png", 1, "s", "train")
    turned = replace(STILL, rotation_degrees=20)
    data = ClassificationData([frame], image_size=40, augment=turned)
    for epoch in range(5):
        assert data[(epoch, 0)]["image"].min() > 0.75


def test_no_augmentation_turns_a_frame_upside_down(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2)
    Image.fromarray(ramp).save(tmp_path / "f.png")
    frame = Frame("f", tmp_path / "f.png", 1, "s", "train")
    data = ClassificationData([frame], image_size=32, augment=Augmentation())
    for epoch in range(20):
        image = data[(epoch, 0)]["image"]
        assert image[:, 16:].mean() > image[:, :16].mean()


def test_no_weight_means_one_everywhere(tmp_path: Path) -> None:
    item = replace(_marked_item(tmp_path), weight_path=None)
    assert SegmentationData([item], image_size=32)[0]["weight"].unique().tolist() == [1.0]


def test_a_mask_of_another_size_or_other_ids_is_refused(tmp_path: Path) -> None:
    item = _marked_item(tmp_path)
    Image.new("L", (3, 3)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m\.png covers 3x3 pixels but its frame 48x64"):
        SegmentationData([item], image_size=32)[0]
    Image.new("L", (64, 48), 7).save(tmp_path / "m.png")
    with pytest.raises(DataError, match="ids other than 0, 1 and 255"):
        SegmentationData([item], image_size=32)[0]


def test_workers_give_the_same_batches(tiny_source: IndexSource) -> None:
    data = ClassificationData(tiny_source.frames(), image_size=32, augment=Augmentation())
    batches = EpochSampler(len(data), seed=1, batch_size=5).batches(2)
    alone = list(make_loader(data, batches))
    helped = list(make_loader(data, batches, workers=2))
    assert [len(batch["index"]) for batch in alone] == [5, 5, 5, 1]
    for one, other in zip(alone, helped, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name])
    assert [(2, int(i)) for batch in alone for i in batch["index"]] == [
        key for batch in batches for key in batch
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_frame_is_one_sentence_from_workers_too(
    workers: int, tiny_source: IndexSource, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    frames = [*tiny_source.frames()[:3], Frame("b", tmp_path / "bad.png", 0, "s", "train")]
    data = ClassificationData(frames, image_size=8)
    with pytest.raises(DataError) as caught:
        list(make_loader(data, [[(0, 0), (0, 1)], [(0, 2), (0, 3)]], workers=workers))
    assert str(caught.value).startswith(f"{tmp_path}/bad.png is empty")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": 1.5}, "flip must lie in"),
        ({"crop_scale_min": 0.0}, "crop_scale_min must be above 0"),
        ({"hue": 0.7}, "hue must lie in"),
        ({"rotation_degrees": -1.0}, "rotation_degrees must lie in"),
    ],
)
def test_ranges_are_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)


def test_a_frame_nobody_knows_is_ignored_everywhere(tmp_path: Path) -> None:
    item = replace(_marked_item(tmp_path), mask_path=None, is_unlabelled=True)
    found = SegmentationData([item, _marked_item(tmp_path)], image_size=32)
    assert (found[0]["mask"] == 255).all()
    assert not found[0]["noisy"]
    assert "instances" not in found[0]


def test_instances_move_with_their_frame_and_are_0_where_unknown(tmp_path: Path) -> None:
    """Numbers above 255 come through; a frame without them is told to know none."""
    numbers = np.zeros((48, 64), np.uint16)
    numbers[10:40, 20:30], numbers[10:40, 30:50] = 7, 40_000
    Image.fromarray(numbers).save(tmp_path / "i.png")
    item = replace(_marked_item(tmp_path), instances_path=tmp_path / "i.png")
    varied = replace(STILL, flip=0.5, crop_scale_min=0.4, rotation_degrees=15)
    data = SegmentationData([item, _marked_item(tmp_path)], image_size=64, augment=varied)
    for epoch in range(6):
        found = data[(epoch, 0)]
        assert set(found["instances"].unique().tolist()) <= {0, 7, 40_000}
        assert torch.equal(found["instances"] > 0, found["mask"] == 1)
    unknown = data[(0, 1)]["instances"]
    assert unknown.dtype == torch.int64
    assert (unknown == 0).all()


def test_instances_of_another_size_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "i.png")
    item = replace(_marked_item(tmp_path), instances_path=tmp_path / "i.png")
    with pytest.raises(DataError, match="covers 9x9 pixels but its frame 48x64"):
        SegmentationData([item], image_size=32)[0]
