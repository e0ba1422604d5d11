"""Classifiers normalise inside, take any size, and refuse what they cannot do in words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from weakseg.errors import WeightsError
from weakseg.models import Classifier, hub, load_weights, save_weights
from weakseg.models.pooling import gem, topk_mean

NETWORKS = ["test_resnet", "test_efficientnet", "test_vit"]


def build(name: str = "test_resnet", **settings: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier(name, weights=None, **settings).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_one_logit_per_picture_of_any_size(name: str, pictures: torch.Tensor) -> None:
    model = build(name)
    assert model(pictures).shape == (2, 1)
    assert model(pictures[..., :61, :70]).shape == (2, 1)


def test_pictures_are_normalised_inside(pictures: torch.Tensor) -> None:
    model = build("test_efficientnet")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(model(pictures), model.backbone((pictures - mean) / std))


def test_only_the_network_is_saved() -> None:
    assert all(name.startswith("backbone.") for name in build().state_dict())


def test_settings_and_weights_rebuild_the_network(tmp_path: Path, pictures: torch.Tensor) -> None:
    model = build("test_resnet", output_stride=16, pooling="topk", drop_rate=0.1, classes=2)
    save_weights(tmp_path / "a.safetensors", model)
    again = Classifier(**model.settings()).eval()
    load_weights(tmp_path / "a.safetensors", again)
    assert torch.equal(model(pictures), again(pictures))
    started = Classifier("test_resnet", weights=str(tmp_path / "a.safetensors"), classes=2)
    assert started.weights_sha256 is not None
    assert torch.equal(started.backbone.fc.weight, model.backbone.fc.weight)


def test_output_stride_makes_features_finer() -> None:
    pictures = torch.rand(1, 3, 64, 64)
    sizes = [build(output_stride=s).features(pictures).shape[-1] for s in (32, 16, 8)]
    assert sizes == [2, 4, 8]


def test_default_layers_are_the_last_two_stages_or_the_last_norm() -> None:
    assert build("test_resnet").default_layers() == ["layer3", "layer4"]
    assert build("test_vit").default_layers() == ["blocks.-1.norm1"]
    assert build("test_vit").layers()[-1] == "blocks.5.norm1"


def test_gem_lies_between_average_and_maximum() -> None:
    features = torch.rand(2, 5, 4, 4)
    assert torch.all(gem(features) >= features.mean(dim=(2, 3)) - 1e-6)
    assert torch.all(gem(features) <= features.amax(dim=(2, 3)) + 1e-6)
    torch.testing.assert_close(gem(features, power=1.0), features.mean(dim=(2, 3)))


def test_topk_pooling_means_the_highest_position_logits() -> None:
    model = build(pooling="topk")
    pictures = torch.rand(1, 3, 96, 128)
    features = model.features(
        pictures
    )  # (1, 96, 3, 4): the tenth of 12 positions, rounded up, is 2
    by_hand = features.flatten(2).transpose(1, 2) @ model.backbone.fc.weight.t()
    by_hand = by_hand + model.backbone.fc.bias
    expected = by_hand.flatten().sort(descending=True).values[:2].mean()
    torch.testing.assert_close(model(pictures)[0, 0], expected)
    assert topk_mean(torch.arange(3.0).view(1, 3, 1)).item() == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "test_resnt"}, "did you mean test_resnet"),
        ({"name": "test_vit", "output_stride": 16}, "test_vit does not support output_stride=16"),
        ({"name": "test_vit", "pooling": "gem"}, "takes pooling=avg only"),
        ({"name": "resnet18", "stride_in_1x1": True}, "bottleneck blocks"),
        ({"output_stride": 4}, "output_stride must be one of"),
        ({"classes": 0}, "classes must be at least 1"),
        ({"drop_rate": 1.5}, r"drop_rate must lie in \[0, 1\]"),
    ],
)
def test_what_cannot_be_is_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Classifier(**{"name": "test_resnet", "weights": None, **settings})


def test_an_unreachable_hub_is_told_at_once_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", raise_not_cached)
    # Nobody listens on the discard port of this machine.
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(WeightsError, match=r"cannot be reached: give classifier\.weights=FILE"):
        Classifier("test_resnet", weights="hub")
    assert time.perf_counter() - start < hub.KNOCK_SECONDS


def raise_not_cached(*args: object, local_files_only: bool = False, **settings: object) -> str:
    assert local_files_only, "must not ask the hub before it answers"
    raise hub.LocalEntryNotFoundError("not cached")


def test_cached_hub_weights_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: torch.Tensor
) -> None:
    donor = Classifier("test_resnet", weights=None, classes=1000)
    save_weights(tmp_path / "model.safetensors", donor.backbone)
    asked = []

    def cached(repository: str, file: str, **settings: object) -> str:
        asked.append((repository, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", cached)
    model = Classifier("test_resnet", weights="hub").eval()
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    torch.testing.assert_close(model.features(pictures), donor.eval().features(pictures))


@pytest.mark.parametrize(
    ("name", "file", "v1"),
    [
        ("resnet50", "resnet50_v1", True),
        ("tf_efficientnet_lite0", "tf_efficientnet_lite0", False),
        ("deit_tiny_patch16_224", "deit_tiny_patch16_224", False),
    ],
)
def test_real_weights_load_strictly(weights_dir: Path, name: str, file: str, v1: bool) -> None:
    path = str(weights_dir / f"{file}.safetensors")
    model = Classifier(name, weights=path, stride_in_1x1=v1, classes=1000).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 224, 224)).isfinite().all()
    if v1:
        first = [model.backbone.get_submodule(f"layer{i}")[0] for i in (2, 3, 4)]
        assert [(b.conv1.stride, b.conv2.stride) for b in first] == [((2, 2), (1, 1))] * 3


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", build("test_resnet").backbone)
    with pytest.raises(WeightsError, match=r"a\.safetensors does not fit this network of"):
        Classifier("test_efficientnet", weights=str(tmp_path / "a.safetensors"))
