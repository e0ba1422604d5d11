"""Teach the affinity step: seeds of the training frames, a resumable fit, the best weights."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from weakseg.arrays import Mask, ScoreMap
from weakseg.artifacts import read_json, read_mask_ids, write_json, write_mask
from weakseg.data import (
    EpochSampler,
    Frame,
    SegmentationItem,
    make_loader,
    read_frame,
)
from weakseg.errors import ArtifactError, DataError
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.losses.affinity import affinity_loss, balanced_costs, grid_seeds, pair_costs
from weakseg.models import load_weights
from weakseg.models.affinity_net import AffinityNet
from weakseg.models.devices import find_device
from weakseg.plans import Stage2Plan
from weakseg.refine.affinity import AffinityStep
from weakseg.refine.crops import SeedCrops
from weakseg.stages.optimisers import with_faster_head
from weakseg.stages.work import Work
from weakseg.training import fit, track

log = logging.getLogger(__name__)

LEARNED: Final = "affinity.json"
LESSONS: Final = "lessons.json"
SEEDS: Final = "seeds"
CHECKPOINTS: Final = "checkpoints"
METRICS: Final = "metrics.jsonl"


@dataclass(frozen=True)
class Lessons:
    """What to learn from and what to validate by.

    Args:
        train: Frames with their seeds, of the training split.
        val: The same of the validation split, or of the training split if that has no seeds.
    """

    train: Sequence[SegmentationItem]
    val: Sequence[SegmentationItem]


def learn(  # noqa: PLR0917 - the order in which stage 2 hands them over
    step: AffinityStep,
    frames: Sequence[Frame],
    scores_of: Callable[[Frame], ScoreMap],
    folder: Path,
    work: Work,
    plan: Stage2Plan,
) -> None:
    """Train the network of `step` on the frames' seeds, and leave the step ready to be called.

    Everything is kept in `folder`: `seeds/`, `lessons.json` with the frames that are learned from,
    `checkpoints/` with `last.pt` and `best.safetensors`, `metrics.jsonl`, and `affinity.json` once
    it has learned. Called again it goes on exactly where
    it was stopped, or at once takes up what was learned.

    Args:
        step: Gets the best weights of the training.
        frames: Of all splits; `train` teaches, `val` chooses the epoch, others are not looked at.
        scores_of: Gives a frame's smoke scores (H, W) after the steps before this one.
        folder: Of this step, within the run's, named as its key in the recipe.
        work: Takes the figures, and says when to stop.
        plan: Its seed names the order of the frames.

    Raises:
        DataError: If no training frame has seeds of both classes.
        ArtifactError: If `folder` was made by other settings, or a frame that was learned from is
            no longer there.
        Interrupted: If `work` was asked to stop; the state is saved.
    """
    settings = step.settings()
    if not (folder / LEARNED).exists():
        frames = _agreed(frames, folder)
        lessons = gather_seeds(step, frames, scores_of, folder, work)
        write_json(folder / LESSONS, [frame.id for frame in frames])
        figures = _train(step, lessons, folder, work, plan)
        write_json(folder / LEARNED, {"settings": settings, **figures})
    elif read_json(folder / LEARNED)["settings"] != settings:
        raise ArtifactError(
            f"{folder} was learned with other settings of refine.steps.{folder.name}: give the run "
            "another output, or overwrite=true"
        )
    step.network = _learned(step, folder)


def _agreed(frames: Sequence[Frame], folder: Path) -> Sequence[Frame]:
    """Keep to the frames a training began with: one that was mended since would change it."""
    if not (folder / LESSONS).exists():
        return frames
    by_id = {frame.id: frame for frame in frames}
    began_with: list[str] = read_json(folder / LESSONS)
    for name in began_with:
        if name not in by_id:
            raise ArtifactError(
                f"refine.steps.{folder.name} has begun to learn from {name}, which is no longer "
                "there: restore the frame, or start again with overwrite=true"
            )
    return [by_id[name] for name in began_with]


def gather_seeds(
    step: AffinityStep,
    frames: Sequence[Frame],
    scores_of: Callable[[Frame], ScoreMap],
    folder: Path,
    work: Work,
) -> Lessons:
    """Write the seeds of every smoke frame of `train` and `val` that has none yet; list them all.

    A frame labelled smoke-free is background everywhere, by the word of the citizen. One labelled
    smoke without a seed of smoke is left out: its smoke is somewhere, and nobody knows where.

    Raises:
        DataError: If no training frame has seeds of both classes.
    """
    found: dict[str, list[SegmentationItem]] = {"train": [], "val": []}
    pairs = 0
    looked_at = [frame for frame in frames if frame.split in found]
    for frame in track(looked_at, what="seeds of affinities", unit="frames"):
        work.check_stop()
        if frame.label != SMOKE:
            found[frame.split].append(SegmentationItem(frame, None))
            continue
        path = folder / SEEDS / f"{frame.id}.png"
        seeds = _seeds(step, frame, scores_of, path)
        if (seeds == SMOKE).any():
            found[frame.split].append(SegmentationItem(frame, path))
            pairs += int(frame.split == "train" and (seeds == BACKGROUND).any())
    if pairs == 0:
        raise DataError(_no_seeds(step, folder.name))
    log.info("affinities: learn from %d frames, %d with seeds", len(found["train"]), pairs)
    val = found["val"]
    if not any(item.mask_path for item in val):
        log.warning("no frame of val has seeds of smoke: the training frames choose the epoch")
        val = found["train"]
    return Lessons(found["train"], val)


def _seeds(
    step: AffinityStep, frame: Frame, scores_of: Callable[[Frame], ScoreMap], path: Path
) -> Mask:
    if path.exists():
        return read_mask_ids(path)
    seeds = step.seeds(read_frame(frame.path), scores_of(frame))
    write_mask(path, seeds)
    return seeds


def _no_seeds(step: AffinityStep, key: str) -> str:
    at = f"refine.steps.{key}"
    if step.seed_rule == "thresholds":
        way = (
            f"lower {at}.foreground (now {step.foreground:g}) or raise "
            f"{at}.background ({step.background:g})"
        )
    else:
        way = (
            f"raise {at}.alpha_strong (now {step.alpha_strong:g}) or lower "
            f"{at}.alpha_weak ({step.alpha_weak:g})"
        )
    return f"no training frame has seeds of both smoke and background to learn from: {way}"


def _train(
    step: AffinityStep, lessons: Lessons, folder: Path, work: Work, plan: Stage2Plan
) -> dict[str, Any]:
    """Fit a network to the seeds; give the best epoch and its figures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step.fit.seed)
        network = step.new_network()
    optimiser = functools.partial(torch.optim.AdamW, lr=step.lr, weight_decay=step.weight_decay)
    result = fit(
        network,
        optimizer_factory=with_faster_head(optimiser, network, step.head_lr_factor),
        dataset=SeedCrops(
            lessons.train,
            image_size=step.image_size,
            max_side=step.max_side,
            augment=step.augmentation,
            seed=plan.seed,
        ),
        sampler=EpochSampler(
            len(lessons.train),
            seed=plan.seed,
            batch_size=step.fit.batch_size,
            balance=[item.frame.label for item in lessons.train],
            drop_last=True,
        ),
        step_loss=functools.partial(_step_loss, step),
        validate=_validator(step, lessons.val),
        monitor="selection",
        settings=step.fit,
        checkpoints=folder / CHECKPOINTS,
        on_log=work.log_row,
        stop=work.stop,
        log_path=folder / METRICS,
    )
    return asdict(result)


def _step_loss(step: AffinityStep, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    seeds = grid_seeds(batch["mask"], step.stride)
    return affinity_loss(model(batch["image"]), seeds, radius=step.radius)


def _validator(
    step: AffinityStep, items: Sequence[SegmentationItem]
) -> Callable[[nn.Module], dict[str, float]]:
    """Measure a model by the affinity loss of one crop, always the same, of each frame."""
    data = SeedCrops(items, image_size=step.image_size, max_side=step.max_side)
    size = step.fit.batch_size
    batches = [
        [(0, i) for i in range(start, min(start + size, len(items)))]
        for start in range(0, len(items), size)
    ]

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        sums, counts = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for batch in make_loader(data, batches, workers=step.fit.workers):
            seeds = grid_seeds(batch["mask"].to(device), step.stride)
            embedding = model(batch["image"].to(device)).float()
            of_batch = pair_costs(embedding, seeds, radius=step.radius)
            sums += of_batch[0].cpu()
            counts += of_batch[1].cpu()
        costs = {name: float(cost) for name, cost in balanced_costs(sums, counts).items()}
        return {**costs, "selection": -costs["loss"]}

    return validate


def _learned(step: AffinityStep, folder: Path) -> AffinityNet:
    """Rebuild the trained network: always in this way, so that its answers are always the same."""
    network = step.new_network(pretrained=False)
    load_weights(folder / CHECKPOINTS / "best.safetensors", network)
    return network.to(find_device(step.fit.accelerator)).eval()
