"""A walk along attention completes a map within its own bounds, and stays absolute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from weakseg.cam import CamRecipe
from weakseg.cam.affinity import middle_blocks, token_transitions, walk
from weakseg.cam.attention import AttentionTap
from weakseg.models import Classifier, LocalClassifier

Build = Callable[..., Classifier]


def attention(seed: int, patches: int = 6, prefix: int = 1, sharpness: float = 3.0) -> Tensor:
    """(2, N, N), rows summing to 1."""
    size = patches + prefix
    draw = torch.randn(2, size, size, generator=torch.Generator().manual_seed(seed))
    return (sharpness * draw).softmax(-1)


def by_hand(attentions: list[Tensor], prefix: int, power: float) -> np.ndarray:
    """Balance by Sinkhorn's rule as it is usually told: rows, then columns, over and over."""
    found = []
    for b in range(2):
        mean = np.mean([a[b].double().numpy() for a in attentions], axis=0)[prefix:, prefix:]
        matrix = ((mean + mean.T) / 2) ** power
        for _ in range(500):
            matrix = matrix / matrix.sum(1, keepdims=True)
            matrix = matrix / matrix.sum(0, keepdims=True)
        found.append(matrix)
    return np.stack(found)


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_transitions_are_the_balanced_symmetric_mean(prefix: int, power: float) -> None:
    attentions = [attention(seed, prefix=prefix, sharpness=1.0) for seed in range(3)]
    found = token_transitions(attentions, prefix_tokens=prefix, power=power).numpy()
    expected = by_hand(attentions, prefix, power)
    # Twenty rounds are not five hundred: 2e-5 off where attention is as uneven as here.
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(found.sum(-2), 1, atol=1e-3)
    assert expected.max() > 0.2


@given(
    seed=st.integers(0, 1000),
    power=st.floats(0.25, 16),
    sharpness=st.floats(0, 30),
    steps=st.integers(0, 6),
    height=st.floats(0, 1e4),
)
def test_no_walk_leaves_the_bounds_of_its_map(
    seed: int, power: float, sharpness: float, steps: int, height: float
) -> None:
    transitions = token_transitions(
        [attention(seed, sharpness=sharpness)], prefix_tokens=1, power=power
    )
    maps = height * torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(seed))
    found = walk(maps, transitions, steps=steps)
    assert found.isfinite().all()
    assert (found.amax(dim=(1, 2)) <= maps.amax(dim=(1, 2))).all()
    assert (found.amin(dim=(1, 2)) >= maps.amin(dim=(1, 2))).all()
    constant = torch.full((2, 2, 3), height)
    assert torch.equal(walk(constant, transitions, steps=steps), constant)


def test_steps_are_powers_of_the_matrix_and_none_changes_nothing() -> None:
    transitions = token_transitions([attention(0, sharpness=1.0)], prefix_tokens=1)
    maps = torch.rand(2, 2, 3)
    assert torch.equal(walk(maps, transitions, steps=0), maps)
    expected = torch.linalg.matrix_power(transitions, 3) @ maps.flatten(1)[:, :, None]
    torch.testing.assert_close(walk(maps, transitions, steps=3).flatten(1), expected[:, :, 0])


def test_maps_keep_their_unit() -> None:
    transitions = token_transitions([attention(0)], prefix_tokens=1)
    maps = torch.rand(2, 2, 3)
    torch.testing.assert_close(
        walk(100 * maps, transitions, steps=2), 100 * walk(maps, transitions, steps=2)
    )


def test_evidence_spreads_within_its_kin_and_not_beyond() -> None:
    """Patches 0-2 look at each other, and so do 3-5."""
    blocks = torch.full((1, 6, 6), 0.01)
    blocks[:, :3, :3] = blocks[:, 3:, 3:] = 1
    transitions = token_transitions([blocks / blocks.sum(-1, keepdim=True)], prefix_tokens=0)
    seed = torch.tensor([[[0.9, 0, 0], [0, 0, 0]]])
    found = walk(seed, transitions, steps=1)[0]
    torch.testing.assert_close(found[0], torch.full((3,), 0.3), rtol=0.02, atol=0)
    assert found[1].max() < 0.01


def test_a_patch_that_all_look_at_does_not_spread_over_the_frame() -> None:
    sink = torch.full((1, 6, 6), 0.02)
    sink[:, :, 2] = 0.9
    sink = sink / sink.sum(-1, keepdim=True)
    seed = torch.zeros(1, 2, 3)
    seed[0, 0, 2] = 1
    plain = (sink @ seed.flatten(1)[:, :, None])[0, :, 0]
    balanced = walk(seed, token_transitions([sink], prefix_tokens=0), steps=1).flatten()
    others = [0, 1, 3, 4, 5]
    assert plain[others].min() > 0.85
    assert balanced[others].max() < 0.3


def test_rows_survive_a_power_that_rounds_all_else_to_nothing() -> None:
    transitions = token_transitions([attention(0, sharpness=20.0)], prefix_tokens=1, power=50.0)
    torch.testing.assert_close(transitions.sum(-1), torch.ones(2, 6))


@pytest.mark.parametrize(
    ("depth", "first", "last"), [(12, 3, 6), (24, 6, 13), (4, 1, 1), (2, 0, 0), (1, 0, 0)]
)
def test_the_middle_is_a_third_after_the_first_quarter(depth: int, first: int, last: int) -> None:
    torch.manual_seed(0)
    model = Classifier("test_vit", weights=None)
    block = model.backbone.blocks[0]
    model.backbone.blocks = torch.nn.Sequential(*[block] * depth)
    assert middle_blocks(model) == [f"blocks.{i}" for i in range(first, last + 1)]


# ---- in a recipe


@pytest.mark.parametrize("method", ["local", "layer_cam", "attention_gradient"])
def test_a_recipe_walks_after_its_layers_are_fused(method: str, pictures: Tensor) -> None:
    torch.manual_seed(0)
    model = LocalClassifier("test_vit", weights=None, levels=["blocks.0", "blocks.1"]).eval()
    settings = {"method": method, "flip": False, "layers": ["blocks.0", "blocks.1"]}
    plain, logits = CamRecipe(**settings).raw_cam(model, pictures)
    walked, same = CamRecipe(
        **settings, affinity_steps=2, affinity_layers=["blocks.1"], affinity_power=1.5
    ).raw_cam(model, pictures)
    with torch.no_grad(), AttentionTap(model, ["blocks.1"]) as tap:
        model(pictures)
        attentions = [a.mean(1) for a in tap.attentions()]
    transitions = token_transitions(attentions, prefix_tokens=1, power=1.5)
    torch.testing.assert_close(walked, walk(plain, transitions, steps=2), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(same, logits, rtol=1e-4, atol=1e-5)
    assert float((walked - plain).abs().max()) > 0.01 * float(plain.max())
    assert (walked.amax(dim=(1, 2)) <= plain.amax(dim=(1, 2)) * (1 + 1e-5)).all()


@pytest.mark.parametrize("settings", [{"scales": [0.5, 1.5]}, {"window": 64}])
def test_walks_run_on_the_grid_of_every_scale_and_window(
    build: Build, pictures: Tensor, settings: dict[str, object]
) -> None:
    model = build("test_vit")
    plain, _ = CamRecipe(**settings).raw_cam(model, pictures)
    walked, _ = CamRecipe(**settings, affinity_steps=1).raw_cam(model, pictures)
    assert walked.shape == plain.shape
    assert 0 < walked.max() <= plain.max() * (1 + 1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"affinity_steps": -1}, "affinity_steps must be at least 0"),
        ({"affinity_power": 0}, "affinity_power must be above 0"),
        ({"discard": 1.0}, r"discard must lie in \[0, 1\)"),
        ({"layer_count": -1}, "layer_count must be at least 0"),
        ({"method": "cam", "layer_count": 1}, "leave layers empty and layer_count at 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CamRecipe(**settings)
