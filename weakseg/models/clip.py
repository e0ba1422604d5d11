"""Look at frames with CLIP: every patch and every text become vectors that can be compared."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_shape
from weakseg.errors import MissingExtraError, WeightsError
from weakseg.models import hub
from weakseg.models.weights import check_fit, read_checkpoint, strip_prefix

WEIGHTS_KEY: Final = "refine.steps.clip.weights"

_HUB_FILE: Final = "open_clip_model.safetensors"
_PREFIX: Final = "module."


class Clip(nn.Module):
    """An open_clip model with a plain ViT, whose patches can be compared with texts.

    CLIP is trained to tell pictures from texts by one vector a picture. Its last block gathers that
    vector by attention; without it every patch keeps a vector of its own that still lies in the
    space of the texts. So in the last block a token attends to itself alone: it passes on its own
    value, and the residual and the MLP follow as ever.

    Takes pictures in [0, 1] and normalises them itself. Built with random weights: `load_clip`
    fills it.

    Args:
        model: A name of open_clip with a plain ViT and CLIP's own tokenizer, as "ViT-B-16".
        pretrained: What the weights were trained on, by open_clip's name ("openai"): it settles the
            activation and the normalisation. None takes those of the model's configuration.

    Raises:
        ValueError: If open_clip does not know the names, or the model is of another build.
        MissingExtraError: If open_clip is not installed.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
        ICML 2021. The patches' vectors: Zhou, Loy and Dai, "Extract Free Dense Labels from CLIP"
        (MaskCLIP), ECCV 2022.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: str = "ViT-B-16", pretrained: str | None = None) -> None:
        """Build it with random weights."""
        super().__init__()
        package = open_clip_module()
        config = _config(model)
        training = pretrained_settings(model, pretrained) if pretrained else {}
        config["quick_gelu"] = training.get("quick_gelu", config.get("quick_gelu", False))
        text = config["text_cfg"]
        self.clip = package.CLIP(**config).eval().requires_grad_(False)
        self.tokenizer = package.SimpleTokenizer(
            context_length=self.clip.context_length, **text.get("tokenizer_kwargs", {})
        )
        mean = training.get("mean", package.OPENAI_DATASET_MEAN)
        std = training.get("std", package.OPENAI_DATASET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def patch_pixels(self) -> int:
        """Side of a patch, in pixels of the picture as the network sees it."""
        return int(self.clip.visual.patch_size[0])

    def forward(self, images: Tensor) -> Tensor:
        """As `patch_features`."""
        return self.patch_features(images)

    def patch_features(self, images: Tensor, *, longer_side: int | None = None) -> Tensor:
        """Give every patch its vector in the space of the texts.

        Args:
            images: (B, 3, H, W) float32 in [0, 1], of any size.
            longer_side: Resize to this many pixels on the longer side before, at least one patch;
                None keeps the size. Sides are rounded to whole patches either way.

        Returns:
            (B, D, h, w) float32, not normalised; h and w count patches.
        """
        check_shape((None, 3, None, None), images=images)
        visual = self.clip.visual
        images = self._whole_patches(images, longer_side)
        patches = visual.conv1((images - self.mean) / self.std)  # (B, width, h, w)
        grid = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([visual.class_embedding.expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = visual.ln_pre(tokens + self._positions(grid))
        *before, last = visual.transformer.resblocks
        for block in before:
            tokens = block(tokens)
        tokens = last(tokens, attn_mask=_only_itself(tokens))[:, 1:]
        vectors = visual.ln_post(tokens) @ visual.proj
        return cast(Tensor, vectors.transpose(1, 2).unflatten(2, grid).float())

    def text_vectors(self, classes: Sequence[Sequence[str]], templates: Sequence[str]) -> Tensor:
        """Give every class the mean direction of all its phrases in all templates.

        Args:
            classes: The phrases of each class, one at least.
            templates: Sentences with `{}` where the phrase goes, one at least.

        Returns:
            (classes, D) float32 of length 1.
        """
        rows = []
        for phrases in classes:
            sentences = [t.replace("{}", phrase) for phrase in phrases for t in templates]
            words = self.tokenizer(sentences).to(self.mean.device)
            each = F.normalize(self.clip.encode_text(words).float(), dim=-1)
            rows.append(F.normalize(each.mean(dim=0), dim=0))
        return torch.stack(rows)

    def _whole_patches(self, images: Tensor, longer_side: int | None) -> Tensor:
        size, patch = images.shape[-2:], self.patch_pixels
        check_at_least(patch, longer_side=patch if longer_side is None else longer_side)
        scale = 1 if longer_side is None else longer_side / max(size)
        wanted = [max(1, round(side * scale / patch)) * patch for side in size]
        if wanted == list(size):
            return images
        resized = F.interpolate(images, wanted, mode="bicubic", align_corners=False, antialias=True)
        return resized.clamp(0, 1)  # Bicubic curves overshoot.

    def _positions(self, grid: Sequence[int]) -> Tensor:
        visual = self.clip.visual
        table = visual.positional_embedding[None]
        if list(grid) == list(visual.grid_size):
            return cast(Tensor, table)
        resized = resample_abs_pos_embed(table, list(grid), list(visual.grid_size))
        return cast(Tensor, resized)


def load_clip(
    model: str = "ViT-B-16", *, pretrained: str | None = "openai", weights: str | Path | None = None
) -> Clip:
    """Build a `Clip` in eval mode, frozen, with the weights that `clip_weights_path` finds.

    Raises:
        WeightsError: If they cannot be had, or do not fit the model.
    """
    path = clip_weights_path(model, pretrained=pretrained, weights=weights)
    network = Clip(model, pretrained)
    tensors = strip_prefix(read_checkpoint(path), _PREFIX)
    own = network.clip.state_dict()
    if "logit_scale" in tensors and tensors["logit_scale"].numel() == 1:
        # Written as a number or as a list of one, by version.
        tensors["logit_scale"] = tensors["logit_scale"].reshape(own["logit_scale"].shape)
    check_fit(own, tensors, path=path)
    network.clip.load_state_dict(tensors)
    return network.eval()


def clip_weights_path(model: str, *, pretrained: str | None, weights: str | Path | None) -> Path:
    """Return the file of a model's weights; those of the hub are fetched once.

    Args:
        model: A name of open_clip.
        pretrained: What the weights were trained on, by open_clip's name; unused with a file.
        weights: A file in open_clip's naming, .safetensors or a plain pickle of tensors; None
            takes the hub's.

    Raises:
        WeightsError: If there is no such file, or the hub has none or cannot be reached.
    """
    if weights:
        if not Path(weights).is_file():
            raise WeightsError(f"there is no weights file {weights}: correct {WEIGHTS_KEY}")
        return Path(weights)
    if not pretrained:
        raise WeightsError(f"CLIP needs weights: give {WEIGHTS_KEY}=FILE, or a name as pretrained")
    repository, _, file = str(pretrained_settings(model, pretrained).get("hf_hub", "")).rpartition(
        "/"
    )
    if not repository or file:
        raise WeightsError(
            f"the weights {pretrained} of {model} are no safetensors file of the hub: "
            f"fetch them yourself and give {WEIGHTS_KEY}=FILE"
        )
    return hub.fetch(
        repository, what=f"{model} ({pretrained})", key=WEIGHTS_KEY, file=_HUB_FILE, random=False
    )


def pretrained_settings(model: str, pretrained: str) -> dict[str, Any]:
    """Return what open_clip knows of pretrained weights: where they lie, and what they expect.

    Raises:
        ValueError: If it does not know them; the message lists those it knows.
    """
    package = open_clip_module()
    found = cast("dict[str, Any]", package.get_pretrained_cfg(model, pretrained))
    if not found:
        known = ", ".join(package.list_pretrained_tags_by_model(model)) or "none"
        raise ValueError(f"pretrained={pretrained} is not known for {model}: it has {known}")
    return found


def open_clip_module() -> Any:
    """Import open_clip.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module("open_clip")
    except ModuleNotFoundError as error:
        if error.name != "open_clip":
            raise
        raise MissingExtraError("CLIP needs `pip install weakseg[clip]`") from error


def _config(model: str) -> dict[str, Any]:
    """Return a copy of open_clip's configuration of a model this module can read patches of."""
    package = open_clip_module()
    config = package.get_model_config(model) if model in package.list_models() else None
    if config is None:
        raise ValueError(f"model: open_clip knows no {model}; for instance ViT-B-16 or ViT-L-14")
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = set(config) <= {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    is_vit = isinstance(vision.get("layers", 12), int) and "timm_model_name" not in vision
    own_words = not {"hf_model_name", "hf_tokenizer_name"} & set(text)
    if not (plain and is_vit and own_words and not vision.get("attentional_pool")):
        raise ValueError(
            f"model: {model} has no plain ViT, or another tokenizer: take ViT-B-16, ViT-L-14, ..."
        )
    return cast("dict[str, Any]", config)


def _only_itself(tokens: Tensor) -> Tensor:
    """Attention mask, added to the logits: (N, N) float, 0 on the diagonal, else minus infinity."""
    count = tokens.shape[1]
    mask = torch.full((count, count), float("-inf"), device=tokens.device, dtype=tokens.dtype)
    return mask.fill_diagonal_(0)
