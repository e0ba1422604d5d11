"""Weigh scores by what CLIP calls the place: smoke, something mistaken for it, or scenery."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
import torch

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive
from weakseg.labels import SMOKE
from weakseg.models.clip import Clip, clip_weights_path, load_clip
from weakseg.models.devices import find_device
from weakseg.models.weights import sha256_of_weights
from weakseg.refine.embeddings import Embedding, cached_embedding, embedding_path
from weakseg.refine.phrases import LOOK_ALIKES, SCENERY, SMOKE_PHRASES, TEMPLATES, Phrases
from weakseg.refine.prompts import regions_of
from weakseg.refine.ranking import Floats, class_probabilities, parted, region_similarity
from weakseg.refine.sam import SamStep
from weakseg.refine.step import FrameContext, check_scores, scores_of_smoke

log = logging.getLogger(__name__)

MODES: Final = ("weight", "rank")
_SMOKE_CLASS: Final = "smoke"
_NAMED: Final = ("look_alikes", "scenery")
_NOT_SETTINGS: Final = {"weights", "device", "sam"}


@dataclass(frozen=True)
class ClipStep:
    """Ask CLIP what each place looks like, and count evidence by the answer.

    Every patch of the frame is held against one vector a class: smoke, its look-alikes, and the
    rest of what a camera sees. It only weighs evidence, in one of two ways, s being a smoke score:

    - "weight": P, the probability of smoke among all classes, is spread from the patches over the
      pixels, and s becomes min(1, s (1 + weight (2 P - 1))). So it stays within
      [(1 - weight) s, (1 + weight) s].
    - "rank": each region of pixels at the seed threshold is held against the classes as a whole,
      and where the most similar one is a look-alike, s becomes (1 - weight) s. Nothing rises, and
      a region that looks like scenery keeps its scores: thin smoke looks like what is behind it.

    Either way 0 stays 0, and a pixel whose evidence is at least `floor` loses nothing.

    Args:
        model: A name of open_clip with a plain ViT, as "ViT-B-16".
        pretrained: What its weights were trained on, by open_clip's name, fetched from the hub.
        weights: A file of them instead, .safetensors or a plain pickle of tensors.
        mode: "weight" or "rank".
        weight: How far CLIP moves a score, in [0, 1]; 0 leaves all as it is.
        floor: Evidence from which a pixel can lose nothing to CLIP, in [0, 1].
        temperature: What cosines are divided by before the softmax, > 0; CLIP learned 0.01.
        longer_side: The frame is resized to this many pixels before, at least one patch.
        seed_threshold: Smoke score in (0, 1] from which a pixel belongs to a region.
        max_regions: Only the largest connected regions are ranked, at least 1.
        sam: Ranks SAM's masks of the whole frame too, where they meet the regions: a pixel of
            several belongs to the smallest.
        smoke: What smoke is called.
        look_alikes: What is mistaken for it: name of a class -> what that is called.
        scenery: Everything else, likewise.
        templates: Sentences with `{}` where a phrase goes.
        device: "auto", "cpu", "gpu" or as torch names it.

    References:
        Zhou, Loy and Dai, "Extract Free Dense Labels from CLIP", ECCV 2022, for the patches;
        prompt ensembles of Radford et al., ICML 2021. Look-alikes as classes of their own: Lin et
        al., "CLIP is Also an Efficient Segmenter" (CLIP-ES), CVPR 2023, by other means.
    """

    model: str = "ViT-B-16"
    pretrained: str | None = "openai"
    weights: str | None = None
    mode: str = "weight"
    weight: float = 0.5
    floor: float = 0.7
    temperature: float = 0.01
    longer_side: int = 448
    seed_threshold: float = 0.3
    max_regions: int = 16
    sam: SamStep | None = None
    smoke: Sequence[str] = SMOKE_PHRASES
    look_alikes: Phrases = field(default_factory=lambda: LOOK_ALIKES)
    scenery: Phrases = field(default_factory=lambda: SCENERY)
    templates: Sequence[str] = TEMPLATES
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings out of range; the weights are looked for at first use."""
        check_one_of(MODES, mode=self.mode)
        check_in_unit(weight=self.weight, floor=self.floor, seed_threshold=self.seed_threshold)
        check_positive(temperature=self.temperature, seed_threshold=self.seed_threshold)
        check_at_least(1, longer_side=self.longer_side, max_regions=self.max_regions)
        # Lists come from the configuration; copies keep the dataclass frozen to its depth.
        object.__setattr__(self, "smoke", _texts("smoke", self.smoke))
        object.__setattr__(self, "templates", _texts("templates", self.templates))
        for name in _NAMED:
            object.__setattr__(self, name, _classes(name, getattr(self, name)))
        if any("{}" not in template for template in self.templates):
            raise ValueError("templates must each hold {} where the phrase goes")
        if len(set(self.classes)) < len(self.classes) or len(self.classes) < 2:
            raise ValueError(
                "look_alikes and scenery must name one class at least, each once and none smoke"
            )

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "clip"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in their order: smoke, the look-alikes, the scenery."""
        return (_SMOKE_CLASS, *self.look_alikes, *self.scenery)

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file, and of SAM's where SAM's masks are ranked.

        Raises:
            WeightsError: If the weights cannot be had.
        """
        hashes = [self._clip_sha256] + ([self.sam.weights_sha256] if self.sam else [])
        return "+".join(hashes)

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SETTINGS}
        kept |= {name: {k: list(v) for k, v in kept[name].items()} for name in _NAMED}
        kept |= {name: list(kept[name]) for name in ("smoke", "templates")}
        kept["sam"] = None if self.sam is None else self.sam.settings()
        return kept | {"weights_sha256": self.weights_sha256}

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        """Weigh `scores` by what CLIP sees in `frame`.

        Args:
            frame: (H, W, 3) uint8, RGB.
            scores: (2, H, W) float32 in [0, 1], summing to 1.
            context: Gives the evidence that the floor looks at, and the cache.

        Returns:
            (2, H, W) float32 in [0, 1], summing to 1.
        """
        check_scores(scores, height=frame.shape[0], width=frame.shape[1], source="the step before")
        smoke: ScoreMap = scores[SMOKE]
        weighed = self._weigh if self.mode == "weight" else self._rank
        moved = weighed(frame, smoke, context)
        spared = (context.evidence >= self.floor) & (moved < smoke)
        log.debug("%s: %d pixels are kept by the floor alone", context.frame_id, spared.sum())
        sure = int(np.count_nonzero(context.evidence >= self.floor))
        context.notes[f"{self.name}/kept_by_floor"] = int(np.count_nonzero(spared)) / max(1, sure)
        return scores_of_smoke(np.where(spared, smoke, moved))

    def probabilities(self, frame: FrameArray, context: FrameContext) -> Floats:
        """Return the probabilities of all classes, (K, h, w), for every patch of a frame."""
        return class_probabilities(self.similarity(frame, context), temperature=self.temperature)

    def similarity(self, frame: FrameArray, context: FrameContext) -> Floats:
        """Return the cosines of every patch with every class, (K, h, w)."""
        features = self._features(frame, context).astype(np.float32)
        cosines = np.tensordot(self._text_vectors, features, axes=1)
        return np.asarray(np.clip(cosines, -1, 1), np.float32)

    def _weigh(self, frame: FrameArray, smoke: ScoreMap, context: FrameContext) -> ScoreMap:
        probability = np.ascontiguousarray(self.probabilities(frame, context)[0])
        size = (frame.shape[1], frame.shape[0])
        spread = cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR)
        factor = 1 + np.float32(self.weight) * (2 * np.clip(spread, 0, 1) - 1)
        return np.asarray(np.minimum(smoke * factor, 1), np.float32)

    def _rank(self, frame: FrameArray, smoke: ScoreMap, context: FrameContext) -> ScoreMap:
        regions = regions_of(smoke >= self.seed_threshold, limit=self.max_regions)
        if not regions:
            return smoke
        if self.sam is not None:
            seeds = np.logical_or.reduce(regions)
            regions += [mask & seeds for mask in self.sam.frame_masks(frame, context)]
        similarity = self.similarity(frame, context)
        ranked = smoke.copy()
        for region in parted(regions):
            best = self.classes[int(np.argmax(region_similarity(similarity, region)))]
            log.debug("%s: %d pixels look like %s", context.frame_id, region.sum(), best)
            if best in self.look_alikes:
                ranked[region] *= np.float32(1 - self.weight)
        return ranked

    @cached_property
    def _clip_sha256(self) -> str:
        path = clip_weights_path(self.model, pretrained=self.pretrained, weights=self.weights)
        return sha256_of_weights(path)

    @cached_property
    def _clip(self) -> Clip:
        log.debug("reading CLIP %s", self.model)
        network = load_clip(self.model, pretrained=self.pretrained, weights=self.weights)
        return network.to(find_device(self.device))

    @cached_property
    def _text_vectors(self) -> Floats:
        phrases = [self.smoke, *self.look_alikes.values(), *self.scenery.values()]
        with torch.inference_mode():
            vectors = self._clip.text_vectors(phrases, self.templates)
        return np.asarray(vectors.cpu().numpy(), np.float32)

    def _features(self, frame: FrameArray, context: FrameContext) -> Embedding:
        """Return the patches' directions, (D, h, w), from the cache where they lie there."""
        path = None
        if context.cache_dir is not None:
            path = embedding_path(
                context.cache_dir,
                frame,
                weights_sha256=self._clip_sha256,
                kind="clip",
                settings=f"{self.model} {self.pretrained} {self.longer_side}",
            )
        return cached_embedding(path, lambda: self._look(frame))

    def _look(self, frame: FrameArray) -> Embedding:
        network = self._clip
        levels = torch.from_numpy(np.ascontiguousarray(frame)).to(network.mean.device)
        with torch.inference_mode():
            images = levels.permute(2, 0, 1)[None].float() / 255  # (H, W, 3) -> (1, 3, H, W)
            features = network.patch_features(images, longer_side=self.longer_side)
            directions = torch.nn.functional.normalize(features[0], dim=0)
        return np.ascontiguousarray(directions.cpu().numpy(), np.float16)


def _texts(name: str, given: Sequence[str]) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"{name} must be texts, one at least, got {given!r}")
    return texts


def _classes(name: str, given: Phrases) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} must map names to lists of phrases, got {given!r}")
    return {str(key): _texts(f"{name}.{key}", phrases) for key, phrases in given.items()}
