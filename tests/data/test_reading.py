"""One reader for all pictures: hostile files are refused by name, odd ones become upright RGB."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.arrays import FrameArray
from weakseg.data.reading import read_facts, read_frame, read_ids, read_instances
from weakseg.errors import DataError


def _encoded(frame: FrameArray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, kind, quality=92)
    return buffer.getvalue()


def test_a_plain_png_is_read_exactly(plume: FrameArray, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_encoded(plume, "PNG"))
    frame = read_frame(tmp_path / "a.png")
    np.testing.assert_array_equal(frame, plume)
    assert frame.dtype == np.uint8
    assert frame.flags.writeable
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_file_is_refused_or_whole(kind: str, plume: FrameArray, tmp_path: Path) -> None:
    data = _encoded(plume, kind)
    (tmp_path / "whole").write_bytes(data)
    whole = read_frame(tmp_path / "whole")
    refused = 0
    for end in range(1, len(data), 37):
        cut = tmp_path / f"cut{end}.jpg"
        cut.write_bytes(data[:end])
        try:
            # All pixels can be there although the file's last bytes are not.
            np.testing.assert_array_equal(read_frame(cut), whole)
        except DataError as error:
            assert cut.name in str(error)
            refused += 1
    assert refused >= len(data) // 37 - 1


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg is empty"):
        read_frame(tmp_path / "empty.jpg")


def test_text_called_jpg_is_named(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"note\.jpg is not a picture"):
        read_frame(tmp_path / "note.jpg")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(DataError, match="is not a file"):
            read_frame(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    # 400 million pixels in a file of a few kilobytes: 50 MB if it were decoded.
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match=r"bomb\.png has 20000x20000 pixels"):
        read_frame(tmp_path / "bomb.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_pixel_limit_is_inclusive(plume: FrameArray, tmp_path: Path) -> None:
    Image.fromarray(plume).save(tmp_path / "a.png")
    assert read_frame(tmp_path / "a.png", max_pixels=plume[..., 0].size).shape == plume.shape
    with pytest.raises(DataError, match="above the limit"):
        read_frame(tmp_path / "a.png", max_pixels=plume[..., 0].size - 1)
    with pytest.raises(ValueError, match="max_pixels must be at least 1"):
        read_frame(tmp_path / "a.png", max_pixels=0)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_exif_rotation_is_applied(
    orientation: int, turn: Image.Transpose, plume: FrameArray, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(plume).transpose(turn)
    stored.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_frame(tmp_path / "turned.png"), plume)
    assert read_facts(tmp_path / "turned.png").orientation == orientation


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "wide.png")
    frame = read_frame(tmp_path / "wide.png")
    np.testing.assert_array_equal(frame[..., 1].reshape(-1), np.arange(256))
    assert read_facts(tmp_path / "wide.png").bits == 16


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="save it as 8-bit RGB"):
        read_frame(tmp_path / "float.tif")


def test_palettes_become_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "p.png")
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [10, 20, 30]]]
    np.testing.assert_array_equal(read_frame(tmp_path / "p.png"), expected)


def test_transparent_palette_entries_lie_over_black(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([200, 200, 200, 40, 50, 60])
    picture.save(tmp_path / "p.png", transparency=bytes([0, 255]))
    np.testing.assert_array_equal(read_frame(tmp_path / "p.png"), [[[0, 0, 0], [40, 50, 60]]])
    assert read_facts(tmp_path / "p.png").has_alpha


def test_alpha_lies_over_black(tmp_path: Path) -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.png"), [[[200, 100, 50], [0, 0, 0]]])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (250, 20, 20)).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    frame = read_frame(tmp_path / "c.jpg")
    assert read_facts(tmp_path / "c.jpg").mode == "CMYK"
    # JPEG at quality 95 moves a flat colour by a few levels.
    np.testing.assert_allclose(frame.mean(axis=(0, 1)), (250, 20, 20), atol=6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB"])
def test_a_single_pixel_of_any_mode_is_a_frame(mode: str, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (255, 255, 255)).convert(mode).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "one.png"), [[[255, 255, 255]]])


def test_ids_are_read_as_they_are(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [255, 1]], np.uint8)
    palette = Image.fromarray(ids).convert("P")
    palette.putpalette([7, 7, 7] * 256)
    Image.fromarray(ids).save(tmp_path / "grey.png")
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.stack([ids] * 3, -1)).save(tmp_path / "rgb.png")
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "grey.png"), ids)
    np.testing.assert_array_equal(read_ids(tmp_path / "rgb.png"), ids)
    np.testing.assert_array_equal(read_ids(tmp_path / "wide.png"), ids)
    assert read_ids(tmp_path / "palette.png").shape == ids.shape


def test_coloured_masks_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "red.png")
    with pytest.raises(DataError, match=r"red\.png is coloured"):
        read_ids(tmp_path / "red.png")


def test_instance_numbers_above_a_byte_are_read_as_they_are(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 300], [65535, 2, 0]], dtype=np.uint16)
    Image.fromarray(numbers).save(tmp_path / "i.png")
    np.testing.assert_array_equal(read_instances(tmp_path / "i.png"), numbers)
    Image.fromarray(numbers.astype(np.uint8)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_instances(tmp_path / "b.png"), numbers % 256)


def test_coloured_instances_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c\.png is no picture of instance numbers"):
        read_instances(tmp_path / "c.png")
