"""Frames of any size are read whole or by tiles, and no tile shows its border."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weakseg.arrays import FrameArray
from weakseg.models import TiledInference


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


def test_small_smoke_in_a_large_frame_keeps_its_size() -> None:
    frame = np.zeros((320, 480, 3), np.uint8)
    frame[100:110, 203:213] = 255
    found = TiledInference(image_size=64, flip=True)(Redness(), frame) > 0.5
    assert found[100:110, 203:213].all()
    assert found.sum() == 100


def test_scales_and_flips_are_averaged() -> None:
    frame = smooth_frame(64, 64)
    plain = TiledInference(image_size=64, flip=False)(Redness(), frame)
    many = TiledInference(image_size=64, scales=[0.5, 1.0, 1.5])(Redness(), frame)
    np.testing.assert_allclose(many, plain, atol=0.03)


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
