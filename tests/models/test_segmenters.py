"""Segmenters answer at the picture's size and start from a classifier's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from weakseg.artifacts import RunPaths, write_json
from weakseg.errors import ArtifactError, WeightsError
from weakseg.models import Classifier, Segmenter, load_weights, save_weights
from weakseg.models.encoders import load_encoder, weights_path
from weakseg.stages.segmenters import SEGMENTER, read_segmenter, write_segmenter


def build(**settings: object) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(**{"encoder": "tu-test_efficientnet", "encoder_weights": None, **settings})


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "unet", "fpn", "segformer", "upernet"])
@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_logits_have_the_size_of_the_picture(architecture: str, size: tuple[int, int]) -> None:
    model = build(architecture=architecture, classes=3).eval()
    assert model(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("unet", "tu-test_convnext"),
        ("unet", "mit_b0"),
        ("fpn", "tu-test_convnext"),
        ("upernet", "tu-test_convnext"),
        ("segformer", "mit_b0"),
        ("segformer", "tu-swin_s3_tiny_224"),
    ],
)
def test_hierarchical_transformers_learn_at_any_size(architecture: str, encoder: str) -> None:
    model = build(architecture=architecture, encoder=encoder)
    logits = model(torch.rand(2, 3, 64, 45))
    assert logits.shape == (2, 2, 64, 45)
    logits.square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "segformer"])
def test_encoder_and_new_parameters_are_all_there_are(architecture: str) -> None:
    model = build(architecture=architecture)
    new = {id(p) for p in model.new_parameters()}
    encoder = {id(p) for p in model.network.encoder.parameters()}
    assert new
    assert not new & encoder
    assert new | encoder == {id(p) for p in model.parameters()}


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
        ({"encoder": "tf_efficientnet_lite0"}, "did you mean tu-tf_efficientnet_lite0\\?"),
        ({"encoder": "tu-test_vit"}, "deeplabv3plus does not go with encoder tu-test_vit"),
        ({"encoder": "tu-vgg11"}, "tu-vgg11 .* segmenter=segformer and"),
        ({"encoder": "tu-pvt_v2_b0"}, "output_stride"),
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


def test_pictures_without_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="images must have shape"):
        build()(torch.rand(32, 32))


def test_real_resnet_v1_weights_fill_the_encoder(weights_dir: Path) -> None:
    path = str(weights_dir / "resnet50_v1.safetensors")
    model = Segmenter(encoder="tu-resnet50", encoder_weights=path, stride_in_1x1=True)
    assert model.matched is not None
    assert model.matched.missing == ()


def test_a_network_that_nobody_could_rebuild_is_not_written(tmp_path: Path) -> None:
    class Foreign(Segmenter):
        """Not among the networks a run can hold."""

    with pytest.raises(ValueError, match="Foreign is not among the networks"):
        write_segmenter(
            RunPaths(tmp_path), Foreign(encoder="tu-test_efficientnet", encoder_weights=None)
        )


def test_a_run_names_its_network(tmp_path: Path) -> None:
    write_segmenter(RunPaths(tmp_path), build(architecture="upernet", classes=3))
    again = read_segmenter(RunPaths(tmp_path))
    assert isinstance(again, Segmenter)
    assert again.settings()["architecture"] == "upernet"
    assert again.classes == 3


def test_a_run_from_before_networks_had_names_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / SEGMENTER, build(architecture="fpn").settings())
    assert read_segmenter(RunPaths(tmp_path)).settings()["architecture"] == "fpn"


def test_a_network_this_version_does_not_know_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / SEGMENTER, {"class": "os.system", "settings": {}})
    with pytest.raises(ArtifactError, match=r"segmenter\.json names the network 'os\.system'"):
        read_segmenter(RunPaths(tmp_path))
