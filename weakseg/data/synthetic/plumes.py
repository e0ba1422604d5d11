"""Draw plumes: puffs that rise, drift, widen and thin out, torn by advected turbulence.

Optical depth adds up along the line of sight, and a pixel keeps exp(-depth) of the light from
behind (Beer and Lambert); the rest is the smoke's own colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from weakseg.data.synthetic.canvas import Colour, mix, rgb, window
from weakseg.data.synthetic.noise import Field, Fractal, pixel_grid

PUFFS = 220
SHOVE = 0.05
"""How far turbulence displaces smoke, as a share of the plume's reach."""
BILLOWS = 0.13
"""How much darker and brighter turbulence makes it."""
FAINT_COLUMN = 0.02
"""Less smoke than this in a pixel's line of sight, in puffs, is none."""
VISIBLE_OPACITY = 0.2
"""Smoke of less opacity does not count as smoke in the masks: a person would hardly see it."""


CONTRAST = 0.13
"""Smoke differs at least so much in brightness from what it rises before, in [0, 1]."""
DRAWS = 8


@dataclass(frozen=True)
class Plume:
    """Smoke or steam from one source; lengths are shares of the frame.

    Args:
        x: Of the source.
        y: Of the source, from above.
        reach: How far it goes within one lifetime of a puff.
        wind: Drift to the right against rising, about -2 to 2.
        mouth: Radius of a puff at the source, as a share of `reach`.
        growth: How much a puff widens in its life, as a share of `reach`.
        depth: Optical depth where it is dense.
        fade: How much of a puff is left at the end of its life: 1 none, 0 all.
        colour: Of the thick parts in full light.
        pace: Share of a puff's life that passes from frame to frame.
        wander: (PUFFS, 2) float32: each puff's own path.
        sizes: (PUFFS,) float32: each puff's own width against the others.
        turbulence: Tears it up.
    """

    x: float
    y: float
    reach: float
    wind: float
    mouth: float
    growth: float
    depth: float
    fade: float
    colour: Colour
    pace: float
    wander: Field
    sizes: Field
    turbulence: Fractal


def draw_smoke(
    rng: np.random.Generator,
    *,
    x: float,
    y: float,
    light: Colour,
    narrow: bool,
    share: float,
    behind: tuple[float, ...] = (),
) -> Plume:
    """Draw a smoke plume.

    Args:
        rng: Draws it.
        x: Of the source.
        y: Of the source.
        light: Colour of the scene's light.
        narrow: From a chimney's mouth rather than from burning ground.
        share: Of the frame that it covers when it is fully grown, about.
        behind: Brightness of what it rises before, in [0, 1]; smoke that nobody could see
            against it is drawn again.
    """
    tint = mix(rgb(255, 255, 255), rgb(236, 200, 160), float(rng.beta(1.0, 2.0)))
    levels = 1.0 - 0.7 * rng.uniform(size=DRAWS) ** 1.4
    white = float((tint * light).mean())
    contrasts = [min((abs(white * level - b) for b in behind), default=1.0) for level in levels]
    level = next(
        (v for v, c in zip(levels, contrasts, strict=True) if c > CONTRAST),
        levels[int(np.argmax(contrasts))],
    )
    plume = _draw(
        rng,
        x=x,
        y=y,
        wind=float(rng.normal(0, 0.9)),
        mouth=float(rng.uniform(0.015, 0.03) if narrow else rng.uniform(0.03, 0.08)),
        growth=float(rng.uniform(0.07, 0.17)),
        depth=float(rng.uniform(2.0, 5.0)),
        fade=float(rng.uniform(0.35, 0.9)),
        colour=tint * light * np.float32(level),
    )
    return _scaled_to(plume, share)


def draw_steam(rng: np.random.Generator, *, x: float, y: float, light: Colour) -> Plume:
    """Draw steam: white, dense at the mouth, and gone after a short way."""
    plume = _draw(
        rng,
        x=x,
        y=y,
        wind=float(rng.normal(0, 0.7)),
        mouth=0.1,
        growth=0.16,
        depth=float(rng.uniform(1.5, 3.5)),
        fade=1.0,
        colour=light * np.float32(rng.uniform(0.78, 1.0)),
    )
    return replace(plume, reach=float(rng.uniform(0.08, 0.17)))


def _draw(rng: np.random.Generator, **shape: float | Colour) -> Plume:
    steps = rng.normal(0, 1, size=(PUFFS, 2)).astype(np.float32)
    # A slow swing of the whole column, and a little of each puff's own.
    swing = cv2.GaussianBlur(steps, (1, 0), sigmaX=0.1, sigmaY=14, borderType=cv2.BORDER_REFLECT)
    swing = swing / (swing.std() + 1e-6)
    return Plume(
        reach=1.0,
        pace=float(rng.uniform(0.07, 0.13)),
        wander=(0.6 * swing + 0.55 * rng.normal(0, 1, size=(PUFFS, 2))).astype(np.float32),
        sizes=rng.uniform(0.55, 1.35, size=PUFFS).astype(np.float32),
        turbulence=Fractal(rng, octaves=5, gain=0.6),
        **shape,  # type: ignore[arg-type]
    )


def plume_opacity(plume: Plume, *, size: int, time: float) -> Field:
    """Compute how much of the light from behind a plume takes away.

    Args:
        plume: The plume.
        size: Side of the frame in pixels.
        time: Since the source came to life, in lifetimes of a puff.

    Returns:
        (H, W) float32 in [0, 1].
    """
    column = _column(plume, size=size, time=time)
    # Turbulence is dear: it is computed only where the plume can be.
    rows, columns = window(column, above=FAINT_COLUMN, margin=_shove(plume, size))
    opacity = np.zeros_like(column)
    u, v = _carried(plume, size=size, time=time, rows=rows, columns=columns)
    opacity[rows, columns] = _opaque(_torn(plume, column[rows, columns], u, v, size=size), plume)
    return opacity


def plume_colour(plume: Plume, opacity: Field, *, sun: float, time: float) -> Colour:
    """Shade a plume: bright on the side of the sun, with billows that move along.

    Returns:
        (H, W, 3) float32 in [0, 1]; black where there is no smoke.
    """
    size = len(opacity)
    rows, columns = window(opacity, margin=3)
    u, v = _carried(plume, size=size, time=time, rows=rows, columns=columns)
    shade = _shade(opacity[rows, columns], sun=sun, step=max(1.0, 0.015 * size))
    shade += np.float32(BILLOWS) * plume.turbulence(2.1 * u + 5, 2.1 * v + 5)
    colour = np.zeros((size, size, 3), dtype=np.float32)
    colour[rows, columns] = np.clip(plume.colour * np.clip(shade, 0.45, 1.15)[..., None], 0, 1)
    return colour


def _shade(opacity: Field, *, sun: float, step: float) -> Field:
    """Compare each pixel with its neighbour towards the sun: less smoke there, more light here."""
    height, width = opacity.shape
    if height * width == 0:
        return opacity
    blurred = cv2.GaussianBlur(opacity, (0, 0), 0.4 * step)
    shift = np.array([[1, 0, -sun * step], [0, 1, step]], dtype=np.float32)
    towards = cv2.warpAffine(blurred, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(0.88 + 1.3 * (blurred - towards) - 0.15 * blurred, dtype=np.float32)


def _column(plume: Plume, *, size: int, time: float) -> Field:
    """Add up the puffs: a sum of round Gaussians is a product of two thin matrices."""
    x, y = pixel_grid(size)
    born = np.arange(PUFFS, dtype=np.float32) / PUFFS
    # Puffs are emitted over and over: each slot holds the latest one of its phase.
    age = np.mod(np.float32(time) - born, 1.0)
    alive = (np.float32(time) - born >= 0) & (age < 1)
    radius = plume.reach * (plume.mouth + plume.growth * age**0.85) * plume.sizes
    spread = plume.reach * (plume.mouth + plume.growth * age) * 0.75
    along = plume.reach * age**0.8 / np.float32(np.hypot(1, 0.6 * plume.wind))
    px = plume.x + along * plume.wind * np.sqrt(age + 0.15) + spread * plume.wander[:, 0]
    py = plume.y - along + 0.6 * spread * plume.wander[:, 1] * (age > 0.05)
    mass = alive * (1 - plume.fade * age) * _birth(age)
    mass = mass * (plume.mouth + 0.35 * plume.growth) / (plume.mouth + plume.growth * age)
    across = np.exp(-0.5 * ((x.T - px) / radius) ** 2)  # (W, puffs)
    down = np.exp(-0.5 * ((y - py) / radius) ** 2) * mass  # (H, puffs)
    return np.asarray(down @ across.T, dtype=np.float32)


def _birth(age: Field) -> Field:
    """Let a puff come into being rather than appear."""
    return np.clip(age * 40, 0, 1).astype(np.float32)


def _torn(plume: Plume, column: Field, u: Field, v: Field, *, size: int) -> Field:
    """Displace and thin the column by turbulence."""
    height, width = column.shape
    if height * width == 0:
        return column
    one = plume.turbulence(u, v)
    other = plume.turbulence(u + 17, v + 11)
    shove = np.float32(SHOVE * plume.reach * size)
    columns = np.arange(width, dtype=np.float32)[None, :] + shove * one
    rows = np.arange(height, dtype=np.float32)[:, None] + shove * other
    moved = cv2.remap(column, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved * np.clip(0.85 + 0.75 * other, 0.05, 2.2), dtype=np.float32)


def _shove(plume: Plume, size: int) -> int:
    """Return the farthest that turbulence carries anything, in pixels."""
    return int(1.5 * SHOVE * plume.reach * size) + 2


def _carried(
    plume: Plume, *, size: int, time: float, rows: slice, columns: slice
) -> tuple[Field, Field]:
    """Return the pixels' positions in the turbulence, which moves along with the puffs."""
    x, y = pixel_grid(size)
    cell = np.float32(0.3 * plume.reach + 0.02)
    drift = np.float32(plume.x + time * plume.reach * plume.wind * 0.7)
    rise = np.float32(plume.y - time * plume.reach)
    return (x[:, columns] - drift) / cell + 31, (y[rows] - rise) / cell + 31


def _opaque(column: Field, plume: Plume) -> Field:
    # About nine puffs lie over each other in the middle of a plume.
    return np.asarray(1 - np.exp(-column * np.float32(plume.depth / 9)), dtype=np.float32)


def _scaled_to(plume: Plume, share: float) -> Plume:
    """Find the reach at which the grown plume covers `share` of the frame, by halving."""
    low, high = 0.05, 2.5
    for _ in range(9):
        middle = float(np.sqrt(low * high))
        column = _column(replace(plume, reach=middle), size=48, time=1.0)
        covered = float((_opaque(column, plume) > VISIBLE_OPACITY).mean())
        low, high = (middle, high) if covered < share else (low, middle)
    return replace(plume, reach=float(np.sqrt(low * high)))
