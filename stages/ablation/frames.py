"""Choose the frames of an ablation, and keep test frames and masks away from what learns."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.artifacts import ArtifactError, fingerprint, write_text
from weakseg.data import Frame, IndexSource, dataset_fingerprint, sha256_of
from weakseg.data.mask_names import masks_by_name
from weakseg.labels import SMOKE
from weakseg.stages.evaluation.measuring import known_masks
from weakseg.stages.work import require_both_labels

SPLITS: Final = ("train", "val")
INDEX: Final = "index.csv"
TRUTH: Final = "truth.csv"
COLUMNS: Final = ("path", "label", "scene", "split", "sequence")


@dataclass(frozen=True)
class AblationFrames:
    """What an ablation is made and measured on.

    Args:
        index: CSV of training and validation frames, without masks: what the stages get.
        truth: The same with `mask_path`, for measuring alone.
        root: Folder that their paths start from.
        counts: (split, label) -> frames.
        judged: Splits that hold a mask.
        content: Hash of what is in the frames and in their masks.
    """

    index: Path
    truth: Path
    root: Path
    counts: Mapping[tuple[str, int], int]
    judged: Sequence[str]
    content: str = ""

    def source(self, *, with_masks: bool) -> IndexSource:
        """Give the frames as a source."""
        return IndexSource(str(self.truth if with_masks else self.index), str(self.root))


def choose_frames(frames: Sequence[Frame], *, train_frames: int | None, seed: int) -> list[Frame]:
    """Keep the frames of train and val, never those of test, and a sample of train if asked.

    Raises:
        DataError: If a split lacks a label.
    """
    kept = [frame for frame in frames if frame.split in SPLITS]
    if train_frames is not None:
        train = [frame for frame in kept if frame.split == "train"]
        chosen = {frame.id for frame in stratified(train, train_frames, seed=seed)}
        kept = [frame for frame in kept if frame.split != "train" or frame.id in chosen]
    for split in SPLITS:
        require_both_labels(kept, split)
    return kept


def stratified(frames: Sequence[Frame], count: int, *, seed: int) -> list[Frame]:
    """Draw `count` frames so that labels and scenes keep their shares.

    The draw depends on the seed and the frames' ids, not on their order. Shares are rounded by
    largest remainder, first among labels, then among the scenes of a label.

    Args:
        frames: To draw from.
        count: How many, at least 2; all if there are no more.
        seed: Of the draw.

    Returns:
        The frames drawn, in their order.
    """
    if count < 2:
        raise ValueError(f"train_frames must be at least 2, one a label, got {count}")
    if count >= len(frames):
        return list(frames)
    rng = np.random.default_rng(seed)
    by_label: dict[int, list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.id):
        by_label[frame.label].append(frame)
    sizes = {str(label): len(group) for label, group in sorted(by_label.items())}
    drawn: set[str] = set()
    for label, share in _shared_out(count, sizes, least=1).items():
        by_scene: dict[str, list[Frame]] = defaultdict(list)
        for frame in by_label[int(label)]:
            by_scene[frame.scene].append(frame)
        scenes = {scene: len(group) for scene, group in sorted(by_scene.items())}
        for scene, number in _shared_out(share, scenes).items():
            places = rng.permutation(scenes[scene])[:number]
            drawn |= {by_scene[scene][place].id for place in places}
    return [frame for frame in frames if frame.id in drawn]


def _shared_out(count: int, sizes: Mapping[str, int], *, least: int = 0) -> dict[str, int]:
    """Share `count` out in proportion to the sizes, whole numbers, by largest remainder."""
    total = sum(sizes.values())
    exact = {name: count * size / total for name, size in sizes.items()}
    given = {name: max(least, int(share)) for name, share in exact.items()}
    order = sorted(sizes, key=lambda name: (given[name] - exact[name], name))
    for name in order[: count - sum(given.values())]:
        given[name] += 1
    return given


def write_frames_of_ablation(
    output: Path,
    frames: Sequence[Frame],
    *,
    data: Mapping[str, Any],
    train_masks: str | None,
    overwrite: bool,
) -> AblationFrames:
    """Write the index of the stages, and the one with masks beside it.

    Raises:
        ArtifactError: If the folder holds an ablation of other frames, or against other masks.
        DataError: If `train_masks` fits no training frame, or is ambiguous; if a frame or a mask
            cannot be read.
    """
    root = Path(str(data.get("root") or data["folder"]))
    masks = known_masks(data)
    if train_masks is not None:
        masks |= masks_by_name([f for f in frames if f.split == "train"], Path(train_masks))
    index, truth = output / INDEX, output / TRUTH
    texts = {index: _as_csv(frames, root), truth: _as_csv(frames, root, masks)}
    changed = [p for p, text in texts.items() if p.exists() and p.read_text("utf-8") != text]
    if changed and not overwrite:
        raise ArtifactError(_refusal(output, masks_only=index not in changed))
    for path, text in texts.items():
        write_text(path, text)
    return frames_of_ablation(output, root, content_of(frames, masks, texts.values()))


def _refusal(output: Path, *, masks_only: bool) -> str:
    if masks_only:
        return (
            f"{output} holds an ablation that was measured against other masks: give train_masks= "
            "and the masks of the index as before, choose another output folder, or "
            "overwrite=true to measure everything anew"
        )
    return (
        f"{output} holds an ablation of other frames: choose another output folder, or "
        "overwrite=true to measure everything anew"
    )


def content_of(frames: Sequence[Frame], masks: Mapping[Path, Path], texts: Iterable[str]) -> str:
    """Hash the lists of frames, the frames' bytes and their masks' bytes.

    Args:
        frames: Of the ablation.
        masks: Frame path -> mask path; those of other frames do not count.
        texts: The lists.

    Raises:
        DataError: If a frame or a mask cannot be read.
    """
    judged = [(frame.id, masks[frame.path]) for frame in frames if frame.path in masks]
    return fingerprint(
        {
            "lists": list(texts),
            "frames": dataset_fingerprint(frames),
            "masks": sorted((name, sha256_of(mask)) for name, mask in judged),
        }
    )


def frames_of_ablation(output: Path, root: Path, content: str = "") -> AblationFrames:
    """Open the frames of an ablation that was started before.

    Args:
        output: The ablation's folder.
        root: Folder that the frames' paths start from.
        content: Hash of what is in them, where it is known.
    """
    truth = IndexSource(str(output / TRUTH), str(root))
    frames, masks = truth.frames(), known_masks(truth.settings())
    judged = {frame.split for frame in frames if frame.label == SMOKE and frame.path in masks}
    return AblationFrames(
        index=output / INDEX,
        truth=output / TRUTH,
        root=root,
        counts=Counter((frame.split, frame.label) for frame in frames),
        judged=[split for split in SPLITS if split in judged],
        content=content,
    )


def _as_csv(frames: Sequence[Frame], root: Path, masks: Mapping[Path, Path] | None = None) -> str:
    """Write frames as an index, with paths from `root`; with `mask_path` only if asked."""
    text = io.StringIO()
    columns = COLUMNS if masks is None else (*COLUMNS, "mask_path")
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    for frame in frames:
        row = {
            "path": os.path.relpath(frame.path, root),
            "label": str(frame.label),
            "scene": frame.scene,
            "split": frame.split,
            "sequence": frame.sequence,
        }
        if masks is not None:
            mask = masks.get(frame.path)
            row["mask_path"] = "" if mask is None else os.path.relpath(mask, root)
        writer.writerow(row)
    return text.getvalue()
