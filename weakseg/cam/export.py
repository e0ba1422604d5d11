"""Make raw CAMs of pictures: several layers, scales, flips and windows, one map per picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.cam.affinity import middle_blocks, token_transitions, walk
from weakseg.cam.answers import check_method, exact_cam, local_maps, refined_maps
from weakseg.cam.attention import AttentionTap, attention_modules, full_precision, looks_of
from weakseg.cam.attention_maps import ATTENTION_METHODS, attention_maps
from weakseg.cam.fusion import FUSIONS, fuse_maps, resize_maps
from weakseg.cam.hooks import LayerTap, frozen
from weakseg.cam.logits import smoke_logit
from weakseg.cam.weighting import GRADIENT_METHODS
from weakseg.checks import check_at_least, check_one_of, check_positive, check_shape
from weakseg.models import Classifier, LocalClassifier
from weakseg.models.windows import merge_windows, window_starts

MAX_LOOKS = 2**26
"""Entries of one block's attention maps, of all pictures and heads, that are held at once."""

METHODS = ("local", "pcm", "cam", *GRADIENT_METHODS, *ATTENTION_METHODS)

_Layers: TypeAlias = "list[Tensor]"


@dataclass(frozen=True)
class CamRecipe:
    """How raw class activation maps are made.

    Raw maps are >= 0 in units of the logit (of "local", probabilities), absolute: a picture without
    evidence gives a map near zero, and no picture is stretched to [0, 1] by its own minimum and
    maximum. Methods differ in scale, so a calibration holds for the method it was made with.

    Args:
        method: "local", the probabilities of a `LocalClassifier`'s positions; "pcm", a
            `PcmClassifier`'s activations averaged over positions that look alike; "layer_cam",
            "grad_cam", "grad_cam_pp", "hires_cam"; "cam", which needs no gradients but an average
            pool (or top-k) and a linear head; or, of ViTs only, "rollout", "class_attention" and
            "attention_gradient", see `weakseg.cam.attention_maps`.
        layers: Names of layers; empty for the model's own choice (`Classifier.default_layers`, a
            `LocalClassifier`'s levels, or the blocks that suit the method).
        layer_count: Where `layers` is empty, how many of the last usual layers are read instead of
            the model's own choice; more than there are reads all. 0 leaves the choice.
        fusion: "product" (geometric mean), "mean" or "max" over layers.
        scales: The picture is resized by each factor, and the maps are averaged.
        flip: Whether to average with the mirrored picture too.
        window: Side in pixels of windows that slide over large frames by half their side; None for
            whole frames. Their maps are averaged with a weight that fades to the window's border,
            and the picture's logit is the highest of its windows'.
        image_size: Side in pixels of the square that frames (or windows) are resized to before the
            network sees them; None for as they come.
        batch_size: Pictures (or windows) in one forward pass; fewer where attention is read, if
            one block's maps were to take more than 256 MiB in float32, for they grow with the
            fourth power of a picture's side.
        discard: Of "rollout": share of a token's looks, the faintest, dropped as noise, in [0, 1).
        affinity_steps: Steps of a random walk along a ViT's own attention, by which a map spreads
            over patches that look alike, see `weakseg.cam.affinity`; values never rise above the
            map's highest. 0 leaves it out.
        affinity_layers: Blocks whose attention is the affinity; empty for the middle ones.
        affinity_power: Above 1 keeps the walk to strong affinities, > 0.
    """

    method: str = "layer_cam"
    layers: tuple[str, ...] | list[str] = ()
    fusion: str = "product"
    scales: tuple[float, ...] | list[float] = (1.0,)
    flip: bool = True
    window: int | None = None
    image_size: int | None = None
    batch_size: int = 16
    layer_count: int = 0
    discard: float = 0.0
    affinity_steps: int = 0
    affinity_layers: tuple[str, ...] | list[str] = ()
    affinity_power: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges; the config's lists become tuples."""
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "affinity_layers", tuple(self.affinity_layers))
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        check_one_of(METHODS, method=self.method)
        check_one_of(FUSIONS, fusion=self.fusion)
        check_at_least(1, batch_size=self.batch_size, scales=len(self.scales))
        check_at_least(0, layer_count=self.layer_count, affinity_steps=self.affinity_steps)
        check_positive(affinity_power=self.affinity_power)
        if not 0 <= self.discard < 1:
            raise ValueError(f"discard must lie in [0, 1), got {self.discard}")
        for scale in self.scales:
            check_positive(scales=scale)
        for name in ("window", "image_size"):
            if (side := getattr(self, name)) is not None:
                check_at_least(32, **{name: side})
        if self.method in ("cam", "pcm") and (self.layers or self.layer_count):
            raise ValueError(
                f"method={self.method} has its own layers: leave layers empty and layer_count at 0"
            )

    def check(self, model: Classifier) -> None:
        """Refuse a classifier that this recipe cannot read, before it is trained for nothing.

        One black picture, of the size the classifier is trained on, is read by the recipe.

        Raises:
            ValueError: Saying what to take instead.
        """
        check_method(self.method, model)
        if self.affinity_steps:
            attention_modules(model)
        black = torch.zeros(1, 3, model.image_size, model.image_size)
        replace(self, scales=(1.0,), flip=False, window=None).raw_cam(model, black)

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
        size = self._pictures_at_once(model, images)
        parts = [self._one_batch(model, part) for part in torch.split(images, size)]
        return torch.cat([maps for maps, _ in parts]), torch.cat([logits for _, logits in parts])

    def _pictures_at_once(self, model: Classifier, images: Tensor) -> int:
        """Fewer than `batch_size` where attention maps of so many would be held at once."""
        if not (self.affinity_steps or self.method in ATTENTION_METHODS):
            return self.batch_size
        largest = _scaled(images[:1], max(self.scales), model.size_unit)
        looks = looks_of(model, largest.shape[-2], largest.shape[-1])
        return max(1, min(self.batch_size, MAX_LOOKS // looks))

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
        if self.affinity_steps == 0:
            return self._maps(model, images)
        layers = self.affinity_layers or middle_blocks(model)
        with AttentionTap(model, layers, mean_heads=True) as tap:
            maps, logit = self._maps(model, images)
            attentions = tap.attentions()
        # Layers first: a walk of their product is not the product of their walks.
        fused = fuse_maps(maps, self.fusion)
        with full_precision(images):
            transitions = token_transitions(
                attentions, prefix_tokens=model.prefix_tokens, power=self.affinity_power
            )
            return [walk(fused, transitions, steps=self.affinity_steps)], logit

    def _maps(self, model: Classifier, images: Tensor) -> tuple[_Layers, Tensor]:
        if self.method == "local":
            return local_maps(model, images, self._layers(model))
        if self.method == "pcm":
            return refined_maps(model, images)
        if self.method == "cam":
            return exact_cam(model, images)
        layers = self._layers(model)
        if self.method in ATTENTION_METHODS:
            return attention_maps(self.method, model, images, layers=layers, discard=self.discard)
        layers = layers or tuple(model.default_layers())
        weigh: Callable[[Tensor, Tensor], Tensor] = GRADIENT_METHODS[self.method]
        with LayerTap(model, layers) as tap:
            logit = smoke_logit(model(images))
            pairs = zip(tap.activations(), tap.gradients(logit.sum()), strict=True)
            return [weigh(a, g) for a, g in pairs], logit.detach().float()

    def _layers(self, model: Classifier) -> tuple[str, ...]:
        """Names of the layers that are asked for; none for the model's own choice."""
        if self.layers or not self.layer_count:
            return tuple(self.layers)
        usual = model.levels if isinstance(model, LocalClassifier) else model.layers()
        if self.method in ATTENTION_METHODS:
            usual = model.layers()
        return tuple(usual[-self.layer_count :])

    def _slide(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        window, unit = self.window or 0, model.size_unit
        seen = max(unit, round((self.image_size or window) / unit) * unit)
        sides = [max(seen, round(n * seen / window / unit) * unit) for n in images.shape[-2:]]
        frames = _resized(images, (sides[0], sides[1]))
        starts = [window_starts(side, seen, unit) for side in sides]
        corners = [(top, left) for top in starts[0] for left in starts[1]]
        # (N, B, 3, s, s) -> (N*B, 3, s, s), a batch of them at a time.
        first = frames[:, :, :seen, :seen]
        at_once = max(1, self._pictures_at_once(model, first) // len(images))
        parts = []
        for i in range(0, len(corners), at_once):
            cut = [frames[:, :, y : y + seen, x : x + seen] for y, x in corners[i : i + at_once]]
            parts.append(self._in_batches(model, torch.cat(cut)))
        maps, logits = (torch.cat(part) for part in zip(*parts, strict=True))
        cells = math.ceil(maps.shape[-1] * unit / seen)  # of the map, along one unit of pixels
        side = cells * seen // unit
        maps = resize_maps(maps, (side, side))
        maps = maps.view(len(corners), len(images), side, side).transpose(0, 1)
        places = [(top // unit * cells, left // unit * cells) for top, left in corners]
        whole = merge_windows(maps, places, (sides[0] // unit * cells, sides[1] // unit * cells))
        return whole, logits.view(len(corners), len(images)).amax(dim=0)


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
