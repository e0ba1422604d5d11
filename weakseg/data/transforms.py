"""Vary frames in ways that keep smoke smoke-like, together with their masks.

Smoke is told by its soft grey and by rising: so no vertical flips, and hardly any change of hue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from weakseg.checks import check_at_least, check_in_unit, check_positive

BLUR_SIGMA_PIXELS = (0.3, 1.5)
BLUR_KERNEL_PIXELS = 7
HALF_TURN_DEGREES = 180.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training frame; each can be switched off by 0.

    Args:
        flip: Probability of a left-right flip, in [0, 1].
        crop_scale_min: Smallest share of the frame's area that a crop keeps, in (0, 1]; with 1
            the whole frame is kept.
        crop_ratio_max: Largest stretch of a crop's sides against each other, at least 1.
        rotation_degrees: Largest turn to either side, in [0, 180]; corners are filled by mirroring.
        brightness: Largest relative change, in [0, 1].
        contrast: Largest relative change, in [0, 1].
        saturation: Largest relative change, in [0, 1].
        hue: Largest turn of the colour circle, in [0, 0.5]; above 0.05 smoke changes its nature.
        blur: Probability of a slight blur, in [0, 1].
        grey: Probability of losing all colour, in [0, 1].
    """

    flip: float = 0.5
    crop_scale_min: float = 0.6
    crop_ratio_max: float = 1.33
    rotation_degrees: float = 5.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    blur: float = 0.1
    grey: float = 0.1

    def __post_init__(self) -> None:
        check_in_unit(flip=self.flip, blur=self.blur, grey=self.grey)
        check_in_unit(crop_scale_min=self.crop_scale_min, brightness=self.brightness)
        check_in_unit(contrast=self.contrast, saturation=self.saturation)
        check_positive(crop_scale_min=self.crop_scale_min)
        check_at_least(1, crop_ratio_max=self.crop_ratio_max)
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue must lie in [0, 0.5], got {self.hue}")
        if not 0 <= self.rotation_degrees <= HALF_TURN_DEGREES:
            raise ValueError(f"rotation_degrees must lie in [0, 180], got {self.rotation_degrees}")

    def pipeline(self, image_size: int) -> v2.Transform:
        """Build the transform of (3, H, W) uint8 images, with masks if any, to a square.

        Args:
            image_size: Side of the result in pixels, at least 1.
        """
        return v2.Compose([*self._geometry(image_size), *self._colour(), *_to_unit_range()])

    def _geometry(self, image_size: int) -> list[v2.Transform]:
        steps: list[v2.Transform] = []
        if self.rotation_degrees > 0:
            steps.append(MirroredRotation(self.rotation_degrees))
        if self.crop_scale_min < 1:
            ratio = (1 / self.crop_ratio_max, self.crop_ratio_max)
            scale = (self.crop_scale_min, 1.0)
            steps.append(v2.RandomResizedCrop(image_size, scale=scale, ratio=ratio, antialias=True))
        else:
            steps.append(v2.Resize((image_size, image_size), antialias=True))
        if self.flip > 0:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        return steps

    def _colour(self) -> list[v2.Transform]:
        steps: list[v2.Transform] = []
        amounts = (self.brightness, self.contrast, self.saturation, self.hue)
        if any(amounts):
            steps.append(v2.ColorJitter(*amounts))
        if self.grey > 0:
            steps.append(v2.RandomGrayscale(self.grey))
        if self.blur > 0:
            blur = v2.GaussianBlur(BLUR_KERNEL_PIXELS, sigma=BLUR_SIGMA_PIXELS)
            steps.append(v2.RandomApply([blur], p=self.blur))
        return steps


class MirroredRotation(v2.Transform):  # type: ignore[misc]
    """Turn frame and masks by a random angle; the corners show the mirrored border.

    A constant fill would put dark corners into the frame, which no camera does.
    """

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the angle, and how much border must be mirrored for it."""
        height, width = flat_inputs[0].shape[-2:]
        angle = float(torch.empty(()).uniform_(-self.degrees, self.degrees))
        return {"angle": angle, "pad": _border(height, width, angle)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Mirror, turn and cut back to the size that came in."""
        if not isinstance(inpt, tv_tensors.TVTensor):
            return inpt
        size = list(inpt.shape[-2:])
        smooth = isinstance(inpt, tv_tensors.Image)
        mode = v2.InterpolationMode.BILINEAR if smooth else v2.InterpolationMode.NEAREST
        padded = functional.pad(inpt, params["pad"], padding_mode="reflect")
        turned = functional.rotate(padded, params["angle"], interpolation=mode)
        return functional.center_crop(turned, size)


def plain_pipeline(image_size: int) -> v2.Transform:
    """Build the transform of evaluation: to a square of `image_size` pixels, and nothing else."""
    resize = v2.Resize((image_size, image_size), antialias=True)
    return v2.Compose([resize, *_to_unit_range()])


def _to_unit_range() -> Sequence[v2.Transform]:
    return [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)]


def _border(height: int, width: int, angle: float) -> list[int]:
    """Return left, top, right, bottom: what a turned frame needs beyond its sides, both alike."""
    radians = torch.deg2rad(torch.tensor(abs(angle)))
    sine, cosine = float(radians.sin()), abs(float(radians.cos()))
    x = (width * cosine + height * sine - width) / 2
    y = (width * sine + height * cosine - height) / 2
    # Reflection cannot reach further than the frame itself.
    side = min(max(0, int(x) + 2), width - 1)
    top = min(max(0, int(y) + 2), height - 1)
    return [side, top, side, top]
