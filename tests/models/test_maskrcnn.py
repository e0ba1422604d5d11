"""Mask R-CNN learns instances from masks, and answers like every segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import maskrcnn_loss
from torchvision.ops.misc import FrozenBatchNorm2d

from weakseg.errors import WeightsError
from weakseg.models import Classifier, MaskRcnn, load_weights, maskrcnn_weights, save_weights
from weakseg.models.maskrcnn_parts import known_proposals

LOSSES = {"loss", "objectness", "proposal_box", "classifier", "box", "mask"}


def build(**settings: Any) -> MaskRcnn:
    torch.manual_seed(0)
    tiny = {
        "weights": None,
        "channels": 16,
        "min_size": None,
        "proposals": 16,
        "frozen_norms": True,
    }
    return MaskRcnn("test_resnet", **{**tiny, **settings})


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    """Two pictures with one and two grey discs, and their masks."""
    generator = torch.Generator().manual_seed(0)
    images = 0.2 + 0.05 * torch.rand(2, 3, 64, 64, generator=generator)
    mask = torch.zeros(2, 64, 64, dtype=torch.int64)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for index, row, column, radius in ((0, 30, 30, 14), (1, 18, 16, 10), (1, 46, 44, 12)):
        mask[index][(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 1
    return torch.where(mask[:, None] == 1, torch.tensor(0.8), images), mask


def test_losses_are_named_and_add_up(scene: tuple[Tensor, Tensor]) -> None:
    losses = build()(*scene)
    assert losses.keys() == LOSSES
    parts = sum(value for name, value in losses.items() if name != "loss")
    torch.testing.assert_close(losses["loss"], parts)


@pytest.mark.parametrize("heads", ["v1", "v2"])
@pytest.mark.parametrize("value", [0, 255])
def test_losses_without_instances_are_finite(heads: str, value: int) -> None:
    model = build(heads=heads)
    losses = model(torch.rand(2, 3, 64, 64), mask=torch.full((2, 64, 64), value))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["mask"] == 0
    assert (losses["objectness"] > 0) == (value == 0)
    losses["loss"].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_every_learning_parameter_has_a_gradient(scene: tuple[Tensor, Tensor]) -> None:
    model = build(trainable_layers=2)
    model(*scene)["loss"].backward()
    body = "backbone.body."
    for name, parameter in model.named_parameters():
        learns = not name.startswith((f"{body}layer1", f"{body}layer2", f"{body}conv1"))
        assert (parameter.grad is not None) == learns == parameter.requires_grad, name


def test_gradient_of_the_loss_is_its_slope(scene: tuple[Tensor, Tensor]) -> None:
    model = build().double()
    images, mask = scene[0].double(), scene[1]

    def loss() -> Tensor:
        torch.manual_seed(3)  # Which boxes are drawn to learn from.
        return model(images, mask=mask)["loss"]

    weight = model.roi_heads.mask_predictor.mask_fcn_logits.bias
    (slope,) = torch.autograd.grad(loss(), weight)
    step = 1e-5
    with torch.no_grad():
        weight[1] += step
        higher = loss()
        weight[1] -= 2 * step
        lower = loss()
    # The error of a central difference is of the order of the step's square.
    torch.testing.assert_close((higher - lower) / (2 * step), slope[1], rtol=1e-5, atol=1e-8)


def test_one_picture_is_learnt_by_heart(scene: tuple[Tensor, Tensor]) -> None:
    images, mask = scene
    model = build(channels=32, frozen_norms=False, anchor_sizes=[8, 16, 32, 48, 64])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(50):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(images, mask=mask)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    model.eval()
    smoke = model(images).softmax(dim=1)[:, 1] >= 0.5
    for found, wanted in zip(smoke, mask == 1, strict=True):
        assert (found & wanted).sum() / (found | wanted).sum() > 0.8
    sure = [len(one.above(0.5)) for one in model.instances(images)]
    assert sure == [1, 2]


def test_mask_loss_of_known_pixels_is_torchvisions(scene: tuple[Tensor, Tensor]) -> None:
    heads = build().roi_heads
    masks = (scene[1] == 1).to(torch.uint8)
    features = {str(k): torch.rand(2, 16, 16 >> k, 16 >> k) for k in range(4)}
    # Boxes on whole pixels: theirs sees pixels half a pixel off, which constant inner parts hide.
    boxes = [torch.tensor([[24.0, 24, 38, 38]]), torch.tensor([[12.0, 12, 20, 22]])]
    index = [torch.zeros(1, dtype=torch.int64)] * 2
    targets = [{"masks": one[None], "certainty": torch.ones(64, 64)} for one in masks]
    shapes = [(64, 64)] * 2
    own = heads.mask_loss(features, boxes, index, targets, shapes)
    logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, boxes, shapes)))
    labels = [torch.ones(1, dtype=torch.int64)] * 2
    theirs = maskrcnn_loss(logits, boxes, [one[None] for one in masks], labels, index)
    torch.testing.assert_close(own, theirs)


def test_ignored_pixels_do_not_count_in_the_mask_loss(scene: tuple[Tensor, Tensor]) -> None:
    heads = build().roi_heads
    features = {str(k): torch.rand(1, 16, 16 >> k, 16 >> k) for k in range(4)}
    mask = (scene[1][:1] == 1).to(torch.uint8)
    certainty = torch.ones(64, 64)
    certainty[20:40] = 0
    flipped = torch.where(certainty == 0, 1 - mask, mask)
    # 28 cells of two pixels each: none holds known pixels and ignored ones.
    box = torch.tensor([[0.0, 0, 56, 56]])

    def loss(masks: Tensor, sure: Tensor) -> Tensor:
        target = {"masks": masks, "certainty": sure}
        index = torch.zeros(1, dtype=torch.int64)
        return heads.mask_loss(features, [box], [index], [target], [(64, 64)])

    torch.testing.assert_close(loss(flipped, certainty), loss(mask, certainty))
    everywhere = torch.ones(64, 64)
    assert abs(loss(flipped, everywhere) - loss(mask, everywhere)) > 1e-3


def test_proposals_on_unknown_pixels_are_no_background() -> None:
    certainty = torch.ones(20, 20)
    certainty[:, :10] = 0
    target = {"certainty": certainty, "boxes": torch.tensor([[0.0, 0, 8, 8]])}
    boxes = torch.tensor([[0.0, 0, 8, 7], [0.0, 10, 8, 20], [12.0, 0, 20, 8], [4.0, 12, 16, 20]])
    assert known_proposals(boxes, target).tolist() == boxes[[0, 2, 3]].tolist()


def test_anchors_on_unknown_pixels_are_left_out() -> None:
    rpn = build().rpn
    certainty = torch.ones(20, 20)
    certainty[:, :10] = 0
    target = {"certainty": certainty, "boxes": torch.tensor([[0.0, 0, 8, 8]])}
    anchors = torch.tensor([[0.0, 0, 8, 8], [0.0, 10, 8, 20], [12.0, 0, 20, 8]])
    ((labels,), _) = rpn.assign_targets_to_anchors([anchors], [target])
    assert labels.tolist() == [1, -1, 0]


@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
@pytest.mark.parametrize("min_size", [None, 64])
def test_logits_are_the_odds_of_the_instances(size: tuple[int, int], min_size: int | None) -> None:
    model = build(min_size=min_size).eval()
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        logits, instances = model(images), model.instances(images)
    assert logits.shape == (2, 2, *size)
    for picture, found in zip(logits.softmax(dim=1)[:, 1], instances, strict=True):
        assert len(found) > 0
        union = (found.masks * found.scores[:, None, None]).amax(dim=0)
        # Log-odds are held within those of one in a million.
        torch.testing.assert_close(picture, union, atol=1e-5, rtol=1e-4)


def test_boxes_lie_in_the_picture_that_was_given() -> None:
    model = build(min_size=128).eval()
    (found,) = model.instances(torch.rand(1, 3, 40, 80))
    assert (found.height, found.width) == (40, 80)
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, [0, 2]] <= 80).all()
    assert (found.boxes[:, [1, 3]] <= 40).all()
    assert found.boxes[:, 2].max() > 60


def test_evaluation_does_not_depend_on_the_batch() -> None:
    model = build(min_size=64).eval()
    images = torch.rand(3, 3, 48, 64)
    with torch.inference_mode():
        alone = torch.cat([model(image[None]) for image in images])
        torch.testing.assert_close(model(images), alone, atol=1e-4, rtol=1e-4)


# ---- weights


def test_names_are_torchvisions() -> None:
    theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2
    )
    own = MaskRcnn(weights=None).state_dict()
    assert {k: v.shape for k, v in own.items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


def test_all_but_the_predictors_come_from_a_network_of_other_classes(tmp_path: Path) -> None:
    donor = build()
    by_class = ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_fcn_logits")
    tensors = {
        name: torch.cat([tensor] * 3) if any(part in name for part in by_class) else tensor
        for name, tensor in donor.state_dict().items()
    }
    # As in the first file of COCO weights: older names, and a pickle.
    old = {
        name.replace("mask_head.0.0", "mask_head.mask_fcn1").replace(
            "rpn.head.conv.0.0", "rpn.head.conv"
        ): t
        for name, t in tensors.items()
    }
    torch.save(old, tmp_path / "coco.pth")
    torch.manual_seed(1)
    model = MaskRcnn("test_resnet", weights=str(tmp_path / "coco.pth"), channels=16)
    for name, tensor in model.state_dict().items():
        if not any(part in name for part in by_class):
            assert torch.equal(tensor, donor.state_dict()[name]), name
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    new = {names[id(parameter)] for parameter in model.new_parameters()}
    assert new == {name for name in names.values() if any(part in name for part in by_class)}


def test_the_backbone_comes_from_a_classifier(tmp_path: Path) -> None:
    donor = Classifier("test_resnet", weights=None)
    for layer in donor.backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
    save_weights(tmp_path / "a.safetensors", donor)
    model = MaskRcnn("test_resnet", weights=str(tmp_path / "a.safetensors"), channels=16)
    theirs = donor.backbone.state_dict()
    for name, tensor in model.backbone.body.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    new = {names[id(parameter)] for parameter in model.new_parameters()}
    assert new == {name for name in names.values() if not name.startswith("backbone.body.")}
    assert model.weights_sha256 is not None


def test_settings_and_weights_rebuild_the_network(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", Classifier("test_resnet", weights=None))
    model = build(weights=str(tmp_path / "a.safetensors"), frozen_norms=None, min_size=64).eval()
    save_weights(tmp_path / "b.safetensors", model)
    again = MaskRcnn(**model.settings()).eval()
    load_weights(tmp_path / "b.safetensors", again)
    picture = torch.rand(1, 3, 40, 40)
    assert torch.equal(model(picture), again(picture))
    assert any(isinstance(layer, FrozenBatchNorm2d) for layer in again.modules())


def test_a_trained_network_starts_another_whole(tmp_path: Path) -> None:
    donor = build()
    save_weights(tmp_path / "a.safetensors", donor)
    model = build(weights=str(tmp_path / "a.safetensors"))
    assert model.new_parameters() == []
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, donor.state_dict()[name]), name


@pytest.mark.parametrize("donor", ["test_efficientnet", "test_vit", "resnet18"])
def test_backbones_of_another_network_are_refused(tmp_path: Path, donor: str) -> None:
    save_weights(tmp_path / "a.safetensors", Classifier(donor, weights=None))
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        MaskRcnn("test_resnet", weights=str(tmp_path / "a.safetensors"))


def test_another_mask_rcnn_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", build(heads="v2"))
    with pytest.raises(WeightsError, match=r"another Mask R-CNN: .*segmenter\.heads"):
        build(weights=str(tmp_path / "a.safetensors"))
    tensors = build().state_dict()
    tensors["backbone.fpn.layer_blocks.0.0.weight"] = torch.zeros(1)
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"another Mask R-CNN: .*layer_blocks"):
        build(weights=str(tmp_path / "b.safetensors"))


def test_coco_weights_are_for_resnet50(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet50 only, not for resnet101: take .*=hub"):
        MaskRcnn("resnet101", weights="coco")

    def nobody(url: str, timeout: float) -> None:
        raise TimeoutError(f"{url.rpartition('/')[2]} after {timeout:g} s")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(maskrcnn_weights, "urlopen", nobody)
    with pytest.raises(WeightsError, match=r"maskrcnn_resnet50_fpn_v2_coco.*segmenter\.weights="):
        MaskRcnn(weights="coco", heads="v2")


def test_cached_coco_weights_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "checkpoints"
    home.mkdir()
    theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), home / "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model = MaskRcnn()
    assert model.settings()["norm_epsilon"] == 0.0
    assert torch.equal(model.rpn.head.cls_logits.weight, theirs.rpn.head.cls_logits.weight)
    # The same maps: stem, stages, pyramid and norms do what torchvision's do.
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.eval().backbone(image)
        for level, maps in model.eval().backbone(image).items():
            # Their random norms have an epsilon, ours as COCO's first weights none.
            torch.testing.assert_close(maps, expected[level], rtol=1e-3, atol=1e-3)


def test_real_resnet_v1_weights_fill_the_backbone(weights_dir: Path) -> None:
    path = str(weights_dir / "resnet50_v1.safetensors")
    model = MaskRcnn(weights=path, stride_in_1x1=True)
    assert model.matched is not None
    assert model.matched.missing == ()
    assert model.backbone.body["layer2"][0].conv1.stride == (2, 2)


# ---- refusals


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backbone": "resnet51"}, "no network 'resnet51': did you mean"),
        ({"backbone": "tu-test_vit"}, "must be a ResNet, and test_vit is a VisionTransformer"),
        ({"heads": "v3"}, "heads must be one of v1, v2"),
        ({"trainable_layers": 6}, "trainable_layers must lie in 0-5"),
        ({"min_size": 16}, "min_size must be at least 32"),
        ({"min_size": 512, "max_size": 300}, "max_size must be at least 512"),
        ({"anchor_sizes": [32, 64]}, "anchor_sizes must be 5 sizes"),
        ({"anchor_sizes": [0, 1, 2, 3, 4]}, "anchor_sizes must be above 0"),
        ({"backbone": "resnet18", "stride_in_1x1": True}, "bottleneck blocks, not resnet18"),
        ({"score_floor": 1.5}, r"score_floor must lie in \[0, 1\]"),
    ],
)
def test_what_cannot_be_is_refused_in_words(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MaskRcnn(**{"backbone": "test_resnet", "weights": None, **settings})


def test_training_needs_masks_and_instances_need_evaluation() -> None:
    model = build()
    with pytest.raises(ValueError, match="give mask="):
        model(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        model.instances(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="mask must have shape"):
        model(torch.rand(1, 3, 64, 64), mask=torch.zeros(1, 32, 32, dtype=torch.int64))
