"""Positions answer for themselves, and the surest ones are the frame's answer."""

import copy

import pytest
import torch

from weakseg.cam import CamRecipe
from weakseg.models import Classifier, LocalClassifier, build_classifier

NAME = "tf_efficientnet_lite0"
VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def local() -> LocalClassifier:
    torch.manual_seed(0)
    return LocalClassifier(NAME, weights=None, output_stride=16, share=0.1).eval()


def test_every_level_answers_in_training_and_their_mean_in_evaluation(
    local: LocalClassifier,
) -> None:
    images = torch.rand(2, 3, 64, 64)
    cells = local.cells(images)
    assert [tuple(cell.shape) for cell in cells] == [(2, 8, 8), (2, 4, 4), (2, 4, 4)]
    assert local(images).shape == (2, 1)
    torch.testing.assert_close(local(images)[:, 0], local.pool(cells))
    local.train()
    try:
        assert local(images).shape == (2, 3)
    finally:
        local.eval()


def test_a_level_answers_with_the_mean_of_its_surest_positions(local: LocalClassifier) -> None:
    cells = torch.arange(100, dtype=torch.float32).view(1, 10, 10)
    expected = torch.arange(90, 100, dtype=torch.float32).mean()
    torch.testing.assert_close(local.pool([cells, cells]), expected[None])


def test_share_one_is_average_pooling() -> None:
    model = LocalClassifier(NAME, weights=None, share=1.0)
    cells = torch.rand(2, 5, 5)
    torch.testing.assert_close(model.pool([cells]), cells.mean(dim=(1, 2)))


def test_a_vit_answers_on_its_patch_grid_at_any_size() -> None:
    model = LocalClassifier(VIT, weights=None, image_size=64).eval()
    assert model.levels == ("blocks.3", "blocks.7", "blocks.11")
    assert [tuple(c.shape) for c in model.cells(torch.rand(1, 3, 64, 96))] == [(1, 4, 6)] * 3


def test_local_cams_are_probabilities_and_mirror_with_the_frame(local: LocalClassifier) -> None:
    images = torch.rand(2, 3, 64, 64)
    recipe = CamRecipe(method="local", scales=(1.0, 1.5), flip=True)
    maps, logits = recipe.raw_cam(local, images)
    mirrored, mirrored_logits = recipe.raw_cam(local, images.flip(-1))
    assert maps.shape == (2, 12, 12)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1
    torch.testing.assert_close(mirrored, maps.flip(-1))
    torch.testing.assert_close(mirrored_logits, logits)


def test_the_local_product_is_the_geometric_mean_of_the_levels(local: LocalClassifier) -> None:
    images = torch.rand(1, 3, 64, 64)
    maps, _ = CamRecipe(method="local", flip=False).raw_cam(local, images)
    fine, *coarse = (cell.sigmoid() for cell in local.cells(images))
    large = [
        torch.nn.functional.interpolate(c[:, None], size=(8, 8), mode="bilinear") for c in coarse
    ]
    expected = (fine * large[0][:, 0] * large[1][:, 0]) ** (1 / 3)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)


def test_methods_that_do_not_fit_the_classifier_say_the_way_out(local: LocalClassifier) -> None:
    plain = Classifier(NAME, weights=None).eval()
    with pytest.raises(ValueError, match="local heads"):
        CamRecipe(method="local").raw_cam(plain, torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="take method=local"):
        CamRecipe(method="cam").raw_cam(local, torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="blocks"):
        LocalClassifier(NAME, weights=None, levels=["blocks.99"])


def test_the_same_network_is_built_again_from_its_settings(local: LocalClassifier) -> None:
    again = build_classifier(local=True, **local.settings()).eval()
    again.load_state_dict(local.state_dict())
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(again(images), local(images))


def test_only_the_heads_are_new(local: LocalClassifier) -> None:
    new = sum(parameter.numel() for parameter in local.new_parameters())
    assert new == sum(parameter.numel() for parameter in local.heads.parameters())


def test_a_copy_is_a_network_of_its_own(local: LocalClassifier) -> None:
    twin = copy.deepcopy(local)
    torch.nn.init.zeros_(twin.heads[0][-1].weight)
    images = torch.rand(1, 3, 64, 64)
    assert not torch.equal(twin(images), local(images))


def test_gradients_of_a_vits_answer_reach_every_default_layer() -> None:
    torch.manual_seed(0)
    model = LocalClassifier(VIT, weights=None, image_size=64).eval()
    assert model.default_layers() == list(model.levels)
    images = torch.rand(1, 3, 64, 64)
    for layer in model.default_layers():
        maps, _ = CamRecipe(method="hires_cam", layers=[layer], flip=False).raw_cam(model, images)
        assert maps.max() > 0
    assert (
        LocalClassifier(NAME, weights=None).default_layers()
        == Classifier(NAME, weights=None).default_layers()
    )


def test_networks_of_one_picture_size_are_looked_at_in_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    features = Classifier.features

    def spy(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape[-2:]))
        return features(self, images)

    monkeypatch.setattr(Classifier, "features", spy)
    LocalClassifier("test_resnet", weights=None, image_size=96)
    assert seen == [(96, 96)]
