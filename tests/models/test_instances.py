"""Masks become instances, and instances masks, as a brute force says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from weakseg.models import TiledInference
from weakseg.models.instances import FoundInstances, join_instances
from weakseg.models.instances_frames import find_instances
from weakseg.models.instances_targets import mean_inside, targets_from_mask, targets_of_batch


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Part a mask by spreading from pixel to pixel, the eight neighbours at a time."""
    left = {(int(r), int(c)) for r, c in zip(*np.nonzero(mask == 1), strict=True)}
    parts = []
    while left:
        part, edge = set(), {min(left)}
        while edge:
            part |= edge
            near = {(r + i, c + j) for r, c in edge for i in (-1, 0, 1) for j in (-1, 0, 1)}
            edge = (near & left) - part
        left -= part
        parts.append(part)
    return parts


def found(boxes: list[list[float]], scores: list[float], cells: Tensor) -> FoundInstances:
    return FoundInstances(torch.tensor(boxes), torch.tensor(scores), cells, 40, 60)


@pytest.mark.parametrize("seed", range(8))
def test_targets_are_the_connected_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.choice([0, 1, 255], size=(17, 23), p=[0.6, 0.3, 0.1])
    least = 4
    targets = targets_from_mask(torch.from_numpy(mask), min_area=least)
    large = [part for part in flood(mask) if len(part) >= least]
    small = [part for part in flood(mask) if len(part) < least]
    pixels = [set(zip(*map(list, m.nonzero(as_tuple=True)), strict=True)) for m in targets.masks]
    told = [{(int(r), int(c)) for r, c in part} for part in pixels]
    assert sorted(map(min, told)) == sorted(map(min, large))
    assert all(part in large for part in told)
    for part, box in zip(told, targets.boxes.tolist(), strict=True):
        rows, columns = [r for r, _ in part], [c for _, c in part]
        assert box == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
    certain = np.ones(mask.shape)
    certain[mask == 255] = 0
    for part in small:
        certain[tuple(zip(*part, strict=True))] = 0
    np.testing.assert_array_equal(targets.certainty.numpy(), certain)


def test_numbers_part_what_touches_and_join_what_does_not() -> None:
    mask, numbers = torch.zeros(10, 12, dtype=torch.int64), torch.zeros(10, 12, dtype=torch.int64)
    mask[2:6, 0:8] = 1
    numbers[2:6, 0:4], numbers[2:6, 4:8] = 300, 7
    mask[8:10, 10:12] = 1
    numbers[8:10, 10:12] = 7
    mask[0, 10:12] = 1  # Smoke that nobody numbered.
    numbers[9, 0:3] = 5  # A number where the mask has no smoke.
    targets = targets_from_mask(mask, instances=numbers)
    assert targets.boxes.tolist() == [[4, 2, 12, 10], [0, 2, 4, 6], [10, 0, 12, 1]]
    assert targets.masks.sum(dim=(1, 2)).tolist() == [20, 16, 2]


@pytest.mark.parametrize("value", [0, 255])
def test_masks_without_smoke_give_no_instances(value: int) -> None:
    targets = targets_from_mask(torch.full((6, 7), value))
    assert targets.boxes.shape == (0, 4)
    assert targets.masks.shape == (0, 6, 7)
    assert targets.certainty.mean() == (value == 0)


def test_weights_are_certainties_and_ignored_pixels_have_none() -> None:
    mask = torch.tensor([[1, 0, 255]])
    weight = torch.tensor([[0.25, 0.5, 1.0]])
    assert targets_from_mask(mask, weight=weight).certainty.tolist() == [[0.25, 0.5, 0.0]]


def test_a_batch_is_brought_to_the_size_that_is_read() -> None:
    mask = torch.zeros(2, 10, 10, dtype=torch.int64)
    mask[1, 2:4, 6:9] = 1
    numbers = mask * 40_000
    first, second = targets_of_batch(mask, instances=numbers, size=(20, 30))
    assert len(first.boxes) == 0
    assert second.boxes.tolist() == [[18, 4, 27, 8]]


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="weight must have shape"):
        targets_from_mask(torch.zeros(4, 4, dtype=torch.int64), weight=torch.ones(4, 5))


def test_means_inside_boxes_match_slices() -> None:
    values = torch.rand(13, 17, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0, 17, 13], [3.2, 4.7, 9.1, 6.0], [16.5, 12.5, 40, 40]])
    expected = [values.mean(), values[4:6, 3:10].mean(), values[12, 16]]
    torch.testing.assert_close(mean_inside(values, boxes), torch.stack(expected))
    assert mean_inside(values, torch.zeros(0, 4)).shape == (0,)


def read_cells(cells: np.ndarray, x: float, y: float) -> float:
    """Read a soft mask at a place in its box, from 0 to 1, linearly between cells; 0 beyond."""
    side = cells.shape[0]
    column, row = x * side - 0.5, y * side - 0.5
    total = 0.0
    for i in (int(np.floor(row)), int(np.floor(row)) + 1):
        for j in (int(np.floor(column)), int(np.floor(column)) + 1):
            if 0 <= i < side and 0 <= j < side:
                total += cells[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def test_soft_map_is_the_union_of_the_masks() -> None:
    cells = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0))
    boxes = [[5.3, 4.1, 31.7, 22.9], [20.0, 10.0, 70.0, 35.5], [-8.0, 30.0, 3.0, 60.0]]
    scores = [0.9, 0.6, 0.3]
    expected = np.zeros((3, 40, 60))
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        for row in range(40):
            for column in range(60):
                x, y = (column + 0.5 - x1) / (x2 - x1), (row + 0.5 - y1) / (y2 - y1)
                expected[k, row, column] = read_cells(cells[k].numpy(), x, y)
    instances = found(boxes, scores, cells)
    # Bilinear weights in single precision.
    np.testing.assert_allclose(instances.masks.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(instances.mask(1).numpy(), expected[1], atol=1e-5)
    union = (expected * np.array(scores)[:, None, None]).max(axis=0)
    np.testing.assert_allclose(instances.soft_map().numpy(), union, atol=1e-5)


def test_no_instances_are_no_smoke() -> None:
    nothing = FoundInstances(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 7, 7), 40, 60)
    assert nothing.soft_map().sum() == 0
    assert nothing.masks.shape == (0, 40, 60)
    assert len(nothing.without_repeats()) == 0


def test_boxes_without_area_or_outside_draw_nothing() -> None:
    boxes = [[5.0, 5.0, 5.0, 9.0], [80.0, 5.0, 90.0, 9.0]]
    assert found(boxes, [0.9, 0.8], torch.ones(2, 3, 3)).soft_map().sum() == 0


def test_repeats_are_dropped_and_neighbours_kept() -> None:
    boxes = [[0.0, 0, 20, 20], [2.0, 2, 8, 8], [15.0, 0, 35, 20], [0.0, 0, 20, 21]]
    instances = found(boxes, [0.9, 0.8, 0.7, 0.95], torch.ones(4, 3, 3)).without_repeats()
    assert instances.scores.tolist() == pytest.approx([0.95, 0.7])


def test_instances_move_and_stretch_with_their_picture() -> None:
    one = found([[10.0, 4, 20, 8]], [0.5], torch.ones(1, 3, 3))
    assert one.resized(80, 30).boxes.tolist() == [[5, 8, 10, 16]]
    moved = one.placed(100, 7, 200, 300)
    assert (moved.boxes.tolist(), moved.height, moved.width) == ([[17, 104, 27, 108]], 200, 300)
    assert len(one.above(0.6)) == 0
    assert len(one.above(0.5)) == 1


def test_cut_instances_give_way_to_whole_ones() -> None:
    pieces = found([[0.0, 0, 20, 10], [0.0, 0, 20, 30]], [0.9, 0.4], torch.ones(2, 3, 3))
    assert pieces.without_repeats().scores.tolist() == pytest.approx([0.9])
    whole = pieces.without_repeats(is_cut=torch.tensor([True, False]))
    assert whole.scores.tolist() == pytest.approx([0.4])


def test_only_pictures_of_one_size_are_joined() -> None:
    first = found([[0.0, 0, 5, 5], [1.0, 0, 5, 5]], [0.9, 0.2], torch.ones(2, 3, 3))
    second = found([[2.0, 0, 5, 5]], [0.4], torch.ones(1, 3, 3))
    joined = join_instances([first, second])
    assert joined.boxes[:, 0].tolist() == [0, 1, 2]
    assert joined.without_repeats(1.0).boxes[:, 0].tolist() == [0, 2, 1]
    with pytest.raises(ValueError, match="one size"):
        join_instances([first, second.resized(10, 10)])


class Blocks:
    """Finds the white blocks of a picture, each as a box with the block's width as score."""

    def instances(self, images: Tensor) -> list[FoundInstances]:
        results = []
        for image in images:
            targets = targets_from_mask((image[0] > 0.5).long())
            widths = targets.boxes[:, 2] - targets.boxes[:, 0]
            order = torch.argsort(widths, descending=True)
            boxes, scores = targets.boxes[order], widths[order] / 1000
            height, width = image.shape[-2:]
            cells = torch.ones(len(boxes), 4, 4)
            results.append(FoundInstances(boxes, scores, cells, height, width))
        return results


def test_a_small_frame_is_shrunk_and_its_boxes_are_not() -> None:
    frame = np.zeros((64, 128, 3), dtype=np.uint8)
    frame[16:32, 32:96] = 255
    found = find_instances(Blocks(), frame, TiledInference(image_size=64, tile_above=2))
    assert found.boxes.tolist() == [[32, 16, 96, 32]]
    assert (found.height, found.width) == (64, 128)


def test_a_large_frame_is_read_in_tiles_and_each_block_is_found_once() -> None:
    frame = np.zeros((128, 256, 3), dtype=np.uint8)
    blocks = [[8, 8, 28, 30], [100, 60, 124, 90], [200, 100, 210, 127]]
    for x1, y1, x2, y2 in blocks:
        frame[y1:y2, x1:x2] = 255
    inference = TiledInference(image_size=64, tile_above=1, batch_size=3)
    found = find_instances(Blocks(), frame, inference)
    assert sorted(found.boxes.tolist()) == blocks


class Counts:
    """Counts the tiles it reads, and finds what `Blocks` finds."""

    def __init__(self) -> None:
        self.tiles = 0

    def instances(self, images: Tensor) -> list[FoundInstances]:
        self.tiles += len(images)
        return Blocks().instances(images)


@pytest.mark.parametrize(("overlap", "tiles"), [(0.0, 2 * 4), (0.5, 3 * 7)])
def test_tiles_overlap_as_told(overlap: float, tiles: int) -> None:
    model = Counts()
    inference = TiledInference(image_size=64, tile_above=1, overlap=overlap)
    find_instances(model, np.zeros((128, 256, 3), dtype=np.uint8), inference)
    assert model.tiles == tiles
