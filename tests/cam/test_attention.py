"""Attention is heard as the network uses it, and CAMs made of it are absolute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.cam import CamRecipe
from weakseg.cam.attention import AttentionTap, block_indices, reading_tokens
from weakseg.cam.attention_maps import ATTENTION_METHODS, attention_maps
from weakseg.cam.hooks import LayerTap, frozen
from weakseg.cam.rollout import attention_relevance, attention_rollout, class_attention
from weakseg.models import Classifier, LocalClassifier
from weakseg.models import classifiers as classifiers_module

Build = Callable[..., Classifier]

# What comes before the patches, and how the head reads: class token, registers, none, both of DeiT.
PLAIN = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}
KINDS: dict[str, dict[str, Any]] = {
    "class token": {},
    "registers": {"reg_tokens": 4},
    "registers apart": {"reg_tokens": 2, "no_embed_class": True},
    "no prefix": {"class_token": False, "global_pool": "avg"},
    "pooled beside a class token": {"global_pool": "avg"},
    "norms of queries and keys": {"qk_norm": True},
    "distilled": {"name": "deit_tiny_distilled_patch16_224"},
}


@pytest.fixture
def build_vit(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Classifier]:
    """Build a tiny ViT of one of `KINDS`, with weights large enough to make attention uneven."""
    create = timm.create_model

    def build(kind: str) -> Classifier:
        options = {**PLAIN, **KINDS[kind]}
        name = options.pop("name", "vit_tiny_patch16_224")
        with monkeypatch.context() as patch:
            patch.setattr(
                classifiers_module.timm, "create_model", lambda n, **o: create(n, **o, **options)
            )
            torch.manual_seed(0)
            model = Classifier(name, weights=None, image_size=32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return model.eval()

    return build


@pytest.fixture
def small() -> Tensor:
    """(2, 3, 32, 48) float32 in [0, 1]: 4 x 6 patches of 8 pixels."""
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def attended(module: Any, inputs: Tensor, attention: Tensor) -> Tensor:
    """What an attention gives if these are its weights: values weighed, heads joined, projected."""
    b, n, _ = inputs.shape
    values = module.qkv(inputs).reshape(b, n, 3, module.num_heads, -1)[:, :, 2]
    return module.proj(torch.einsum("bhij,bjhd->bihd", attention, values).reshape(b, n, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_attention_is_what_the_fused_blocks_use(
    build_vit: Callable[[str], Classifier], small: Tensor, kind: str
) -> None:
    model = build_vit(kind)
    heard: list[tuple[Tensor, Tensor]] = []
    modules = [block.attn for block in model.backbone.blocks]
    hooks = [m.register_forward_hook(lambda _, i, o: heard.append((i[0], o))) for m in modules]
    with torch.no_grad():
        fused = model(small)
    for hook in hooks:
        hook.remove()
    assert all(module.fused_attn for module in modules)
    with torch.no_grad(), AttentionTap(model) as tap:
        plain = model(small)
        attentions = tap.attentions()
    torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-5)
    tokens = 24 + model.prefix_tokens
    for module, attention, (inputs, output) in zip(modules, attentions, heard, strict=True):
        assert attention.shape == (2, 3, tokens, tokens)
        with torch.no_grad():
            found = attended(module, inputs, attention)
        torch.testing.assert_close(found, output, rtol=1e-4, atol=1e-5)
    assert max(float(a.amax(-1).mean()) for a in attentions) > 2 / tokens


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(
    build_vit: Callable[[str], Classifier], small: Tensor, training: bool
) -> None:
    model = build_vit("class token").train(training)
    model.backbone.blocks[1].attn.fused_attn = False
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for settings in ({"method": m} for m in ATTENTION_METHODS):
        CamRecipe(**settings, affinity_steps=1).raw_cam(model, small)
    with pytest.raises(RuntimeError, match="size"), AttentionTap(model):
        model(small)
        raise RuntimeError("size")
    assert model.training == training
    assert [b.attn.fused_attn for b in model.backbone.blocks] == [True, False, True, True]
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_gradients_are_those_of_small_changes(
    build_vit: Callable[[str], Classifier], small: Tensor
) -> None:
    model = build_vit("class token").double()
    images = small.double()
    with frozen(model), AttentionTap(model, ["blocks.2"]) as tap:
        logit = model(images).sum()
        (attention,), (gradient,) = tap.attentions(), tap.gradients(logit)
    change = 1e-6 * torch.randn(attention.shape, dtype=torch.float64, generator=rng(1))
    moved = model.backbone.blocks[2].attn.attn_drop.register_forward_hook(
        lambda _, i, o: o + change
    )
    with torch.no_grad(), AttentionTap(model, ["blocks.2"]):
        found = model(images).sum() - logit.detach()
    moved.remove()
    expected = (gradient.double() * change).sum()
    # The gradient comes back in float32.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-12)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- formulas


def random_attentions(count: int, *shape: int) -> list[Tensor]:
    return [(3 * torch.randn(*shape, generator=rng(i))).softmax(-1) for i in range(count)]


def test_rollout_is_the_product_of_the_papers_matrices() -> None:
    attentions = random_attentions(3, 2, 5, 5)
    whole = torch.eye(5).expand(2, 5, 5)
    for attention in attentions:
        mixed = attention + torch.eye(5)
        whole = (mixed / mixed.sum(-1, keepdim=True)) @ whole
    found = attention_rollout(attentions, [0])
    torch.testing.assert_close(found, 5 * whole[:, 0])
    torch.testing.assert_close(attention_rollout(attentions, [1, 3]), 5 * whole[:, [1, 3]].mean(1))


def test_discarded_looks_are_the_faintest_of_each_token() -> None:
    (attention,) = random_attentions(1, 1, 5, 5)
    kept = attention.clone()
    for row in kept[0]:
        row[row.argsort()[:2]] = 0
    kept /= kept.sum(-1, keepdim=True)
    expected = attention_rollout([kept], [2])
    torch.testing.assert_close(attention_rollout([attention], [2], discard=0.5), expected)
    assert not torch.allclose(attention_rollout([attention], [2]), expected)


def test_even_attention_gives_one_everywhere_it_is_not_read() -> None:
    even = [torch.full((1, 6, 6), 1 / 6)] * 3
    torch.testing.assert_close(class_attention(even[0], [0]), torch.ones(1, 6))
    share = attention_rollout(even, [0])
    torch.testing.assert_close(share.sum(), torch.tensor(6.0))
    # An eighth of the reader stays at itself; the rest is spread evenly.
    torch.testing.assert_close(share[0, 1:], torch.full((5,), 7 / 8))


def test_relevance_is_the_papers_recursion() -> None:
    attentions = random_attentions(3, 2, 2, 5, 5)
    gradients = [torch.randn(2, 2, 5, 5, generator=rng(9 + i)) for i in range(3)]
    whole = torch.eye(5).repeat(2, 1, 1)
    for attention, gradient in zip(attentions, gradients, strict=True):
        relevance = (attention * gradient).clamp(min=0).mean(1)
        whole = whole + relevance @ whole
    expected = whole - torch.eye(5)
    found = attention_relevance(attentions, gradients, [0])
    torch.testing.assert_close(found, 5 * expected[:, 0])
    pooled = attention_relevance(attentions, gradients, [1, 2, 3, 4])
    torch.testing.assert_close(pooled, 5 * expected[:, 1:].sum(1))


def test_shapes_must_agree() -> None:
    attention, other = random_attentions(1, 1, 2, 5, 5)[0], torch.zeros(1, 2, 5, 4)
    with pytest.raises(ValueError, match="gradient must have shape"):
        attention_relevance([attention], [other], [0])
    with pytest.raises(ValueError, match="attention must have shape"):
        attention_rollout([torch.zeros(1, 5, 5), torch.zeros(1, 4, 4)], [0])


# ---- maps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_every_method_maps_every_kind_of_vit(
    build_vit: Callable[[str], Classifier], small: Tensor, kind: str, method: str
) -> None:
    model = build_vit(kind)
    with torch.no_grad():
        logits = model(small)[:, 0]
    # Of an untrained head one sign is as good as the other: smoke is what is positive here.
    for parameter in model.new_parameters():
        parameter.data *= torch.sign(logits.mean())
    raw, logits = CamRecipe(method=method, flip=False).raw_cam(model, small)
    assert raw.shape == (2, 4, 6)
    assert raw.isfinite().all()
    assert raw.min() >= 0
    assert (raw.flatten(1).amax(1) > 0).any()
    torch.testing.assert_close(logits, model(small)[:, 0].detach(), rtol=1e-4, atol=1e-5)
    assert not raw.requires_grad


@pytest.mark.parametrize("method", ["rollout", "class_attention"])
def test_what_no_class_speaks_for_is_weighed_by_the_logit(
    build_vit: Callable[[str], Classifier], small: Tensor, method: str
) -> None:
    model = build_vit("class token")

    def maps(logit: float) -> Tensor:
        with torch.no_grad():
            model.backbone.head.weight.zero_()
            model.backbone.head.bias.fill_(logit)
        return attention_maps(method, model, small)[0][0]

    assert maps(-3.0).max() == 0
    assert maps(0.5).max() > 0
    torch.testing.assert_close(maps(4.0), 8 * maps(0.5))


def test_the_class_token_looks_from_where_it_stands(
    build_vit: Callable[[str], Classifier], small: Tensor
) -> None:
    model = build_vit("registers")
    with torch.no_grad():
        model.backbone.head.bias.fill_(50.0)
        with AttentionTap(model) as tap:
            logits = model(small)[:, 0]
            attentions = tap.attentions()
    found, _ = attention_maps("class_attention", model, small, layers=["blocks.1", "blocks.-1"])
    for attention, part in zip((attentions[1], attentions[3]), found, strict=True):
        expected = attention.mean(1)[:, 0, 5:].reshape(2, 4, 6) * 29 * logits[:, None, None]
        torch.testing.assert_close(part, expected)
    default, _ = attention_maps("class_attention", model, small)
    torch.testing.assert_close(default, found[1:])


def test_attention_gradient_is_in_units_of_the_logit(
    build_vit: Callable[[str], Classifier], small: Tensor
) -> None:
    model = build_vit("class token")

    def only_last() -> Tensor:
        recipe = CamRecipe(method="attention_gradient", layers=["blocks.-1"], flip=False)
        return recipe.raw_cam(model, small)[0]

    once = only_last()
    with torch.no_grad():
        model.backbone.head.weight.mul_(3)
    torch.testing.assert_close(only_last(), 3 * once)
    assert once.max() > 0


@pytest.mark.parametrize("method", ATTENTION_METHODS)
@pytest.mark.parametrize("settings", [{}, {"scales": [1, 2]}, {"window": 32}])
def test_mirrored_pictures_give_mirrored_maps(
    build_vit: Callable[[str], Classifier], small: Tensor, method: str, settings: dict[str, Any]
) -> None:
    model = build_vit("class token")
    model.backbone.head.bias.data.fill_(3.0)
    recipe = CamRecipe(method=method, affinity_steps=1, **settings)
    raw, _ = recipe.raw_cam(model, small)
    mirrored, _ = recipe.raw_cam(model, small.flip(-1))
    tolerance = 1e-4 * float(raw.max())
    torch.testing.assert_close(mirrored, raw.flip(-1), rtol=1e-3, atol=tolerance)
    assert float((raw - raw.flip(-1)).abs().max()) > 10 * tolerance


@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_batches_do_not_change_maps(
    build_vit: Callable[[str], Classifier], small: Tensor, method: str
) -> None:
    model = build_vit("class token")
    model.backbone.head.bias.data.fill_(3.0)
    whole, _ = CamRecipe(method=method, affinity_steps=2).raw_cam(model, small)
    parts, _ = CamRecipe(method=method, affinity_steps=2, batch_size=1).raw_cam(model, small)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


# ---- layers and readers


@pytest.mark.parametrize(
    ("kind", "readers"),
    [
        ("class token", [0]),
        ("registers", [0]),
        ("distilled", [0, 1]),
        ("no prefix", [0, 1, 2]),
        ("pooled beside a class token", [1, 2]),
    ],
)
def test_the_answer_is_read_where_gradients_arrive(
    build_vit: Callable[[str], Classifier], small: Tensor, kind: str, readers: list[int]
) -> None:
    model = build_vit(kind)
    assert reading_tokens(model, 3) == readers
    tokens = 24 + model.prefix_tokens
    with frozen(model), torch.enable_grad(), AttentionTap(model, ["blocks.-1"]) as tap:
        (gradient,) = tap.gradients(model(small).sum())
    read = gradient.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0].tolist()
    assert read == reading_tokens(model, tokens)


def test_patches_of_a_local_classifier_read() -> None:
    model = LocalClassifier("test_vit", weights=None)
    assert reading_tokens(model, 4) == [1, 2, 3]
    found, logits = CamRecipe(method="attention_gradient").raw_cam(model, torch.rand(1, 3, 64, 32))
    assert found.shape == (1, 4, 2)
    assert found.max() > 0
    assert logits.shape == (1,)


def test_layers_inside_blocks_stand_for_their_blocks(build: Build) -> None:
    model = build("test_vit")
    depth = len(model.backbone.blocks)
    assert block_indices(model, []) == list(range(depth))
    assert block_indices(model, ["blocks.-1.norm1", "blocks[0]"]) == [0, depth - 1]
    with pytest.raises(ValueError, match="layer norm lies in no block of test_vit"):
        block_indices(model, ["norm"])


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
@pytest.mark.parametrize("settings", [{"method": "rollout"}, {"affinity_steps": 1}])
def test_networks_without_attention_are_refused_in_words(
    build: Build, pictures: Tensor, name: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"need a vision transformer .*which {name} is not: take"):
        CamRecipe(**settings).raw_cam(build(name), pictures)


def test_attention_of_another_kind_is_refused() -> None:
    """XCiT's attention is between channels."""
    torch.manual_seed(0)
    model = Classifier("xcit_nano_12_p16_224", weights=None)
    with pytest.raises(ValueError, match="no attention from every token to every token"):
        CamRecipe(method="rollout").raw_cam(model, torch.rand(1, 3, 32, 32))


def test_heads_that_are_not_kept_have_no_gradients(build: Build, pictures: Tensor) -> None:
    model = build("test_vit")
    with AttentionTap(model, mean_heads=True) as tap:
        logit = model(pictures).sum()
        assert {a.ndim for a in tap.attentions()} == {3}
        with pytest.raises(ValueError, match="mean_heads keeps no graph"):
            tap.gradients(logit)


# ---- position embeddings


@pytest.mark.parametrize("kind", ["class token", "registers apart", "no prefix", "distilled"])
@pytest.mark.parametrize("size", [(32, 64), (64, 32), (40, 72), (16, 24)])
def test_position_embeddings_follow_the_grid_of_any_picture(
    build_vit: Callable[[str], Classifier], kind: str, size: tuple[int, int]
) -> None:
    model = build_vit(kind)
    prefix = 0 if kind == "registers apart" else model.prefix_tokens
    grid = (size[0] // 8, size[1] // 8)
    stored = model.backbone.pos_embed.detach()
    # As timm resizes weights: bicubic, smoothed where it shrinks, (1, N, D) -> (1, D, h, w).
    square = stored[:, prefix:].transpose(1, 2).reshape(1, 24, 4, 4)
    resized = F.interpolate(square, size=grid, mode="bicubic", antialias=True)
    patches = resized.flatten(2).transpose(1, 2)
    heard: dict[str, Tensor] = {}
    hooks = [
        model.backbone.patch_embed.register_forward_hook(lambda _, i, o: heard.update(before=o)),
        model.backbone.blocks[0].register_forward_pre_hook(lambda _, i: heard.update(after=i[0])),
    ]
    with torch.no_grad():
        model(torch.rand(1, 3, *size))
    for hook in hooks:
        hook.remove()
    added = heard["after"][:, model.prefix_tokens :] - heard["before"].reshape(1, -1, 24)
    torch.testing.assert_close(added, patches, rtol=1e-4, atol=1e-5)
    assert model.token_grid(*size) == grid


@pytest.mark.parametrize("size", [(45, 61), (33, 100), (20, 8)])
def test_sides_that_are_no_multiple_of_the_patch_are_resized_to_the_nearest(
    build_vit: Callable[[str], Classifier], size: tuple[int, int]
) -> None:
    model = build_vit("class token")
    image = torch.rand(1, 3, *size)
    grid = model.token_grid(*size)
    assert grid is not None
    fitted = F.interpolate(image, size=(8 * grid[0], 8 * grid[1]), mode="bilinear", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(fitted))
    raw, _ = CamRecipe(flip=False).raw_cam(model, image)
    assert raw.shape == (1, *grid)
    for side, count in zip(size, grid, strict=True):
        assert abs(side / 8 - count) <= 0.5


def test_a_picture_twice_as_wide_holds_both_halves_patches(
    build_vit: Callable[[str], Classifier], small: Tensor
) -> None:
    """Without position embeddings and attention, patches do not know of each other."""
    model = build_vit("class token")
    with torch.no_grad():
        model.backbone.pos_embed.zero_()
        for block in model.backbone.blocks:
            block.attn.proj.weight.zero_()

    def features(image: Tensor) -> Tensor:
        with torch.no_grad(), LayerTap(model, model.default_layers()) as tap:
            model(image)
            return tap.activations()[0]

    square = small[:1, :, :, :32]
    both = features(torch.cat([square, square.flip(-1)], dim=-1))
    assert both.shape[-2:] == (4, 8)
    expected = torch.cat([features(square), features(square.flip(-1))], dim=-1)
    torch.testing.assert_close(both, expected, rtol=1e-4, atol=1e-5)


# ---- layers by default


@pytest.mark.parametrize("kind", KINDS)
def test_default_layers_reach_the_answer_and_the_next_ones_do_not(
    build_vit: Callable[[str], Classifier], small: Tensor, kind: str
) -> None:
    model = build_vit(kind)
    pools = "global_pool" in KINDS[kind]
    assert model.default_layers() == (["blocks.-1"] if pools else ["blocks.-1.norm1"])
    raw, _ = CamRecipe(method="hires_cam", flip=False).raw_cam(model, small)
    assert raw.max() > 0
    if not pools:  # A class token answers: what the last block gives the patches goes nowhere.
        beyond = CamRecipe(method="hires_cam", layers=["blocks.-1"], flip=False)
        assert beyond.raw_cam(model, small)[0].max() == 0


@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_mixed_precision_changes_maps_by_its_rounding_only(
    build_vit: Callable[[str], Classifier], small: Tensor, method: str
) -> None:
    model = build_vit("class token")
    model.backbone.head.bias.data.fill_(5.0)
    recipe = CamRecipe(method=method, affinity_steps=2)
    exact, _ = recipe.raw_cam(model, small)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, logits = recipe.raw_cam(model, small)
    assert mixed.dtype == logits.dtype == torch.float32
    # bfloat16 keeps 3 digits, and the network has four blocks.
    torch.testing.assert_close(mixed, exact, rtol=0.1, atol=0.03 * float(exact.max()))
