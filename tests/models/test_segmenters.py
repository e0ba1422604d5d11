"""Segmenters answer at the picture's size and start from a classifier's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from weakseg.errors import WeightsError
from weakseg.models import Classifier, Segmenter, load_weights, save_weights
from weakseg.models.encoders import load_encoder, weights_path


def build(**settings: object) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(**{"encoder": "tu-test_efficientnet", "encoder_weights": None, **settings})


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "unet", "fpn"])
@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_logits_have_the_size_of_the_picture(architecture: str, size: tuple[int, int]) -> None:
    model = build(architecture=architecture, classes=3).eval()
    assert model(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_padding_changes_nothing_where_none_is_needed() -> None:
    model = build(architecture="unet").eval()
    picture = torch.rand(1, 3, 64, 64)
    expected = model.network((picture - model.mean) / model.std)
    assert torch.equal(model(picture), expected)


@pytest.mark.parametrize("wrapped", [True, False], ids=["classifier", "timm"])
def test_every_tensor_of_the_encoder_comes_from_the_classifier(
    tmp_path: Path, wrapped: bool
) -> None:
    torch.manual_seed(1)
    donor = Classifier("test_efficientnet", weights=None)
    save_weights(tmp_path / "a.safetensors", donor if wrapped else donor.backbone)
    model = build(encoder_weights=str(tmp_path / "a.safetensors"))
    assert model.matched is not None
    assert model.matched.matched == model.matched.total
    own, theirs = model.network.encoder.state_dict(), donor.backbone.state_dict()
    for name, tensor in own.items():
        assert torch.equal(tensor, theirs[name.removeprefix("model.")]), name


def test_underscores_of_feature_extractors_are_understood(tmp_path: Path) -> None:
    donor = Classifier("test_convnext", weights=None)
    save_weights(tmp_path / "a.safetensors", donor)
    model = build(
        architecture="unet",
        encoder="tu-test_convnext",
        encoder_weights=str(tmp_path / "a.safetensors"),
    )
    assert model.matched is not None
    assert model.matched.missing == ()


def test_a_run_folder_stands_for_its_best_weights(tmp_path: Path) -> None:
    assert weights_path(f"run:{tmp_path}") == tmp_path / "checkpoints" / "best.safetensors"
    assert weights_path("a/b.safetensors") == Path("a/b.safetensors")


@pytest.mark.parametrize("donor", ["test_resnet", "test_vit"])
def test_weights_of_another_network_are_refused(tmp_path: Path, donor: str) -> None:
    save_weights(tmp_path / "a.safetensors", Classifier(donor, weights=None))
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        load_encoder(build().network.encoder, tmp_path / "a.safetensors")


def test_settings_and_weights_rebuild_the_network(tmp_path: Path) -> None:
    model = build(architecture="unet").eval()
    save_weights(tmp_path / "a.safetensors", model)
    again = Segmenter(**model.settings()).eval()
    load_weights(tmp_path / "a.safetensors", again)
    picture = torch.rand(1, 3, 40, 40)
    assert torch.equal(model(picture), again(picture))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "tu-test_efficientnt"}, "did you mean tu-test_efficientnet"),
        ({"encoder": "resnet35"}, "did you mean .*resnet34"),
        ({"encoder": "tu-test_vit"}, "deeplabv3plus does not go with encoder tu-test_vit"),
        ({"architecture": "segnet"}, "architecture must be one of"),
        ({"output_stride": 32}, "output_stride must be one of 8, 16"),
    ],
)
def test_what_cannot_be_is_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**settings)


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="height must be at least 32"):
        build()(torch.rand(1, 3, 31, 40))


def test_real_resnet_v1_weights_fill_the_encoder(weights_dir: Path) -> None:
    path = str(weights_dir / "resnet50_v1.safetensors")
    model = Segmenter(encoder="tu-resnet50", encoder_weights=path, stride_in_1x1=True)
    assert model.matched is not None
    assert model.matched.missing == ()
