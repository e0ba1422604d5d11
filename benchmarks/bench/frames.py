"""Frames to measure on, and class probabilities that follow them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
Floats32 = npt.NDArray[np.float32]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
SCENES = 3
"""Frames taken in turns, so that no figure hangs on one picture."""


@dataclass
class Frames:
    """Give the same few frames at any size: a folder's photos, or drawn ones without a folder.

    A photo is cropped to the wanted shape about its centre and resized; of a folder, those large
    enough for `size` come first, evenly spread over the sorted names.
    """

    folder: Path | None = None
    scenes: int = SCENES
    _cache: dict[tuple[int, int, int], Frame] = field(default_factory=dict)
    _sides: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Say in words where the frames come from."""
        if self.folder is None:
            return "drawn frames with the texture of photos (seeded)"
        return f"photos of the folder {self.folder.name}"

    def get(self, scene: int, size: tuple[int, int]) -> Frame:
        """Return frame number `scene`, (height, width, 3) uint8."""
        key = (scene % self.scenes, *size)
        if key not in self._cache:
            if self.folder is None:
                self._cache[key] = draw_frame(key[0], size)
            else:
                photos = self._photos(size)
                self._cache[key] = fit(read(photos[key[0] * len(photos) // self.scenes]), size)
        return self._cache[key]

    def _photos(self, size: tuple[int, int]) -> list[Path]:
        if not self._sides:
            assert self.folder is not None
            for path in sorted(self.folder.rglob("*")):
                if path.suffix.lower() in SUFFIXES:
                    self._sides[path] = read(path).shape[:2]
            if not self._sides:
                raise ValueError(f"{self.folder} holds no pictures: give --photos another folder")
        large = [p for p, (h, w) in self._sides.items() if h >= size[0] and w >= size[1]]
        # Too few: the largest ones, enlarged.
        by_area = sorted(self._sides, key=lambda path: -self._sides[path][0] * self._sides[path][1])
        return large if len(large) >= self.scenes else by_area[: self.scenes]


def read(path: Path) -> Frame:
    """Return a picture, (height, width, 3) uint8 RGB."""
    found: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if found is None:
        raise ValueError(f"{path} is no picture that can be read: take it out of the folder")
    return np.ascontiguousarray(found[..., ::-1])


def fit(photo: Frame, size: tuple[int, int]) -> Frame:
    """Crop to the shape of `size` about the centre, and resize."""
    height, width = photo.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, columns = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - rows) // 2, (width - columns) // 2
    crop = photo[top : top + rows, left : left + columns]
    method = cv2.INTER_AREA if scale >= 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(crop, size[::-1], interpolation=method), dtype=np.uint8)


def draw_frame(scene: int, size: tuple[int, int]) -> Frame:
    """Draw a sky over textured ground with objects and camera noise, (*size, 3) uint8.

    As in photos, amplitudes fall a little faster than 1 / frequency, colour varies less than
    brightness, and there are edges; the lattice's cells are about as full as on photos.
    """
    rng = np.random.default_rng(scene)
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y / height, x / width
    shades = np.stack([_cloud(rng, size) for _ in range(4)])
    objects = (_cloud(rng, size) > 0.8).astype(np.float32)
    ground = 1 / (1 + np.exp(-40 * (y - 0.45 - 0.06 * shades[3])))
    sky = np.array([120, 150, 190]) + 50 * (1 - y)[..., None] + 6 * shades[0][..., None]
    colours = rng.uniform(50, 140, (2, 3))
    texture = 30 * shades[0][..., None] + 4 * np.moveaxis(shades[:3], 0, -1)
    earth = colours[0] + objects[..., None] * (colours[1] - colours[0]) + texture
    drawn = (1 - ground[..., None]) * sky + ground[..., None] * earth
    drawn = drawn + rng.normal(0, 1.5, drawn.shape)
    return np.asarray(np.clip(drawn, 0, 255), np.uint8)


def _cloud(rng: np.random.Generator, size: tuple[int, int]) -> Floats32:
    """Draw a field whose amplitude falls as frequency^-1.2: mean 0, deviation 1."""
    across = np.fft.rfftfreq(size[1], 1 / size[1])
    down = np.fft.fftfreq(size[0], 1 / size[0])[:, None]
    frequency = np.maximum(np.hypot(across, down), 1.5) ** 1.2
    noise = np.fft.rfft2(rng.normal(size=size))
    cloud = np.fft.irfft2(noise / frequency, s=size)
    return np.asarray((cloud - cloud.mean()) / cloud.std(), np.float32)


def class_probabilities(frame: Frame, channels: int, *, seed: int = 0) -> Floats32:
    """Draw smooth class probabilities that follow the frame, (channels, height, width) float32.

    Every class has a colour found in the frame and a place of its own; the softmax of the distances
    is about as sure as a trained network.
    """
    rng = np.random.default_rng(seed)
    height, width = frame.shape[:2]
    soft = cv2.GaussianBlur(frame, (0, 0), max(height, width) / 170).astype(np.float32)
    picked = soft[rng.integers(0, height, channels), rng.integers(0, width, channels)]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = rng.random((channels, 2), dtype=np.float32) * np.asarray([height, width], np.float32)
    logits = np.empty((channels, height, width), np.float32)
    for label in range(channels):
        colour_gap = ((soft - picked[label]) ** 2).sum(-1) / (2 * 40.0**2)
        place_gap = np.hypot(y - places[label, 0], x - places[label, 1]) / (
            0.5 * max(size_of(soft))
        )
        logits[label] = -2 * colour_gap - place_gap
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def size_of(frame: npt.NDArray[Any]) -> tuple[int, int]:
    """Return (height, width)."""
    return frame.shape[0], frame.shape[1]


def one_hot(probabilities: Floats32) -> Floats32:
    """Return 1 for the likeliest class and 0 for the others, of the same shape."""
    labels = probabilities.argmax(axis=0)
    return np.asarray(np.arange(len(probabilities))[:, None, None] == labels, np.float32)
