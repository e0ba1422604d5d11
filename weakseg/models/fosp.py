"""Segment early smoke by FoSp: focus on it, separate it from the background, fuse both."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_in_unit, check_one_of
from weakseg.losses.fosp import fosp_side_loss
from weakseg.models.encoders import (
    check_encoder,
    encoder_options,
    normalisation,
    padded,
    start_encoder,
)
from weakseg.models.fosp_inpainting import METHODS, Inpainter
from weakseg.models.fosp_parts import MID, DomainFusion, Focus, Separation, pointwise
from weakseg.models.resnet import move_stride_to_1x1
from weakseg.models.segmentation import SegmentationModel

_LEVELS = 4
_OF_SEPARATION = ("foreground", "judge", "background")


class FoSp(SegmentationModel):
    """The Focus and Separation network, on any encoder with levels of stride 4 to 32.

    Takes pictures in [0, 1] of any size from 32 x 32 on, as `Segmenter` does. It has one logit,
    of smoke; that of background is 0.

    Args:
        encoder: `tu-` and a timm name, or an encoder of segmentation_models_pytorch; `mit_b3` is
            the original's.
        encoder_weights: "hub", None or "none", a safetensors file, or `run:FOLDER`, as in
            `Segmenter`.
        stride_in_1x1: For weights of ResNet v1, as in `Classifier`.
        channels: D, to which every level of the encoder is brought, at least 1.
        dropout: Share of channels dropped before the last layer, in [0, 1].
        inpainter: "none" separates smoke from a background that is learnt; "telea" or
            "navier_stokes" from the features of the frame with its smoke painted out, which reads
            every frame twice.
        inpaint_above: Focus from which a pixel is painted over, in [0, 1].
        inpaint_radius_pixels: How far the inpainter looks around, in pixels, > 0.
        side_weight: Of the losses of the focus and its cascade, >= 0.
        separation_weight: Of the losses of foreground and background, >= 0.
        side_iou_weight: Of 1 - soft IoU beside the 1 of cross-entropy in these losses, >= 0.

    Raises:
        ValueError: If there is no such encoder or inpainter, the encoder has no such levels, or a
            number is out of range.
        WeightsError: If the weights cannot be had, or are another network's.

    References:
        Yao et al., "FoSp: Focus and Separation Network for Early Smoke Segmentation", AAAI 2024.
        Where we differ: every level is brought to D channels before anything else, and fused with
        D instead of up to 4 D. Their background comes from a frozen generative inpainter (MAT)
        whose own features are compared; ours is learnt with the rest, and has losses of its own
        that theirs does not need, or comes from a classical inpainter and the encoder's features.
        Their released settings use binary cross-entropy only; the IoU is an option of ours.
    """

    has_sides: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: str = "tu-tf_efficientnet_lite0",
        encoder_weights: str | None = "hub",
        stride_in_1x1: bool = False,
        channels: int = 128,
        dropout: float = 0.1,
        inpainter: str = "none",
        inpaint_above: float = 0.15,
        inpaint_radius_pixels: float = 3.0,
        side_weight: float = 1.0,
        separation_weight: float = 1.0,
        side_iou_weight: float = 0.0,
    ) -> None:
        """Build the network and fill its encoder; the class says how."""
        super().__init__()
        check_at_least(1, channels=channels)
        check_in_unit(dropout=dropout)
        check_one_of(("none", *METHODS), inpainter=inpainter)
        check_at_least(
            0,
            side_weight=side_weight,
            separation_weight=separation_weight,
            side_iou_weight=side_iou_weight,
        )
        painter = "telea" if inpainter == "none" else inpainter
        checked = Inpainter(painter, above=inpaint_above, radius_pixels=inpaint_radius_pixels)
        self._settings: dict[str, Any] = {
            "encoder": encoder,
            "encoder_weights": None,
            "stride_in_1x1": stride_in_1x1,
            "channels": channels,
            "dropout": dropout,
            "inpainter": inpainter,
            "inpaint_above": inpaint_above,
            "inpaint_radius_pixels": inpaint_radius_pixels,
            "side_weight": side_weight,
            "separation_weight": separation_weight,
            "side_iou_weight": side_iou_weight,
        }
        self.classes = 2
        self.encoder = _build(encoder)
        if stride_in_1x1 and move_stride_to_1x1(self.encoder) == 0:
            raise ValueError(f"stride_in_1x1 needs a ResNet with bottleneck blocks, not {encoder}")
        started = start_encoder(self.encoder, encoder, encoder_weights)
        self.matched, self.weights_sha256 = started.matched, started.sha256
        given = cast("list[int]", self.encoder.out_channels)[-_LEVELS:]
        self.bring = nn.ModuleList(pointwise(level, channels) for level in given)
        self.focus = Focus(channels)
        self.inpainter = None if inpainter == "none" else checked
        self.separation = Separation(channels) if self.inpainter is None else None
        self.foreground = None if self.inpainter is None else nn.Conv2d(channels, 1, 1)
        self.fusion = DomainFusion(channels, dropout)
        mean, std = normalisation(encoder)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(
        self, images: Tensor, *, with_sides: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Segment pictures.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
            with_sides: Give what the parts say on the way, too.

        Returns:
            Logits (B, 2, H, W), 0 for background. With sides also the logits of smoke, (B, H, W)
            each, of the Focus ("quarter", "eighth", "sixteenth", "thirty_second", "focus") and of
            the Separation ("foreground"; "judge" and "background" where it is learnt).
        """
        whole = padded(images)
        size = (images.shape[-2], images.shape[-1])
        levels = self._levels(whole)
        focus, sides = self.focus(levels)
        if self.separation is not None:
            foregrounds, of_separation = self.separation(levels, focus)
        else:
            foregrounds, of_separation = self._painted_out(whole, levels, focus)
        smoke = _at(self.fusion(levels, foregrounds, focus), whole, size)
        logits = torch.stack([torch.zeros_like(smoke), smoke], dim=1)  # (B, 2, H, W)
        if not with_sides:
            return logits
        return logits, {
            name: _at(side, whole, size) for name, side in {**sides, **of_separation}.items()
        }

    def side_loss(
        self, sides: dict[str, Tensor], mask: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Judge the side outputs; see `fosp_side_loss`.

        Args:
            sides: Logits by name, (B, H, W) each, as `forward` gives them.
            mask: (B, H, W) int64 class ids; 255 is ignored.
            weight: (B, H, W) >= 0, how much each pixel counts; None counts all alike.

        Returns:
            A weighted loss of shape () by name, `side_` before it.
        """
        losses = fosp_side_loss(
            sides, mask, weight=weight, iou_weight=self._settings["side_iou_weight"]
        )
        factors = dict.fromkeys(_OF_SEPARATION, self._settings["separation_weight"])
        default = self._settings["side_weight"]
        return {f"side_{name}": factors.get(name, default) * loss for name, loss in losses.items()}

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same network, without its weights."""
        return dict(self._settings)

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters outside the encoder."""
        encoder = {id(parameter) for parameter in self.encoder.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    def _levels(self, whole: Tensor) -> list[Tensor]:
        """Give the four levels of a padded picture, each of D channels."""
        features = self.encoder((whole - self.mean) / self.std)[-_LEVELS:]
        return [bring(level) for bring, level in zip(self.bring, features, strict=True)]

    def _painted_out(
        self, whole: Tensor, levels: list[Tensor], focus: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Give how far each level lies from that of the frame without its smoke."""
        assert self.inpainter is not None
        assert self.foreground is not None
        in_focus = F.interpolate(torch.sigmoid(focus.detach()), size=whole.shape[-2:])
        with torch.no_grad():  # Frozen, as the original's: only the frame's own side learns.
            backgrounds = self._levels(self.inpainter(whole, in_focus))
        foregrounds = [(a - b).abs() for a, b in zip(levels, backgrounds, strict=True)]
        return foregrounds, {"foreground": self.foreground(foregrounds[MID])}


def _build(name: str) -> nn.Module:
    check_encoder(name)
    try:
        encoder = smp.encoders.get_encoder(name, depth=5, weights=None, **encoder_options(name))
    except (ValueError, TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"encoder {name} has no levels of stride 4 to 32 ({error})") from error
    return cast(nn.Module, encoder)


def _at(maps: Tensor, whole: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (B, 1, h, w) to the padded picture, and cut off the padding: (B, H, W)."""
    large = F.interpolate(maps, size=whole.shape[-2:], mode="bilinear", align_corners=False)
    return large[:, 0, : size[0], : size[1]]
