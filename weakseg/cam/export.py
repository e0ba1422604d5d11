"""Make raw CAMs of pictures: several layers, scales, flips and windows, one map per picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.cam.fusion import FUSIONS, fuse_maps, resize_maps
from weakseg.cam.hooks import LayerTap, frozen
from weakseg.cam.weighting import GRADIENT_METHODS, cam
from weakseg.checks import check_at_least, check_one_of, check_positive, check_shape
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.models import Classifier, LocalClassifier, PcmClassifier
from weakseg.models.pooling import topk_mean
from weakseg.models.windows import merge_windows, window_starts

METHODS = ("local", "pcm", "cam", *GRADIENT_METHODS)

_Layers: TypeAlias = "list[Tensor]"
_BINARY = 2
_MAP_DIMENSIONS = 4


@dataclass(frozen=True)
class CamRecipe:
    """How raw class activation maps are made.

    Raw maps are >= 0 in units of the logit, absolute: a picture without evidence gives a map near
    zero, and no picture is stretched to [0, 1] by its own minimum and maximum.

    Args:
        method: "local", the probabilities of a `LocalClassifier`'s positions; "pcm", a
            `PcmClassifier`'s activations averaged over positions that look alike; "layer_cam",
            "grad_cam", "grad_cam_pp", "hires_cam"; or "cam", which needs no gradients but an
            average pool (or top-k) and a linear head.
        layers: Names of layers; empty for the model's own choice (`Classifier.default_layers`).
        fusion: "product" (geometric mean), "mean" or "max" over layers.
        scales: The picture is resized by each factor, and the maps are averaged.
        flip: Whether to average with the mirrored picture too.
        window: Side in pixels of windows that slide over large frames by half their side; None for
            whole frames. Their maps are averaged with a weight that fades to the window's border,
            and the picture's logit is the highest of its windows'.
        image_size: Side in pixels of the square that frames (or windows) are resized to before the
            network sees them; None for as they come.
        batch_size: Pictures (or windows) in one forward pass.
    """

    method: str = "layer_cam"
    layers: tuple[str, ...] | list[str] = ()
    fusion: str = "product"
    scales: tuple[float, ...] | list[float] = (1.0,)
    flip: bool = True
    window: int | None = None
    image_size: int | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Check the ranges; the config's lists become tuples."""
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        check_one_of(METHODS, method=self.method)
        check_one_of(FUSIONS, fusion=self.fusion)
        check_at_least(1, batch_size=self.batch_size, scales=len(self.scales))
        for scale in self.scales:
            check_positive(scales=scale)
        for name in ("window", "image_size"):
            if (side := getattr(self, name)) is not None:
                check_at_least(32, **{name: side})
        if self.method in ("cam", "pcm") and self.layers:
            raise ValueError(f"method={self.method} has its own layers: leave layers empty")

    def raw_cam(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        """Make the raw maps of pictures of one size.

        Args:
            model: The classifier; it is held in eval mode and its parameters gather no gradients.
            images: (B, 3, H, W) float32 in [0, 1].

        Returns:
            Maps, (B, h, w) float32 >= 0, at the finest resolution of the tapped layers at the
            largest scale; and logits of smoke, (B,) float32, at the scale nearest 1, averaged over
            the picture and its mirror image.

        Raises:
            ValueError: If a layer does not exist or gives no map, or "cam" is not exact here.
        """
        check_shape((None, 3, None, None), images=images)
        images = images.to(model.mean.device)
        with frozen(model), torch.inference_mode(False), torch.enable_grad():
            if self.window is not None:
                return self._slide(model, images)
            if self.image_size is not None:
                images = _resized(images, (self.image_size, self.image_size))
            return self._in_batches(model, images)

    def _in_batches(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self._one_batch(model, part) for part in torch.split(images, self.batch_size)]
        return torch.cat([maps for maps, _ in parts]), torch.cat([logits for _, logits in parts])

    def _one_batch(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        size: tuple[int, int] | None = None
        plain = min(self.scales, key=lambda scale: (abs(math.log(scale)), scale))
        total, logits = images.new_zeros(()), []
        mirrors = (False, True) if self.flip else (False,)
        # The largest scale first: it decides the grid.
        for scale in sorted(self.scales, reverse=True):
            scaled = _scaled(images, scale, model.size_unit)
            for mirrored in mirrors:
                seen = scaled.flip(-1) if mirrored else scaled
                maps, logit = self._one_pass(model, seen)
                size = size or _finest(maps)
                fused = fuse_maps([resize_maps(m, size) for m in maps], self.fusion)
                total = total + (fused.flip(-1) if mirrored else fused)
                if scale == plain:
                    logits.append(logit)
        return total / (len(self.scales) * len(mirrors)), torch.stack(logits).mean(dim=0)

    def _one_pass(self, model: Classifier, images: Tensor) -> tuple[_Layers, Tensor]:
        if self.method == "local":
            return _local_maps(model, images)
        if self.method == "pcm":
            return _refined_maps(model, images)
        if self.method == "cam":
            return _exact_cam(model, images)
        layers = self.layers or tuple(model.default_layers())
        weigh: Callable[[Tensor, Tensor], Tensor] = GRADIENT_METHODS[self.method]
        with LayerTap(model, layers) as tap:
            logit = smoke_logit(model(images))
            pairs = zip(tap.activations(), tap.gradients(logit.sum()), strict=True)
            return [weigh(a, g) for a, g in pairs], logit.detach().float()

    def _slide(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        window, unit = self.window or 0, model.size_unit
        seen = max(unit, round((self.image_size or window) / unit) * unit)
        sides = [max(seen, round(n * seen / window / unit) * unit) for n in images.shape[-2:]]
        frames = _resized(images, (sides[0], sides[1]))
        starts = [window_starts(side, seen, unit) for side in sides]
        corners = [(top, left) for top in starts[0] for left in starts[1]]
        cut = [frames[:, :, top : top + seen, left : left + seen] for top, left in corners]
        # (N, B, 3, s, s) -> (N*B, 3, s, s)
        maps, logits = self._in_batches(model, torch.cat(cut))
        cells = math.ceil(maps.shape[-1] * unit / seen)  # of the map, along one unit of pixels
        side = cells * seen // unit
        maps = resize_maps(maps, (side, side))
        maps = maps.view(len(corners), len(images), side, side).transpose(0, 1)
        places = [(top // unit * cells, left // unit * cells) for top, left in corners]
        whole = merge_windows(maps, places, (sides[0] // unit * cells, sides[1] // unit * cells))
        return whole, logits.view(len(corners), len(images)).amax(dim=0)


def smoke_logit(logits: Tensor) -> Tensor:
    """Give the log-odds of smoke, (B,), from (B, 1) or, of background and smoke, (B, 2) logits."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    if logits.shape[1] == _BINARY:
        return logits[:, SMOKE] - logits[:, BACKGROUND]
    raise ValueError(f"the classifier has {logits.shape[1]} classes, but smoke needs 1 or 2")


def check_method(method: str, model: Classifier) -> None:
    """Refuse a method that the classifier's head does not allow.

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


def _local_maps(model: Classifier, images: Tensor) -> tuple[_Layers, Tensor]:
    """Probabilities of a classifier whose positions answer for themselves: no gradients needed."""
    check_method("local", model)
    assert isinstance(model, LocalClassifier)
    with torch.no_grad():
        cells = model.cells(images)
        return [cell.sigmoid() for cell in cells], model.pool(cells)


def _refined_maps(model: Classifier, images: Tensor) -> tuple[_Layers, Tensor]:
    """Refined activations: logits still, no higher than the plain ones, no gradients needed."""
    check_method("pcm", model)
    assert isinstance(model, PcmClassifier)
    with torch.no_grad():
        maps = model.maps(images)
        return [maps.refined[:, 0].float()], smoke_logit(maps.logits)


def _exact_cam(model: Classifier, images: Tensor) -> tuple[_Layers, Tensor]:
    """CAM of the head's own weights, found by a linear head's answer at every position."""
    check_method("cam", model)
    if isinstance(model, PcmClassifier):
        with torch.no_grad():
            cams = model.cams(images)
            return [cams[:, 0].relu()], cams.mean(dim=(2, 3))[:, 0]
    linear = getattr(model.backbone, "get_classifier", lambda: None)()
    if not isinstance(linear, nn.Linear) or model.pooling not in {"avg", "topk"}:
        raise ValueError(_no_cam(model))
    with torch.no_grad():
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


def _finest(maps: _Layers) -> tuple[int, int]:
    rows, columns = max((tuple(m.shape[-2:]) for m in maps), key=math.prod)
    return rows, columns


def _scaled(images: Tensor, scale: float, unit: int) -> Tensor:
    if scale == 1:
        return images
    size = [max(unit, round(side * scale / unit) * unit) for side in images.shape[-2:]]
    return _resized(images, (size[0], size[1]))


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)
