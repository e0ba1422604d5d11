"""Raw maps: the right grid, the right average, nothing normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from weakseg.cam import CamRecipe, export
from weakseg.cam.attention_maps import ATTENTION_METHODS
from weakseg.cam.export import smoke_logit
from weakseg.cam.fusion import fuse_maps, resize_maps
from weakseg.cam.weighting import GRADIENT_METHODS
from weakseg.models import Classifier, LocalClassifier
from weakseg.models.windows import merge_windows, window_starts
from weakseg.training import casting

Build = Callable[..., Classifier]


@pytest.mark.parametrize("method", ["cam", *GRADIENT_METHODS])
def test_every_method_gives_finite_maps_and_the_models_logits(
    build: Build, pictures: torch.Tensor, method: str
) -> None:
    model = build()
    raw, logits = CamRecipe(method=method, flip=False).raw_cam(model, pictures)
    assert raw.shape == ((2, 2, 3) if method == "cam" else (2, 4, 6))
    assert raw.isfinite().all()
    assert raw.min() >= 0
    torch.testing.assert_close(logits, model(pictures)[:, 0].detach())
    assert not raw.requires_grad
    assert not logits.requires_grad


def test_cam_before_its_cut_at_zero_has_the_logit_as_its_mean(
    build: Build, pictures: torch.Tensor
) -> None:
    model = build()
    with torch.no_grad():
        model.backbone.fc.bias.fill_(50)  # so that nothing is cut
    raw, logits = CamRecipe(method="cam", flip=False).raw_cam(model, pictures)
    assert raw.min() > 0
    torch.testing.assert_close(raw.mean(dim=(1, 2)), logits)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("settings", [{}, {"scales": [0.5, 1, 1.5]}, {"window": 64}])
def test_mirrored_pictures_give_mirrored_maps(
    build: Build, pictures: torch.Tensor, name: str, settings: dict[str, object]
) -> None:
    model, recipe = build(name), CamRecipe(**settings)
    raw, logits = recipe.raw_cam(model, pictures)
    mirrored, same = recipe.raw_cam(model, pictures.flip(-1))
    tolerance = 1e-4 * float(raw.max())
    torch.testing.assert_close(mirrored, raw.flip(-1), rtol=1e-3, atol=tolerance)
    torch.testing.assert_close(same, logits, rtol=1e-4, atol=1e-5)
    assert float((raw - raw.flip(-1)).abs().max()) > 10 * tolerance


def test_maps_of_one_layer_are_its_own(build: Build, pictures: torch.Tensor) -> None:
    model = build()
    each = [
        CamRecipe(layers=[name], flip=False).raw_cam(model, pictures)[0]
        for name in ("layer3", "layer4")
    ]
    fused, _ = CamRecipe(flip=False).raw_cam(model, pictures)
    expected = (each[0] * resize_maps(each[1], (4, 6))).sqrt()
    torch.testing.assert_close(fused, expected)


def test_scales_are_averaged_on_the_finest_grid(build: Build, pictures: torch.Tensor) -> None:
    model = build()
    one, logits = CamRecipe(flip=False).raw_cam(model, pictures)
    two, _ = CamRecipe(flip=False, scales=[2]).raw_cam(model, pictures)
    both, same = CamRecipe(flip=False, scales=[1, 2]).raw_cam(model, pictures)
    assert both.shape == two.shape == (2, 8, 12)
    # Fusing before resizing differs a little from resizing each layer first, so compare means.
    torch.testing.assert_close(both.mean(), (one.mean() + two.mean()) / 2, rtol=0.05, atol=1e-6)
    torch.testing.assert_close(same, logits)


@pytest.mark.parametrize("settings", [{}, {"window": 64, "image_size": 32}])
def test_batches_do_not_change_maps(
    build: Build, pictures: torch.Tensor, settings: dict[str, int]
) -> None:
    model = build()
    many = torch.cat([pictures, pictures.flip(-2)])
    whole = CamRecipe(**settings).raw_cam(model, many)
    parts = CamRecipe(**settings, batch_size=3).raw_cam(model, many)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_windows_are_cut_out_batch_by_batch(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    joined = torch.cat

    def joined_and_counted(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
        whole = joined(tensors, dim=dim)
        if whole.shape[1:] == (3, 32, 32):
            sizes.append(len(whole))
        return whole

    monkeypatch.setattr(torch, "cat", joined_and_counted)
    CamRecipe(window=64, image_size=32, batch_size=4).raw_cam(build(), torch.rand(1, 3, 256, 320))
    assert max(sizes) == 4
    assert sum(sizes) == 4 * 5


def test_one_window_over_everything_is_no_window(build: Build) -> None:
    model, picture = build(), torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(
        CamRecipe(window=64).raw_cam(model, picture), CamRecipe().raw_cam(model, picture)
    )


def test_windows_cover_large_frames_on_a_finer_grid(build: Build) -> None:
    model, frame = build(), torch.rand(1, 3, 200, 330)
    raw, logits = CamRecipe(window=96, image_size=64).raw_cam(model, frame)
    # 64 pixels see 96 of the frame: 200 x 330 become 128 x 224, at stride 16.
    assert raw.shape == (1, 8, 14)
    assert logits.shape == (1,)
    assert raw.isfinite().all()


def test_logit_of_a_frame_is_the_highest_of_its_windows(build: Build) -> None:
    model, frames = build(), torch.rand(2, 3, 96, 160)
    _, logits = CamRecipe(window=64).raw_cam(model, frames)
    own = [
        CamRecipe().raw_cam(model, frames[..., top : top + 64, left : left + 64])[1]
        for top in window_starts(96, 64, model.size_unit)
        for left in window_starts(160, 64, model.size_unit)
    ]
    assert len(own) == 2 * 4
    torch.testing.assert_close(logits, torch.stack(own).amax(dim=0))


def test_a_picture_of_no_evidence_is_not_stretched_to_full_evidence(build: Build) -> None:
    model = build()
    with torch.no_grad():
        model.backbone.fc.weight.mul_(1e-6)
    raw, _ = CamRecipe().raw_cam(model, torch.rand(1, 3, 64, 64))
    assert raw.max() < 1e-3


def test_the_network_is_left_as_it_was(build: Build, pictures: torch.Tensor) -> None:
    model = build().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        CamRecipe().raw_cam(model, pictures)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_log_odds_of_one_or_two_classes() -> None:
    assert smoke_logit(torch.tensor([[2.0]])).item() == 2
    assert smoke_logit(torch.tensor([[1.0, 4.0]])).item() == 3
    with pytest.raises(ValueError, match="3 classes"):
        smoke_logit(torch.zeros(1, 3))


@pytest.mark.parametrize("settings", [{"name": "test_vit"}, {"pooling": "gem"}])
def test_cam_refuses_heads_for_which_it_is_not_exact(
    build: Build, pictures: torch.Tensor, settings: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="take method=layer_cam"):
        CamRecipe(method="cam").raw_cam(build(**settings), pictures)


def test_cam_is_exact_for_topk_pooling(build: Build, pictures: torch.Tensor) -> None:
    raw, _ = CamRecipe(method="cam").raw_cam(build(pooling="topk"), pictures)
    assert raw.shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "score_cam"}, "method must be one of .*cam, grad_cam"),
        ({"fusion": "sum"}, "fusion must be one of product"),
        ({"scales": []}, "scales must be at least 1"),
        ({"scales": [0.0]}, "scales must be above 0"),
        ({"window": 8}, "window must be at least 32"),
        ({"method": "cam", "layers": ["layer4"]}, "leave layers empty"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CamRecipe(**settings)


def test_product_fusion_is_fair_to_units_and_needs_all_layers() -> None:
    a, b = torch.rand(1, 3, 3), torch.rand(1, 3, 3)
    torch.testing.assert_close(fuse_maps([a, 1e4 * b], "product"), 1e2 * (a * b).sqrt())
    assert fuse_maps([a, torch.zeros_like(b)], "product").max() == 0
    assert torch.equal(fuse_maps([a, b], "max"), torch.maximum(a, b))
    torch.testing.assert_close(fuse_maps([a, b], "mean"), (a + b) / 2)


@pytest.mark.parametrize(("length", "window"), [(96, 96), (160, 96), (512, 96), (128, 32)])
def test_windows_cover_every_pixel_half_overlapping(length: int, window: int) -> None:
    starts = window_starts(length, window, 32)
    covered = {pixel for start in starts for pixel in range(start, start + window)}
    assert covered == set(range(length))
    assert all(start % 32 == 0 for start in starts)


def test_windows_that_agree_merge_to_what_they_say() -> None:
    whole = torch.rand(1, 6, 8)
    corners = [(top, left) for top in (0, 2) for left in (0, 2, 4)]
    cut = torch.stack([whole[:, t : t + 4, c : c + 4] for t, c in corners], dim=1)
    torch.testing.assert_close(merge_windows(cut, corners, (6, 8)), whole)


def test_the_last_layers_can_be_counted(build: Build, pictures: torch.Tensor) -> None:
    resnet, vit = build(), build("test_vit")
    for model, layers in ((resnet, ["layer2", "layer3", "layer4"]), (vit, vit.layers())):
        named, _ = CamRecipe(layers=layers, fusion="mean").raw_cam(model, pictures)
        count = len(layers) if model is resnet else 99
        counted, _ = CamRecipe(layer_count=count, fusion="mean").raw_cam(model, pictures)
        torch.testing.assert_close(counted, named)


def test_levels_of_a_local_classifier_can_be_chosen(pictures: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = LocalClassifier("test_resnet", weights=None).eval()
    with torch.no_grad():
        cells = [cell.sigmoid() for cell in model.cells(pictures)]
    assert model.levels == ("layer2", "layer3", "layer4")
    for settings, chosen in (
        ({"layers": ["layer2"]}, cells[:1]),
        ({"layer_count": 2}, cells[1:]),
        ({}, cells),
    ):
        raw, logits = CamRecipe(method="local", flip=False, **settings).raw_cam(model, pictures)
        size = (int(chosen[0].shape[1]), int(chosen[0].shape[2]))
        expected = fuse_maps([resize_maps(cell, size) for cell in chosen], "product")
        torch.testing.assert_close(raw, expected)
        torch.testing.assert_close(logits, model(pictures)[:, 0].detach())
    with pytest.raises(ValueError, match="layer1 is no level of the classifier: layer2, layer3"):
        CamRecipe(method="local", layers=["layer1"]).raw_cam(model, pictures)


@pytest.mark.parametrize(
    "settings", [{"affinity_steps": 1}, *({"method": method} for method in ATTENTION_METHODS)]
)
def test_recipes_of_attention_are_refused_before_a_cnn_is_trained(
    build: Build, settings: dict[str, Any]
) -> None:
    CamRecipe(**settings).check(build("test_vit"))
    with pytest.raises(ValueError, match="need a vision transformer"):
        CamRecipe(**settings).check(build())
    CamRecipe().check(build())


@pytest.mark.parametrize(
    ("name", "settings", "recipe", "words"),
    [
        ("test_vit", {}, {"method": "cam"}, "needs average or top-k pooling"),
        ("test_resnet", {"pooling": "gem"}, {"method": "cam"}, "needs average or top-k pooling"),
        ("test_resnet", {}, {"layers": ["layer9"]}, "layer9"),
        ("test_resnet", {}, {"layers": ["fc"]}, "no feature map"),
        ("test_resnet", None, {"method": "local", "layers": ["layer1"]}, "layer1 is no level"),
        ("test_vit", {}, {"affinity_steps": 1, "affinity_layers": ["norm"]}, "lies in no block"),
        ("xcit_nano_12_p16_224", {}, {"method": "rollout"}, "no attention from every token"),
    ],
)
def test_what_cannot_be_read_is_refused_before_it_is_trained(
    name: str, settings: dict[str, Any] | None, recipe: dict[str, Any], words: str
) -> None:
    torch.manual_seed(0)
    model = (
        LocalClassifier(name, weights=None, image_size=64)
        if settings is None
        else Classifier(name, weights=None, image_size=64, **settings)
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    # Windows and scales are left out: they cost time, and change nothing of what can be read.
    with pytest.raises(ValueError, match=words):
        CamRecipe(**recipe, window=4096, scales=(1.0, 64.0)).check(model)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize(
    "recipe", [{"affinity_steps": 1}, {"method": "rollout"}, {"method": "attention_gradient"}]
)
def test_pictures_share_a_pass_only_as_far_as_their_attention_fits(
    build: Build, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = build("test_vit"), []
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    made = CamRecipe(**recipe, scales=(0.5, 1.0))
    whole, _ = made.raw_cam(model, images)
    assert max(seen) == 5
    grid = model.token_grid(64, 64)
    assert grid is not None
    tokens = grid[0] * grid[1] + model.prefix_tokens
    heads = model.backbone.blocks[0].attn.num_heads
    for most in (2, 1):
        seen.clear()
        monkeypatch.setattr(export, "MAX_LOOKS", most * heads * tokens**2)
        parts, _ = made.raw_cam(model, images)
        assert max(seen) == most
        torch.testing.assert_close(parts, whole)
    monkeypatch.setattr(export, "MAX_LOOKS", 1)
    assert made.raw_cam(model, images)[0].shape == whole.shape
    hook.remove()


@pytest.mark.parametrize("method", ["local", "cam", "layer_cam"])
def test_bf16_gives_nearly_the_same_maps(build: Build, pictures: torch.Tensor, method: str) -> None:
    """CAM computes in float32 whatever it is asked for: its check needs the digits."""
    model = build()
    if method == "local":
        model = LocalClassifier("test_resnet", weights=None, image_size=64).eval()
    recipe = CamRecipe(method=method, scales=(1.0, 2.0))
    maps, logits = recipe.raw_cam(model, pictures)
    with casting("bf16", torch.device("cpu")):
        narrow, narrow_logits = recipe.raw_cam(model, pictures)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, maps) == (method == "cam")
    torch.testing.assert_close(narrow, maps, rtol=0, atol=0.03 * float(maps.max()))
    torch.testing.assert_close(narrow_logits, logits, rtol=0.05, atol=0.05)
