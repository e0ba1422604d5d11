"""Frames of any size are read whole or by tiles, and no tile shows its border."""

import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weakseg.arrays import FrameArray
from weakseg.models import TiledInference
from weakseg.models.windows import merge_windows, window_starts


class Redness(nn.Module):
    """Says smoke where a pixel is red: what it gives does not depend on where a tile lies."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: Tensor) -> Tensor:
        smoke = self.gain * (images[:, :1] - 0.5)
        return torch.cat([-smoke, smoke], dim=1)


def expected(frame: FrameArray) -> np.ndarray:
    red = frame[..., 0].astype(np.float64) / 255
    return 1 / (1 + np.exp(-8 * (red - 0.5)))


def smooth_frame(height: int, width: int) -> FrameArray:
    ramp = np.linspace(40, 215, width)[None, :] + np.linspace(-30, 30, height)[:, None]
    return np.repeat(np.clip(ramp, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (96, 300), (257, 131)])
def test_a_pixelwise_network_gives_the_same_by_tiles_as_whole(size: tuple[int, int]) -> None:
    frame = smooth_frame(*size)
    found = TiledInference(image_size=64)(Redness(), frame)
    assert found.shape == size
    assert found.dtype == np.float32
    # Resizing to the square and back blurs by less than a level or two of the ramp.
    np.testing.assert_allclose(found, expected(frame), atol=0.03)


def test_large_frames_are_tiled_and_small_ones_are_not() -> None:
    inference = TiledInference(image_size=64, tile_above=1.5)
    assert not inference.is_tiled(96, 80)
    assert inference.is_tiled(60, 97)


class Watched(Redness):
    """Counts the tiles of each batch, and those of earlier ones that are still held."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.held: list[int] = []
        self._seen: list[weakref.ref[Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.held.append(sum(one() is not None for one in self._seen))
        self.batches.append(len(images))
        self._seen.append(weakref.ref(images))
        return super().forward(images)


def test_tiles_are_read_in_batches_and_not_held() -> None:
    model = Watched()
    TiledInference(image_size=64, batch_size=8, flip=False)(model, smooth_frame(320, 480))
    assert sum(model.batches) == 9 * 14
    assert max(model.batches) == 8
    assert max(model.held) <= 1, "the last batch may still be at hand"


def test_batches_change_no_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    frame = smooth_frame(192, 256)
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    rows, columns = window_starts(192, 64, 32), window_starts(256, 64, 32)
    corners = [(row, column) for row in rows for column in columns]
    tiles = torch.cat([image[..., r : r + 64, c : c + 64] for r, c in corners])
    with torch.inference_mode():
        maps = torch.cat([model(part).softmax(dim=1)[:, 1] for part in torch.split(tiles, 4)])
    expected = merge_windows(maps[None], corners, (192, 256))[0].clamp(0, 1)
    found = TiledInference(image_size=64, batch_size=4, flip=False)(model, frame)
    np.testing.assert_array_equal(found, expected.numpy())


def test_thin_frames_take_the_room_of_tiles() -> None:
    inference = TiledInference(image_size=256)
    assert inference.pixels_held(1, 5_000_000) == 256 * 5_000_000
    assert inference.pixels_held(5_000_000, 1) == 256 * 5_000_000
    assert inference.pixels_held(1080, 1920) == 1080 * 1920
    assert inference.pixels_held(100, 120) == 100 * 120, "it is not tiled"


def test_small_smoke_in_a_large_frame_keeps_its_size() -> None:
    frame = np.zeros((320, 480, 3), np.uint8)
    frame[100:110, 203:213] = 255
    found = TiledInference(image_size=64, flip=True)(Redness(), frame) > 0.5
    assert found[100:110, 203:213].all()
    assert found.sum() == 100


class Sided(Redness):
    """Believes more in smoke the further right it is, and the larger the picture."""

    def forward(self, images: Tensor) -> Tensor:
        right = torch.linspace(-1, 1, images.shape[-1]).view(1, 1, 1, -1)
        smoke = images[:, :1] - 0.5 + right + images.shape[-1] / 64
        return torch.cat([-smoke, smoke], dim=1)


def test_scales_and_flips_are_averaged() -> None:
    frame = smooth_frame(64, 64)

    def seen(frame: FrameArray, *scales: float, flip: bool = False) -> np.ndarray:
        return TiledInference(image_size=64, scales=scales, flip=flip)(Sided(), frame)

    plain, mirrored = seen(frame, 1.0), seen(frame[:, ::-1], 1.0)[:, ::-1]
    assert np.abs(plain - mirrored).max() > 0.5
    both = seen(frame, 1.0, flip=True)
    np.testing.assert_allclose(both, (plain + mirrored) / 2, atol=1e-6)
    half, large = seen(frame, 0.5), seen(frame, 1.5)
    assert np.abs(half - large).max() > 0.1
    many = seen(frame, 0.5, 1.0, 1.5)
    np.testing.assert_allclose(many, (half + plain + large) / 3, atol=1e-6)


def test_settings_build_the_same_again() -> None:
    inference = TiledInference(image_size=96, scales=(1.0, 1.5), flip=False)
    assert TiledInference(**inference.settings()) == inference


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"scales": []}, "scales must be at least 1"),
        ({"tile_above": 0.5}, "tile_above must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TiledInference(**settings)
