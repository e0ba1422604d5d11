"""Say what every network of stage 3 can do, whoever wrote its layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class SegmentationModel(nn.Module, ABC):
    """A network that gives a logit per class and pixel.

    `forward` takes pictures of (B, 3, H, W) float32 in [0, 1] and gives logits of
    (B, classes, H, W). Two kinds do more in training, and say so:

    * `has_sides`: `forward(images, with_sides=True)` gives the logits and a dict of side outputs,
      which `side_loss` judges; its values are added to the loss of the logits.
    * `learns_itself`: in training mode `forward(images, mask=, weight=)` gives a dict of its own
      losses instead of logits, "loss" their sum. In evaluation it gives logits like the others.

    Attributes:
        classes: Logits per pixel, background included.
        weights_sha256: Of the file its pretrained part came from; None for random weights.
    """

    has_sides: ClassVar[bool] = False
    learns_itself: ClassVar[bool] = False
    classes: int
    weights_sha256: str | None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same network, without its weights; plain JSON."""

    @abstractmethod
    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that start at random whatever the weights."""

    def side_loss(
        self, sides: dict[str, Tensor], mask: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Judge the side outputs of `forward(images, with_sides=True)`.

        Args:
            sides: What `forward` gave beside the logits.
            mask: (B, H, W) int64 class ids; 255 is ignored.
            weight: (B, H, W) >= 0, how much each pixel counts; None counts all alike.

        Returns:
            A loss of shape () by name, to be added up; nothing for networks without sides.
        """
        return {}
