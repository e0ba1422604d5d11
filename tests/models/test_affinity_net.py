"""The affinity network gives a vector a cell, whatever the encoder and the size of the picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from weakseg.errors import WeightsError
from weakseg.models import Classifier, load_weights, save_weights
from weakseg.models.affinity_net import AffinityNet


def build(**settings: object) -> AffinityNet:
    torch.manual_seed(0)
    return AffinityNet(**{"encoder": "test_resnet", "weights": None, **settings})


@pytest.mark.parametrize("encoder", ["test_resnet", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize(("stride", "cells"), [(4, (16, 18)), (8, (8, 9)), (16, (4, 5))])
def test_a_cell_a_stride(encoder: str, stride: int, cells: tuple[int, int]) -> None:
    model = build(encoder=encoder, stride=stride, embedding_channels=5).eval()
    assert model(torch.rand(2, 3, 61, 70)).shape == (2, 5, *cells)


def test_levels_are_the_deepest_of_the_pyramid() -> None:
    pyramid = build(levels=2).encoder(torch.rand(1, 3, 64, 64))
    assert [level.shape[-1] for level in pyramid] == [4, 2]


def test_pictures_are_normalised_inside() -> None:
    model = build(encoder="test_efficientnet").eval()
    pictures = torch.rand(1, 3, 32, 32)
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(pictures)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[0], (pictures - mean) / std)


def test_settings_and_weights_rebuild_the_network(tmp_path: Path) -> None:
    model = build(stride=4, levels=2, level_channels=6, embedding_channels=7).eval()
    save_weights(tmp_path / "a.safetensors", model)
    again = AffinityNet(**model.settings()).eval()
    load_weights(tmp_path / "a.safetensors", again)
    pictures = torch.rand(1, 3, 40, 40)
    assert torch.equal(model(pictures), again(pictures))


def test_the_encoder_starts_from_a_classifier_and_keeps_its_norms(tmp_path: Path) -> None:
    donor = Classifier("test_resnet", weights=None)
    save_weights(tmp_path / "a.safetensors", donor)
    model = build(weights=str(tmp_path / "a.safetensors"))
    own, theirs = model.encoder.state_dict(), donor.backbone.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in own.items())
    assert model.weights_sha256 is not None
    before = {name: tensor.clone() for name, tensor in model.encoder.named_buffers()}
    model.train()(torch.rand(2, 3, 64, 64))
    after = dict(model.encoder.named_buffers())
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_norms_of_random_weights_learn() -> None:
    model = build().train()
    norms = [module for module in model.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.training for norm in norms)


def test_only_the_heads_are_new() -> None:
    model = build()
    new = {id(parameter) for parameter in model.new_parameters()}
    old = {id(parameter) for parameter in model.encoder.parameters()}
    assert new.isdisjoint(old)
    assert new | old == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "test_resnt"}, "did you mean test_resnet"),
        ({"levels": 9}, "no pyramid of 9 levels"),
        ({"stride": 5}, "stride must be one of 4, 8, 16"),
        ({"embedding_channels": 0}, "embedding_channels must be at least 1"),
        ({"encoder": "resnet18", "stride_in_1x1": True}, "bottleneck blocks"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**settings)


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", nn.Linear(2, 2))
    with pytest.raises(WeightsError, match="fills 0 of the encoder's"):
        build(weights=str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("encoder", "file"),
    [("tf_efficientnet_lite0", "tf_efficientnet_lite0"), ("resnet50", "resnet50_v1")],
)
def test_real_weights_fill_the_encoder(encoder: str, file: str, weights_dir: Path) -> None:
    stride_in_1x1 = encoder == "resnet50"
    path = weights_dir / f"{file}.safetensors"
    model = build(encoder=encoder, weights=str(path), stride_in_1x1=stride_in_1x1)
    classifier = Classifier(encoder, weights=str(path), stride_in_1x1=stride_in_1x1).eval()
    picture = torch.rand(1, 3, 64, 64)
    own = model.eval().encoder((picture - model.mean) / model.std)[-1]
    seen: list[torch.Tensor] = []
    deepest = dict(classifier.backbone.named_modules())[classifier.layers()[-1]]
    deepest.register_forward_hook(lambda *args: seen.append(args[2]))
    classifier.features(picture)
    torch.testing.assert_close(own, seen[0])
