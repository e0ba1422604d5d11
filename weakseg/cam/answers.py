"""Read the maps of classifiers that answer at every position: no gradients are needed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weakseg.cam.attention import attention_modules
from weakseg.cam.attention_maps import ATTENTION_METHODS
from weakseg.cam.logits import smoke_logit
from weakseg.cam.weighting import cam
from weakseg.models import Classifier, LocalClassifier, PcmClassifier
from weakseg.models.layers import canonical_name
from weakseg.models.pooling import topk_mean

_MAP_DIMENSIONS = 4


def check_method(method: str, model: Classifier) -> None:
    """Refuse a method that the classifier does not allow, before it is trained for nothing.

    Raises:
        ValueError: Saying which to take.
    """
    if method == "local" and not isinstance(model, LocalClassifier):
        raise ValueError(
            f"method=local needs a classifier with local heads (classifier.local=true), and "
            f"{model.name} was built without: take method=layer_cam"
        )
    if method == "pcm" and not isinstance(model, PcmClassifier):
        raise ValueError(
            "method=pcm needs a classifier with the pixel-correlation module "
            f"(classifier=resnet50_pcm), and {model.name} was built without: take method=layer_cam"
        )
    if method == "cam" and isinstance(model, LocalClassifier):
        raise ValueError("method=cam needs classifier.local=false: take method=local")
    if method in ATTENTION_METHODS:
        attention_modules(model)


def local_maps(
    model: Classifier, images: Tensor, layers: tuple[str, ...]
) -> tuple[list[Tensor], Tensor]:
    """Probabilities of a classifier whose positions answer for themselves: no gradients needed."""
    check_method("local", model)
    assert isinstance(model, LocalClassifier)
    with torch.no_grad():
        cells = model.cells(images)
        return [cells[i].sigmoid() for i in _levels(model, layers)], model.pool(cells)


def _levels(model: LocalClassifier, layers: tuple[str, ...]) -> list[int]:
    """Numbers of a classifier's levels by their names; all for no names."""
    own = [canonical_name(model.backbone, level) for level in model.levels]
    asked = [canonical_name(model.backbone, layer) for layer in layers] or own
    for layer in asked:
        if layer not in own:
            raise ValueError(f"layers: {layer} is no level of the classifier: {', '.join(own)} are")
    return [own.index(layer) for layer in asked]


def refined_maps(model: Classifier, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Refined activations: logits still, no higher than the plain ones, no gradients needed."""
    check_method("pcm", model)
    assert isinstance(model, PcmClassifier)
    with torch.no_grad():
        maps = model.maps(images)
        return [maps.refined[:, 0].float()], smoke_logit(maps.logits)


def exact_cam(model: Classifier, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """CAM of the head's own weights, found by a linear head's answer at every position."""
    check_method("cam", model)
    if isinstance(model, PcmClassifier):
        with torch.no_grad():
            cams = model.cams(images)
            return [cams[:, 0].relu()], cams.mean(dim=(2, 3))[:, 0]
    linear = getattr(model.backbone, "get_classifier", lambda: None)()
    if not isinstance(linear, nn.Linear) or model.pooling not in {"avg", "topk"}:
        raise ValueError(_no_cam(model))
    # The check below asks for more digits than bf16 has.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        features = model.features(images)
        if features.ndim != _MAP_DIMENSIONS or features.shape[1] != linear.in_features:
            raise ValueError(_no_cam(model))
        bias = linear.weight.new_zeros(model.classes) if linear.bias is None else linear.bias
        weights, offset = smoke_logit(linear.weight.t()), smoke_logit(bias[None])
        logit = smoke_logit(model.head(features)).float()
        signed = (features * weights[:, None, None]).sum(1).flatten(1) + offset  # (B, h*w)
        pooled = signed.mean(1) if model.pooling == "avg" else topk_mean(signed[:, :, None])[:, 0]
        if not torch.allclose(pooled.float(), logit, rtol=1e-3, atol=1e-3):
            raise ValueError(_no_cam(model))
        return [cam(features, weights, offset)], logit


def _no_cam(model: Classifier) -> str:
    return (
        f"method=cam needs average or top-k pooling and a linear head, which {model.name} with "
        f"pooling={model.pooling} has not: take method=layer_cam"
    )
