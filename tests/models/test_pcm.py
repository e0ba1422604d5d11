"""Activations are averaged over positions that look alike, in their own units."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from weakseg.cam import CamRecipe
from weakseg.models import (
    Classifier,
    PcmClassifier,
    build_classifier,
    head_of,
    load_weights,
    save_weights,
)
from weakseg.models.pcm import PixelCorrelation, spread_by_likeness

NAME = "test_resnet"


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model(images: Tensor) -> PcmClassifier:
    """Random, with activations of either sign and of some size."""
    torch.manual_seed(0)
    made = PcmClassifier(NAME, weights=None).eval().requires_grad_(False)
    made.activation.weight.mul_(100)
    made.activation.bias.sub_(made.cams(images).mean())
    return made


def naive(values: Tensor, embeddings: Tensor) -> Tensor:
    """One picture, (C, h, w) and (D, h, w), by loops."""
    c, h, w = values.shape
    v, e = values.reshape(c, -1), embeddings.reshape(len(embeddings), -1)
    found = torch.zeros_like(v)
    for i in range(h * w):
        weights = [
            max(0.0, float(e[:, i] @ e[:, j] / (e[:, i].norm() * e[:, j].norm())))
            for j in range(h * w)
        ]
        found[:, i] = sum(weights[j] * v[:, j] for j in range(h * w)) / sum(weights)
    return found.view(c, h, w)


def test_spreading_equals_two_loops() -> None:
    values, embeddings = drawn(2, 2, 3, 4).relu(), drawn(2, 5, 3, 4, seed=1)
    expected = torch.stack([naive(v, e) for v, e in zip(values, embeddings, strict=True)])
    torch.testing.assert_close(spread_by_likeness(values, embeddings), expected)


@pytest.mark.parametrize("max_pairs", [1, 2 * 12 * 5, 2 * 12 * 12])
def test_parts_change_neither_result_nor_gradient(max_pairs: int) -> None:
    values, embeddings = drawn(2, 1, 3, 4).relu(), drawn(2, 5, 3, 4, seed=1).requires_grad_()
    whole = spread_by_likeness(values, embeddings)
    parts = spread_by_likeness(values, embeddings, max_pairs=max_pairs)
    torch.testing.assert_close(parts, whole)
    weights = drawn(*whole.shape, seed=2)
    (expected,) = torch.autograd.grad((whole * weights).sum(), embeddings)
    (found,) = torch.autograd.grad((parts * weights).sum(), embeddings)
    torch.testing.assert_close(found, expected)


def test_large_maps_are_worked_in_parts() -> None:
    # 60 x 60 positions of two pictures make 26 million pairs, more than are held at once.
    values, embeddings = drawn(2, 1, 60, 60).float(), drawn(2, 4, 60, 60, seed=1).float()
    found = spread_by_likeness(values, embeddings)
    torch.testing.assert_close(
        found[1:], spread_by_likeness(values[1:], embeddings[1:]), rtol=1e-4, atol=1e-5
    )


def test_gradient_is_exact() -> None:
    values = drawn(1, 1, 2, 3).requires_grad_()
    embeddings = drawn(1, 4, 2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(spread_by_likeness, (values, embeddings))
    assert torch.autograd.gradcheck(
        lambda v, e: spread_by_likeness(v, e, max_pairs=12), (values, embeddings)
    )


def test_order_of_positions_does_not_matter() -> None:
    values, embeddings = drawn(1, 1, 4, 5), drawn(1, 6, 4, 5, seed=1)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))

    def shuffled(maps: Tensor) -> Tensor:
        return maps.flatten(2)[..., order].view(maps.shape)

    found = spread_by_likeness(shuffled(values), shuffled(embeddings))
    torch.testing.assert_close(found, shuffled(spread_by_likeness(values, embeddings)))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_leaves_the_range_of_the_values(seed: int) -> None:
    values, embeddings = drawn(2, 1, 5, 6, seed=seed), drawn(2, 3, 5, 6, seed=seed + 100)
    embeddings[:, :, 0] = 0  # These look like nothing.
    found = spread_by_likeness(values, embeddings)
    for before, after in zip(values, found, strict=True):
        assert before.min() - 1e-12 <= after.min()
        assert after.max() <= before.max() + 1e-12
    torch.testing.assert_close(found[:, :, 0], values[:, :, 0])


def test_two_kinds_of_places_each_get_their_own_mean() -> None:
    kinds = torch.tensor([[0, 0, 1], [1, 0, 1]])
    embeddings = torch.stack([kinds == 0, kinds == 1]).double()[None]
    values = torch.tensor([[1.0, 2.0, 10.0], [20.0, 6.0, 60.0]], dtype=torch.float64)[None, None]
    expected = torch.where(kinds == 0, 3.0, 30.0).double()[None, None]
    torch.testing.assert_close(spread_by_likeness(values, embeddings), expected)


def test_the_logit_is_the_mean_of_the_positions(model: PcmClassifier, images: Tensor) -> None:
    maps = model(images, with_maps=True)
    assert maps.cams.shape == maps.refined.shape == (2, 1, 4, 6)
    torch.testing.assert_close(maps.logits, maps.cams.mean(dim=(2, 3)))
    torch.testing.assert_close(model(images), maps.logits)
    positions = model.position_logits(model.features(images))
    torch.testing.assert_close(positions.mean(dim=1), maps.logits)


def test_refined_maps_stay_below_the_plain_peak(model: PcmClassifier, images: Tensor) -> None:
    maps = model.maps(images)
    assert float(maps.cams.min()) < 0 < float(maps.cams.amax(dim=(1, 2, 3)).min())
    assert float(maps.refined.min()) >= 0
    assert (maps.refined.amax(dim=(1, 2, 3)) < maps.cams.amax(dim=(1, 2, 3))).all()


def test_a_picture_without_evidence_stays_without(images: Tensor) -> None:
    silent = PcmClassifier(NAME, weights=None).eval()
    with torch.no_grad():
        silent.activation.bias.fill_(-100)
    assert not silent.maps(images).refined.any()


def test_refinement_is_in_the_units_of_the_activations() -> None:
    module = PixelCorrelation(3, 4, width=5).double()
    cams, shallow, deep = drawn(1, 1, 3, 3), drawn(1, 3, 6, 6, seed=1), drawn(1, 4, 3, 3, seed=2)
    pictures = drawn(1, 3, 24, 24, seed=3).double()
    module = module.float()
    inputs = [tensor.float() for tensor in (cams, shallow, deep, pictures)]
    once = module(*inputs)
    assert once.shape == (1, 1, 6, 6)  # the finer grid
    torch.testing.assert_close(module(7 * inputs[0], *inputs[1:]), 7 * once)


def test_only_the_module_learns_through_the_refined_map(images: Tensor) -> None:
    model = PcmClassifier(NAME, weights=None)
    with torch.no_grad():
        model.activation.weight.mul_(30)
    refined = model.maps(images).refined
    (refined * torch.rand_like(refined)).sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {
        f"correlation.{part}.weight" for part in ("reduce_shallow", "reduce_deep", "embed")
    }


def test_mixed_precision_refines_in_full(model: PcmClassifier, images: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        maps = model.maps(images)
    assert maps.refined.dtype == maps.cams.dtype == torch.float32
    with torch.no_grad():
        # bf16 carries three digits, and the network has a dozen layers.
        torch.testing.assert_close(maps.refined, model.maps(images).refined, rtol=0.1, atol=0.1)


def test_recipe_gives_the_refined_map_as_it_is(model: PcmClassifier, images: Tensor) -> None:
    maps, logits = CamRecipe(method="pcm", flip=False).raw_cam(model, images)
    expected = model.maps(images)
    torch.testing.assert_close(maps, expected.refined[:, 0])
    torch.testing.assert_close(logits, expected.logits[:, 0])
    plain, _ = CamRecipe(method="cam", flip=False).raw_cam(model, images)
    torch.testing.assert_close(plain, expected.cams[:, 0].relu())
    assert not maps.requires_grad


def test_recipe_by_pcm_mirrors_with_the_frame(model: PcmClassifier, images: Tensor) -> None:
    recipe = CamRecipe(method="pcm", scales=(1.0, 2.0), flip=True)
    maps, logits = recipe.raw_cam(model, images)
    mirrored, mirrored_logits = recipe.raw_cam(model, images.flip(-1))
    assert maps.shape == (2, 8, 12)
    torch.testing.assert_close(mirrored, maps.flip(-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mirrored_logits, logits, rtol=1e-4, atol=1e-5)


def test_gradient_methods_work_on_it(model: PcmClassifier, images: Tensor) -> None:
    maps, _ = CamRecipe(method="layer_cam", flip=False).raw_cam(model, images)
    assert maps.isfinite().all()
    assert float(maps.max()) > 0


def test_methods_that_do_not_fit_say_the_way_out(model: PcmClassifier, images: Tensor) -> None:
    with pytest.raises(ValueError, match="classifier=resnet50_pcm"):
        CamRecipe(method="pcm").raw_cam(Classifier(NAME, weights=None).eval(), images)
    with pytest.raises(ValueError, match="local heads"):
        CamRecipe(method="local").raw_cam(model, images)
    with pytest.raises(ValueError, match="leave layers empty"):
        CamRecipe(method="pcm", layers=["layer4"])


def test_saved_classifier_is_built_again(
    model: PcmClassifier, images: Tensor, tmp_path: Path
) -> None:
    save_weights(tmp_path / "best.safetensors", model)
    again = build_classifier(head=head_of(model), **model.settings()).eval()
    load_weights(tmp_path / "best.safetensors", again)
    assert isinstance(again, PcmClassifier)
    for found, expected in zip(again.maps(images), model.maps(images), strict=True):
        torch.testing.assert_close(found, expected)


def test_its_network_starts_another_classifier(model: PcmClassifier, tmp_path: Path) -> None:
    save_weights(tmp_path / "best.safetensors", model)
    other = Classifier(NAME, weights=str(tmp_path / "best.safetensors"))
    own = model.backbone.state_dict()
    same = [
        torch.equal(own[name], t) for name, t in other.backbone.state_dict().items() if name in own
    ]
    assert all(same)
    assert len(same) == len(own)


@pytest.mark.parametrize(
    ("given", "head"),
    [({}, "local"), ({"local": False}, "pooled"), ({"local": True}, "local")]
    + [({"local": True, "head": head}, head) for head in ("local", "pooled", "pcm")],
)
def test_head_or_local_choose_the_kind(given: dict[str, bool], head: str) -> None:
    everything = {"share": 0.1, "levels": (), "pooling": "avg", "embedding_width": 8}
    made = build_classifier(NAME, weights=None, **everything, **given)
    assert head_of(made) == head


def test_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head must be one of local, pooled, pcm"):
        build_classifier(NAME, head="seam", weights=None)


def test_networks_without_two_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a CNN"):
        PcmClassifier("test_vit", weights=None, output_stride=32)


def test_new_parameters_are_all_outside_the_network(model: PcmClassifier) -> None:
    new = sum(p.numel() for p in model.new_parameters())
    network = sum(p.numel() for p in model.backbone.parameters())
    assert new + network == sum(p.numel() for p in model.parameters())
    assert math.isclose(new, sum(p.numel() for p in set(model.new_parameters())))
