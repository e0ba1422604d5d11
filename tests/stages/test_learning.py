"""A step asks each kind of network what it can answer, and adds up what it tells."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from weakseg.losses import SegmentationLoss
from weakseg.models import SegmentationModel
from weakseg.stages.learning import step_loss


class Plain(SegmentationModel):
    """One convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 2, 1)
        self.classes = 2
        self.weights_sha256 = None

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)

    def settings(self) -> dict[str, Any]:
        return {}

    def new_parameters(self) -> list[nn.Parameter]:
        return list(self.parameters())


class Sided(Plain):
    """Gives its logits once more as a side output."""

    has_sides: ClassVar[bool] = True
    name = "side"

    def forward(self, images: Tensor, *, with_sides: bool = False) -> Any:
        logits = self.layer(images)
        return (logits, {"coarse": 2 * logits}) if with_sides else logits

    def side_loss(
        self, sides: dict[str, Tensor], mask: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        assert weight is not None
        return {self.name: (sides["coarse"].square().mean(1) * weight).mean(), "more": mask.sum()}


class Itself(Plain):
    """Knows its own loss."""

    learns_itself: ClassVar[bool] = True

    def forward(self, images: Tensor, *, mask: Any = None, weight: Any = None) -> Any:
        total = (self.layer(images)[:, 1] * mask * weight).sum()
        return {"loss": total, "boxes": total}


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(2, 3, 5, 4, generator=generator),
        "mask": torch.randint(0, 2, (2, 5, 4), generator=generator),
        "weight": torch.rand(2, 5, 4, generator=generator),
    }


def test_a_plain_network_is_judged_by_the_loss(batch: dict[str, Tensor]) -> None:
    model, loss = Plain(), SegmentationLoss()
    found = step_loss(loss, model, None, model, batch)
    logits = model(batch["image"])
    expected = loss(logits, batch["mask"], weight=batch["weight"], images=batch["image"])
    assert found.keys() == expected.keys()
    assert torch.equal(found["loss"], expected["loss"])


def test_sides_are_added_by_name(batch: dict[str, Tensor]) -> None:
    model, loss = Sided(), SegmentationLoss()
    found = step_loss(loss, model, None, model, batch)
    plain = step_loss(loss, Plain(), None, Plain(), batch)
    _, sides = model(batch["image"], with_sides=True)
    extra = model.side_loss(sides, batch["mask"], batch["weight"])
    assert set(found) == {"loss", "side", "more"}
    torch.testing.assert_close(found["loss"], plain["loss"] + extra["side"] + extra["more"])
    found["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_side_may_not_hide_the_loss(batch: dict[str, Tensor]) -> None:
    model = Sided()
    model.name = "loss"
    with pytest.raises(ValueError, match="both name loss"):
        step_loss(SegmentationLoss(), model, None, model, batch)


def test_a_network_that_learns_itself_gets_the_masks_and_no_other_loss(
    batch: dict[str, Tensor],
) -> None:
    def never(*args: object, **settings: object) -> dict[str, Tensor]:
        raise AssertionError("asked for another loss")

    model = Itself()
    found = step_loss(never, model, None, model, batch)
    expected = (model.layer(batch["image"])[:, 1] * batch["mask"] * batch["weight"]).sum()
    torch.testing.assert_close(found["loss"], expected)
    assert set(found) == {"loss", "boxes"}
