"""The dark channel weighs evidence by the veil over it, within bounds, and invents none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.arrays import FrameArray
from weakseg.refine import Background, DarkChannel, refine
from weakseg.refine.dark_channel import (
    EDGES,
    air_light,
    dark_channel,
    guided_filter,
    local_contrast,
)
from weakseg.refine.step import scores_of_smoke

FRAMES = hnp.arrays(np.uint8, (7, 9, 3))
UNIT_MAPS = hnp.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32))


def around(y: int, x: int, radius: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The window of a pixel, cut off at the border."""
    rows = slice(max(0, y - radius), min(shape[0], y + radius + 1))
    return rows, slice(max(0, x - radius), min(shape[1], x + radius + 1))


def veiled(rng: np.random.Generator, *, thickness: float) -> FrameArray:
    """Dark noise, and a patch of it behind a white veil."""
    scene = rng.uniform(10, 120, (40, 60, 3))
    veil = np.zeros((40, 60, 1))
    veil[12:28, 20:40] = thickness
    frame = (1 - veil) * scene + veil * 220
    frame[:8, :8] = 220  # Where the air light can be read.
    return frame.astype(np.uint8)


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_the_dark_channel_is_the_minimum_over_colours_and_window(
    radius: int, rng: np.random.Generator
) -> None:
    levels = rng.random((9, 12, 3), dtype=np.float32)
    naive = np.array(
        [[levels[around(y, x, radius, (9, 12))].min() for x in range(12)] for y in range(9)]
    )
    np.testing.assert_array_equal(dark_channel(levels, radius_pixels=radius), naive)


@pytest.mark.parametrize("radius", [1, 4])
def test_contrast_is_with_the_mean_of_what_counts_around(
    radius: int, rng: np.random.Generator
) -> None:
    values, outside = rng.random((2, 9, 12), dtype=np.float32)
    outside[:, 6:] *= rng.random((9, 6)) < 0.3
    naive = np.zeros((9, 12))
    for y, x in np.ndindex(9, 12):
        window = around(y, x, radius, (9, 12))
        if outside[window].mean() >= 1e-3:
            naive[y, x] = values[y, x] - np.average(values[window], weights=outside[window])
    got = local_contrast(values, outside, radius_pixels=radius)
    np.testing.assert_allclose(got, naive, atol=1e-6)
    assert not local_contrast(values, np.zeros_like(outside), radius_pixels=radius).any()


def test_the_guided_filter_is_the_local_line_averaged_over_windows(
    rng: np.random.Generator,
) -> None:
    guide, values = rng.random((2, 7, 8))
    shape, radius, line = (7, 8), 2, np.zeros((7, 8, 2))
    for y, x in np.ndindex(*shape):
        window = around(y, x, radius, shape)
        g, v = guide[window], values[window]
        slope = (np.mean(g * v) - g.mean() * v.mean()) / (g.var() + 1e-3)
        line[y, x] = slope, v.mean() - slope * g.mean()
    naive = np.zeros(shape)
    for y, x in np.ndindex(*shape):
        slope, offset = line[around(y, x, radius, shape)].mean(axis=(0, 1))
        naive[y, x] = slope * guide[y, x] + offset
    got = guided_filter(guide.astype(np.float32), values.astype(np.float32), radius_pixels=radius)
    # Float32 differences of products, over a variance of about 0.08: 4e-6 off on this seed.
    np.testing.assert_allclose(got, naive, atol=3e-5)


def test_a_lamp_does_not_set_the_air_light() -> None:
    levels = np.full((50, 60, 3), 40, np.float32)
    levels[:10] = [180, 190, 200]
    levels[30, 30] = 255  # The only white pixel; three of 3000 pixels count.
    dark = levels.min(axis=2)
    np.testing.assert_array_equal(air_light(levels, dark), [180, 190, 200])
    np.testing.assert_array_equal(air_light(np.zeros_like(levels), dark), [8, 8, 8])


def test_the_veil_that_was_laid_over_the_scene_is_found(rng: np.random.Generator) -> None:
    step = DarkChannel(radius_pixels=2, omega=1.0, edges="none")
    transmission = step.transmission(veiled(rng, thickness=0.6))
    # Dark pixels behind it are not quite black: they add up to 0.1 to the veil.
    inner = transmission[15:25, 23:37]
    assert inner.max() <= 0.4
    assert inner.min() >= 0.3
    assert transmission[32:, 45:].min() > 0.85


@pytest.mark.parametrize("edges", ["none", "guided"])
def test_exposure_does_not_change_the_transmission(edges: str, rng: np.random.Generator) -> None:
    frame = veiled(rng, thickness=0.6) // 3
    step = DarkChannel(edges=edges)
    dim, bright = step.transmission(frame), step.transmission(3 * frame)
    np.testing.assert_allclose(dim, bright, atol=1e-6)
    assert dim.std() > 0.05


@pytest.mark.parametrize("edges", EDGES)
def test_evidence_under_a_veil_counts_more_than_beside_it(
    edges: str, rng: np.random.Generator
) -> None:
    evidence = np.zeros((40, 60), np.float32)
    evidence[12:28, 10:50] = 0.5
    step = DarkChannel(edges=edges, threads=1)
    recipe = {"background": Background(), "steps": {"dark_channel": step}}
    smoke = refine(veiled(rng, thickness=0.6), evidence, 1.0, **recipe).smoke
    assert smoke[15:25, 23:37].min() > 0.7
    assert smoke[15:25, 44:50].mean() < 0.55
    assert not smoke[evidence == 0].any()


def test_haze_that_is_even_changes_nothing() -> None:
    sky = np.full((30, 40, 3), [150, 180, 220], np.uint8)
    scores = scores_of_smoke(np.full((30, 40), 0.6, np.float32))
    for frame in (sky, np.zeros_like(sky)):
        np.testing.assert_allclose(DarkChannel()(frame, scores), scores, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(FRAMES, UNIT_MAPS, st.floats(0, 1), st.sampled_from(("guided", "none")))
def test_scores_stay_within_the_weight(
    frame: FrameArray, smoke: np.ndarray, weight: float, edges: str
) -> None:
    step = DarkChannel(weight=weight, radius_pixels=1, surround_pixels=3, edges=edges)
    after = step(frame, scores_of_smoke(smoke))
    np.testing.assert_allclose(after.sum(axis=0), 1, atol=1e-6)
    assert np.all(after[1] <= np.minimum(1, (1 + weight) * smoke) + 1e-6)
    assert np.all(after[1] >= (1 - weight) * smoke - 1e-6)
    assert not after[1][smoke == 0].any()
    low = 1 - step.omega - 1e-6
    transmission = step.transmission(frame)
    assert np.all((transmission >= low) & (transmission <= 1))


def test_without_weight_nothing_changes(plume: FrameArray, rng: np.random.Generator) -> None:
    scores = scores_of_smoke(rng.random(plume.shape[:2], dtype=np.float32))
    np.testing.assert_array_equal(DarkChannel(weight=0)(plume, scores), scores)
    assert np.abs(DarkChannel()(plume, scores) - scores).max() > 0.1


def test_the_settings_leave_the_hardware_out() -> None:
    assert DarkChannel(threads=1).settings() == DarkChannel(threads=2).settings()
    assert DarkChannel(omega=0.9).settings() != DarkChannel().settings()
    json.dumps(DarkChannel().settings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 1.5},
        {"contrast": 0},
        {"omega": 0},
        {"radius_pixels": -1},
        {"surround_pixels": 3},
        {"edges": "soft"},
        {"threads": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DarkChannel(**wrong)


def test_a_frame_of_another_size_is_refused(plume: FrameArray) -> None:
    with pytest.raises(ValueError, match="shape"):
        DarkChannel()(plume, scores_of_smoke(np.zeros((4, 4), np.float32)))
