"""Load the Segment Anything Model: Meta's, or MobileSAM with timm's TinyViT as its encoder."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import timm
from torch import Tensor, nn

from weakseg.checks import check_one_of
from weakseg.errors import MissingExtraError
from weakseg.models.weights import check_fit, read_checkpoint

KINDS = ("vit_t", "vit_b", "vit_l", "vit_h")

_CHANNELS = 256


class TinyViTEncoder(nn.Module):
    """MobileSAM's image encoder: TinyViT-5M at stride 16, then SAM's neck.

    timm's `tiny_vit_5m_224` is the same network once the downsampling of its last stage has
    stride 1; its class head is not used. Its windows are padded, so any size runs; SAM's is 1024.

    References:
        Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications",
        2023. Wu et al., "TinyViT", ECCV 2022.
    """

    img_size = 1024

    def __init__(self) -> None:
        """Build it with random weights."""
        super().__init__()
        common = segment_anything_module("segment_anything.modeling.common")
        trunk = cast(Any, timm.create_model("tiny_vit_5m_224", num_classes=0))
        trunk.stages[-1].downsample.conv2.conv.stride = (1, 1)
        self.patch_embed, self.stages = trunk.patch_embed, trunk.stages
        self.neck = nn.Sequential(
            nn.Conv2d(trunk.num_features, _CHANNELS, 1, bias=False),
            common.LayerNorm2d(_CHANNELS),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False),
            common.LayerNorm2d(_CHANNELS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures: (B, 3, 1024, 1024) as SAM preprocesses them -> (B, 256, 64, 64)."""
        return cast(Tensor, self.neck(self.stages(self.patch_embed(images))))


def load_sam(kind: str = "vit_t", checkpoint: str | Path | None = None) -> nn.Module:
    """Build a `segment_anything` Sam in eval mode with the weights of `checkpoint`.

    Args:
        kind: "vit_t" (MobileSAM), "vit_b", "vit_l" or "vit_h".
        checkpoint: A .safetensors file, or Meta's or MobileSAM's .pth, which is read with
            `weights_only=True` and so cannot run code. None leaves random weights, for tests.

    Raises:
        MissingExtraError: If `segment-anything` is not installed.
        WeightsError: If the file is missing, broken or of another kind of SAM.
    """
    check_one_of(KINDS, kind=kind)
    package = segment_anything_module("segment_anything")
    tensors = None if checkpoint is None else read_checkpoint(checkpoint)
    sam = cast(nn.Module, _mobile_sam() if kind == "vit_t" else package.sam_model_registry[kind]())
    if tensors is not None:
        if kind == "vit_t":
            tensors = {_timm_name(name): tensor for name, tensor in tensors.items()}
            tensors = {n: t for n, t in tensors.items() if not _is_unused(n)}
        check_fit(sam.state_dict(), tensors, path=Path(cast(str, checkpoint)))
        sam.load_state_dict(tensors, strict=False)
    return sam.eval()


def segment_anything_module(module: str = "segment_anything") -> Any:
    """Import a module of segment-anything.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "segment_anything":
            raise
        raise MissingExtraError("SAM needs `pip install weakseg[sam]`") from error


def _mobile_sam() -> nn.Module:
    parts = segment_anything_module("segment_anything.modeling")
    side = TinyViTEncoder.img_size
    return cast(
        nn.Module,
        parts.Sam(
            image_encoder=TinyViTEncoder(),
            prompt_encoder=parts.PromptEncoder(
                embed_dim=_CHANNELS,
                image_embedding_size=(side // 16, side // 16),
                input_image_size=(side, side),
                mask_in_chans=16,
            ),
            mask_decoder=parts.MaskDecoder(
                num_multimask_outputs=3,
                transformer=parts.TwoWayTransformer(
                    depth=2, embedding_dim=_CHANNELS, mlp_dim=2048, num_heads=8
                ),
                transformer_dim=_CHANNELS,
                iou_head_depth=3,
                iou_head_hidden_dim=256,
            ),
            pixel_mean=[123.675, 116.28, 103.53],
            pixel_std=[58.395, 57.12, 57.375],
        ),
    )


def _timm_name(name: str) -> str:
    """Translate a tensor name of MobileSAM's encoder to timm's; others stay."""
    head, dot, rest = name.partition("image_encoder.")
    if not dot or head or rest.startswith("neck."):
        return name
    for theirs, ours in (("seq.0.", "conv1."), ("seq.2.", "conv2.")):
        rest = rest.replace(f"patch_embed.{theirs}", f"patch_embed.{ours}")
    parts = rest.split(".")
    if parts[0] == "layers":
        # MobileSAM downsamples at the end of a stage, timm at the beginning of the next.
        moved = parts[2] == "downsample"
        parts[:2] = ["stages", str(int(parts[1]) + moved)]
    rest = ".".join(parts)
    for part in ("weight", "bias"):
        rest = rest.replace(f".c.{part}", f".conv.{part}")
    return f"image_encoder.{rest}"


def _is_unused(name: str) -> bool:
    """The class head of the original file, and index buffers that timm computes."""
    return name.startswith(("image_encoder.norm_head.", "image_encoder.head.")) or name.endswith(
        "attention_bias_idxs"
    )
