"""Read pictures in one way: upright, 8-bit RGB, whole, and never larger than agreed.

Readers disagree on hostile files: OpenCV takes truncated JPEGs without a word, Pillow leaves
the EXIF rotation to the caller and clips 16-bit greys to white. Everything here goes
through Pillow's strict decoder with those gaps closed.
"""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from weakseg.arrays import FrameArray, Instances, Mask
from weakseg.checks import check_at_least
from weakseg.errors import DataError

log = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
ORIENTATION_TAG = 0x0112
PNG_BIT_DEPTH_BYTE = 24
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files."""

_opening = threading.Lock()


@dataclass(frozen=True)
class ImageFacts:
    """What a picture's header says.

    Args:
        kind: Format by content, such as "JPEG".
        mode: Pillow's mode, such as "RGB", "P", "CMYK", "I;16".
        width: Stored columns, before the EXIF rotation.
        height: Stored rows, before the EXIF rotation.
        bits: Bits a channel.
        orientation: EXIF orientation 1-8; 1 is upright.
        has_alpha: Whether it has transparency.
    """

    kind: str
    mode: str
    width: int
    height: int
    bits: int
    orientation: int
    has_alpha: bool


def read_frame(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> FrameArray:
    """Read a picture as the stages want it.

    The EXIF rotation is applied; 16-bit greys are scaled; palettes, CMYK and grey become RGB;
    what is transparent is laid over black. Of an animation the first frame counts.

    Args:
        path: The picture.
        max_pixels: Refuse pictures of more pixels, before decoding them.

    Returns:
        (H, W, 3) uint8, RGB, writable.

    Raises:
        DataError: If the file is missing, empty, no picture, truncated or too large.
    """
    check_at_least(1, max_pixels=max_pixels)
    path = Path(path)
    with _open(path, max_pixels=max_pixels) as picture:
        try:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            pixels = np.array(_to_rgb(upright, path), dtype=np.uint8)
        except DAMAGE as error:
            raise _damaged(path, error) from error
    return pixels


def read_grey_thumbnail(path: Path | str, *, side: int, max_pixels: int = MAX_PIXELS) -> Mask:
    """Read a picture as a small grey square, fast: JPEGs are decoded at a reduced size.

    Returns:
        (side, side) uint8, stored orientation.
    """
    path = Path(path)
    with _open(path, max_pixels=max_pixels) as picture:
        try:
            picture.draft("L", (2 * side, 2 * side))
            picture.load()
            grey = _to_rgb(picture, path).convert("L")
            small = grey.resize((side, side), Image.Resampling.BOX)
        except DAMAGE as error:
            raise _damaged(path, error) from error
    return np.array(small, dtype=np.uint8)


def read_ids(path: Path | str) -> Mask:
    """Read a PNG of class ids as it is: palette indices and grey levels are ids.

    Returns:
        (H, W) uint8.
    """
    path = Path(path)
    with _open(path, max_pixels=MAX_PIXELS) as picture:
        try:
            picture.load()
            if picture.mode in ("1", "L", "P"):
                return np.array(picture, dtype=np.uint8)
            if picture.mode.startswith("I"):
                return _ids_from_wide(np.array(picture, dtype=np.int64), path)
            return _ids_from_channels(np.array(picture.convert("RGB"), dtype=np.uint8), path)
        except DAMAGE as error:
            raise _damaged(path, error) from error


def read_instances(path: Path | str) -> Instances:
    """Read a PNG of instance numbers, 8-bit or 16-bit: 0 is background, 1..N are instances.

    Returns:
        (H, W) uint16.

    Raises:
        DataError: If the file cannot be read, is coloured, or holds numbers outside 16 bits.
    """
    path = Path(path)
    with _open(path, max_pixels=MAX_PIXELS) as picture:
        try:
            picture.load()
            if picture.mode not in ("1", "L", "P", "I") and not picture.mode.startswith("I;16"):
                raise DataError(
                    f"{path} is no picture of instance numbers (mode {picture.mode}): save it as "
                    "PNG with one channel of 8 or 16 bits"
                )
            numbers = np.array(picture, dtype=np.int64)
        except DAMAGE as error:
            raise _damaged(path, error) from error
    if numbers.min() < 0 or numbers.max() > 65535:
        raise DataError(f"{path} holds numbers up to {numbers.max()}: instances are 1 to 65535")
    return numbers.astype(np.uint16)


def read_facts(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Read a picture's header without decoding its pixels."""
    path = Path(path)
    with _open(path, max_pixels=max_pixels) as picture:
        try:
            orientation = int(picture.getexif().get(ORIENTATION_TAG, 1))
        except DAMAGE:
            log.debug("%s has unreadable EXIF data", path)
            orientation = 1
        return ImageFacts(
            kind=picture.format or "unknown",
            mode=picture.mode,
            width=picture.width,
            height=picture.height,
            bits=_bits(picture, path),
            orientation=orientation,
            has_alpha=picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info,
        )


def _open(path: Path, *, max_pixels: int) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{path} is not a file: correct its path in the index")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes): copy it again or quarantine it")
    try:
        picture = _open_without_pillows_limit(path)
    except DAMAGE as error:
        raise DataError(f"{path} is not a picture: replace it or quarantine it") from error
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        picture.close()
        raise DataError(
            f"{path} has {picture.width}x{picture.height} pixels, above the limit of "
            f"{max_pixels}: raise max_pixels if it is to be trusted, or quarantine it"
        )
    return picture


def _open_without_pillows_limit(path: Path) -> Image.Image:
    """Open by our own limit: Pillow's is global, and warns below the one agreed here."""
    with _opening:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(picture: Image.Image, path: Path) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return _wide_to_rgb(picture, path)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layered).convert("RGB")
    return picture.convert("RGB")


def _wide_to_rgb(picture: Image.Image, path: Path) -> Image.Image:
    """Scale 16-bit greys to 8 bits; Pillow would clip them."""
    values = np.array(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{path} holds values outside 16 bits (mode {picture.mode}): save it as 8-bit RGB"
        )
    levels = (values.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def _ids_from_wide(values: np.ndarray[tuple[int, ...], np.dtype[np.int64]], path: Path) -> Mask:
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"{path} holds ids up to {values.max()}: class ids must be 0, 1 or 255")
    return values.astype(np.uint8)


def _ids_from_channels(pixels: FrameArray, path: Path) -> Mask:
    if (pixels != pixels[..., :1]).any():
        raise DataError(f"{path} is coloured: save the mask as one channel with 0, 1 or 255")
    return np.ascontiguousarray(pixels[..., 0])


def _bits(picture: Image.Image, path: Path) -> int:
    if picture.format == "PNG":
        with path.open("rb") as file:
            return file.read(PNG_BIT_DEPTH_BYTE + 1)[PNG_BIT_DEPTH_BYTE]
    if picture.mode.startswith("I;16"):
        return 16
    return 32 if picture.mode in ("I", "F") else 1 if picture.mode == "1" else 8


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"{path} is damaged or truncated ({error}): copy it again or quarantine it")
