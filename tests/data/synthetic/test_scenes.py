"""Smoke rises, grows, hides what is behind it, and is hidden by what is before it."""

from __future__ import annotations

import numpy as np
import pytest

from weakseg.data.synthetic.canvas import Canvas, rgb, window
from weakseg.data.synthetic.casting import SceneCast
from weakseg.data.synthetic.noise import Fractal, pixel_grid
from weakseg.data.synthetic.plumes import draw_smoke, draw_steam, plume_opacity
from weakseg.data.synthetic.scenes import shoot_scene

SIZE = 64


def _cast(number: int, *, smoke: bool) -> SceneCast:
    return SceneCast(
        number=number,
        split="train",
        has_chimney=True,
        has_smoke=smoke,
        has_fog=True,
        has_steam=True,
        quiet_frames=0,
    )


def test_smoke_over_light_follows_beer_and_lambert() -> None:
    canvas = Canvas(np.full((2, 2, 3), 0.8, np.float32))
    alpha = 1 - np.exp(-np.full((2, 2), 0.7, np.float32))
    for _ in range(2):
        canvas.lay_smoke(rgb(0, 0, 0), alpha)
    np.testing.assert_allclose(canvas.image, 0.8 * np.exp(-1.4), rtol=1e-5)
    np.testing.assert_allclose(canvas.opacity, 1 - np.exp(-1.4), rtol=1e-5)


def test_what_lies_before_smoke_hides_it_from_the_mask() -> None:
    canvas = Canvas(np.zeros((1, 2, 3), np.float32))
    canvas.lay_smoke(rgb(255, 255, 255), np.full((1, 2), 0.6, np.float32))
    canvas.lay(rgb(0, 0, 0), np.array([[1.0, 0.25]], np.float32))
    np.testing.assert_allclose(canvas.opacity, [[0.0, 0.45]], atol=1e-6)


def test_a_window_holds_all_that_is_above() -> None:
    field = np.zeros((9, 7), np.float32)
    field[3, 2] = field[5, 4] = 1
    assert window(field) == (slice(3, 6), slice(2, 5))
    assert field[window(field, margin=9)].shape == (9, 7)
    assert field[window(np.zeros_like(field))].size == 0


def test_noise_is_continuous_repeats_and_stays_in_range(rng: np.random.Generator) -> None:
    noise = Fractal(rng, octaves=4)
    x, y = pixel_grid(200)
    field = noise(8 * x, 8 * y)
    assert field.shape == (200, 200)
    assert 0.2 < field.std() < 0.7
    assert np.abs(field).max() < 2.0
    assert np.abs(np.diff(field, axis=0)).max() < 0.35
    np.testing.assert_allclose(noise(8 * x + 64, 8 * y), field, atol=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_plume_grows_upwards_from_its_source(seed: int) -> None:
    rng = np.random.default_rng(seed)
    light = rgb(255, 255, 255)
    plume = draw_smoke(rng, x=0.5, y=0.9, light=light, narrow=True, share=0.08)
    young, old = (plume_opacity(plume, size=SIZE, time=time) for time in (0.4, 1.0))
    assert (young > 0.2).mean() < (old > 0.2).mean()
    rows = np.arange(SIZE) / SIZE
    assert (old.sum(1) @ rows) / old.sum() < 0.85
    assert 0.03 < (old > 0.2).mean() < 0.2
    assert old.min() >= 0
    assert old.max() <= 1


def test_steam_is_shorter_than_smoke(rng: np.random.Generator) -> None:
    light = rgb(255, 255, 255)
    steam = draw_steam(rng, x=0.5, y=0.8, light=light)
    smoke = draw_smoke(rng, x=0.5, y=0.8, light=light, narrow=True, share=0.1)
    assert steam.reach < smoke.reach / 2


def test_frames_with_smoke_show_it_and_others_do_not() -> None:
    shares = []
    for number in range(8):
        for smoke in (True, False):
            shots = list(shoot_scene(_cast(number, smoke=smoke), frames=2, size=SIZE, seed=0))
            assert all(shot.mask.any() == smoke for shot in shots)
            assert all(shot.frame.shape == (SIZE, SIZE, 3) for shot in shots)
            shares += [shot.mask.mean() for shot in shots if smoke]
    assert min(shares) > 0.005
    assert max(shares) < 0.25


def test_colour_alone_does_not_tell_smoke() -> None:
    """The smoke's colours lie within those of clouds, fog and steam of smoke-free frames."""
    inside, outside = [], []
    for number in range(12):
        for smoke in (True, False):
            (shot,) = shoot_scene(_cast(number, smoke=smoke), frames=1, size=SIZE, seed=0)
            where = shot.opacity > 0.5 if smoke else shot.opacity == 0
            (inside if smoke else outside).append(shot.frame[where].mean(axis=-1))
    low, high = np.percentile(np.concatenate(outside), (1, 99))
    grey = np.concatenate(inside)
    assert ((grey > low) & (grey < high)).mean() > 0.9
    assert grey.std() > 20


def test_a_scene_does_not_depend_on_how_many_frames_are_taken() -> None:
    long = list(shoot_scene(_cast(1, smoke=True), frames=3, size=SIZE, seed=0))
    (short,) = shoot_scene(_cast(1, smoke=True), frames=1, size=SIZE, seed=0)
    np.testing.assert_array_equal(short.frame, long[0].frame)
