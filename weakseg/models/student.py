"""See all that a classifier says of pictures at once, and join a student to what it follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least
from weakseg.losses.alignment import on_grid
from weakseg.models.classifiers import Classifier
from weakseg.models.levels import level_maps
from weakseg.models.local import LocalClassifier
from weakseg.models.pcm import PcmClassifier

_PROBE_PIXELS = 64
_SURELY = 1e-6
"""Probabilities are kept this far from 0 and 1, so that their logits are finite."""


class View(NamedTuple):
    """What a classifier says of pictures, in one pass.

    Attributes:
        logits: (B, L), its answers to the frame.
        cells: Logits of the positions, (B, h, w) float each, one map a level in the classifier's
            order of them (by default the deepest is last); empty where positions do not answer (a
            vision transformer with one pooled answer).
        features: (B, D, h, w), its last feature map, or the patch tokens as one; where levels
            answer, what the last of the cells is made of.
        projected: (B, C, h, w), what a projection makes of the features; None without one.
        refined: (B, 1, h, w) >= 0, activations refined by pixel correlation; None without it.
    """

    logits: Tensor
    cells: tuple[Tensor, ...]
    features: Tensor
    projected: Tensor | None = None
    refined: Tensor | None = None


def view(classifier: Classifier, images: Tensor) -> View:
    """Look at pictures, (B, 3, H, W) float32 in [0, 1], in whatever mode the classifier is."""
    if isinstance(classifier, LocalClassifier):
        levels, _ = level_maps(classifier, images, classifier.levels)
        pairs = zip(classifier.heads, levels, strict=True)
        cells = tuple(head(level)[:, 0].float() for head, level in pairs)
        logits = torch.stack([classifier.pool([cell]) for cell in cells], dim=1)
        return View(logits, cells, levels[-1])
    if isinstance(classifier, PcmClassifier):
        return _view_with_correlation(classifier, images)
    raw = classifier.features(images)
    features = _as_map(classifier, raw, images)
    logits = classifier.head(raw)
    if features is not raw or classifier.classes != 1:  # tokens, or channels last: one answer only
        return View(logits, (), features)
    b, _, h, w = features.shape
    cells = (classifier.position_logits(features).view(b, h, w).float(),)
    return View(logits, cells, features)


def class_logits(seen: View) -> Tensor:
    """Give one logit of smoke a position, (B, 1, h, w) float, as exported CAMs have it.

    Levels are fused by the geometric mean of their probabilities, on the finest grid. Those of
    less than 1e-6 count as 1e-6, and learn nothing by this.

    Raises:
        ValueError: If positions do not answer.
    """
    if len(seen.cells) == 1:
        return seen.cells[0][:, None]
    if seen.cells:
        size = max((cell.shape[-2:] for cell in seen.cells), key=lambda size: size[0] * size[1])
        maps = [on_grid(cell[:, None].sigmoid(), size) for cell in seen.cells]
        mean_log = torch.stack([m.clamp(min=_SURELY).log() for m in maps]).mean(dim=0)
        return as_logits(mean_log.exp())
    raise ValueError(
        "this network gives no class map: take one whose positions answer (local=true), or a CNN"
    )


def as_logits(probabilities: Tensor) -> Tensor:
    """Give the logits of probabilities, kept finite: within about 14 of 0."""
    kept = probabilities.float().clamp(_SURELY, 1 - _SURELY)
    return kept.log() - torch.log1p(-kept)


class ConsistentClassifier(nn.Module):
    """A student with all that is trained or remembered beside it, as one module to save and resume.

    `forward` gives the student's view, with its projection, and the peer's, if there is one.

    Args:
        student: Learns, and is what is exported.
        channels: Of what its features are compared with; 0 for no projection.
        peer: A second classifier that learns along with it; None where the teacher is frozen.
        memory: How many look-alikes are remembered (false alarms: the strongest activations of
            smoke-free frames, where they are above the border between smoke and none; newest
            first), at least 0.
    """

    lookalikes: Tensor
    known: Tensor
    flat_steps: Tensor

    def __init__(
        self,
        student: Classifier,
        *,
        channels: int = 0,
        peer: Classifier | None = None,
        memory: int = 0,
    ) -> None:
        """Make the projection, if there is to be one."""
        super().__init__()
        check_at_least(0, channels=channels, memory=memory)
        self.student = student
        self.peer = peer
        width = feature_channels(student)
        self.projection = nn.Conv2d(width, channels, 1) if channels > 0 else None
        self.register_buffer("lookalikes", torch.zeros(memory, width))
        self.register_buffer("known", torch.zeros((), dtype=torch.int64))
        self.register_buffer("flat_steps", torch.zeros(2, dtype=torch.int64))

    def forward(self, images: Tensor) -> tuple[View, View | None]:
        """Look at (B, 3, H, W) float32 in [0, 1]."""
        seen = view(self.student, images)
        if self.projection is not None:
            seen = seen._replace(projected=self.projection(seen.features))
        return seen, None if self.peer is None else view(self.peer, images)

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that start at random whatever the weights."""
        own = [] if self.projection is None else list(self.projection.parameters())
        peer = [] if self.peer is None else self.peer.new_parameters()
        return [*own, *self.student.new_parameters(), *peer]

    def recall(self) -> Tensor:
        """Give the look-alikes known so far, (K, D)."""
        return self.lookalikes[: int(self.known)]

    @torch.no_grad()
    def remember(self, features: Tensor, cell: Tensor, labels: Tensor) -> None:
        """Take the features of every smoke-free frame's loudest position into memory.

        A frame whose loudest logit is not above 0 raised no alarm, and is not remembered.

        Args:
            features: (B, D, h, w), the student's.
            cell: (B, h, w) logits made of them.
            labels: (B,) 0 or 1.
        """
        memory = self.lookalikes.shape[0]
        logits = on_grid(cell[:, None].detach(), features.shape[-2:]).flatten(1)
        peaks, at = logits.max(dim=1)
        alarms = (labels == 0) & (peaks > 0)
        if memory == 0 or not bool(alarms.any()):
            return
        flat = features.detach().float().flatten(2)  # (B, D, h w)
        loudest = flat.gather(2, at[:, None, None].expand(-1, flat.shape[1], 1))[:, :, 0]
        found = F.normalize(loudest[alarms], dim=1)[:memory].to(self.lookalikes)
        self.lookalikes.copy_(torch.cat([found, self.lookalikes])[:memory])
        self.known.fill_(min(memory, int(self.known) + len(found)))


def feature_channels(classifier: Classifier) -> int:
    """Give how many channels the classifier's feature map has, by a look at a small picture."""
    return int(probe(classifier).features.shape[1])


def has_cells(classifier: Classifier) -> bool:
    """Say whether the classifier's positions answer for themselves."""
    return len(probe(classifier).cells) > 0


def probe(classifier: Classifier) -> View:
    """Give the view of one small black picture, to learn what a classifier says and how much."""
    side = _PROBE_PIXELS if classifier.patch_size is None else classifier.image_size
    was_training = classifier.training
    classifier.eval()
    with torch.no_grad():
        device = next(classifier.parameters()).device
        seen = view(classifier, torch.zeros(1, 3, side, side, device=device))
    classifier.train(was_training)
    return seen


def _view_with_correlation(classifier: PcmClassifier, images: Tensor) -> View:
    """Hear the last stage of a classifier that refines its activations while it makes them."""
    heard: list[Tensor] = []

    def hear(module: nn.Module, inputs: Sequence[Tensor]) -> None:
        heard.append(inputs[0])

    # For this pass only: a hook that stayed would tie copies of the network to the original.
    handle = classifier.drop.register_forward_pre_hook(hear)
    try:
        maps = classifier.maps(images)
    finally:
        handle.remove()
    return View(maps.logits, (maps.cams[:, 0],), heard[0], refined=maps.refined)


def _as_map(classifier: Classifier, features: Tensor, images: Tensor) -> Tensor:
    grid = classifier.token_grid(images.shape[-2], images.shape[-1])
    if grid is None:
        last = getattr(classifier.backbone, "output_fmt", "NCHW") == "NHWC"
        return features.permute(0, 3, 1, 2) if last else features
    tokens = features[:, classifier.prefix_tokens :]
    b, _, d = tokens.shape
    return tokens.transpose(1, 2).reshape(b, d, *grid)  # (B, N, D) -> (B, D, h, w)
