"""The affinity step asks to be taught, and then spreads scores without adding to the highest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from weakseg.arrays import FrameArray, Mask
from weakseg.data import Augmentation
from weakseg.errors import WeightsError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.models.affinity_net import AffinityNet
from weakseg.refine import Background, FrameContext, refine
from weakseg.refine.affinity import AffinityStep
from weakseg.refine.cells import to_cells, to_pixels
from weakseg.refine.step import scores_of_smoke
from weakseg.training import FitSettings, TrainingError

TINY: dict[str, Any] = {"encoder": "test_resnet", "weights": None, "steps": 40}


def taught(**settings: Any) -> AffinityStep:
    """Give a step with a network of random weights."""
    step = AffinityStep(**{**TINY, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        step.network = step.new_network().eval()
    return step


def smoke_of(step: AffinityStep, frame: FrameArray, smoke: np.ndarray) -> np.ndarray:
    context = FrameContext("frame", 1.0, smoke)
    return step(frame, scores_of_smoke(smoke), context)[SMOKE]


@pytest.fixture
def smoke(plume_mask: Mask) -> np.ndarray:
    return (0.7 * plume_mask).astype(np.float32)


# ---- refining


def test_a_step_that_has_not_learned_says_so(plume: FrameArray, smoke: np.ndarray) -> None:
    step = AffinityStep(**TINY)
    assert step.learns
    with pytest.raises(TrainingError, match="has not learned yet: call weakseg"):
        refine(plume, smoke, 1.0, background=Background(), steps={"affinity": step})


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("max_gain", [1.0, 99.0])
@pytest.mark.parametrize("max_side", [None, 40])
@pytest.mark.parametrize("size", [(48, 64), (45, 61), (7, 5)])
def test_no_score_rises_above_the_highest(
    stride: int,
    max_gain: float,
    max_side: int | None,
    size: tuple[int, int],
    plume: FrameArray,
    smoke: np.ndarray,
) -> None:
    step = taught(stride=stride, max_gain=max_gain, max_side=max_side, image_size=32, weight=1)
    frame, before = plume[-size[0] :, : size[1]], smoke[-size[0] :, : size[1]]
    after = smoke_of(step, frame, before)
    assert after.shape == size
    assert after.dtype == np.float32
    assert after.max() <= before.max() + 1e-6
    assert after.min() >= 0
    np.testing.assert_array_equal(after, smoke_of(step, frame, before))


def test_no_smoke_stays_no_smoke(plume: FrameArray) -> None:
    step = taught(max_gain=99, weight=1)
    assert smoke_of(step, plume, np.zeros((48, 64), np.float32)).max() == 0


def test_a_constant_score_stays(plume: FrameArray) -> None:
    after = smoke_of(taught(weight=1), plume, np.full((48, 64), 0.3, np.float32))
    np.testing.assert_allclose(after, 0.3, atol=1e-6)


def test_the_weight_lies_between_the_scores_and_the_walk(
    plume: FrameArray, smoke: np.ndarray
) -> None:
    walked = smoke_of(taught(weight=1), plume, smoke)
    assert np.abs(walked - smoke).max() > 0.1
    np.testing.assert_allclose(smoke_of(taught(weight=0), plume, smoke), smoke, atol=1e-6)
    mixed = smoke_of(taught(weight=0.25), plume, smoke)
    np.testing.assert_allclose(mixed, 0.75 * smoke + 0.25 * walked, atol=1e-6)


def test_the_gain_lifts_up_to_the_highest_and_within_its_bound(
    plume: FrameArray, smoke: np.ndarray
) -> None:
    plain = smoke_of(taught(weight=1, max_gain=1), plume, smoke)
    highest = to_cells(smoke, 48, 64, 8).max()
    assert 1.5 * plain.max() < highest
    lifted = smoke_of(taught(weight=1, max_gain=1.5), plume, smoke)
    np.testing.assert_allclose(lifted, 1.5 * plain, atol=1e-6)
    full = smoke_of(taught(weight=1, max_gain=99), plume, smoke)
    assert full.max() == pytest.approx(highest, abs=0.05)
    assert full.max() <= highest + 1e-6


def test_a_speck_on_an_even_sky_does_not_fill_the_sky() -> None:
    sky = np.full((48, 64, 3), (90, 140, 210), np.uint8)
    speck = np.zeros((48, 64), np.float32)
    speck[8:16, 8:16] = 0.8
    assert smoke_of(taught(weight=1, steps=256), sky, speck).max() < 0.1


# ---- seeds


def test_seeds_are_what_the_thresholds_are_sure_of(plume: FrameArray) -> None:
    step = AffinityStep(**TINY, foreground=0.6, background=0.2)
    smoke = np.tile(np.array([0, 0.2, 0.21, 0.59, 0.6, 1] + [0.3] * 58, np.float32), (48, 1))
    seeds = step.seeds(plume, smoke)
    wanted = [BACKGROUND, BACKGROUND, IGNORE, IGNORE, SMOKE, SMOKE]
    assert seeds.dtype == np.uint8
    assert seeds[0, :6].tolist() == wanted


def test_two_backgrounds_take_what_wins_and_what_loses(plume: FrameArray) -> None:
    step = AffinityStep(**TINY, seed_rule="two_backgrounds")
    smoke = np.linspace(0, 1, 64, dtype=np.float32) * np.ones((48, 1), np.float32)
    seeds = step.seeds(plume, smoke)
    np.testing.assert_array_equal(seeds == SMOKE, smoke > (1 - smoke) ** 4)
    np.testing.assert_array_equal(seeds == BACKGROUND, smoke <= (1 - smoke) ** 32)
    assert {BACKGROUND, SMOKE, IGNORE} == set(np.unique(seeds).tolist())


def test_the_crf_sharpens_the_seeds(plume: FrameArray, plume_mask: Mask) -> None:
    blurred = np.clip(
        to_pixels(to_cells(plume_mask.astype(np.float32), 48, 64, 8), 48, 64, 8), 0, 1
    )
    settings = {**TINY, "seed_rule": "two_backgrounds", "alpha_strong": 1, "alpha_weak": 4}
    plain = AffinityStep(**settings).seeds(plume, blurred)
    sharp = AffinityStep(**settings, seed_crf=True).seeds(plume, blurred)

    def errors(seeds: Mask) -> float:
        return float((seeds[seeds != IGNORE] != plume_mask[seeds != IGNORE]).mean())

    assert errors(sharp) < errors(plain)


# ---- settings


def test_settings_build_the_same_step_again(tmp_path: Path) -> None:
    step = AffinityStep(
        **TINY,
        foreground=0.4,
        beta=8,
        augmentation=None,
        fit=FitSettings(epochs=2, seed=3, accelerator="cpu"),
    )
    told = json.loads(json.dumps(step.settings()))
    assert told["weights_sha256"] is None
    fit = FitSettings(**told.pop("fit"), accelerator="cpu")
    told.pop("weights_sha256")
    again = AffinityStep(**told, weights=None, fit=fit)
    assert again.settings() == step.settings()
    varied = AffinityStep(**TINY).settings()["augmentation"]
    assert Augmentation(**varied) == AffinityStep(**TINY).augmentation


def test_settings_know_the_weights_but_neither_paths_nor_hardware(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"c" if name == "c" else b"weights")

    def told(name: str, **fit: Any) -> dict[str, Any]:
        path = str(tmp_path / f"{name}.safetensors")
        return AffinityStep(weights=path, fit=FitSettings(**fit)).settings()

    assert told("a") == told("b", accelerator="cpu", workers=2, checkpoint_seconds=1, log_every=3)
    assert told("a") != told("a", epochs=5)
    assert told("a") != told("c")
    assert str(tmp_path) not in json.dumps(told("a"))
    taught_one, fresh = taught(), AffinityStep(**TINY)
    assert taught_one.settings() == fresh.settings()


def test_missing_weights_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises((WeightsError, OSError), match="nowhere"):
        AffinityStep(weights=str(tmp_path / "nowhere.safetensors")).settings()


def test_the_network_is_built_as_set() -> None:
    step = AffinityStep(**TINY, stride=4, levels=2, level_channels=6, embedding_channels=7)
    network = step.new_network()
    assert isinstance(network, AffinityNet)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7, 8, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"foreground": 1.5},
        {"background": -0.1},
        {"foreground": 0.1, "background": 0.2},
        {"seed_rule": "guess"},
        {"alpha_weak": 2.0},
        {"stride": 7},
        {"radius": 1},
        {"beta": 0},
        {"steps": -1},
        {"weight": 2},
        {"max_gain": 0.5},
        {"max_side": 0},
        {"image_size": 100},
        {"lr": 0},
        {"weight_decay": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AffinityStep(**{**TINY, **wrong})
