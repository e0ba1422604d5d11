"""Draw skies: gradients of an hour of the day, and clouds that look like smoke by their colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weakseg.data.synthetic.canvas import Canvas, Colour, mix, rgb
from weakseg.data.synthetic.noise import Field, Fractal, pixel_grid, smoothstep

# Zenith, horizon, and how bright and how warm the light is.
HOURS: tuple[tuple[Colour, Colour, Colour], ...] = (
    (rgb(62, 112, 190), rgb(178, 205, 230), rgb(255, 250, 240)),
    (rgb(92, 142, 205), rgb(214, 224, 232), rgb(255, 252, 246)),
    (rgb(136, 158, 184), rgb(206, 208, 208), rgb(235, 236, 238)),
    (rgb(150, 156, 164), rgb(188, 190, 192), rgb(214, 218, 224)),
    (rgb(98, 108, 150), rgb(236, 190, 150), rgb(255, 216, 180)),
    (rgb(110, 134, 170), rgb(226, 206, 184), rgb(248, 230, 208)),
)
CLOUD_KINDS = ("none", "cumulus", "stratus", "wisps", "overcast")
CLOUD_CHANCES = (0.2, 0.3, 0.2, 0.15, 0.15)


@dataclass(frozen=True)
class Sky:
    """A sky of one scene.

    Args:
        zenith: Colour above.
        horizon: Colour at the horizon; distant land fades to it.
        light: Colour of the light on white things.
        sun: Side the light comes from: -1 left to 1 right.
        clouds: Kind of clouds.
        cover: Share of the sky under clouds, in [0, 1].
        cloud_colour: What the clouds' bodies look like.
        drift: Cells the clouds move from frame to frame.
        turbulence: Their shape.
    """

    zenith: Colour
    horizon: Colour
    light: Colour
    sun: float
    clouds: str
    cover: float
    cloud_colour: Colour
    drift: float
    turbulence: Fractal


def draw_sky(rng: np.random.Generator) -> Sky:
    """Draw the sky of a scene."""
    zenith, horizon, light = HOURS[rng.integers(len(HOURS))]
    level = rng.uniform(0.62, 1.0)
    brown = rng.uniform(0, 0.35) if rng.random() < 0.3 else 0.0
    return Sky(
        zenith=zenith * np.float32(rng.uniform(0.85, 1.08)),
        horizon=horizon * np.float32(rng.uniform(0.92, 1.05)),
        light=light,
        sun=float(rng.uniform(-1, 1)),
        clouds=str(rng.choice(CLOUD_KINDS, p=CLOUD_CHANCES)),
        cover=float(rng.uniform(0.25, 0.7)),
        cloud_colour=mix(light, rgb(190, 160, 130), brown) * np.float32(level),
        drift=float(rng.uniform(0.0, 0.12)),
        turbulence=Fractal(rng, octaves=5, gain=0.55),
    )


def paint_sky(sky: Sky, *, size: int, horizon_height: float, time: float) -> Canvas:
    """Start a canvas with the sky of one moment.

    Args:
        sky: The sky.
        size: Side of the frame in pixels.
        horizon_height: Where the land begins, as a share of the frame from above.
        time: In frames.
    """
    x, y = pixel_grid(size)
    # Clouds end above the horizon: what lies below is not computed.
    seen = y[: int(np.ceil((horizon_height + 0.06) * size))]
    down = np.clip(y / np.float32(horizon_height), 0, 1) ** np.float32(0.8)
    image = mix(sky.zenith, sky.horizon, np.broadcast_to(down, (size, size)))
    canvas = Canvas(np.ascontiguousarray(image, dtype=np.float32))
    if sky.clouds != "none":
        _paint_clouds(canvas, sky, x=x, y=seen, horizon_height=horizon_height, time=time)
    return canvas


def _paint_clouds(
    canvas: Canvas, sky: Sky, *, x: Field, y: Field, horizon_height: float, time: float
) -> None:
    u, v = _cloud_positions(sky, x, y, horizon_height)
    u = u + np.float32(sky.drift * time)
    body = sky.turbulence(u, v)
    # The same noise a little towards the sun: brighter where the cloud thins out that way.
    lit = body - sky.turbulence(u + np.float32(0.12 * sky.sun), v - np.float32(0.12))
    edge = 0.8 if sky.clouds in ("wisps", "overcast") else 0.35
    threshold = 0.75 - 1.3 * (1.0 if sky.clouds == "overcast" else sky.cover)
    strength = 0.55 if sky.clouds == "wisps" else 0.95
    alpha = smoothstep(threshold, threshold + edge, body) * np.float32(strength)
    alpha *= smoothstep(0.0, 0.12, np.float32(horizon_height + 0.06) - y)
    shade = np.clip(0.86 + 0.35 * lit, 0.55, 1.08)
    sky_part = Canvas(canvas.image[: len(y)])
    sky_part.lay(sky.cloud_colour * shade[..., None], alpha)


def _cloud_positions(sky: Sky, x: Field, y: Field, horizon_height: float) -> tuple[Field, Field]:
    """Look up at a ceiling of clouds: it is stretched and small towards the horizon."""
    above = np.maximum(np.float32(horizon_height) - y, 0) + np.float32(0.22)
    depth = np.float32(0.5) / above
    stretch = {"cumulus": (2.2, 2.4), "stratus": (1.0, 4.5), "wisps": (1.2, 3.0)}
    across, along = stretch.get(sky.clouds, (1.4, 2.0))
    slant = 0.8 if sky.clouds == "wisps" else 0.0
    u = (x - np.float32(0.5)) * depth * np.float32(across) + depth * np.float32(slant)
    v = np.broadcast_to(depth * np.float32(along), u.shape)
    return u + np.float32(20), v + np.float32(20)
