"""Draw land: ridges one behind the other, paler with distance, and fog between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weakseg.data.synthetic.canvas import Canvas, Colour, mix, rgb
from weakseg.data.synthetic.noise import Field, Fractal, pixel_grid, row, smoothstep

# Dark and light tone of each kind of land, and how rough its texture is.
LANDS: tuple[tuple[Colour, Colour, float], ...] = (
    (rgb(28, 44, 24), rgb(70, 92, 48), 26.0),
    (rgb(42, 58, 34), rgb(96, 108, 62), 18.0),
    (rgb(108, 98, 58), rgb(176, 160, 104), 9.0),
    (rgb(112, 88, 66), rgb(178, 150, 118), 12.0),
    (rgb(86, 84, 80), rgb(146, 142, 134), 14.0),
)


@dataclass(frozen=True)
class Ridge:
    """One strip of land from its skyline down.

    Args:
        skyline: (W,) float32, height of its upper edge as a share of the frame from above.
        tone: (H, W, 3) float32: its colours, haze included.
        cover: (H, W) float32 in [0, 1]: where it is.
    """

    skyline: Field
    tone: Colour
    cover: Field


@dataclass(frozen=True)
class FogBank:
    """A flat layer of fog that lies in front of a ridge.

    Args:
        height: Of its middle, as a share of the frame from above.
        thickness: As a share of the frame.
        density: Largest opacity, in [0, 1].
        colour: Of the fog.
        drift: Cells it moves from frame to frame.
        turbulence: Its shape.
    """

    height: float
    thickness: float
    density: float
    colour: Colour
    drift: float
    turbulence: Fractal


def draw_ridges(
    rng: np.random.Generator, *, size: int, horizon: Colour, light: Colour, horizon_height: float
) -> list[Ridge]:
    """Draw two to four ridges, the farthest first."""
    count = int(rng.integers(2, 5))
    haze = rng.uniform(0.35, 0.8)
    land = int(rng.integers(len(LANDS)))
    steps = np.linspace(0, 1, count) ** 1.2
    ridges = []
    for step in steps:
        kind = land if rng.random() < 0.7 else int(rng.integers(len(LANDS)))
        base = horizon_height + (0.93 - horizon_height) * 0.75 * step
        far = haze * (1 - step) ** 1.3
        ridges.append(
            _draw_ridge(
                rng, size, LANDS[kind], base=base, near=step, far=far, fade=(horizon, light)
            )
        )
    return ridges


def _draw_ridge(
    rng: np.random.Generator,
    size: int,
    land: tuple[Colour, Colour, float],
    *,
    base: float,
    near: float,
    far: float,
    fade: tuple[Colour, Colour],
) -> Ridge:
    dark, bright, roughness = land
    x, y = pixel_grid(size)
    line = Fractal(rng, octaves=4, gain=0.5)
    hills = line(x * np.float32(rng.uniform(1.2, 3.2)), row(3.5))
    trees = Fractal(rng, octaves=2)(x * np.float32(size / 4), row(7.5))
    height = rng.uniform(0.03, 0.11)
    skyline = np.float32(base) + np.float32(height) * hills + np.float32(0.012 * near) * trees
    cover = np.clip((y - skyline) * np.float32(size) + np.float32(0.5), 0, 1)
    depth = np.float32(1) / (np.maximum(y - skyline, 0) + np.float32(0.25))
    grain = Fractal(rng, octaves=4, gain=0.7)(
        x * depth * np.float32(roughness / 3), depth * np.float32(roughness)
    )
    patches = Fractal(rng, octaves=2)(x * np.float32(3), y * np.float32(9))
    tone = mix(dark, bright, np.clip(0.45 + 0.35 * grain + 0.3 * patches, 0, 1)) * fade[1]
    return Ridge(skyline[0], mix(tone, fade[0], np.full(cover.shape, far, np.float32)), cover)


def paint_ridge(canvas: Canvas, ridge: Ridge) -> None:
    """Put a ridge in front of all there is."""
    canvas.lay(ridge.tone, ridge.cover)


def draw_fog(rng: np.random.Generator, *, light: Colour, horizon_height: float) -> FogBank:
    """Draw a fog bank somewhere about the horizon or in the valley before it."""
    warm = mix(light, rgb(205, 180, 150), float(rng.uniform(0, 0.5)))
    return FogBank(
        height=float(horizon_height + rng.uniform(0.0, 0.25)),
        thickness=float(rng.uniform(0.025, 0.08)),
        density=float(rng.uniform(0.45, 0.92)),
        colour=warm * np.float32(rng.uniform(0.66, 0.98)),
        drift=float(rng.uniform(-0.1, 0.1)),
        turbulence=Fractal(rng, octaves=4, gain=0.5),
    )


def paint_fog(canvas: Canvas, fog: FogBank, *, time: float) -> None:
    """Put a fog bank in front of all there is: long, flat and soft."""
    x, y = pixel_grid(canvas.size)
    u = x * np.float32(1.6) + np.float32(fog.drift * time + 9)
    top = fog.turbulence(u * 2, row(11.5)) * np.float32(0.5 * fog.thickness)
    height = (y - np.float32(fog.height) - top) / np.float32(fog.thickness)
    layer = np.exp(-(height**2)) * smoothstep(-0.6, 0.5, fog.turbulence(u, y * np.float32(7)))
    canvas.lay(fog.colour, layer.astype(np.float32) * np.float32(fog.density))
