"""Compare a student's feature map with a teacher's: what is set side by side, and how far apart.

An alignment cuts a map (B, C, h, w) into vectors; a distance compares each with its counterpart.

| alignment | vectors of a frame | asks that |
|---|---|---|
| global | 1, of C h w numbers | the whole map be like the teacher's |
| channel | C, of h w | every channel lie where the teacher's lies |
| spatial | h w, of C | every position hold the teacher's mix of channels |
| spatial_map | 1, of h w: the mean over channels | strength lie where the teacher's lies |
| gram | 1, of C C: mean products of channels | channels go together as the teacher's do, anywhere |
| logits | 1, of C h w: probabilities, each by its own sigmoid | every answer be the teacher's |

| distance | of vectors s and t of N numbers | range |
|---|---|---|
| cosine | 1 - s't / (norm(s) norm(t)) | [0, 2]; [0, 1] for maps >= 0; blind to either's scale |
| l1 | mean of abs(s - t) | >= 0, in the map's unit; [0, 1] for logits |
| l2 | mean of (s - t)^2 | >= 0, in the unit's square; [0, 1] for logits |
| kl | T^2 KL(softmax(t / T), softmax(s / T)) | >= 0; blind to an offset of either |

A vector of zeros has a cosine of 0 to any other: a distance of 1, without a gradient to the other
one. For `global`, `channel` and `spatial_map` kl compares where in the map the mass lies, for
`spatial` which channels a position prefers. For `logits` it is the mean Kullback-Leibler
divergence of yes/no answers. What makes no sense is refused: kl of `gram` (products of channels
are no preferences), cosine of `logits` (`global` of probabilities is that), `spatial` with cosine
or kl, and `gram`, of maps with one channel (a single number has no direction).

References:
    Zhang and Hsu, "Mitigating Spurious Correlations in Weakly Supervised Semantic Segmentation via
    Cross-architecture Consistency Regularization", arXiv 2507.21959 (the alignments; of the C x C
    cosines of its channel alignment we take the diagonal, which is what can be asked to be 1); Shu
    et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021 (channel with
    kl); Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016 (gram).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.checks import check_one_of, check_positive, check_shape

ALIGNMENTS: Final = ("global", "channel", "spatial", "spatial_map", "gram", "logits")
DISTANCES: Final = ("cosine", "l1", "l2", "kl")

_MEANINGLESS: Final = {
    ("gram", "kl"): "products of channels are no preferences: take cosine, l1 or l2",
    ("logits", "cosine"): "answers are compared one by one: take kl, l1 or l2, or alignment=global",
}
_NEEDS_CHANNELS: Final = {("spatial", "cosine"), ("spatial", "kl")} | {
    ("gram", distance) for distance in DISTANCES
}
_SMALLEST_NORM: Final = 1e-8


def check_comparison(alignment: str, distance: str, *, channels: int | None = None) -> None:
    """Refuse a pair that means nothing, in general or for maps of so many channels.

    Raises:
        ValueError: Naming what to take instead.
    """
    check_one_of(ALIGNMENTS, alignment=alignment)
    check_one_of(DISTANCES, distance=distance)
    if (alignment, distance) in _MEANINGLESS:
        why = _MEANINGLESS[alignment, distance]
        raise ValueError(f"alignment={alignment} has no distance={distance}: {why}")
    if channels == 1 and (alignment, distance) in _NEEDS_CHANNELS:
        raise ValueError(
            f"alignment={alignment} with distance={distance} compares channels, and a class map "
            "has one only: take alignment=global, or of=features with target=features"
        )


def compare_maps(
    student: Tensor,
    teacher: Tensor,
    *,
    alignment: str = "global",
    distance: str = "cosine",
    temperature: float = 1.0,
) -> Tensor:
    """Measure how far each frame's map is from the teacher's.

    Args:
        student: (B, C, h, w) floating; resized bilinearly to the teacher's grid.
        teacher: (B, C, h', w') floating.
        alignment: One of `ALIGNMENTS`.
        distance: One of `DISTANCES`.
        temperature: T of kl, > 0: above 1 it minds faint places more. Unused by the others.

    Returns:
        (B,) >= 0, float32 or wider: the mean over a frame's vectors. Both maps get gradients.

    Raises:
        ValueError: If the maps do not fit each other, or the pair means nothing for them.
    """
    check_shape((None, None, None, None), student=student, teacher=teacher)
    check_shape((*student.shape[:2], None, None), teacher=teacher)
    check_comparison(alignment, distance, channels=student.shape[1])
    check_positive(temperature=temperature)
    student = on_grid(wide(student), teacher.shape[-2:])
    if (alignment, distance) == ("logits", "kl"):
        return _answers_apart(student, wide(teacher), temperature)
    s, t = (_vectors(each, alignment) for each in (student, wide(teacher)))
    return _apart(s, t, distance, temperature).mean(dim=1)


def on_grid(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to the grid `size`; a map on that grid stays as it is."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def wide(maps: Tensor) -> Tensor:
    """Give at least float32: half precision has too few digits for sums over a map."""
    return maps if maps.dtype.itemsize >= 4 else maps.float()


def _vectors(maps: Tensor, alignment: str) -> Tensor:
    """Cut (B, C, h, w) into what the alignment compares: (B, vectors, numbers)."""
    flat = maps.flatten(2)  # (B, C, h w)
    if alignment == "global":
        return maps.flatten(1)[:, None]
    if alignment == "channel":
        return flat
    if alignment == "spatial":
        return flat.transpose(1, 2)
    if alignment == "spatial_map":
        return flat.mean(dim=1, keepdim=True)
    if alignment == "gram":
        return (flat @ flat.transpose(1, 2) / flat.shape[2]).flatten(1)[:, None]
    return maps.sigmoid().flatten(1)[:, None]


def _apart(student: Tensor, teacher: Tensor, distance: str, temperature: float) -> Tensor:
    """Compare (B, vectors, numbers) vector by vector: (B, vectors)."""
    if distance == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=2, eps=_SMALLEST_NORM)
    if distance == "l1":
        return (student - teacher).abs().mean(dim=2)
    if distance == "l2":
        return (student - teacher).square().mean(dim=2)
    s, t = (F.log_softmax(each / temperature, dim=2) for each in (student, teacher))
    return temperature**2 * (t.exp() * (t - s)).sum(dim=2)


def _answers_apart(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Give the mean divergence of yes/no answers from logits (B, C, h, w): (B,)."""
    s, t = student / temperature, teacher / temperature
    yes = t.sigmoid() * (F.logsigmoid(t) - F.logsigmoid(s))
    no = torch.sigmoid(-t) * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return temperature**2 * (yes + no).flatten(1).mean(dim=1)
