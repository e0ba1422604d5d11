"""Put a scene together and take its frames, with the exact masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.data.synthetic.canvas import Canvas
from weakseg.data.synthetic.casting import SceneCast
from weakseg.data.synthetic.objects import (
    Building,
    Chimney,
    draw_buildings,
    draw_chimney,
    paint_building,
    paint_chimney,
)
from weakseg.data.synthetic.plumes import (
    VISIBLE_OPACITY,
    Plume,
    draw_smoke,
    draw_steam,
    plume_colour,
    plume_opacity,
)
from weakseg.data.synthetic.skies import Sky, draw_sky, paint_sky
from weakseg.data.synthetic.terrain import (
    FogBank,
    Ridge,
    draw_fog,
    draw_ridges,
    paint_fog,
    paint_ridge,
)

FIRST_SHARE, LAST_SHARE = 0.05, 0.2
"""Of the frame, what a grown plume covers: drawn evenly on a logarithmic scale."""
SMOKE_START = 0.5
STEAM_START = 1.0
"""In lifetimes of a puff: smoke is still growing in its first frame, steam is not."""


@dataclass(frozen=True)
class Shot:
    """One frame as it was taken.

    Args:
        frame: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8: 1 where smoke takes more than VISIBLE_OPACITY of the light, else 0.
        opacity: (H, W) float32 in [0, 1]: what the smoke takes.
        jpeg_quality: What the camera saves with, 0-100.
    """

    frame: FrameArray
    mask: Mask
    opacity: ScoreMap
    jpeg_quality: int


@dataclass(frozen=True)
class Scene:
    """All that stays the same from frame to frame.

    Args:
        sky: Behind everything.
        horizon_height: Where the land begins, as a share of the frame from above.
        ridges: The land, the farthest first.
        stage: Which ridge the objects stand on.
        chimneys: On that ridge.
        buildings: On that ridge.
        fog: Fog bank and the ridge it lies in front of, or None.
        smoke: Plumes and the ridge each rises in front of; -1 is behind all.
        steam: Plumes on the ridge of the objects.
        noise: Of the sensor, in levels of 0-255.
        blur: Of the lens, in pixels.
        exposure: Of the camera; 1 is right.
        jpeg_quality: What the camera saves with, 0-100.
    """

    sky: Sky
    horizon_height: float
    ridges: list[Ridge]
    stage: int
    chimneys: list[Chimney]
    buildings: list[Building]
    fog: tuple[FogBank, int] | None
    smoke: list[tuple[Plume, int]]
    steam: list[Plume]
    noise: float
    blur: float
    exposure: float
    jpeg_quality: int


def shoot_scene(cast: SceneCast, *, frames: int, size: int, seed: int) -> Iterator[Shot]:
    """Take the frames of a scene; a pure function of its arguments.

    Args:
        cast: What the scene holds.
        frames: How many to take.
        size: Side in pixels.
        seed: Names the data set.
    """
    rng = np.random.default_rng((seed, 2, cast.number))
    scene = draw_scene(rng, cast, size=size)
    for number in range(frames):
        moment = np.random.default_rng((seed, 3, cast.number, number))
        yield _shoot(scene, cast, number, size, moment)


def draw_scene(rng: np.random.Generator, cast: SceneCast, *, size: int) -> Scene:
    """Draw all that stays the same."""
    sky = draw_sky(rng)
    horizon_height = float(rng.uniform(0.42, 0.72))
    ridges = draw_ridges(
        rng, size=size, horizon=sky.horizon, light=sky.light, horizon_height=horizon_height
    )
    stage = int(rng.integers(0, len(ridges) - 1)) if len(ridges) > 2 else 0
    ground = ridges[stage].skyline
    chimneys = [
        draw_chimney(rng, skyline=ground, light=sky.light)
        for _ in range(int(rng.integers(1, 3)) if cast.has_chimney else 0)
    ]
    buildings = draw_buildings(rng, skyline=ground, light=sky.light, count=int(rng.integers(0, 5)))
    smoke = _draw_smoke(rng, ridges, stage, chimneys, sky) if cast.has_smoke else []
    return Scene(
        sky=sky,
        horizon_height=horizon_height,
        ridges=ridges,
        stage=stage,
        chimneys=chimneys,
        buildings=buildings,
        fog=_draw_fog(rng, sky, horizon_height, len(ridges)) if cast.has_fog else None,
        smoke=smoke,
        steam=[_draw_steam(rng, chimneys, ground, sky)] if cast.has_steam else [],
        noise=float(rng.uniform(1.0, 4.0)),
        blur=float(rng.uniform(0.3, 0.8)),
        exposure=float(rng.uniform(0.88, 1.08)),
        jpeg_quality=int(rng.integers(78, 94)),
    )


def _draw_smoke(
    rng: np.random.Generator, ridges: list[Ridge], stage: int, chimneys: list[Chimney], sky: Sky
) -> list[tuple[Plume, int]]:
    """Draw one plume, or two small ones: from a chimney if there is one, else from the land."""
    count = 2 if rng.random() < 0.15 else 1
    plumes = []
    for i in range(count):
        share = float(np.exp(rng.uniform(np.log(FIRST_SHARE), np.log(LAST_SHARE)))) / count
        if chimneys and rng.random() < 0.8:
            chimney = chimneys[i % len(chimneys)]
            x, y, level, narrow = chimney.x, chimney.top + 0.004, stage, True
        else:
            level = int(rng.integers(0, len(ridges)))
            x, narrow = float(rng.uniform(0.15, 0.85)), False
            skyline = float(ridges[level].skyline[int(x * len(ridges[level].skyline))])
            # Half of the fires burn just behind a ridge, which hides their foot.
            hidden = rng.random() < 0.5
            y = min(0.9, skyline + (0.01 if hidden else float(rng.uniform(0.02, 0.06))))
            level = level - 1 if hidden else level
        behind = (float(sky.horizon.mean()), _brightness(ridges[max(level, 0)]))
        plume = draw_smoke(
            rng, x=x, y=y, light=sky.light, narrow=narrow, share=share, behind=behind
        )
        plumes.append((plume, level))
    return plumes


def _brightness(ridge: Ridge) -> float:
    return float((ridge.tone.mean(axis=-1) * ridge.cover).sum() / max(ridge.cover.sum(), 1.0))


def _draw_fog(
    rng: np.random.Generator, sky: Sky, horizon_height: float, ridges: int
) -> tuple[FogBank, int]:
    fog = draw_fog(rng, light=sky.light, horizon_height=horizon_height)
    return fog, int(rng.integers(-1, ridges - 1))


def _draw_steam(
    rng: np.random.Generator, chimneys: list[Chimney], ground: np.ndarray, sky: Sky
) -> Plume:
    if chimneys and rng.random() < 0.8:
        x, y = chimneys[-1].x, chimneys[-1].top
    else:
        x = float(rng.uniform(0.1, 0.9))
        y = float(ground[int(x * len(ground))]) + 0.02
    return draw_steam(rng, x=x, y=y, light=sky.light)


def _shoot(scene: Scene, cast: SceneCast, number: int, size: int, rng: np.random.Generator) -> Shot:
    canvas = paint_sky(scene.sky, size=size, horizon_height=scene.horizon_height, time=number)
    age = number - cast.quiet_frames
    _paint_level(canvas, scene, -1, number, age)
    for level, ridge in enumerate(scene.ridges):
        paint_ridge(canvas, ridge)
        if level == scene.stage:
            _paint_objects(canvas, scene, number)
        _paint_level(canvas, scene, level, number, age)
    opacity = np.clip(canvas.opacity, 0, 1)
    return Shot(
        frame=_develop(canvas.image, scene, rng),
        mask=(opacity > VISIBLE_OPACITY).astype(np.uint8),
        opacity=opacity,
        jpeg_quality=scene.jpeg_quality,
    )


def _paint_objects(canvas: Canvas, scene: Scene, number: int) -> None:
    for building in scene.buildings:
        paint_building(canvas, building)
    for chimney in scene.chimneys:
        paint_chimney(canvas, chimney)
    for steam in scene.steam:
        time = STEAM_START + number * 3 * steam.pace
        alpha = plume_opacity(steam, size=canvas.size, time=time)
        canvas.lay(plume_colour(steam, alpha, sun=scene.sky.sun, time=time), alpha)


def _paint_level(canvas: Canvas, scene: Scene, level: int, number: int, age: int) -> None:
    """Put what floats in front of a ridge: smoke, then fog."""
    for plume, at in scene.smoke:
        if at == level and age >= 0:
            time = SMOKE_START + age * plume.pace
            alpha = plume_opacity(plume, size=canvas.size, time=time)
            colour = plume_colour(plume, alpha, sun=scene.sky.sun, time=time)
            canvas.lay_smoke(colour, alpha)
    if scene.fog is not None and scene.fog[1] == level:
        paint_fog(canvas, scene.fog[0], time=number)


def _develop(
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    scene: Scene,
    rng: np.random.Generator,
) -> FrameArray:
    """Do what a camera does: blur, exposure, noise that grows with the light, eight bits."""
    exposure = scene.exposure * rng.uniform(0.98, 1.02)
    soft = cv2.GaussianBlur(image, (0, 0), scene.blur) * np.float32(exposure)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    noisy = soft * 255 + grain * np.float32(scene.noise) * np.sqrt(np.clip(soft, 0.05, 1))
    return np.asarray(np.clip(np.round(noisy), 0, 255), dtype=np.uint8)
