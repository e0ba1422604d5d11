"""Draw what stands on the land: chimneys above all, and masts and houses beside them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from weakseg.data.synthetic.canvas import Canvas, Colour, rgb
from weakseg.data.synthetic.noise import Field

SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates."""
STONE = (rgb(168, 160, 150), rgb(120, 116, 112), rgb(140, 92, 74), rgb(198, 194, 188))
PAINT = (rgb(176, 52, 44), rgb(226, 222, 214))


@dataclass(frozen=True)
class Chimney:
    """A tapered stack with a works hall at its foot.

    Args:
        x: Of its axis, as a share of the frame.
        foot: Height of its foot, as a share of the frame from above.
        top: Height of its mouth.
        width: At the mouth.
        bands: Red and white bands at its upper part; 0 for none.
        colour: Of the stack.
        hall: Left, right and upper edge of the hall, as shares of the frame.
        hall_colour: Of the hall.
    """

    x: float
    foot: float
    top: float
    width: float
    bands: int
    colour: Colour
    hall: tuple[float, float, float]
    hall_colour: Colour


@dataclass(frozen=True)
class Building:
    """A mast (no wider than a line) or a house.

    Args:
        x: Of its axis, as a share of the frame.
        foot: Height of its foot, as a share of the frame from above.
        height: As a share of the frame.
        width: As a share of the frame.
        kind: "mast", "tank" or "house".
        colour: Of its walls.
    """

    x: float
    foot: float
    height: float
    width: float
    kind: str
    colour: Colour


def draw_chimney(rng: np.random.Generator, *, skyline: Field, light: Colour) -> Chimney:
    """Draw a chimney that stands on a skyline."""
    x = float(rng.uniform(0.14, 0.86))
    foot = float(skyline[int(x * len(skyline))]) + 0.03
    left, right = rng.uniform(0.03, 0.12, size=2)
    return Chimney(
        x=x,
        foot=foot,
        top=max(0.12, foot - float(rng.uniform(0.14, 0.3))),
        width=float(rng.uniform(0.016, 0.036)),
        bands=int(rng.integers(2, 5)) if rng.random() < 0.5 else 0,
        colour=STONE[rng.integers(len(STONE))] * light,
        hall=(x - float(left), x + float(right), foot - float(rng.uniform(0.03, 0.07))),
        hall_colour=STONE[rng.integers(len(STONE))] * light * np.float32(rng.uniform(0.5, 0.95)),
    )


def draw_buildings(
    rng: np.random.Generator, *, skyline: Field, light: Colour, count: int
) -> list[Building]:
    """Draw masts, tanks and houses that stand on a skyline."""
    return [_draw_building(rng, skyline, light) for _ in range(count)]


def _draw_building(rng: np.random.Generator, skyline: Field, light: Colour) -> Building:
    x = float(rng.uniform(0.04, 0.96))
    kind = str(rng.choice(("mast", "tank", "house"), p=(0.45, 0.15, 0.4)))
    low, high = {"mast": (0.12, 0.32), "tank": (0.06, 0.12), "house": (0.02, 0.05)}[kind]
    return Building(
        x=x,
        foot=float(skyline[int(x * len(skyline))]) + 0.015,
        height=float(rng.uniform(low, high)),
        width=float(rng.uniform(0.025, 0.06)),
        kind=kind,
        colour=STONE[rng.integers(len(STONE))] * light * np.float32(rng.uniform(0.4, 1.0)),
    )


def paint_chimney(canvas: Canvas, chimney: Chimney) -> None:
    """Put a chimney and its hall in front of all there is, lit from the left."""
    left, right, roof = chimney.hall
    half = chimney.width / 2
    stack = [(-1.0, chimney.top), (1.0, chimney.top), (1.5, chimney.foot), (-1.5, chimney.foot)]
    _polygon(canvas, [(chimney.x + half * x, y) for x, y in stack], chimney.colour)
    shadow = [(0.2, chimney.top), (1.0, chimney.top), (1.5, chimney.foot), (0.3, chimney.foot)]
    dark = chimney.colour * np.float32(0.72)
    _polygon(canvas, [(chimney.x + half * x, y) for x, y in shadow], dark)
    step = (chimney.foot - chimney.top) / 9
    for band in range(chimney.bands):
        y = chimney.top + step * (band + 0.15)
        box = [(-1.05, y), (1.05, y), (1.1, y + step), (-1.1, y + step)]
        _polygon(canvas, [(chimney.x + half * x, y) for x, y in box], PAINT[band % 2])
    hall = [(left, roof), (right, roof), (right, chimney.foot + 0.02), (left, chimney.foot + 0.02)]
    _polygon(canvas, hall, chimney.hall_colour)
    top = [(left, roof), (right, roof), (right, roof + 0.008), (left, roof + 0.008)]
    _polygon(canvas, top, chimney.hall_colour * np.float32(1.25))


def paint_building(canvas: Canvas, building: Building) -> None:
    """Put a mast, a tank or a house in front of all there is."""
    x, foot = building.x, building.foot
    half, top = building.width / 2, building.foot - building.height
    if building.kind == "mast":
        half = 0.006
        _polygon(
            canvas,
            [(x - 0.002, top), (x + 0.002, top), (x + half, foot), (x - half, foot)],
            building.colour * np.float32(0.6),
        )
        for share in (0.06, 0.14):
            y = top + share * building.height
            arm = [(x - 0.012, y), (x + 0.012, y), (x + 0.012, y + 0.005), (x - 0.012, y + 0.005)]
            _polygon(canvas, arm, building.colour * np.float32(0.7))
        return
    walls = [(x - half, top), (x + half, top), (x + half, foot), (x - half, foot)]
    if building.kind == "tank":
        leg = 0.12 * half
        for side in (-0.7, 0.7):
            at = x + side * half
            _polygon(
                canvas,
                [(at - leg, top), (at + leg, top), (at + leg, foot), (at - leg, foot)],
                building.colour * np.float32(0.6),
            )
        walls = [(px, py if py == top else top + 0.45 * building.height) for px, py in walls]
    _polygon(canvas, walls, building.colour)
    roof = [(x - 1.15 * half, top), (x, top - 0.6 * half), (x + 1.15 * half, top)]
    _polygon(canvas, roof, building.colour * np.float32(0.62))


def _polygon(canvas: Canvas, corners: list[tuple[float, float]], colour: Colour) -> None:
    cover = np.zeros(canvas.opacity.shape, dtype=np.uint8)
    points = np.array(corners) * canvas.size - 0.5
    fixed = np.round(points * 2**SHIFT).astype(np.int32)
    cv2.fillConvexPoly(cover, fixed, 255, lineType=cv2.LINE_AA, shift=SHIFT)
    canvas.lay(np.clip(colour, 0, 1), cover.astype(np.float32) / np.float32(255))
