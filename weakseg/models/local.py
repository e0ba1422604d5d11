"""Classify frames by their places: every position of several layers answers for itself."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.models.classifiers import Classifier
from weakseg.models.levels import level_maps
from weakseg.models.pcm import PcmClassifier

_COARSEST_FIRST_STRIDE = 8
_VIT_LEVELS = 3
_PLAIN_ONLY = ("pooling", "classes")
_LOCAL_ONLY = ("levels", "share", "width")
_PCM_ONLY = ("embedding_width",)

HEADS = ("local", "pooled", "pcm")
"""The ways in which a classifier may answer: by its places, by one pool, or by activations."""


class LocalClassifier(Classifier):
    """A classifier whose answer is a place: positions vote, and only the surest ones count.

    Average pooling lets a network answer with a wide blob: spreading the evidence of a small plume
    over its surroundings raises the mean. Here a small head at each of several layers gives every
    position a logit of its own, and a layer's answer is the mean of its highest logits (`share`).
    Smoke must then be found where it is, and in a smoke-free frame no position may speak up: every
    activation there is known to be wrong. Each layer is trained on the frame's label; shallow ones
    see little around a position and so cannot smear, deep ones know what they look at. Where they
    agree (the geometric mean of their probabilities) is the evidence of a `CamRecipe` by "local".

    In training mode `forward` gives (B, L) logits, one a layer; in eval mode their mean, (B, 1).

    Args:
        name: As `Classifier`; so are `weights`, `stride_in_1x1`, `output_stride`, `image_size`,
            `drop_rate` and `drop_path_rate`.
        levels: Names of the layers that answer; empty takes a CNN's stages from stride 8 on, and
            three blocks of a ViT, spread over its depth.
        share: Share of the positions whose mean logit is a layer's answer, in (0, 1]: about the
            share of the frame that smoke covers where it is seen. 1 is average pooling.
        width: Channels inside a head, at least 1.

    References:
        Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional
        Networks", CVPR 2015 (pooling between mean and maximum); Lee et al., "Deeply-Supervised
        Nets", AISTATS 2015 (answers at several depths). The combination, and its use as
        evidence, are ours.
    """

    def __init__(
        self,
        name: str = "vit_small_patch16_224",
        *,
        levels: tuple[str, ...] | list[str] = (),
        share: float = 0.03,
        width: int = 96,
        weights: str | None = "hub",
        stride_in_1x1: bool = False,
        output_stride: int = 32,
        image_size: int = 224,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        """Build the network, find its layers and give each a head."""
        super().__init__(
            name,
            weights=weights,
            stride_in_1x1=stride_in_1x1,
            output_stride=output_stride,
            image_size=image_size,
            drop_path_rate=drop_path_rate,
        )
        check_positive(share=share)
        check_in_unit(share=share, drop_rate=drop_rate)
        check_at_least(1, width=width)
        self.share = share
        self.levels = tuple(levels) or self.default_levels()
        channels = self._probe_channels()
        self.heads = nn.ModuleList(_head(count, width, drop_rate) for count in channels)
        own = {"levels": list(self.levels), "share": share, "width": width, "drop_rate": drop_rate}
        shared = {k: v for k, v in self._settings.items() if k not in _PLAIN_ONLY}
        self._settings = {**shared, **own}

    def default_levels(self) -> tuple[str, ...]:
        """Stages of a CNN from stride 8 on; three blocks of a ViT, spread over its depth."""
        if self.patch_size is None:
            coarse = [s for s in self._stages() if s["reduction"] >= _COARSEST_FIRST_STRIDE]
            return tuple(str(stage["module"]) for stage in coarse)
        depth = len(list(cast(Any, self.backbone).blocks))
        blocks = [round(depth * (i + 1) / _VIT_LEVELS) - 1 for i in range(_VIT_LEVELS)]
        return tuple(f"blocks.{block}" for block in sorted(set(blocks)))

    def default_layers(self) -> list[str]:
        """As `Classifier` for a CNN; of a ViT the levels, for all of them the answer is read from.

        A head reads what its block gives: the norms inside the last block are on no way to the
        heads of the shallower ones.
        """
        return super().default_layers() if self.patch_size is None else list(self.levels)

    def forward(self, images: Tensor) -> Tensor:
        """Give the layers' logits (B, L) in training, their mean (B, 1) in evaluation."""
        answers = torch.stack([self._pool(cell) for cell in self.cells(images)], dim=1)
        return answers if self.training else answers.mean(dim=1, keepdim=True)

    def cells(self, images: Tensor) -> list[Tensor]:
        """Give every position's logit, (B, h, w) float, for each layer.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
        """
        check_shape((None, 3, None, None), images=images)
        maps, _ = level_maps(self, images, self.levels)
        return [head(m)[:, 0].float() for head, m in zip(self.heads, maps, strict=True)]

    def pool(self, cells: list[Tensor]) -> Tensor:
        """Give the frame's logit, (B,), from what `cells` gave."""
        return torch.stack([self._pool(cell) for cell in cells]).mean(dim=0)

    def _pool(self, cells: Tensor) -> Tensor:
        flat = cells.flatten(1)
        count = max(1, round(self.share * flat.shape[1]))
        return flat.topk(count, dim=1).values.mean(dim=1)

    def _probe_channels(self) -> list[int]:
        """Run one picture through, to learn how many channels each layer gives."""
        side = self.image_size
        was_training = self.training
        self.eval()
        with torch.no_grad():
            maps, _ = level_maps(self, torch.zeros(1, 3, side, side), self.levels)
        self.train(was_training)
        return [level.shape[1] for level in maps]

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the heads' parameters, which start at random whatever the weights."""
        return list(self.heads.parameters())


def build_classifier(
    name: str, *, local: bool = True, head: str | None = None, **settings: Any
) -> Classifier:
    """Build a classifier with the head that is asked for.

    Args:
        name: A timm name.
        local: Whether every position answers for itself; counts where `head` is None.
        head: "local" (`LocalClassifier`), "pooled" (`Classifier`) or "pcm" (`PcmClassifier`).
        settings: Of the class that is built; what belongs to the other ones is left out.

    Raises:
        ValueError: If `head` is none of these.
    """
    head = ("local" if local else "pooled") if head is None else head
    check_one_of(HEADS, head=head)
    foreign = {
        "local": (*_PLAIN_ONLY, *_PCM_ONLY),
        "pooled": (*_LOCAL_ONLY, *_PCM_ONLY),
        "pcm": (*_PLAIN_ONLY, *_LOCAL_ONLY),
    }[head]
    kept = {key: value for key, value in settings.items() if key not in foreign}
    if head == "pcm":
        return PcmClassifier(name, **kept)
    return LocalClassifier(name, **kept) if head == "local" else Classifier(name, **kept)


def head_of(classifier: Classifier) -> str:
    """Give the `head` by which `build_classifier` builds such a classifier."""
    if isinstance(classifier, PcmClassifier):
        return "pcm"
    return "local" if isinstance(classifier, LocalClassifier) else "pooled"


def _head(channels: int, width: int, drop_rate: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout2d(drop_rate),
        nn.Conv2d(width, 1, 1),
    )
