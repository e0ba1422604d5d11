"""Layers are heard in one pass, tokens become maps, and the network is left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from weakseg.cam import CamRecipe
from weakseg.cam.hooks import LayerTap, frozen, gradients_of
from weakseg.models import Classifier

Build = Callable[..., Classifier]

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def test_gradients_behind_average_pooling_are_the_heads_weights(
    build: Build, pictures: torch.Tensor
) -> None:
    model = build()
    with LayerTap(model, ["layer4"]) as tap:
        logits = model(pictures)
        (activations,), (gradients,) = tap.activations(), tap.gradients(logits.sum())
    torch.testing.assert_close(activations, model.features(pictures))
    weights = model.backbone.fc.weight[0].view(1, -1, 1, 1).expand_as(gradients)
    torch.testing.assert_close(gradients, weights, rtol=1e-5, atol=1e-7)


def test_several_layers_share_one_pass(build: Build, pictures: torch.Tensor) -> None:
    model = build("test_efficientnet")
    with LayerTap(model, ["blocks.3", "bn2", "blocks.-2"]) as tap:
        logits = model(pictures)
        activations, gradients = tap.activations(), tap.gradients(logits.sum())
    assert [a.shape for a in activations] == [g.shape for g in gradients]
    assert activations[0].shape[-2:] == (4, 6)
    assert activations[1].shape[-2:] == (2, 3)
    assert torch.equal(gradients[0], gradients[2])


def test_a_layer_before_one_that_works_in_place_is_kept(
    build: Build, pictures: torch.Tensor
) -> None:
    model = build()
    assert model.backbone.layer4[0].act1.inplace
    with LayerTap(model, ["layer4.0.bn1"]) as tap:
        tapped = model(pictures)
        (kept,) = tap.activations()
        tap.gradients(tapped.sum())
    assert kept.min() < 0
    assert torch.equal(tapped, model(pictures))


def test_tokens_become_a_map_without_the_class_token(build: Build, pictures: torch.Tensor) -> None:
    model = build("test_vit")
    with LayerTap(model, ["blocks.-1.norm1"]) as tap:
        heard = []
        hook = model.backbone.blocks[-1].norm1.register_forward_hook(
            lambda module, inputs, output: heard.append(output.detach())
        )
        logits = model(pictures)
        (activations,), (gradients,) = tap.activations(), tap.gradients(logits.sum())
        hook.remove()
    assert activations.shape == gradients.shape == (2, 64, 4, 6)
    torch.testing.assert_close(activations[:, :, 1, 2], heard[0][:, 1 + 1 * 6 + 2])


def test_after_the_last_block_no_patch_reaches_the_class_score(
    build: Build, pictures: torch.Tensor
) -> None:
    model = build("test_vit")
    with LayerTap(model, ["blocks.-1", "blocks.-1.norm1"]) as tap:
        after, before = tap.gradients(model(pictures).sum())
    assert after.abs().max() == 0
    assert before.abs().max() > 0


def test_frozen_parameters_do_not_hinder(build: Build, pictures: torch.Tensor) -> None:
    model = build().train()
    model.backbone.bn1.weight.requires_grad_(False)
    model.backbone.layer1.eval()
    with frozen(model), LayerTap(model, ["layer3"]) as tap:
        assert not model.training
        (gradients,) = tap.gradients(model(pictures).sum())
    assert gradients.abs().max() > 0
    assert not model.backbone.bn1.weight.requires_grad
    assert model.backbone.fc.weight.requires_grad
    assert model.backbone.fc.weight.grad is None
    assert model.backbone.layer2.training
    assert not model.backbone.layer1.training


def test_wrong_layers_are_refused_in_words(build: Build, pictures: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"there is no layer 'layer5': did you mean one of layer"):
        LayerTap(build(), ["layer5"])
    with pytest.raises(ValueError, match="at least one"):
        LayerTap(build(), [])
    model = build("test_vit")
    with LayerTap(model, ["fc_norm"]) as tap:
        model(pictures)
        with pytest.raises(ValueError, match="layer fc_norm gives no feature map"):
            tap.activations()
    with LayerTap(model, ["norm"]) as tap, pytest.raises(ValueError, match="took no part"):
        tap.activations()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["layer_cam", "attention_gradient"])
def test_faint_gradients_survive_16_bit_floats(
    build: Build, pictures: torch.Tensor, method: str, device: str
) -> None:
    """The gradients of single positions lie below what float16 can hold."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    model = build("test_vit").to(device)
    with torch.no_grad():
        model.backbone.head.weight.mul_(1e-4)
        model.backbone.head.bias.zero_()
    recipe = CamRecipe(method=method, flip=False)
    exact, _ = recipe.raw_cam(model, pictures)
    with torch.autocast(device, dtype=torch.float16):
        narrow, _ = recipe.raw_cam(model, pictures)
    assert exact.max() > 0
    # float16 keeps 3 digits of every product on the way.
    torch.testing.assert_close(narrow, exact, rtol=0.02, atol=0.01 * float(exact.max()))


@pytest.mark.parametrize("factor", [1e-7, 1e-3, 1.0, 1e3])
def test_gradients_of_16_bit_floats_are_scaled_as_far_as_they_fit(factor: float) -> None:
    narrow = torch.ones(4, dtype=torch.float16, requires_grad=True)
    other = torch.ones(4, dtype=torch.float16, requires_grad=True)
    target = (narrow.float() * 2).half().float().sum() * factor
    found, none = gradients_of(target, [narrow, other])
    assert none is None
    assert found is not None
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((4,), 2 * factor), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_other_types_are_left_as_torch_makes_them(dtype: torch.dtype) -> None:
    values = torch.rand(5, dtype=dtype, requires_grad=True)
    (found,) = gradients_of((values**3).sum(), [values])
    (plain,) = torch.autograd.grad((values**3).sum(), [values])
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found, plain)
