"""Paint smoke out of pictures by classical inpainting, where the network does not learn to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from weakseg.checks import check_in_unit, check_one_of, check_positive

METHODS: Final = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}


@dataclass(frozen=True)
class Inpainter:
    """Continue a picture into the places where smoke may be; nothing is learnt.

    It runs on the CPU, and no gradient passes through it. A picture that may be smoke all over
    has nothing to continue and stays as it is.

    Args:
        method: "telea" or "navier_stokes", both of OpenCV.
        above: Focus, in [0, 1], above which a pixel is painted over. FoSp's release keeps what
            has 1 - focus of at least 0.85.
        radius_pixels: How far around a pixel the known ones are looked at, > 0.

    References:
        Telea, "An Image Inpainting Technique Based on the Fast Marching Method", JGT 2004.
        Bertalmio et al., "Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting",
        CVPR 2001.
    """

    method: str = "telea"
    above: float = 0.15
    radius_pixels: float = 3.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_one_of(METHODS, inpainter=self.method)
        check_in_unit(inpaint_above=self.above)
        check_positive(inpaint_radius_pixels=self.radius_pixels)

    @torch.no_grad()
    def __call__(self, images: Tensor, focus: Tensor) -> Tensor:
        """Paint over what is in focus.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
            focus: (B, 1, H, W) in [0, 1], how much each pixel may be smoke.

        Returns:
            (B, 3, H, W) float32 in [0, 1], in steps of 1/255 where painted.

        Raises:
            ValueError: If the network is being exported: this part would be left out unseen.
        """
        is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if is_traced or torch.compiler.is_exporting():
            raise ValueError(
                f"segmenter.inpainter={self.method} runs outside of the network and cannot be "
                "exported: train with segmenter.inpainter=none"
            )
        holes = (focus[:, 0] > self.above).cpu().numpy().astype(np.uint8)
        frames = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        painted = images.clone()
        for i in range(len(frames)):
            if holes[i].any() and not holes[i].all():
                frame = np.ascontiguousarray(frames[i])
                filled = cv2.inpaint(frame, holes[i], self.radius_pixels, METHODS[self.method])
                new = torch.from_numpy(filled).to(images).permute(2, 0, 1) / 255
                hole = torch.from_numpy(holes[i]).to(images.device).bool()
                painted[i] = torch.where(hole, new, images[i])
        return painted
