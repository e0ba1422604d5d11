"""Classify by class activations, and refine them by which positions look alike."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from weakseg.checks import check_at_least, check_in_unit, check_shape
from weakseg.losses.alignment import on_grid, wide
from weakseg.models.classifiers import Classifier
from weakseg.models.levels import level_maps

MAX_PAIRS = 2**24
"""Pairs of positions whose likeness is held at once: 64 MiB of float32."""

_LEVELS = 2
_SHALLOW_WIDTH, _DEEP_WIDTH = 64, 128
_NOT_ITS_OWN = ("pooling", "classes", "drop_rate")


class ActivationMaps(NamedTuple):
    """What a `PcmClassifier` says of pictures.

    Attributes:
        logits: (B, 1), of smoke: the mean of `cams`.
        cams: (B, 1, h, w) float, each position's own logit of smoke, of either sign.
        refined: (B, 1, h', w') float >= 0, in logits: the positive part of `cams`, averaged
            over the positions that look alike. The grid is that of the finer of two stages.
    """

    logits: Tensor
    cams: Tensor
    refined: Tensor


class PixelCorrelation(nn.Module):
    """Spread class activations over the positions whose features and colours look alike.

    The last two stages are each reduced by a 1x1 convolution and a ReLU, joined with the picture
    itself, and embedded by another 1x1 convolution; the embeddings' cosines say what looks alike.
    Neither the network nor the activations learn through it: only its own weights do.

    Args:
        shallow: Channels of the last stage but one.
        deep: Channels of the last stage.
        width: Channels of the embedding, at least 1.

    References:
        Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised
        Semantic Segmentation", CVPR 2020. We work on the finer grid of the two stages.
    """

    def __init__(self, shallow: int, deep: int, *, width: int = 192) -> None:
        """Make the three convolutions."""
        super().__init__()
        check_at_least(1, shallow=shallow, deep=deep, width=width)
        self.reduce_shallow = nn.Conv2d(shallow, _SHALLOW_WIDTH, 1, bias=False)
        self.reduce_deep = nn.Conv2d(deep, _DEEP_WIDTH, 1, bias=False)
        self.embed = nn.Conv2d(_SHALLOW_WIDTH + _DEEP_WIDTH + 3, width, 1, bias=False)

    def forward(self, cams: Tensor, shallow: Tensor, deep: Tensor, pictures: Tensor) -> Tensor:
        """Refine class activations.

        Args:
            cams: (B, C, h, w), in logits of either sign.
            shallow: (B, D, h', w'), what the last stage but one gives.
            deep: (B, D, h'', w''), what the last stage gives.
            pictures: (B, 3, H, W), normalised.

        Returns:
            (B, C, ., .) float >= 0 on the finer grid of the two stages, in logits: never above
            the highest activation of the picture, and 0 where all activations are negative.
        """
        size = max((tuple(level.shape[-2:]) for level in (shallow, deep)), key=_area)
        joined = [
            on_grid(self.reduce_shallow(shallow.detach()).relu(), size),
            on_grid(self.reduce_deep(deep.detach()).relu(), size),
            F.interpolate(pictures, size=size, mode="bilinear", antialias=True),
        ]
        embeddings = self.embed(torch.cat([part.float() for part in joined], dim=1))
        return spread_by_likeness(on_grid(cams.detach().relu(), size), embeddings)


class PcmClassifier(Classifier):
    """A CNN that answers by class activations, with SEAM's pixel-correlation module beside them.

    A 1x1 convolution on the last feature map gives every position a logit of smoke, and their
    mean is the frame's answer. The module refines the positive ones (`PixelCorrelation`); it is
    trained by `EquivarianceLoss` only, and with plain classification stays as it was drawn.

    SEAM divides each activation map by its own maximum and puts a background plane, 1 - maximum,
    beside it. Neither is done here: a frame without evidence would get full evidence. The rows of
    likeness sum to 1, so the refined map is in logits as the plain one is, comparable between
    frames; the background is derived later, from calibrated evidence.

    Args:
        name: A timm CNN, as `resnet50`; `weights`, `stride_in_1x1`, `output_stride`,
            `image_size` and `drop_path_rate` are as in `Classifier`.
        embedding_width: Channels of the embedding that says what looks alike, at least 1.
        drop_rate: Share of the last feature map's channels dropped in training, in [0, 1].

    Raises:
        ValueError: If the network is no CNN with at least two stages.

    References:
        Wang et al., CVPR 2020, as in `PixelCorrelation`; the bias of the 1x1 convolution is ours:
        with it zero is the classifier's own border between smoke and none.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        embedding_width: int = 192,
        weights: str | None = "hub",
        stride_in_1x1: bool = False,
        output_stride: int = 16,
        image_size: int = 224,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        """Build the network, find its last two stages, and give it activations and the module."""
        super().__init__(
            name,
            weights=weights,
            stride_in_1x1=stride_in_1x1,
            output_stride=output_stride,
            image_size=image_size,
            drop_path_rate=drop_path_rate,
        )
        check_in_unit(drop_rate=drop_rate)
        if self.patch_size is not None or len(self.layers()) < _LEVELS:
            raise ValueError(
                f"head=pcm needs a CNN with two stages or more, which {name} is not: "
                "take head=local, or another name"
            )
        self.levels = tuple(self.layers()[-_LEVELS:])
        cast(Any, self.backbone).reset_classifier(0)
        shallow, deep, last = self._probe_channels()
        self.drop = nn.Dropout2d(drop_rate)
        self.activation = nn.Conv2d(last, 1, 1)
        self.correlation = PixelCorrelation(shallow, deep, width=embedding_width)
        shared = {k: v for k, v in self._settings.items() if k not in _NOT_ITS_OWN}
        self._settings = {**shared, "embedding_width": embedding_width, "drop_rate": drop_rate}

    @overload
    def forward(self, images: Tensor) -> Tensor: ...

    @overload
    def forward(self, images: Tensor, *, with_maps: Literal[True]) -> ActivationMaps: ...

    def forward(self, images: Tensor, *, with_maps: bool = False) -> Tensor | ActivationMaps:
        """Give logits, (B, 1), for (B, 3, H, W) float32 in [0, 1]; on demand with the maps."""
        check_shape((None, 3, None, None), images=images)
        return self.maps(images) if with_maps else self.head(self.features(images))

    def maps(self, images: Tensor) -> ActivationMaps:
        """Give logits, class activations and their refinement for (B, 3, H, W) in [0, 1]."""
        levels, features = level_maps(self, images, self.levels)
        shallow, deep = levels
        cams = self.activation(self.drop(features)).float()
        refined = self.correlation(cams, shallow, deep, (images - self.mean) / self.std)
        return ActivationMaps(cams.mean(dim=(2, 3)), cams, refined)

    def cams(self, images: Tensor) -> Tensor:
        """Give each position's logit, (B, 1, h, w) float, without refining it."""
        check_shape((None, 3, None, None), images=images)
        return cast(Tensor, self.activation(self.drop(self.features(images))).float())

    def head(self, features: Tensor) -> Tensor:
        """Give the logits, (B, 1): the mean over positions of their own."""
        return cast(Tensor, self.activation(self.drop(features)).float().mean(dim=(2, 3)))

    def position_logits(self, features: Tensor) -> Tensor:
        """Give the logits every position has: (B, D, h, w) -> (B, h*w, 1)."""
        return cast(Tensor, self.activation(features).float().flatten(2).transpose(1, 2))

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that start at random whatever the weights."""
        return [*self.activation.parameters(), *self.correlation.parameters()]

    def _probe_channels(self) -> list[int]:
        """Run one small picture through, to learn how many channels the layers give."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            picture = torch.zeros(1, 3, self.image_size, self.image_size)
            levels, features = level_maps(self, picture, self.levels)
        self.train(was_training)
        return [level.shape[1] for level in (*levels, features)]


def spread_by_likeness(values: Tensor, embeddings: Tensor, *, max_pairs: int = MAX_PAIRS) -> Tensor:
    """Average every position's value over the positions that look like it.

    y_i = sum_j w_ij v_j / sum_j w_ij, with w_ij = max(0, cos(e_i, e_j)): every y_i lies between
    the smallest and the largest value of its picture. A position whose embedding is zero looks
    like nothing, and keeps its value.

    Args:
        values: (B, C, h, w) floating.
        embeddings: (B, D, h, w) floating.
        max_pairs: Pairs of positions whose likeness is held at once, >= 1: 4 bytes each. Larger
            maps are worked in parts, with the same result, and when gradients are wanted each
            part is computed again on the way back.

    Returns:
        (B, C, h, w), float32 or wider.
    """
    b, c, h, w = values.shape
    check_shape((b, None, h, w), embeddings=embeddings)
    check_at_least(1, max_pairs=max_pairs)
    n = h * w
    rows = max(1, max_pairs // max(1, b * n))
    # Mixed precision would multiply in 16 bits, too few for sums over thousands of positions.
    with torch.autocast(values.device.type, enabled=False):
        flat = wide(values).flatten(2).transpose(1, 2)  # (B, N, C)
        unit = F.normalize(wide(embeddings).flatten(2), dim=1, eps=1e-6).transpose(1, 2)
        starts = range(0, n, rows)
        if len(starts) == 1 or not torch.is_grad_enabled():
            parts = [_spread_rows(unit, flat, start, start + rows) for start in starts]
        else:
            parts = [
                checkpoint(_spread_rows, unit, flat, start, start + rows, use_reentrant=False)
                for start in starts
            ]
    return torch.cat(parts, dim=1).transpose(1, 2).reshape(b, c, h, w)


def _spread_rows(unit: Tensor, values: Tensor, start: int, stop: int) -> Tensor:
    """Give the averages of the positions from `start` to `stop`: (B, rows, C)."""
    likeness = (unit[:, start:stop] @ unit.transpose(1, 2)).relu()  # (B, rows, N)
    total = likeness.sum(dim=2, keepdim=True)
    # Every position is like itself by 1, but for one without an embedding.
    averaged = (likeness @ values) / total.clamp(min=0.5)
    return torch.where(total > 0.5, averaged, values[:, start:stop])


def _area(size: tuple[int, ...]) -> int:
    return size[0] * size[1]
