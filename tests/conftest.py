"""What every test can use: a seeded plume, a small data set on disk, and the three stages on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from doors import Chain, Doors, make_chain

from weakseg.arrays import FrameArray, Mask
from weakseg.data import IndexSource

HEIGHT, WIDTH = 48, 64


def _plume_opacity(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rise = (height - y) / height
    centre = 0.4 * width + 0.25 * width * rise
    spread = width * (0.04 + 0.12 * rise)
    return np.exp(-0.5 * ((x - centre) / spread) ** 2) * (rise > 0.2) * (rise < 0.9)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts the same in every test."""
    return np.random.default_rng(0)


@pytest.fixture
def plume(rng: np.random.Generator) -> FrameArray:
    """(48, 64, 3) uint8: a soft grey plume on a blue sky."""
    opacity = _plume_opacity(HEIGHT, WIDTH)[..., None]
    sky = np.array([90, 140, 210], dtype=np.float32) + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
    frame = (1 - 0.9 * opacity) * sky + 0.9 * opacity * np.array([200, 200, 200])
    return np.clip(frame, 0, 255).astype(np.uint8)


@pytest.fixture
def plume_mask() -> Mask:
    """(48, 64) uint8: where that plume hides more than half of the sky."""
    return (_plume_opacity(HEIGHT, WIDTH) > 0.5).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set on disk: 16 frames of 48x64 in 8 scenes, its index.csv with masks."""
    folder = tmp_path_factory.mktemp("tiny")
    lines = ["path,label,scene,split,sequence,mask_path"]
    for scene in range(8):
        split = ("train", "train", "train", "train", "val", "val", "test", "test")[scene]
        for k in range(2):
            lines.append(_write_tiny_frame(folder, scene, k, split))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def tiny_source(tiny_folder: Path) -> IndexSource:
    """The source of `tiny_folder`: scenes with even numbers have smoke."""
    return IndexSource(str(tiny_folder / "index.csv"))


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Runs commands without loading torch each time."""
    server = Doors(tmp_path_factory.mktemp("told"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def chain(doors: Doors, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The three stages, finished, on `tiny_folder`; leave them as they are."""
    return make_chain(doors, tiny_folder / "index.csv", tmp_path_factory.mktemp("chain"))


def _write_tiny_frame(folder: Path, scene: int, k: int, split: str) -> str:
    rng = np.random.default_rng((scene, k))
    label = 1 - scene % 2
    shade = np.random.default_rng(scene).uniform(60, 190, size=(6, 8, 3)).astype(np.float32)
    ground = cv2.resize(shade, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    opacity = label * np.roll(_plume_opacity(HEIGHT, WIDTH), 2 * k, axis=1)[..., None]
    frame = (1 - 0.9 * opacity) * ground + 0.9 * opacity * 215 + rng.normal(0, 2, ground.shape)
    name = f"scene{scene}_{k}"
    bgr = np.clip(frame, 0, 255).astype(np.uint8)[..., ::-1]
    cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(bgr))
    cv2.imwrite(str(folder / f"{name}_mask.png"), 255 * (opacity[..., 0] > 0.5).astype(np.uint8))
    return f"{name}.png,{label},s{scene},{split},s{scene},{name}_mask.png"
